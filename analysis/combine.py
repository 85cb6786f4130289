"""A contrast's effect and variance in each run in; effect, variance, t and z of all runs together out.

`precision` weighs each run by 1 / variance, voxel by voxel. The weights come from estimated variances, so the plain formula promises too
small a variance; Meier's correction (Biometrics 1953, 9:59-73) adds the part that the weights' own error brings, and degrees of freedom
are Satterthwaite's. `mean` gives every run the same weight and adds degrees of freedom, as nilearn's fixed effects do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

RunWeights = Literal["precision", "mean"]
_SMALLEST_P = 1e-300  # z stops at 37, as in nilearn


@dataclass(frozen=True)
class RunEffect:
    """A contrast in one run: effect (psc), its variance, degrees of freedom."""

    effect: Float[np.ndarray, " voxels"]
    variance: Float[np.ndarray, " voxels"]
    df: int


@dataclass(frozen=True)
class Maps:
    """What one contrast says of every voxel: effect (psc), its variance, t and z."""

    effect: Float[np.ndarray, " voxels"]
    variance: Float[np.ndarray, " voxels"]
    t: Float[np.ndarray, " voxels"]
    z: Float[np.ndarray, " voxels"]


def combine_runs(runs: Sequence[RunEffect], weights: RunWeights = "precision") -> Maps:
    """Combine runs with fixed effects: what would hold in other runs of this person."""
    effects, variances = (np.stack([getattr(run, name) for run in runs]).astype(np.float64) for name in ("effect", "variance"))
    df = np.array([run.df for run in runs], dtype=np.float64)[:, None]
    if weights == "mean" or len(runs) == 1:
        return _test(effects.mean(axis=0), variances.sum(axis=0) / len(runs) ** 2, np.full(effects.shape[1], df.sum()))
    precision = 1 / np.maximum(variances, np.finfo(np.float64).tiny)
    share = precision / precision.sum(axis=0)
    correction = 1 + 4 * (share * (1 - share) / df).sum(axis=0)
    return _test((share * effects).sum(axis=0), correction / precision.sum(axis=0), 1 / (share**2 / df).sum(axis=0))


def convert_to_z(t: Float[np.ndarray, " voxels"], df: Float[np.ndarray, " voxels"]) -> Float[np.ndarray, " voxels"]:
    """Return the normal deviates that are as improbable as `t`."""
    from scipy import stats

    z: Float[np.ndarray, " voxels"] = np.sign(t) * stats.norm.isf(np.maximum(stats.t.sf(np.abs(t), df), _SMALLEST_P))
    return z


def _test(effect: Float[np.ndarray, " voxels"], variance: Float[np.ndarray, " voxels"], df: Float[np.ndarray, " voxels"]) -> Maps:
    t = effect / np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny))
    return Maps(effect, variance, t, convert_to_z(t, df))
