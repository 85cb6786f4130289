"""Residuals' autocovariances and a design in, the autocorrelation of each voxel's noise out.

Residuals of a regression are less correlated than the noise, since a design takes out slow signal, the more columns the more of it; plain
Yule-Walker on them is therefore too small, and tests that use it find too much. `debias` inverts the relation: it computes which ratio of
autocovariances every rho would lead to after this design, and returns the rho that leads to the ratio that was found. (Worsley and
others, NeuroImage 2002, 15:1-15, appendix A.3, invert the first two autocovariances as if those of higher order were 0; here they are
those of the process.)
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from analysis.precision import describe_precision

NoiseModel = Literal["ar1", "ar1-white", "nilearn-ar1", "ols"]
_BINS = 100  # distinct rho per unit, as nilearn's
_GRID = np.arange(-0.99, 0.9901, 0.005)


def expect_ratios(x: Float[np.ndarray, "rows regressors"], volumes: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "2 grid"]:
    """Return, for a grid of rho (second row), the ratio of expected lag-1 to lag-0 autocovariance of the residuals after `x` (first row).

    With R = I - X (X'X)^-1 X', V(rho) the noise's correlation and D that joins neighbors by one half, the ratio is
    tr(R D R V(rho)) / tr(R V(rho)).
    """
    precision = describe_precision(volumes)
    rows = len(x)
    basis, _ = np.linalg.qr(x)
    half = precision.sum_neighbors(np.eye(rows), 1) / 2
    crossed = (half @ basis) @ basis.T
    lagged = half - crossed - crossed.T + basis @ (basis.T @ crossed)
    distances = np.abs(volumes[:, None] - volumes[None, :]).ravel()
    lag1, lag0 = (np.bincount(distances, weights=part.ravel()) for part in (lagged, np.eye(rows) - basis @ basis.T))
    powers = _GRID[:, None] ** np.arange(len(lag0))
    return np.stack([(powers @ lag1) / (powers @ lag0), _GRID])


def debias(ratios: Float[np.ndarray, " voxels"], expected: Float[np.ndarray, "2 grid"]) -> Float[np.ndarray, " voxels"]:
    """Return the rho that leads to the residuals' ratios of autocovariances, rounded to hundredths."""
    rising = np.maximum.accumulate(expected[0])
    rho: Float[np.ndarray, " voxels"] = np.round(np.interp(ratios, rising, expected[1]) * _BINS) / _BINS
    return rho


def cut_as_nilearn(ratios: Float[np.ndarray, " voxels"], volumes: int) -> Float[np.ndarray, " voxels"]:
    """Return nilearn's estimate: Yule-Walker with its own divisors, cut to hundredths."""
    rho: Float[np.ndarray, " voxels"] = np.trunc(ratios * volumes / (volumes - 1) * _BINS) / _BINS
    return rho
