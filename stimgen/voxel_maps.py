"""What a model's voxels prefer, from its predictions alone: the layer that carries each, the natural images it likes best, contrasts.

All of it is prediction, not measurement; responses are in z units of the natural pool, for each voxel its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from stimgen.encoding_model import EncodingModel, Readout
from stimgen.features import FeatureSpace
from stimgen.judge import is_predictable
from stimgen.roi_colors import NO_ROI

BEST = 12  # natural images that are kept of each voxel
NOBODY = -1
_VOXELS_AT_ONCE = 2048


@dataclass(frozen=True)
class VoxelMaps:
    """What follows from the predicted responses to a natural pool.

    Attributes
    ----------
    z
        Predicted responses in z units of the pool; 0 for a voxel whose prediction never changes.
    mean, sd
        What z is relative to.
    layer
        Index of the layer with the largest share of the predicted variance (product measure); -1 where the prediction never changes.
    best
        Rows of the pool, the voxel's favorite first; -1 where the prediction never changes.
    """

    z: Float[np.ndarray, "images voxels"]
    mean: Float[np.ndarray, " voxels"]
    sd: Float[np.ndarray, " voxels"]
    layer: Int[np.ndarray, " voxels"]
    best: Int[np.ndarray, "voxels best"]


def map_voxels(model: EncodingModel, features: Float[np.ndarray, "images features"]) -> VoxelMaps:
    """Return what the model's voxels prefer, judged by the features of a natural pool."""
    predicted = model.readout.predict(features)
    mean, sd = predicted.mean(axis=0), predicted.std(axis=0)
    dead = sd <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    z = np.where(dead, 0, (predicted - mean) / np.where(dead, 1, sd)).astype(np.float32)
    best = np.argsort(-z, axis=0, kind="stable")[:BEST].T
    layer = np.where(dead, NOBODY, prefer_layers(model.readout, features, model.space))
    return VoxelMaps(z, mean, np.where(dead, np.nan, sd), layer, np.where(dead[:, None], NOBODY, best))


def prefer_layers(readout: Readout, features: Float[np.ndarray, "images features"], space: FeatureSpace) -> Int[np.ndarray, " voxels"]:
    """Return the index of the layer whose part of each voxel's prediction covaries most with the whole (product measure)."""
    of_feature = space.layer_of_feature
    standardized = (features - features.mean(axis=0)) / readout.feature_scale
    columns = [np.flatnonzero(of_feature == number) for number in range(len(space.layers))]
    found = np.empty(len(readout.intercept), dtype=np.int64)
    for start in range(0, len(found), _VOXELS_AT_ONCE):
        batch = slice(start, start + _VOXELS_AT_ONCE)
        parts = np.stack([standardized[:, some] @ readout.coefficients[some, batch] for some in columns])
        found[batch] = (parts * parts.sum(axis=0)).sum(axis=1).argmax(axis=0)
    return found


@dataclass(frozen=True)
class Contrastable:
    """Maps of one kind, any two of which can be subtracted: `values` has a row per group."""

    key: str
    label: str
    groups: tuple[str, ...]
    values: Float[np.ndarray, "groups voxels"]


def compare_rois(model: EncodingModel, maps: VoxelMaps) -> Contrastable:
    """Return how alike each voxel and each ROI respond to the pool: the correlation of their predicted responses.

    An ROI's response is its voxels' mean, weighted by accuracy, over all subjects.
    """
    rois = [roi for roi in model.rois if roi != NO_ROI and is_predictable(model, roi)]
    means = maps.z @ model.roi_weights(rois)
    spread = means.std(axis=0)
    standardized = (means - means.mean(axis=0)) / np.where(spread > 0, spread, 1)
    r = (standardized.T @ maps.z / len(maps.z)).astype(np.float32)
    return Contrastable("rois", "likeness to regions, r over natural images", tuple(rois), r)


def compare_conditions(
    maps: VoxelMaps, responses: Float[np.ndarray, "images voxels"], conditions: Sequence[str], targets: Sequence[str | None]
) -> Contrastable:
    """Return each voxel's mean predicted response, in z, to a set's images: by condition, and by condition and target.

    `responses` are predicted, not standardized, an image of the set a row.
    """
    z = (responses - maps.mean) / maps.sd
    names = pd.Series(conditions, dtype=object)
    cells = [f"{condition} for {target}" if target else None for condition, target in zip(conditions, targets, strict=True)]
    groups = {name: (names == name).to_numpy() for name in dict.fromkeys(conditions)}
    groups |= {cell: np.array([one == cell for one in cells]) for cell in dict.fromkeys(cells) if cell}
    values = np.stack([z[inside].mean(axis=0) for inside in groups.values()]).astype(np.float32)
    return Contrastable("set", "predicted response to the set, z of natural images", tuple(groups), values)
