"""A design and residuals in; noise that is part first-order autoregressive, part white, voxel by voxel, out: `ar1-white`.

One correlation rho cannot describe slow noise under white noise: whatever fits neighbors makes blocks look too sure. Here noise has the
correlation lambda phi^|t_i - t_j| between different volumes (an ARMA(1, 1), as in AFNI's 3dREMLfit). Each voxel takes the pair on a grid
whose expected residual autocovariances after this design, at eight lags, are nearest to its own; the bias that the design puts into
residuals is in the expectation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

_PHI = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
_LAMBDA = tuple(np.round(np.arange(0.1, 1.01, 0.1), 1).tolist())
_LAGS = 8


@dataclass(frozen=True)
class MixedNoise:
    """The grid of noises of one design.

    Attributes
    ----------
    kinds
        phi and lambda of each kind; the first is white.
    expected
        Lagged autocovariances of the residuals, relative to their variance, that each kind leads to.
    distances
        Between the kept volumes.
    basis
        An orthonormal basis of the design.
    """

    kinds: Float[np.ndarray, "kinds 2"]
    expected: Float[np.ndarray, "kinds lags"]
    distances: Int[np.ndarray, "rows rows"]
    basis: Float[np.ndarray, "rows regressors"]

    def choose(self, y: Float[np.ndarray, "rows voxels"]) -> Int[np.ndarray, " voxels"]:
        """Return each voxel's kind, from the residuals of its least-squares fit."""
        from scipy.spatial import cKDTree

        residuals = y - self.basis @ (self.basis.T @ y)
        energy = np.einsum("rv,rv->v", residuals, residuals)
        found = [
            np.einsum("rv,rv->v", residuals[later], residuals[earlier])
            for later, earlier in _pair_rows(self.distances, self.expected.shape[1])
        ]
        _, kinds = cKDTree(self.expected).query(np.stack(found, axis=1) / np.where(energy > 0, energy, 1)[:, None])
        return np.asarray(kinds, dtype=np.int64)

    def whiten(self, kind: int) -> Callable[[Float[np.ndarray, "rows columns"]], Float[np.ndarray, "rows columns"]]:
        """Return the function that makes noise of a kind white."""
        from scipy.linalg import cholesky, solve_triangular

        phi, share = self.kinds[kind]
        correlation = share * phi**self.distances
        np.fill_diagonal(correlation, 1.0)
        root = cholesky(correlation, lower=True)
        inverse = solve_triangular(root, np.eye(len(root)), lower=True)
        return lambda values: inverse @ values


def expect_kinds(x: Float[np.ndarray, "rows regressors"], volumes: Int[np.ndarray, " rows"]) -> MixedNoise:
    """Return the grid for a design and the volumes that were kept.

    With R = I - X (X'X)^-1 X', V the noise's correlation and D_l that joins volumes l apart by one half, the expected autocovariance of
    the residuals is tr(R D_l R V), relative to tr(R V).
    """
    basis, _ = np.linalg.qr(x)
    distances = np.abs(volumes[:, None] - volumes[None, :])
    lags = range(1, min(_LAGS, int(distances.max())) + 1)
    shapes = [np.eye(len(x)) - basis @ basis.T, *(_project((distances == lag) / 2, basis) for lag in lags)]
    by_distance = np.stack([np.bincount(distances.ravel(), weights=shape.ravel()) for shape in shapes])
    steps = np.arange(by_distance.shape[1])
    kinds = [(0.0, 0.0), *((phi, share) for phi in _PHI for share in _LAMBDA)]
    expected = []
    for phi, share in kinds:
        correlation = share * phi**steps
        correlation[0] = 1.0
        traces = by_distance @ correlation
        expected.append(traces[1:] / traces[0])
    return MixedNoise(np.array(kinds), np.stack(expected), distances, basis)


def _project(joined: Float[np.ndarray, "rows rows"], basis: Float[np.ndarray, "rows regressors"]) -> Float[np.ndarray, "rows rows"]:
    """Return R D R."""
    crossed = (joined @ basis) @ basis.T
    projected: Float[np.ndarray, "rows rows"] = joined - crossed - crossed.T + basis @ (basis.T @ crossed)
    return projected


def _pair_rows(distances: Int[np.ndarray, "rows rows"], lags: int) -> list[tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]]:
    """Return, for each lag, the rows of all volumes that are so far apart."""
    pairs = [np.nonzero(np.tril(distances == lag)) for lag in range(1, lags + 1)]
    return [(later, earlier) for later, earlier in pairs]
