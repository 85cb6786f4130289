"""Voxel series and a design matrix in; weights, variances and contrasts in percent signal change out.

Series are divided by their mean beforehand, and weights multiplied by their regressor's peak afterwards: both together make a weight the
percent signal change of one event. `ols` and `nilearn-ar1` give the numbers of nilearn's `run_glm`, and runs are combined by its fixed
effects, but the fit works from sufficient statistics. With W the whitening by y_t - rho y_(t-1), everything that a fit needs of the series,

    X'W'WY = X'Y - rho (X_1'Y_0 + X_0'Y_1) + rho^2 X_-'Y_-      (_1 without the first row, _0 and _- without the last),

is three products computed once and combined for each rho, where nilearn takes a pseudoinverse of the whole design for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from analysis.design import Design

NoiseModel = Literal["nilearn-ar1", "ols"]
_BINS = 100  # nilearn's number of different rho


@dataclass(frozen=True)
class Fit:
    """One run's fitted model.

    Attributes
    ----------
    design
        What was fitted.
    weights
        Regressors x voxels.
    dispersion
        Each voxel's residual variance, after whitening.
    covariances
        (X'W'WX)^-1 for each distinct rho; `kind` says which one is a voxel's.
    """

    design: Design
    weights: Float[np.ndarray, "regressors voxels"]
    dispersion: Float[np.ndarray, " voxels"]
    covariances: Float[np.ndarray, "kinds regressors regressors"]
    kind: Int[np.ndarray, " voxels"]

    @property
    def df(self) -> int:
        """Volumes minus regressors."""
        return len(self.design.matrix) - len(self.weights)


@dataclass(frozen=True)
class Maps:
    """What one contrast says of every voxel: effect (psc), its variance, t and z."""

    effect: Float[np.ndarray, " voxels"]
    variance: Float[np.ndarray, " voxels"]
    t: Float[np.ndarray, " voxels"]
    z: Float[np.ndarray, " voxels"]


def find_usable(series: Float[np.ndarray, "volumes voxels"]) -> Bool[np.ndarray, " voxels"]:
    """Say which voxels have finite, changing values with a positive mean; the others cannot be modelled."""
    mean = series.mean(axis=0)
    usable: Bool[np.ndarray, " voxels"] = np.isfinite(mean) & (mean > 0) & (np.ptp(series, axis=0) > 0)
    return usable


def scale_to_percent(series: Float[np.ndarray, "volumes voxels"]) -> Float[np.ndarray, "volumes voxels"]:
    """Return each voxel's series as percent change from its mean."""
    scaled: Float[np.ndarray, "volumes voxels"] = 100 * (series / series.mean(axis=0) - 1)
    return scaled


def fit_run(series: Float[np.ndarray, "volumes voxels"], design: Design, noise: NoiseModel) -> Fit:
    """Fit a run's series (percent) with ordinary least squares or with first-order autoregressive noise, as nilearn does.

    The columns must be independent, as `build_design` checks.
    """
    scale = np.linalg.norm(design.values, axis=0)  # confounds in radians beside drifts: keeps the normal equations well conditioned
    x = design.values / scale
    plain, _, inverse = _solve(x.T @ x, x.T @ series, (series**2).sum(axis=0), len(series))
    rho = np.zeros(series.shape[1]) if noise == "ols" else _bin_rho(series - x @ plain)
    values, kind = np.unique(rho, return_inverse=True)
    weights, dispersion = np.empty_like(plain), np.empty(series.shape[1])
    covariances = np.empty((len(values), *inverse.shape))
    xx, xy, yy = _lagged_products(x, x), _lagged_products(x, series), _lagged_squares(series)
    for number, value in enumerate(values):
        voxels = kind == number
        gram, cross, squares = (part[0] - value * part[1] + value**2 * part[2] for part in (xx, xy[..., voxels], yy[..., voxels]))
        weights[:, voxels], dispersion[voxels], covariances[number] = _solve(gram, cross, squares, len(series))
    return Fit(design, weights / scale[:, None], dispersion, covariances / np.outer(scale, scale), kind)


