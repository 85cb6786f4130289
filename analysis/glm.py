"""Voxel series and a design matrix in; effects in percent signal change and their variances out.

Series are divided by their mean beforehand, and weights multiplied by their regressor's peak afterwards: both together make a weight the
percent signal change of one event. `ols` and `nilearn-ar1` give the numbers of nilearn's `run_glm`; `ar1`, the default, corrects the
autocorrelation for what the design took out of the residuals (`analysis.noise`), knows which volumes were dropped, and weighs the first
volume as stationary noise asks.

Everything that a fit needs of the series are a few products: with Omega the noise's precision, X'Omega Y and the diagonal of Y'Omega Y
are sums of products with fixed matrices, computed once and combined for each rho. Voxels go through in blocks, so that memory does not
grow with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from analysis.design import Design
from analysis.mixed_noise import MixedNoise, expect_kinds
from analysis.noise import NoiseModel, cut_as_nilearn, debias, expect_ratios
from analysis.precision import Precision, describe_precision

_BLOCK_VALUES = 2_000_000  # of a block of series: 16 MB


@dataclass(frozen=True)
class Estimates:
    """What one run says of some combinations of its regressors.

    Attributes
    ----------
    effect, variance
        Combinations x voxels, in percent signal change where the combinations are the design's `loadings` or come from `weigh_columns`.
    rho
        Autocorrelation that each voxel's noise was given.
    r2
        Part of the series' variance that the whole design explains, of the series as they are (not of whitened ones).
    df
        Volumes minus regressors.
    """

    effect: Float[np.ndarray, "combinations voxels"]
    variance: Float[np.ndarray, "combinations voxels"]
    rho: Float[np.ndarray, " voxels"]
    r2: Float[np.ndarray, " voxels"]
    df: int


@dataclass(frozen=True)
class _Model:
    """A design made ready: columns scaled to length 1, their products, and what their residuals' autocorrelation means."""

    x: Float[np.ndarray, "rows regressors"]
    combinations: Float[np.ndarray, "combinations regressors"]
    noise: NoiseModel
    precision: Precision
    products: Float[np.ndarray, "terms regressors regressors"]
    inverse: Float[np.ndarray, "regressors regressors"]
    expected: Float[np.ndarray, "2 grid"]
    solved: dict[float, tuple[Float[np.ndarray, "regressors regressors"], Float[np.ndarray, " combinations"]]] = field(default_factory=dict)

    def solve(self, rho: float) -> tuple[Float[np.ndarray, "regressors regressors"], Float[np.ndarray, " combinations"]]:
        """Return (X'Omega X)^-1 for a rho, and each combination's variance in it; the same rho comes again in every block."""
        if rho not in self.solved:
            coefficients = self.precision.weigh(np.array([rho]))[:, 0]
            inverse = np.linalg.inv(np.tensordot(coefficients, self.products, axes=1))
            self.solved[rho] = inverse, _spread(inverse, self.combinations)
        return self.solved[rho]


@dataclass(frozen=True)
class _Block:
    """A block of voxels fitted: weights, variances of combinations, the autocorrelation of their noise, R2."""

    weights: Float[np.ndarray, "regressors voxels"]
    variance: Float[np.ndarray, "combinations voxels"]
    rho: Float[np.ndarray, " voxels"]
    r2: Float[np.ndarray, " voxels"]


def find_usable(series: Float[np.ndarray, "volumes voxels"]) -> Bool[np.ndarray, " voxels"]:
    """Say which voxels have finite, changing values with a positive mean; the others cannot be modelled."""
    mean = series.mean(axis=0, dtype=np.float64)
    usable: Bool[np.ndarray, " voxels"] = np.isfinite(mean) & (mean > 0) & (series.min(axis=0) < series.max(axis=0))
    return usable


def scale_to_percent(series: Float[np.ndarray, "volumes voxels"]) -> Float[np.ndarray, "volumes voxels"]:
    """Return each voxel's series as percent change from its mean, in double precision."""
    values = series.astype(np.float64)
    scaled: Float[np.ndarray, "volumes voxels"] = 100 * (values / values.mean(axis=0) - 1)
    return scaled


