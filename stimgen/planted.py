"""Run a planted brain on image files: paths in, receptive-field features and true responses out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.progress import track

from stimgen.backbone import load_backbone
from stimgen.console import progress_console
from stimgen.cortex import Cortex, draw_receptive_fields, pool_receptive_fields, respond, share_layers
from stimgen.features import read_batch

_BATCH = 16
Pooled = dict[str, Float[np.ndarray, "_images _voxels _channels"]]  # underscored axes: each ROI has its own channels


def pool_files(cortex: Cortex, subjects: Sequence[str], paths: Sequence[Path]) -> dict[str, Pooled]:
    """Return for each subject and ROI the ROI's layer, averaged with every voxel's receptive field, for every image file.

    All subjects see an image in the same forward pass.
    """
    backbone = load_backbone(cortex.backbone)
    layers = share_layers(cortex.rois)
    backbone.check_layers(layers)
    fields = {(subject, roi.name): draw_receptive_fields(cortex, subject, roi) for subject in subjects for roi in cortex.rois}
    collected: dict[tuple[str, str], list[np.ndarray]] = {key: [] for key in fields}
    for start in track(range(0, len(paths), _BATCH), description="planted brain", console=progress_console()):
        with torch.no_grad():
            activations = backbone.activations(read_batch(backbone, paths[start : start + _BATCH]), layers)
            for subject in subjects:
                for roi in cortex.rois:
                    pooled = pool_receptive_fields(activations[roi.layer], fields[subject, roi.name], roi.rf_sd)
                    collected[subject, roi.name].append(pooled.cpu().numpy())
    return {subject: {roi.name: np.concatenate(collected[subject, roi.name]) for roi in cortex.rois} for subject in subjects}


def respond_all(cortex: Cortex, subject: str, reference: Pooled, pooled: Pooled) -> Float[np.ndarray, "images voxels"]:
    """Return true responses of all ROIs' voxels, in the order of `cortex.rois`, in z units of the reference images."""
    blocks = [respond(cortex, subject, roi, reference[roi.name], pooled[roi.name]) for roi in cortex.rois]
    return np.concatenate(blocks, axis=1)
