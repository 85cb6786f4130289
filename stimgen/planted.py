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
Pooled = dict[str, Float[np.ndarray, "images voxels channels"]]


def pool_files(cortex: Cortex, subject: str, paths: Sequence[Path]) -> Pooled:
    """Return for each ROI its layer's channels, averaged with every voxel's receptive field, for every image file."""
    backbone = load_backbone(cortex.backbone)
    layers = share_layers(cortex.rois)
    backbone.check_layers(layers)
    fields = {roi.name: draw_receptive_fields(cortex, subject, roi) for roi in cortex.rois}
    collected: dict[str, list[np.ndarray]] = {roi.name: [] for roi in cortex.rois}
    for start in track(range(0, len(paths), _BATCH), description=f"cortex sub-{subject}", console=progress_console()):
        with torch.no_grad():
            activations = backbone.activations(read_batch(backbone, paths[start : start + _BATCH]), layers)
            for roi in cortex.rois:
                collected[roi.name].append(pool_receptive_fields(activations[roi.layer], fields[roi.name], roi.rf_sd).cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in collected.items()}


def respond_all(cortex: Cortex, subject: str, reference: Pooled, pooled: Pooled) -> Float[np.ndarray, "images voxels"]:
    """Return true responses of all ROIs' voxels, in the order of `cortex.rois`, in z units of the reference images."""
    blocks = [respond(cortex, subject, roi, reference[roi.name], pooled[roi.name]) for roi in cortex.rois]
    return np.concatenate(blocks, axis=1)
