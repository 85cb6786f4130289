"""Responses with gaps or uneven repeats in; the crossed test of `analysis.crossed` out, by restricted maximum likelihood.

Model, for the mean of n_si runs of subject s and image i of set g: y_si = mu_g + p_sg + q_i + v_si + e_si, all but mu random. Subjects vary
over sets in the direction of the contrast w, in their mean over sets, and equally in every direction left, each with a variance of its
own. Images, and subjects by images (v), have a variance for each side of the contrast, since images of one kind may vary more than those
of another: a common one would test too often where the smaller side varies more. Runs (e) have one variance over n_si, which the scatter
of runs about their mean also tells. Where every response has equally many runs, v holds it all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from analysis.crossed import Effect, conclude, estimate_effect, find_min_f, refuse_no_variance, refuse_small_sets
from analysis.mixed_model import Mixed, collect_products, fit_mixed
from protocols.errors import InputError

REML = "crossed random subjects and images, restricted maximum likelihood, Satterthwaite"


@dataclass(frozen=True)
class ImageSet:
    """Responses to a set's images: mean over runs (NaN where there is none), number of runs, and sum of squares about the mean."""

    means: Float[np.ndarray, "subjects images"]
    runs: Int[np.ndarray, "subjects images"]
    scatter: Float[np.ndarray, "subjects images"]


@dataclass(frozen=True)
class _Rows:
    """One row per subject and image that has a response; `side` is 1 where the contrast adds, 0 where it subtracts."""

    y: Float[np.ndarray, " rows"]
    runs: Int[np.ndarray, " rows"]
    subject: Int[np.ndarray, " rows"]
    image: Int[np.ndarray, " rows"]
    group: Int[np.ndarray, " rows"]
    side: Int[np.ndarray, " rows"]


def estimate_contrast(sets: Sequence[ImageSet], weights: Sequence[float], pooled: bool = False) -> Effect:
    """Estimate sum_g w_g mu_g and test it against 0: in closed form where the table is balanced, else by restricted maximum likelihood.

    `pooled` takes one variance of images and one of residuals for both sides, as a formula of lme4 does.

    Raises
    ------
    InputError
        When a set has fewer than 2 images, no subject has a response in every set, or all responses are equal.
    """
    seen = _leave_out_empty(sets)
    runs = np.concatenate([one.runs for one in seen], axis=1)
    if len(runs) == 1 or ((runs == runs[0, 0]).all() and not pooled):
        return estimate_effect([one.means for one in seen], weights)
    return _estimate_by_reml(seen, weights, pooled)


def _leave_out_empty(sets: Sequence[ImageSet]) -> list[ImageSet]:
    """Leave out subjects without any response, and images without any."""
    present = np.logical_or.reduce([(one.runs > 0).any(axis=1) for one in sets])
    in_every = np.logical_and.reduce([(one.runs > 0).any(axis=1) for one in sets])
    if not in_every.any():
        raise InputError("no subject saw images of every set; nothing can be compared within a subject")
    kept = [_take(one, np.ix_(present, (one.runs > 0).any(axis=0))) for one in sets]
    refuse_small_sets([one.means.shape[1] for one in kept])
    return kept


def _take(one: ImageSet, where: tuple[Bool[np.ndarray, "..."] | Int[np.ndarray, "..."], ...]) -> ImageSet:
    return ImageSet(one.means[where], one.runs[where], one.scatter[where])


def _estimate_by_reml(sets: Sequence[ImageSet], weights: Sequence[float], pooled: bool) -> Effect:
    rows = _list_rows(sets, weights)
    scale = float(rows.y.std())
    refuse_no_variance(scale)
    model = _compose(rows, np.asarray(weights, dtype=np.float64), sets, scale, pooled)
    fit = fit_mixed(model, weights)
    refuse_no_variance(fit.variance)
    estimate = float(fit.fixed @ np.asarray(weights)) * scale
    counts = int(rows.subject.max()) + 1, int(rows.image.max()) + 1
    beside = _vary_one(model, fit.theta) * scale**2, _find_min_f(sets, weights)
    return conclude(estimate, fit.variance * scale**2, fit.df, counts, REML, beside)


def _list_rows(sets: Sequence[ImageSet], weights: Sequence[float]) -> _Rows:
    columns: list[list[np.ndarray]] = []
    first = 0
    for group, (one, weight) in enumerate(zip(sets, weights, strict=True)):
        subject, image = np.nonzero(one.runs)
        same = np.full(len(subject), group)
        columns.append([one.means[subject, image], one.runs[subject, image], subject, image + first, same, np.full_like(same, weight > 0)])
        first += one.means.shape[1]
    return _Rows(*(np.concatenate(parts) for parts in zip(*columns, strict=True)))


