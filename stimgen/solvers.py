"""Ridge regression in primal or dual form, with one band of features or several; hyperparameters per voxel.

With features X (standardized), responses Y, penalty a and band weights g (which sum to 1), the fit minimizes
sum over images (y - b - sum over bands X_j w_j)^2 + a sum over bands |w_j|^2 / g_j, separately for every voxel.
The dual form solves it through the bands' kernels X_j X_j' (images x images), the primal through X itself.

Himalaya chooses the hyperparameters by cross-validation; band weights are searched at random (Dupre la Tour et al. 2022,
"Feature-space selection with banded ridge regression"). What it chose is solved here, in the basis of the centered kernel U diag(d) U',
where a penalty is a division by d + a: himalaya 0.4 solves a penalty of every voxel's own through voxels x images x images values,
and lets eigenvalues of 0 that rounding made negative magnify small penalties.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch
from himalaya.backend import get_backend, set_backend
from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search
from himalaya.ridge import solve_ridge_cv_svd
from jaxtyping import Float, Int

from stimgen.standardize import Rows

Split = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
Solved = tuple[Float[np.ndarray, "_inputs _voxels"], Float[np.ndarray, " _voxels"]]
Array = Any  # of NumPy on the CPU, of PyTorch on a GPU
_ALPHAS_AT_ONCE = 1  # more only costs memory: each needs a matrix of images x images
_VOXELS_AT_ONCE = 2048
_ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of the largest eigenvalue: what the smallest are off by


@dataclass(frozen=True)
class Search:
    """What a search over hyperparameters tries: `penalties`, and `band_weights` (candidates x bands, rows summing to 1)."""

    penalties: Float[np.ndarray, " penalties"]
    band_weights: Float[np.ndarray, "candidates bands"]


@dataclass(frozen=True)
class Choice:
    """Each voxel's penalty, and which row of the search's band weights it took."""

    penalties: Float[np.ndarray, " voxels"]
    candidate: Int[np.ndarray, " voxels"]


# The choice, what each band adds to the predictions of `outside`, and the intercepts.
Found = tuple[Choice, Float[np.ndarray, "_bands _outside _voxels"], Float[np.ndarray, " _voxels"]]


@runtime_checkable
class Solver(Protocol):
    """Positions are into the solver's own images."""

    def search(
        self,
        inside: npt.NDArray[np.int64],
        y: Float[np.ndarray, "inside voxels"],
        splits: Sequence[Split],
        outside: npt.NDArray[np.int64],
        together: bool = False,
    ) -> Found:
        """Choose hyperparameters by cross-validation over `inside` (`splits` are positions in it), fit, and predict `outside`.

        With `together` all voxels take the same, those with the best mean score.
        """
        ...

    def solve(self, inside: npt.NDArray[np.int64], y: Float[np.ndarray, "inside voxels"], choice: Choice) -> Solved:
        """Fit `inside` with given hyperparameters; return coefficients of standardized features, and intercepts."""
        ...


@dataclass(frozen=True)
class Spectrum:
    """The centered kernel U diag(d) U' of the images that are fitted to.

    Attributes
    ----------
    basis, values
        U (images x rank) and d.
    weights
        Inputs x rank. Weights of the inputs are `weights` diag(1 / (d + a)) U' Y; inputs are features (primal form) or those images (dual).
    offset
        Mean of the inputs over those images.
    """

    basis: Array
    values: Array
    weights: Array
    offset: Array
    device: str

    def solve(self, y: Float[np.ndarray, "images voxels"], penalties: Float[np.ndarray, " voxels"]) -> Solved:
        """Return the weights of the inputs with a penalty per voxel, and the intercepts."""
        responses, alphas = _load(y, self.device), _load(penalties.astype(np.float32), self.device)
        mean = responses.mean(0)
        weights = self.weights @ ((self.basis.T @ (responses - mean)) / (self.values[:, None] + alphas))
        return _fetch(weights), _fetch(mean - self.offset @ weights)