def estimate_events(fit: Fit) -> tuple[Float[np.ndarray, "events voxels"], Float[np.ndarray, "events voxels"]]:
    """Return each event column's response to one event, in percent signal change, and its variance."""
    peaks = np.array(list(fit.design.peaks.values()))[:, None]
    count = len(peaks)  # event columns come first
    diagonal = np.diagonal(fit.covariances, axis1=1, axis2=2)[:, :count]
    return peaks * fit.weights[:count], peaks**2 * diagonal[fit.kind].T * fit.dispersion


def weigh_columns(design: Design, plus: Sequence[str], minus: Sequence[str]) -> Float[np.ndarray, " regressors"] | None:
    """Return weights for mean of `plus` minus mean of `minus`, in psc; None where the run lacks one of them."""
    if any(name not in design.peaks for name in (*plus, *minus)):
        return None
    weights = {name: design.peaks[name] / len(plus) for name in plus}
    weights |= {name: -design.peaks[name] / len(minus) for name in minus}
    return np.array([weights.get(name, 0.0) for name in design.matrix.columns])


def estimate_contrast(fit: Fit, weights: Float[np.ndarray, " regressors"]) -> Any:
    """Return nilearn's `Contrast` (effect, variance, degrees of freedom) of one run."""
    from nilearn.glm.contrasts import Contrast

    spread = np.einsum("i,kij,j->k", weights, fit.covariances, weights)
    return Contrast(weights @ fit.weights, spread[fit.kind] * fit.dispersion, dof=fit.df, stat_type="t")


def combine_runs(contrasts: Sequence[Any]) -> Maps:
    """Combine runs by nilearn's fixed effects: effects and variances add, degrees of freedom too; the effect is the mean over runs."""
    total = contrasts[0]
    for contrast in contrasts[1:]:
        total = total + contrast
    mean = total * (1 / len(contrasts))
    return Maps(mean.effect.ravel(), mean.variance.ravel(), mean.stat(), mean.z_score())


def _solve(
    gram: Float[np.ndarray, "regressors regressors"],
    cross: Float[np.ndarray, "regressors voxels"],
    squares: Float[np.ndarray, " voxels"],
    volumes: int,
) -> tuple[Float[np.ndarray, "regressors voxels"], Float[np.ndarray, " voxels"], Float[np.ndarray, "regressors regressors"]]:
    """Return weights, residual variance and (X'X)^-1 from X'X, X'Y and the sums of squares of Y."""
    inverse = np.linalg.inv(gram)
    weights = inverse @ cross
    residual = squares - (weights * cross).sum(axis=0)
    return weights, residual / (volumes - len(gram)), inverse


def _bin_rho(residuals: Float[np.ndarray, "volumes voxels"]) -> Float[np.ndarray, " voxels"]:
    """Estimate each voxel's autocorrelation as nilearn does (Yule-Walker), cut to hundredths."""
    centered = residuals - residuals.mean()
    volumes = len(centered)
    lag0, lag1 = (centered**2).sum(axis=0) / volumes, (centered[1:] * centered[:-1]).sum(axis=0) / (volumes - 1)
    rho: Float[np.ndarray, " voxels"] = np.trunc(lag1 / lag0 * _BINS) / _BINS
    return rho


def _lagged_products(x: Float[np.ndarray, "volumes regressors"], y: Float[np.ndarray, "volumes _"]) -> Float[np.ndarray, "3 regressors _"]:
    """Return the coefficients of rho^0, -rho^1 and rho^2 in X'W'WY."""
    return np.stack([x.T @ y, x[1:].T @ y[:-1] + x[:-1].T @ y[1:], x[:-1].T @ y[:-1]])


def _lagged_squares(y: Float[np.ndarray, "volumes voxels"]) -> Float[np.ndarray, "3 voxels"]:
    """Return the same coefficients for the diagonal of Y'W'WY."""
    return np.stack([(y**2).sum(axis=0), 2 * (y[1:] * y[:-1]).sum(axis=0), (y[:-1] ** 2).sum(axis=0)])
