"""How alike voxels are: predicted responses, or images made for voxels, in; profiles whose products are correlations out.

Two voxels are alike where their *predicted responses to natural images* correlate. With readouts w and v, and C the covariance of features
over natural images, that is w'Cv / sqrt(w'Cw v'Cv): the correlation of weights in the metric of what natural images do to features. It
does not depend on how weights are written down: features are correlated (neighboring places, channels, layers), ridge spreads one
tuning over collinear features as noise has it, and weights along directions in which natural images hardly differ count in a
plain correlation of weights as much as those that carry the response.
The measure is chosen for what it means: in a planted brain plain weights named the ROI as often (100 % of voxels, against 96 %;
`tests/benchmarks/bench_maps.py`).

Images made for voxels are alike where *all voxels of the model* are predicted to respond alike to them, in z units of natural images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Bool, Float

_SMALLEST = 1e-12


def profile_readouts(predicted: Float[np.ndarray, "images voxels"]) -> Float[np.ndarray, "voxels images"]:
    """Return each voxel's profile over natural images: its predicted responses, centered and of norm 1, so that products are correlations.

    A voxel whose predictions do not vary has a profile of zeros, and is like no other.
    """
    return _normalize(predicted.T)


def profile_images(
    predicted: Float[np.ndarray, "made voxels"], natural: Float[np.ndarray, "images voxels"], voxel_of_image: npt.NDArray[np.int64]
) -> Float[np.ndarray, "targets voxels"]:
    """Return for each target the profile of its images over voxels, all its images together, centered and of norm 1.

    `predicted` are the responses to the made images; `voxel_of_image` says which target each belongs to, counted from 0.
    """
    scale = natural.std(axis=0)
    z = (predicted - natural.mean(axis=0)) / np.where(scale > _SMALLEST, scale, np.inf)
    total = np.zeros((int(voxel_of_image.max()) + 1, z.shape[1]))
    np.add.at(total, voxel_of_image, z)
    return _normalize(total)


def _normalize(profiles: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    centered = profiles.astype(np.float64) - profiles.mean(axis=1, keepdims=True, dtype=np.float64)
    norm = np.linalg.norm(centered, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = centered / np.where(norm > _SMALLEST, norm, np.inf)
    return unit


@dataclass(frozen=True)
class Nearest:
    """For every voxel the ROI whose mean profile is most like its own, the voxel itself left out.

    Attributes
    ----------
    roi
        The nearest ROI; None for a voxel that is the only one of its ROI, whose own ROI is not defined without it.
    r
        Correlation of the voxel's profile with the mean profile of that ROI.
    own_r
        The same with its own ROI; NaN where that is not defined.
    """

    roi: Sequence[str | None]
    r: Float[np.ndarray, " voxels"]
    own_r: Float[np.ndarray, " voxels"]

    def tabulate(self) -> pd.DataFrame:
        """Return the columns `nearest_roi nearest_roi_r own_roi_r`."""
        return pd.DataFrame(
            {"nearest_roi": pd.Series(np.array(self.roi, dtype=object), dtype=object), "nearest_roi_r": self.r, "own_roi_r": self.own_r}
        )


def find_nearest(profiles: Float[np.ndarray, "voxels columns"], rois: Sequence[str], subjects: Sequence[str] = ()) -> Nearest:
    """Compare every voxel with the mean profile of each ROI, itself left out.

    With `subjects` (one per voxel), all voxels of its subject are left out, so that noise that a subject's voxels share makes none alike;
    a voxel whose ROI no other subject has is then the only one of it.
    """
    names = list(dict.fromkeys(rois))
    member = np.array(rois)[:, None] == np.array(names)
    r = _leave_out_subjects(profiles, member, subjects) if len(subjects) else _leave_out_voxels(profiles, member)
    own_r = r[member]
    defined = ~np.isnan(own_r)
    best = np.argmax(np.where(np.isnan(r), -np.inf, r), axis=1)
    nearest = [names[column] if known else None for column, known in zip(best, defined, strict=True)]
    return Nearest(nearest, np.where(defined, r[np.arange(len(r)), best], np.nan), own_r)


def share_own(nearest: Nearest, rois: Sequence[str], only: str | None = None) -> float | None:
    """Return the share of voxels (of the ROI `only`) whose nearest ROI is their own, where that is defined; None where it is of none."""
    right = [one == roi for one, roi in zip(nearest.roi, rois, strict=True) if one is not None and only in (None, roi)]
    return float(np.mean(right)) if right else None


def relate_rois(profiles: Float[np.ndarray, "voxels columns"], rois: Sequence[str]) -> pd.DataFrame:
    """Return the mean correlation of voxels of two ROIs, rois x rois; within an ROI of different voxels, NaN where it has one."""
    names = list(dict.fromkeys(rois))
    member = (np.array(rois)[:, None] == np.array(names)).astype(np.float64)
    sums, count = member.T @ profiles, member.sum(axis=0)
    total, pairs = sums @ sums.T, np.outer(count, count)
    total[np.diag_indices(len(names))] -= member.T @ (profiles**2).sum(axis=1)
    pairs[np.diag_indices(len(names))] -= count
    return pd.DataFrame(np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan), index=names, columns=names)


def _leave_out_voxels(
    profiles: Float[np.ndarray, "voxels columns"], member: Bool[np.ndarray, "voxels rois"]
) -> Float[np.ndarray, "voxels rois"]:
    """Correlate profiles with the ROIs' means: with S the sum over the voxels of an ROI, u S / |S|, and of its own u (S - u) / |S - u|."""
    sums = member.T.astype(np.float64) @ profiles
    product, own = profiles @ sums.T, (profiles**2).sum(axis=1, keepdims=True) * member
    norm = (sums**2).sum(axis=1) - (2 * product - own) * member
    return _divide(product - own, norm)


def _leave_out_subjects(
    profiles: Float[np.ndarray, "voxels columns"], member: Bool[np.ndarray, "voxels rois"], subjects: Sequence[str]
) -> Float[np.ndarray, "voxels rois"]:
    r = np.empty(member.shape)
    for subject in dict.fromkeys(subjects):
        inside = np.array([one == subject for one in subjects])
        sums = member[~inside].T.astype(np.float64) @ profiles[~inside]
        r[inside] = _divide(profiles[inside] @ sums.T, (sums**2).sum(axis=1))
    return r


def _divide(product: Float[np.ndarray, "voxels rois"], squared_norm: npt.NDArray[np.float64]) -> Float[np.ndarray, "voxels rois"]:
    """Return product / norm, NaN where nothing is left of an ROI."""
    left = squared_norm > _SMALLEST
    return np.where(left, product / np.sqrt(np.where(left, squared_norm, 1.0)), np.nan)
