"""A linear mixed model in, its variance components by restricted maximum likelihood and the test of one contrast out.

Model: y = X b + sum_k Z_k u_k + e, with u_k ~ N(0, theta_k I) and e ~ N(0, D), D diagonal and linear in further thetas. Rows that have
the same D form a class c, D = d_c there. With W = [X Z] and S = diag(1, sqrt theta), Henderson's equations (Henderson 1975) are

    T = S M^-1 S,   M = S W' D^-1 W S + diag(0, I),   P = D^-1 - D^-1 W T W' D^-1,

minus twice the restricted log likelihood is log|D| + log|M| + y'Py, and every derivative is one of T and of the cross-products W_c'W_c.
So an evaluation costs the cube of the columns, whatever the number of rows, and a component may be exactly 0. Degrees of freedom after
Satterthwaite by the delta method (Giesbrecht & Burns 1985), from the curvature of the likelihood, as lmerTest has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

_SMALLEST = 1e-6  # of the variance of y: a component of D stays above, one of Z counts as 0 below
_NEWTON_STEPS = 12
_MOST_DF = 1e6  # where nothing that the variance depends on is uncertain


@dataclass(frozen=True)
class Mixed:
    """What a mixed model is made of; cross-products are all that is kept of its rows.

    Attributes
    ----------
    products
        W_c'W_c for each class of rows, y as the last column of W.
    rows
        Rows in each class.
    fixed
        Columns of X; those of Z follow.
    owner
        For each column of Z, the component that it belongs to.
    residual
        d_c = sum_j residual[j, c] theta_j: how each component of D enters the classes.
    scatter
        For each component of D, a sum of squares that is theta_j times a chi square, known beside the rows, and its degrees of freedom.
    needed
        Which components of D must be above 0, so that every d_c is.
    """

    products: Float[np.ndarray, "classes columns columns"]
    rows: Int[np.ndarray, " classes"]
    fixed: int
    owner: Int[np.ndarray, " random"]
    residual: Float[np.ndarray, "residuals classes"]
    scatter: Float[np.ndarray, "residuals 2"]
    needed: Bool[np.ndarray, " residuals"]


@dataclass(frozen=True)
class Fit:
    """Estimates of b, the components theta (those of Z, then those of D) and, for w'b: its variance and degrees of freedom."""

    fixed: Float[np.ndarray, " fixed"]
    theta: Float[np.ndarray, " components"]
    variance: float
    df: float


@dataclass(frozen=True)
class _State:
    """All that the likelihood and its derivatives need at one theta."""

    d: Float[np.ndarray, " classes"]
    T: Float[np.ndarray, "columns columns"]
    Q: Float[np.ndarray, "columns columns"]
    r: Float[np.ndarray, " columns"]
    deviance: float


def collect_products(
    W: Float[np.ndarray, "rows columns"], y: Float[np.ndarray, " rows"], kind: Int[np.ndarray, " rows"]
) -> tuple[Float[np.ndarray, "classes augmented augmented"], Int[np.ndarray, " classes"]]:
    """Return the cross-products of [W y] in each class of rows, and the rows of each."""
    joined = np.column_stack([W, y])
    classes = range(int(kind.max()) + 1)
    return np.stack([joined[kind == c].T @ joined[kind == c] for c in classes]), np.bincount(kind)


def fit_mixed(model: Mixed, weights: Sequence[float]) -> Fit:
    """Maximize the restricted likelihood and test sum_j weights_j b_j."""
    small = _SMALLEST * float(model.products[:, -1, -1].sum()) / float(model.rows.sum())
    random = _count_random(model)
    lower = np.concatenate([np.zeros(random), np.where(model.needed, small, 0)])
    theta = _maximize(model, lower, small)
    free = theta > np.maximum(lower, small)
    theta = np.where(free, theta, lower)
    state = _solve(model, theta)
    w = np.asarray(weights, dtype=np.float64)
    contrast = state.T[:, : model.fixed] @ w
    change = _vary(model, state, contrast)[free]
    value = float(contrast[: model.fixed] @ w)
    uncertainty = 2 * float(change @ np.linalg.pinv(_inform(model, state, theta, free), hermitian=True) @ change)
    return Fit((state.T @ state.r)[: model.fixed], theta, value, 2 * value**2 / uncertainty if uncertainty > 0 else _MOST_DF)