def _compose(rows: _Rows, weights: Float[np.ndarray, " sets"], sets: Sequence[ImageSet], scale: float, pooled: bool) -> Mixed:
    """Return the mixed model; responses are divided by `scale`."""
    side = np.zeros_like(rows.side) if pooled else rows.side
    X = np.eye(len(weights))[rows.group]
    parts = [*_by_subject(rows, weights), *_by_image(rows, side)]
    W = np.concatenate([X, *parts], axis=1)
    even = len(np.unique(rows.runs)) == 1
    kinds, kind = np.unique(np.stack([side, rows.runs], axis=1), axis=0, return_inverse=True)
    products, counts = collect_products(W, rows.y / scale, kind.reshape(-1))
    residual = np.stack([kinds[:, 0] == one for one in np.unique(side)]).astype(np.float64)
    scatter = np.zeros((len(residual) + (not even), 2))
    if not even:
        residual = np.concatenate([residual, 1 / kinds[None, :, 1]])
        within = sum(float(one.scatter[one.runs > 0].sum()) for one in sets)
        scatter[-1] = within / scale**2, sum(int((one.runs - 1)[one.runs > 0].sum()) for one in sets)
    owner = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])
    needed = np.arange(len(residual)) >= (0 if even else len(residual) - 1)
    return Mixed(products, counts, X.shape[1], owner, residual, scatter, needed)


def _by_subject(rows: _Rows, weights: Float[np.ndarray, " sets"]) -> list[Float[np.ndarray, "rows _"]]:
    """Return a column per subject for the contrast's direction and for the mean over sets, and one per direction left."""
    count = len(weights)
    wanted = [weights / np.linalg.norm(weights), np.ones(count) / np.sqrt(count)]
    directions = wanted[:1] if abs(wanted[0] @ wanted[1]) > 1 - 1e-9 else wanted
    basis = np.linalg.qr(np.column_stack([*directions, np.eye(count)]))[0]
    blocks = [basis[:, [place]] for place in range(len(directions))]
    blocks += [basis[:, len(directions) :]] if count > len(directions) else []
    who = np.eye(int(rows.subject.max()) + 1)[rows.subject]
    return [(who[:, :, None] * block[rows.group][:, None, :]).reshape(len(who), -1) for block in blocks]


def _by_image(rows: _Rows, side: Int[np.ndarray, " rows"]) -> list[Float[np.ndarray, "rows _"]]:
    """Return a column per image for each side; none where no image was seen by two subjects, whose variance the residual then holds."""
    which = np.eye(int(rows.image.max()) + 1)[rows.image]
    blocks = [which * (side == one)[:, None] for one in np.unique(side)]
    return [block[:, block.any(axis=0)] for block in blocks if (block.sum(axis=0) > 1).any()]


def _vary_one(model: Mixed, theta: Float[np.ndarray, " components"]) -> float:
    """Return the variance of one response: the sum over components of theta_k times its mean square loading."""
    random = len(theta) - len(model.residual)
    total = model.products.sum(axis=0)
    columns = np.diag(total)[model.fixed : -1]
    loads = np.bincount(model.owner, weights=columns, minlength=random) / model.rows.sum()
    shares = model.residual @ model.rows / model.rows.sum()
    return float(loads @ theta[:random] + shares @ theta[random:])


def _find_min_f(sets: Sequence[ImageSet], weights: Sequence[float]) -> tuple[float, float]:
    """Return min F' from the subjects that saw every set, and from images' means after each subject's level is removed."""
    in_every = np.logical_and.reduce([(one.runs > 0).any(axis=1) for one in sets])
    levels = [_mean_seen(_take(one, np.ix_(in_every, np.ones(one.means.shape[1], dtype=bool))), axis=1) for one in sets]
    scores = np.asarray(sum(weight * level for weight, level in zip(weights, levels, strict=True)))
    centered = [ImageSet(one.means - _mean_seen(one, axis=1)[:, None], one.runs, one.scatter) for one in sets]
    return find_min_f(scores, [_mean_seen(one, axis=0) for one in centered], weights)


def _mean_seen(one: ImageSet, axis: int) -> Float[np.ndarray, " _"]:
    """Return means over what was seen; 0 where nothing was."""
    seen = one.runs > 0
    means: Float[np.ndarray, " _"] = np.where(seen, one.means, 0).sum(axis=axis) / np.maximum(seen.sum(axis=axis), 1)
    return means
