"""What `stimgen check` measures on a stimulus set, and the rules that a set must keep."""

import numpy as np
import pandas as pd

from protocols.stimulus_set import JUDGED, PREDICTED, StimulusSet
from stimgen.assemble import TARGET
from stimgen.image_files import read_image
from stimgen.photometry import high_frequency_share, mean_luminance, rms_contrast

_TOLERANCE = 1e-4
_LEAST_CONTRAST = 0.02  # below it an image is a gray field: the gradient was dead


def measure_set(stimulus_set: StimulusSet) -> pd.DataFrame:
    """Return `mean_luminance rms_contrast high_frequency_share own_predicted own_judged` of every image, in the table's order.

    The drives are those of the image's own target; NaN where the set was not scored for it.
    """
    rows = []
    for record in stimulus_set.table.to_dict("records"):
        image = read_image(stimulus_set.folder / record["stim_file"], record["width_px"])
        rows.append(
            {
                "mean_luminance": mean_luminance(image),
                "rms_contrast": rms_contrast(image),
                "high_frequency_share": high_frequency_share(image),
                "own_predicted": float(record.get(f"{PREDICTED}{record['target']}", np.nan)),
                "own_judged": float(record.get(f"{JUDGED}{record['target']}", np.nan)),
            }
        )
    return pd.DataFrame(rows)


def summarize_conditions(stimulus_set: StimulusSet, measured: pd.DataFrame) -> pd.DataFrame:
    """Return the means of `measured` per condition and target, with the number of images."""
    keys = stimulus_set.table[["condition", "target"]].fillna("n/a")
    grouped = pd.concat([keys, measured], axis=1).groupby(["condition", "target"], sort=False)
    return grouped.mean().assign(images=grouped.size()).reset_index()


def find_broken_rules(stimulus_set: StimulusSet, measured: pd.DataFrame) -> list[str]:
    """Return one sentence per broken rule; none for a set that may be shown.

    Rules: all images are of one size; the table's luminance and contrast are those of the files; no image is a gray field;
    the judges agree that a target's images drive it more than the average natural image.
    """
    table = stimulus_set.table
    broken = []
    sizes = set(zip(table["width_px"], table["height_px"], strict=True))
    if len(sizes) > 1:
        broken.append(f"images of {len(sizes)} sizes ({', '.join(f'{w} x {h}' for w, h in sorted(sizes))}); make all of one size")
    for column in ("mean_luminance", "rms_contrast"):
        wrong = np.flatnonzero(np.abs(table[column] - measured[column]) > _TOLERANCE)
        broken += [f"row {row + 2}: {column} is {measured[column][row]:.4f}, the table says {table[column][row]:.4f}" for row in wrong]
    flat = np.flatnonzero(measured["rms_contrast"] < _LEAST_CONTRAST)
    broken += [
        f"row {row + 2}: {table['stim_id'][row]} is a uniform field (contrast {measured['rms_contrast'][row]:.4f}); make it again"
        for row in flat
    ]
    made = measured[(table["condition"] == TARGET).to_numpy()].assign(target=table["target"])
    judged = made.groupby("target", sort=False)["own_judged"].mean()
    broken += [
        f"target {target}: mean judged drive {drive:.2f}, no more than the average natural image's; use more steps or models"
        for target, drive in judged.items()
        if drive <= 0
    ]
    return broken