def _maximize(model: Mixed, lower: Float[np.ndarray, " components"], small: float) -> Float[np.ndarray, " components"]:
    """Climb from a start at which the components of Z hold as much as those of D; those above 0 by their logarithms."""
    from scipy.optimize import minimize

    random, residuals = _count_random(model), len(model.residual)
    variance = small / _SMALLEST
    logs = np.concatenate([np.zeros(random, dtype=bool), model.needed])
    start = np.repeat([variance / 2 / max(random, 1), variance / 2 / residuals], [random, residuals])
    start[logs] = np.log(start[logs])

    def evaluate(x: Float[np.ndarray, " components"]) -> tuple[float, Float[np.ndarray, " components"]]:
        theta = np.where(logs, np.exp(np.where(logs, x, 0)), x)
        value, gradient = _evaluate(model, theta)
        return value, np.where(logs, gradient * theta, gradient)

    most = 1e3 * variance
    bounds = [(np.log(small), np.log(most)) if one else (0.0, most) for one in logs]
    x = minimize(evaluate, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-6}).x
    return _polish(model, np.maximum(np.where(logs, np.exp(np.where(logs, x, 0)), x), lower), lower, small)


def _inform(
    model: Mixed, state: _State, theta: Float[np.ndarray, " components"], free: Bool[np.ndarray, " components"]
) -> Float[np.ndarray, "free free"]:
    """Return the information on the components that are not held at a bound: observed, or expected where the former is not positive."""
    both: list[Float[np.ndarray, "free free"]] = [one[np.ix_(free, free)] for one in _curve(model, state, theta)]
    values = np.linalg.eigvalsh(both[0])
    return both[0] if len(values) == 0 or values[0] > 1e-9 * values[-1] else both[1]


def _count_random(model: Mixed) -> int:
    return int(model.owner.max(initial=-1)) + 1


def _solve(model: Mixed, theta: Float[np.ndarray, " components"]) -> _State:
    random = len(theta) - len(model.residual)
    d = theta[random:] @ model.residual
    whole = np.tensordot(1 / d, model.products, axes=1)
    Q, r = whole[:-1, :-1], whole[:-1, -1]
    S = np.concatenate([np.ones(model.fixed), np.sqrt(theta[model.owner])])
    M = S[:, None] * Q * S + np.diag(np.concatenate([np.zeros(model.fixed), np.ones(len(model.owner))]))
    factor = np.linalg.cholesky(M)
    half = np.linalg.solve(factor, np.diag(S))
    T = half.T @ half
    s = np.where(model.needed, theta[random:], 1)
    extra = (model.scatter[:, 1] * np.log(s) + model.scatter[:, 0] / s).sum()
    deviance = model.rows @ np.log(d) + 2 * np.log(np.diag(factor)).sum() + whole[-1, -1] - r @ T @ r + extra
    return _State(d, T, Q, r, float(deviance))


def _evaluate(model: Mixed, theta: Float[np.ndarray, " components"]) -> tuple[float, Float[np.ndarray, " components"]]:
    """Return minus twice the restricted log likelihood and its gradient, tr(P V_k) - y'P V_k P y."""
    state = _solve(model, theta)
    traces = np.concatenate([_sum_by_owner(model, np.diag(state.Q - state.Q @ state.T @ state.Q)), _trace_residual(model, state)])
    gradient = traces - _vary(model, state, state.T @ state.r, of_y=True)
    s = np.where(model.needed, theta[-len(model.residual) :], 1)
    gradient[-len(model.residual) :] += model.scatter[:, 1] / s - model.scatter[:, 0] / s**2
    return state.deviance, gradient


def _vary(model: Mixed, state: _State, t: Float[np.ndarray, " columns"], of_y: bool = False) -> Float[np.ndarray, " components"]:
    """Return v'V_k v for every component, v = D^-1 W t, or v = P y = D^-1 (y - W t) where `of_y`."""
    projected = state.r - state.Q @ t if of_y else state.Q @ t
    full = np.append(-t, 1.0) if of_y else np.append(t, 0.0)
    by_class = np.einsum("i,cij,j->c", full, model.products, full) / state.d**2
    return np.concatenate([_sum_by_owner(model, projected**2), model.residual @ by_class])


def _sum_by_owner(model: Mixed, values: Float[np.ndarray, " columns"]) -> Float[np.ndarray, " kinds"]:
    return np.bincount(model.owner, weights=values[model.fixed :], minlength=_count_random(model))


def _trace_residual(model: Mixed, state: _State) -> Float[np.ndarray, " residuals"]:
    traces = np.einsum("ij,cji->c", state.T, model.products[:, :-1, :-1])
    values: Float[np.ndarray, " residuals"] = model.residual @ (model.rows / state.d - traces / state.d**2)
    return values