@dataclass(frozen=True)
class DualRidge:
    """Kernel ridge: for fewer images than features, and for bands. `kernels` is bands x images x images."""

    rows: Rows
    bands: Sequence[Sequence[slice]]
    kernels: Float[np.ndarray, "bands images images"]
    hyperparameters: Search
    device: str = "cpu"

    @classmethod
    def build(cls, rows: Rows, bands: Sequence[Sequence[slice]], hyperparameters: Search, device: str = "cpu") -> "DualRidge":
        """Compute the kernel of every band, a band being one or more ranges of features."""
        kernels = np.zeros((len(bands), len(rows.index), len(rows.index)), dtype=np.float32)
        for number, band in enumerate(bands):
            for columns in band:
                for _, block in rows.blocks(columns):
                    kernels[number] += block @ block.T
        return cls(rows, bands, kernels, hyperparameters, device)

    def search(
        self,
        inside: npt.NDArray[np.int64],
        y: Float[np.ndarray, "inside voxels"],
        splits: Sequence[Split],
        outside: npt.NDArray[np.int64],
        together: bool = False,
    ) -> Found:
        """See `Solver`."""
        choice = self._choose(inside, y, splits, together)
        dual, intercept = self._solve(inside, y, choice)
        predicted = np.empty((len(self.kernels), len(outside), y.shape[1]), dtype=np.float32)
        for number, kernel in enumerate(self.kernels):
            np.matmul(kernel[np.ix_(outside, inside)], dual, out=predicted[number])
            predicted[number] *= self._weigh(choice, number)
        return choice, predicted, intercept

    def solve(self, inside: npt.NDArray[np.int64], y: Float[np.ndarray, "inside voxels"], choice: Choice) -> Solved:
        """See `Solver`; voxels with the same band weights are solved together."""
        dual, intercept = self._solve(inside, y, choice)
        coefficients = np.empty((self.rows.features.shape[1], y.shape[1]), dtype=np.float32)
        for number, band in enumerate(self.bands):
            for columns in band:
                for where, block in self.rows.blocks(columns):
                    np.matmul(block[inside].T, dual, out=coefficients[where])
                    coefficients[where] *= self._weigh(choice, number)
        return coefficients, intercept

    def _choose(
        self, inside: npt.NDArray[np.int64], y: Float[np.ndarray, "inside voxels"], splits: Sequence[Split], together: bool
    ) -> Choice:
        candidates = self.hyperparameters.band_weights
        kernels = self.kernels[:, inside[:, None], inside]
        kernels -= kernels.mean(axis=1, keepdims=True)
        kernels -= kernels.mean(axis=2, keepdims=True)
        with _himalaya(self.device) as backend:
            deltas, _, _, alphas = solve_multiple_kernel_ridge_random_search(
                backend.asarray(kernels),
                backend.asarray(y - y.mean(axis=0)),
                n_iter=backend.asarray(candidates.astype(np.float32)),
                alphas=backend.asarray(self.hyperparameters.penalties.astype(np.float32)),
                cv=list(splits),
                local_alpha=not together,
                return_alphas=True,
                progress_bar=False,
                n_targets_batch=_VOXELS_AT_ONCE,
                n_alphas_batch=_ALPHAS_AT_ONCE,
            )
            deltas, alphas = backend.to_numpy(deltas), backend.to_numpy(alphas)
        weights = np.exp(deltas.T) * alphas[:, None]  # voxels x bands; deltas are log(band weight / penalty)
        distance = np.stack([np.abs(weights - candidate).sum(axis=1) for candidate in candidates], axis=1)
        return Choice(alphas, distance.argmin(axis=1))

    def _solve(self, inside: npt.NDArray[np.int64], y: Float[np.ndarray, "inside voxels"], choice: Choice) -> Solved:
        """Return dual weights, to be multiplied by the band's weight, and intercepts."""
        dual, intercept = np.empty(y.shape, dtype=np.float32), np.empty(y.shape[1], dtype=np.float32)
        for candidate in np.unique(choice.candidate).tolist():
            spectrum = self._decompose(inside, candidate)
            for batch in _batch(np.flatnonzero(choice.candidate == candidate)):
                dual[:, batch], intercept[batch] = spectrum.solve(y[:, batch], choice.penalties[batch])
        return dual, intercept

    def _decompose(self, train: npt.NDArray[np.int64], candidate: int) -> Spectrum:
        """Leave out eigenvalues that are rounding, and center U, which is centered but for rounding."""
        mixed = np.zeros((len(train), len(train)), dtype=np.float32)
        for weight, one in zip(self.hyperparameters.band_weights[candidate].tolist(), self.kernels, strict=True):
            mixed += weight * one[np.ix_(train, train)]
        kernel = _load(mixed, self.device)
        offset = kernel.mean(0)
        kernel -= offset
        kernel -= kernel.mean(1)[:, None]
        if self.device == "cpu":  # the fastest of LAPACK's drivers, and not SciPy's default
            values, basis = scipy.linalg.eigh(kernel, driver="evd", overwrite_a=True, check_finite=False)
        else:
            values, basis = torch.linalg.eigh(kernel)
        kept = values > _ROUNDING * abs(values[-1])
        values, basis = values[kept], basis[:, kept]
        return Spectrum(basis, values, basis - basis.mean(0), offset, self.device)

    def _weigh(self, choice: Choice, band: int) -> Float[np.ndarray, " voxels"]:
        weights: npt.NDArray[np.float32] = self.hyperparameters.band_weights[choice.candidate, band].astype(np.float32)
        return weights