def weigh_columns(design: Design, plus: Sequence[str], minus: Sequence[str]) -> Float[np.ndarray, " regressors"] | None:
    """Return weights for mean of conditions `plus` minus mean of `minus`, in psc; None where the run lacks one of them."""
    rows = {name: row for row, name in enumerate(design.counts)}
    if any(name not in rows for name in (*plus, *minus)):
        return None
    weights = np.zeros(design.matrix.shape[1])
    for sign, names in ((1, plus), (-1, minus)):
        if names:
            weights += sign * design.loadings[[rows[name] for name in names]].mean(axis=0)
    return weights


def fit_run(
    series: Float[np.ndarray, "volumes voxels"],
    design: Design,
    combinations: Float[np.ndarray, "combinations regressors"],
    noise: NoiseModel,
    percent: bool = False,
) -> Estimates:
    """Fit a run's series and estimate combinations of its weights; `percent`: of the series as percent change from their means.

    `series` has a row for every row of the design; the columns must be independent, as `build_design` checks.
    """
    model = _prepare(design, combinations, noise)
    fit = _choose_fit(model, design)
    voxels, rows = series.shape[1], len(series)
    effect, variance = np.empty((len(combinations), voxels)), np.empty((len(combinations), voxels))
    rho, r2 = np.empty(voxels), np.empty(voxels)
    width = max(_BLOCK_VALUES // rows, 1)
    for start in range(0, voxels, width):
        block = slice(start, min(start + width, voxels))
        y = series[:, block].astype(np.float64)
        scale = np.ones(y.shape[1])
        if percent:  # the fit is linear: centered series are scaled afterwards
            mean = y.mean(axis=0)
            y -= mean
            scale = 100 / mean
        made = fit(y)
        effect[:, block], variance[:, block] = scale * (model.combinations @ made.weights), scale**2 * made.variance
        rho[block], r2[block] = made.rho, made.r2
    return Estimates(effect, variance, rho, r2, rows - model.x.shape[1])


def _prepare(design: Design, combinations: Float[np.ndarray, "combinations regressors"], noise: NoiseModel) -> _Model:
    scale = np.linalg.norm(design.values, axis=0)  # confounds in radians beside drifts: keeps the normal equations well conditioned
    x = design.values / scale
    is_nilearns = noise == "nilearn-ar1"
    volumes = np.arange(len(x)) if is_nilearns else design.volumes  # nilearn takes kept volumes for successive ones
    precision = describe_precision(volumes, stationary=not is_nilearns)
    expected = expect_ratios(x, volumes) if noise == "ar1" else np.zeros((2, 1))
    products = precision.multiply(x, x)
    return _Model(x, combinations / scale, noise, precision, products, np.linalg.inv(products[0]), expected)


def _choose_fit(model: _Model, design: Design) -> Callable[[Float[np.ndarray, "rows voxels"]], _Block]:
    """Return the function that fits a block of voxels."""
    if model.noise == "ols":
        return partial(_fit_plain, model=model)
    if model.noise == "ar1-white":
        return partial(_fit_mixed, model=model, mixed=expect_kinds(model.x, design.volumes))
    return partial(_fit_autoregressive, model=model)


def _fit_plain(y: Float[np.ndarray, "rows voxels"], model: _Model) -> _Block:
    """Fit with white noise."""
    cross, squares = model.x.T @ y, np.einsum("rv,rv->v", y, y)
    weights = model.inverse @ cross
    residual = squares - np.einsum("pv,pv->v", weights, cross)
    variance = _spread(model.inverse, model.combinations)[:, None] * residual / (len(y) - len(weights))
    return _Block(weights, variance, np.zeros(y.shape[1]), _explain(y, residual, squares))


def _fit_autoregressive(y: Float[np.ndarray, "rows voxels"], model: _Model) -> _Block:
    """Fit with first-order autoregressive noise: least squares, rho from its residuals, and once more with the precision of that rho."""
    cross, squares = model.precision.multiply(model.x, y), model.precision.square(y)
    plain = model.inverse @ cross[0]
    residual = squares[0] - np.einsum("pv,pv->v", plain, cross[0])
    rho = _estimate_rho(plain, residual, cross, squares, model)
    coefficients = model.precision.weigh(rho)
    whitened = coefficients[0] * cross[0]
    for term, part in zip(coefficients[1:], cross[1:], strict=True):
        whitened += term * part
    order = np.argsort(rho, kind="stable")  # voxels of one rho beside one another
    values, starts = np.unique(rho[order], return_index=True)
    sorted_cross, sorted_weights = whitened[:, order], np.empty_like(whitened)
    sorted_spread = np.empty((len(model.combinations), y.shape[1]))
    for value, start, end in zip(values, starts, [*starts[1:], len(order)], strict=True):
        inverse, own = model.solve(float(value))
        np.matmul(inverse, sorted_cross[:, start:end], out=sorted_weights[:, start:end])
        sorted_spread[:, start:end] = own[:, None]
    weights, spread = np.empty_like(whitened), np.empty_like(sorted_spread)
    weights[:, order], spread[:, order] = sorted_weights, sorted_spread
    dispersion = (coefficients * squares).sum(axis=0) - np.einsum("pv,pv->v", weights, whitened)
    moved = weights - plain  # least squares leaves the least residual: |y - Xb|^2 grows by |X (b - b_least)|^2
    unexplained = residual + np.einsum("pv,pv->v", moved, model.products[0] @ moved)
    return _Block(weights, spread * dispersion / (len(y) - len(weights)), rho, _explain(y, unexplained, squares[0]))


def _fit_mixed(y: Float[np.ndarray, "rows voxels"], model: _Model, mixed: MixedNoise) -> _Block:
    """Fit with noise that is part autoregressive, part white; rho is its correlation between successive volumes."""
    assigned = mixed.choose(y)
    weights, variance = np.empty((model.x.shape[1], y.shape[1])), np.empty((len(model.combinations), y.shape[1]))
    for kind in np.unique(assigned):
        voxels = assigned == kind
        whiten = mixed.whiten(int(kind))
        x, own = whiten(model.x), whiten(y[:, voxels])
        inverse = np.linalg.inv(x.T @ x)
        weights[:, voxels] = inverse @ (x.T @ own)
        residual = own - x @ weights[:, voxels]
        dispersion = np.einsum("rv,rv->v", residual, residual) / (len(y) - len(inverse))
        variance[:, voxels] = _spread(inverse, model.combinations)[:, None] * dispersion
    left = y - model.x @ weights
    r2 = _explain(y, np.einsum("rv,rv->v", left, left), np.einsum("rv,rv->v", y, y))
    return _Block(weights, variance, mixed.kinds[assigned].prod(axis=1), r2)


def _estimate_rho(
    weights: Float[np.ndarray, "regressors voxels"],
    residual: Float[np.ndarray, " voxels"],
    cross: Float[np.ndarray, "terms regressors voxels"],
    squares: Float[np.ndarray, "terms voxels"],
    model: _Model,
) -> Float[np.ndarray, " voxels"]:
    """Return each voxel's autocorrelation from its least-squares residuals r = y - Xb.

    With D joining neighbors, r'Dr = y'Dy - b'(2 X'Dy - X'DX b).
    """
    if 1 not in model.precision.pairs:
        return np.zeros(len(residual))  # no two successive volumes were kept
    term = 1 + list(model.precision.pairs).index(1)
    crossed = 2 * cross[term]
    crossed -= model.products[term] @ weights
    lag1 = (squares[term] - np.einsum("pv,pv->v", weights, crossed)) / 2
    ratios = lag1 / np.where(residual > 0, residual, 1)
    return debias(ratios, model.expected) if model.noise == "ar1" else cut_as_nilearn(ratios, len(model.x))


def _spread(inverse: Float[np.ndarray, "p p"], combinations: Float[np.ndarray, "combinations p"]) -> Float[np.ndarray, " combinations"]:
    spread: Float[np.ndarray, " combinations"] = ((combinations @ inverse) * combinations).sum(axis=1)
    return spread


def _explain(
    y: Float[np.ndarray, "rows voxels"], unexplained: Float[np.ndarray, " voxels"], squares: Float[np.ndarray, " voxels"]
) -> Float[np.ndarray, " voxels"]:
    """Return R2 of the series as they are: 1 - |y - Xb|^2 / |y - mean|^2."""
    total = squares - y.sum(axis=0) ** 2 / len(y)
    r2: Float[np.ndarray, " voxels"] = 1 - unexplained / np.where(total > 0, total, 1)
    return r2