def _curve(
    model: Mixed, state: _State, theta: Float[np.ndarray, " components"]
) -> tuple[Float[np.ndarray, "components components"], Float[np.ndarray, "components components"]]:
    """Return the second derivatives of minus twice the restricted log likelihood, and their expectation.

    These are 2 y'P V_k P V_l P y - tr(P V_k P V_l), and tr(P V_k P V_l).
    """
    crossed, d, T = model.products[:, :-1, :-1], state.d, state.T
    left = np.eye(len(T)) - T @ state.Q
    inner = state.Q @ left  # W'PW
    random, n = _count_random(model), len(model.residual)
    Z = slice(model.fixed, None)
    member = np.zeros((len(model.owner), random))
    member[np.arange(len(model.owner)), model.owner] = 1
    traces = np.zeros((random + n, random + n))
    traces[:random, :random] = member.T @ (inner[Z, Z] ** 2) @ member
    rows_of = np.stack([np.diag(left.T @ Q_c @ left)[Z] for Q_c in crossed]) / d[:, None] ** 2
    traces[:random, random:] = member.T @ rows_of.T @ model.residual.T
    traces[random:, :random] = traces[:random, random:].T
    TQ = T @ crossed
    pairs = np.einsum("cij,eji->ce", TQ, TQ) / np.outer(d**2, d**2)
    pairs += np.diag(model.rows / d**2 - 2 * np.einsum("cii->c", TQ) / d**3)
    traces[random:, random:] = model.residual @ pairs @ model.residual.T
    s = np.where(model.needed, theta[random:], 1)
    beside = np.concatenate([np.zeros(random), 2 * model.scatter[:, 0] / s**3 - model.scatter[:, 1] / s**2])
    expected = np.concatenate([np.zeros(random), model.scatter[:, 1] / s**2])
    return 2 * _quadratics(model, state, member) - traces + np.diag(beside), traces + np.diag(expected)


def _quadratics(model: Mixed, state: _State, member: Float[np.ndarray, "random kinds"]) -> Float[np.ndarray, "components components"]:
    """Return y'P V_k P V_l P y for every pair of components.

    V_k P y is Z_k times a vector for a component of Z, and D_k D^-1 (y - W t) for one of D: rows, class by class, of [W y] times a vector.
    """
    t = state.T @ state.r
    py = state.r - state.Q @ t
    columns, kinds, classes = len(t), member.shape[1], len(state.d)
    vectors = np.zeros((kinds + len(model.residual), classes, columns + 1))  # V_k P y = [W y]_c vectors[k, c] in class c
    for k in range(kinds):
        vectors[k, :, model.fixed : columns] = member[:, k] * py[model.fixed :]
    full = np.append(-t, 1.0)
    vectors[kinds:] = (model.residual / state.d)[:, :, None] * full
    applied = np.einsum("cij,kcj->kci", model.products, vectors)
    direct = np.einsum("kci,lci,c->kl", vectors, applied, 1 / state.d)
    projected = np.einsum("kci,c->ki", applied[:, :, :-1], 1 / state.d)
    result: Float[np.ndarray, "components components"] = direct - projected @ state.T @ projected.T
    return result


def _polish(
    model: Mixed, theta: Float[np.ndarray, " components"], lower: Float[np.ndarray, " components"], small: float
) -> Float[np.ndarray, " components"]:
    """Take Newton's steps from near the maximum, among the components that are not held at their bounds."""
    value, gradient = _evaluate(model, theta)
    for _ in range(_NEWTON_STEPS):
        free = (theta > lower + small) | (gradient < 0)
        values, vectors = np.linalg.eigh(_curve(model, _solve(model, theta), theta)[0][np.ix_(free, free)])
        bent = np.maximum(np.abs(values), 1e-6 * np.abs(values).max())  # downhill even where the likelihood is not concave
        step = np.zeros_like(theta)
        step[free] = -vectors @ ((vectors.T @ gradient[free]) / bent)
        tried, new, slope = theta, value, gradient
        for size in (1.0, 0.5, 0.25, 0.0625):
            tried = np.maximum(theta + size * step, lower)
            new, slope = _evaluate(model, tried)
            if new <= value + 1e-10:
                break
        moved = float(np.abs(tried - theta).max())
        if new > value + 1e-10 or moved <= 1e-9 * theta.max():
            return theta
        theta, value, gradient = tried, new, slope
    return theta
