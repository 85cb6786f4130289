"""ROI tables drawn from known variance components."""

import numpy as np
import pandas as pd

from protocols.roi_table import RoiTable

CONDITIONS = ("target", "natural", "scrambled")


def draw_table(
    rng: np.random.Generator,
    *,
    rois: tuple[str, ...] = ("V3", "LO", "EBA", "FFA", "RSC"),
    subjects: int = 4,
    per_set: int = 5,
    effect: float = 0.0,
    subject_sd: float = 0.3,
    image_sd: float = 0.3,
    residual_sd: float = 0.3,
    conditions: tuple[str, ...] = CONDITIONS,
    runs: int = 1,
) -> RoiTable:
    """Draw responses: each subject's own ROI x image-set effects, an image's in each ROI, residuals; and `effect` for own images."""
    rows = []
    for condition in conditions:
        for target in rois:
            by_subject = subject_sd * rng.standard_normal((subjects, len(rois)))
            by_image = image_sd * rng.standard_normal((per_set, len(rois)))
            for subject in range(subjects):
                for image in range(per_set):
                    for place, roi in enumerate(rois):
                        level = by_subject[subject, place] + by_image[image, place] + effect * (condition == "target" and roi == target)
                        for run in range(1, runs + 1):
                            response = level + residual_sd * rng.standard_normal()
                            name = f"{condition}{target}{image}"
                            rows.append((f"{subject + 1:02d}", "01", run, roi, "LR", name, condition, target, response, 0.1, 20))
    names = ["subject", "session", "run", "roi", "hemisphere", "stim_id", "condition", "target", "response_psc", "se_psc", "n_voxels"]
    return RoiTable(pd.DataFrame(rows, columns=names))