@dataclass(frozen=True)
class PrimalRidge:
    """Ridge on the features themselves, one band: for more images than features. `x` is standardized."""

    x: Float[np.ndarray, "images features"]
    penalties: Float[np.ndarray, " penalties"]
    device: str = "cpu"

    def search(
        self,
        inside: npt.NDArray[np.int64],
        y: Float[np.ndarray, "inside voxels"],
        splits: Sequence[Split],
        outside: npt.NDArray[np.int64],
        together: bool = False,
    ) -> Found:
        """See `Solver`."""
        x = self.x[inside]
        with _himalaya(self.device) as backend:
            alphas, _, _ = solve_ridge_cv_svd(
                backend.asarray(x - x.mean(axis=0)),
                backend.asarray(y - y.mean(axis=0)),
                alphas=backend.asarray(self.penalties.astype(np.float32)),
                cv=list(splits),
                local_alpha=not together,
                n_targets_batch=_VOXELS_AT_ONCE,
                n_alphas_batch=_ALPHAS_AT_ONCE,
                warn=False,
            )
            choice = Choice(backend.to_numpy(alphas), np.zeros(len(alphas), dtype=np.int64))
        coefficients, intercept = self.solve(inside, y, choice)
        return choice, (self.x[outside] @ coefficients)[None], intercept

    def solve(self, inside: npt.NDArray[np.int64], y: Float[np.ndarray, "inside voxels"], choice: Choice) -> Solved:
        """See `Solver`."""
        x = _load(self.x[inside], self.device)
        offset = x.mean(0)
        if self.device == "cpu":
            basis, singular, right = scipy.linalg.svd(x - offset, full_matrices=False, overwrite_a=True, check_finite=False)
        else:
            basis, singular, right = torch.linalg.svd(x - offset, full_matrices=False)
        spectrum = Spectrum(basis, singular**2, right.T * singular, offset, self.device)
        coefficients, intercept = np.empty((self.x.shape[1], y.shape[1]), dtype=np.float32), np.empty(y.shape[1], dtype=np.float32)
        for batch in _batch(np.arange(y.shape[1])):
            coefficients[:, batch], intercept[batch] = spectrum.solve(y[:, batch], choice.penalties[batch])
        return coefficients, intercept


@contextmanager
def _himalaya(device: str) -> Iterator[Any]:
    """Give himalaya's backend for a device; the global one is as before afterwards."""
    before = get_backend()
    try:
        yield set_backend("torch_cuda" if device == "cuda" else "numpy")
    finally:
        set_backend(before)


def _batch(voxels: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, len(voxels), _VOXELS_AT_ONCE):
        yield voxels[start : start + _VOXELS_AT_ONCE]


def _load(array: npt.NDArray[np.float32], device: str) -> Array:
    return array if device == "cpu" else torch.from_numpy(array).to(device)


def _fetch(array: Array) -> npt.NDArray[np.float32]:
    fetched: npt.NDArray[np.float32] = array if isinstance(array, np.ndarray) else array.cpu().numpy()
    return fetched
