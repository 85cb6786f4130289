"""Responses of subjects to images in; does the effect hold for new subjects and new images?

Model, for subject s and image i of set g: y_si = mu_g + p_sg + q_i + e_si, with subject effects p (a covariance of any form
over sets), image effects q (a variance for each set) and residuals e all random. The effect is sum_g w_g mu_g. Its estimate d is the mean
over subjects of d_s = sum_g w_g mean_i y_si, and with S subjects and n_g images

    Var(d) = Var_p / S + sum_g w_g^2 Var_q,g / n_g + sum_g w_g^2 Var_e,g / (n_g S).

Three mean squares estimate it: A = var_s(d_s) / S holds the first and third term, B = sum_g w_g^2 var_i(mean_s y_si) / n_g
the second and third, C = sum_g w_g^2 MS_e,g / (n_g S) the third. So Var(d) = A + B - C, where a component that comes out negative
counts as 0: max(A, C) + max(B, C) - C. Degrees of freedom after Satterthwaite (1946), as for the quasi-F of Clark (1973).
With two or three subjects chance often makes these look alike, and A then says too little of how people differ: the degrees of freedom
are held to five times those of the subjects (simulated in `tests/benchmarks/bench_inference.py`).

Beside it stand min F' = d^2 / (A + B) (Clark 1973), which needs no C and errs on the safe side, and the standardized effect of Westfall,
Kenny & Judd (2014): d over the standard deviation of one response, of any subject to any image of a set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from protocols.errors import InputError

CROSSED = "crossed random subjects and images, Satterthwaite"
_FEW_SUBJECTS, _MOST_DF_PER_SUBJECT = 4, 5
IMAGES_ONLY = "images random, one subject: does not generalize to people"


@dataclass(frozen=True)
class Effect:
    """An estimate with its standard error, degrees of freedom, two-sided p and 95 % interval."""

    estimate: float
    se: float
    df: float
    t: float
    p: float
    ci_low: float
    ci_high: float
    subjects: int
    images: int
    method: str
    beside: "Beside"


@dataclass(frozen=True)
class Beside:
    """What is told beside an estimate: the standardized effect with its 95 % interval, and min F' with its degrees of freedom and p."""

    d: float
    d_low: float
    d_high: float
    min_f: float
    min_f_df: float
    min_f_p: float


def estimate_effect(sets: Sequence[Float[np.ndarray, "subjects _"]], weights: Sequence[float]) -> Effect:
    """Estimate sum_g w_g mu_g over image sets, `subjects` rows and one column per image in each; test it against 0.

    With one subject only the images are random, and the result says so.

    Raises
    ------
    InputError
        When a set has one image, so that nothing can be said about other images, or all responses are equal.
    """
    refuse_small_sets([values.shape[1] for values in sets])
    subjects = len(sets[0])
    scores = sum(weight * values.mean(axis=1) for weight, values in zip(weights, sets, strict=True))
    squares = [_take_squares(weight, values) for weight, values in zip(weights, sets, strict=True)]
    variance, df = _combine_squares(squares, np.asarray(scores)) if subjects > 1 else _image_squares(sets, weights)
    refuse_no_variance(variance)
    images = sum(values.shape[1] for values in sets)
    responses = _vary_one(squares, sets, weights) if subjects > 1 else float(np.mean([values.var(ddof=1) for values in sets]))
    min_f = find_min_f(np.asarray(scores), [values.mean(axis=0) for values in sets], weights)
    return conclude(float(np.mean(scores)), variance, df, (subjects, images), CROSSED if subjects > 1 else IMAGES_ONLY, (responses, min_f))


@dataclass(frozen=True)
class _Squares:
    """A set's mean squares in units of the contrast's variance, (term, degrees of freedom), and the plain one of its residuals."""

    by_image: tuple[float, int]
    by_residual: tuple[float, int]
    error: float


def _take_squares(weight: float, values: Float[np.ndarray, "subjects images"]) -> _Squares:
    subjects, images = values.shape
    residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    error = float((residual**2).sum()) / max((subjects - 1) * (images - 1), 1)
    by_image = weight**2 * float(values.mean(axis=0).var(ddof=1)) / images
    return _Squares((by_image, images - 1), (weight**2 * error / (images * subjects), (subjects - 1) * (images - 1)), error)


def _combine_squares(squares: Sequence[_Squares], scores: Float[np.ndarray, " subjects"]) -> tuple[float, float]:
    """Return Var(d) and its degrees of freedom."""
    a = float(scores.var(ddof=1)) / len(scores)
    by_image, by_residual = [one.by_image for one in squares], [one.by_residual for one in squares]
    b, c = (sum(term for term, _ in terms) for terms in (by_image, by_residual))
    kept: list[tuple[float, int]] = [(a, len(scores) - 1)] if a > c else []
    kept += by_image if b > c else []
    kept += by_residual if (a > c) == (b > c) else []  # C is added when both components are 0, subtracted when neither is
    variance = max(a, c) + max(b, c) - c
    return variance, variance**2 / sum(term**2 / df for term, df in kept) if variance > 0 else 0.0


def _image_squares(sets: Sequence[Float[np.ndarray, "subjects _"]], weights: Sequence[float]) -> tuple[float, float]:
    """Return the variance over images and Welch's degrees of freedom, for one subject."""
    terms = [
        (weight**2 * float(values[0].var(ddof=1)) / values.shape[1], values.shape[1] - 1)
        for weight, values in zip(weights, sets, strict=True)
    ]
    variance = sum(term for term, _ in terms)
    return variance, variance**2 / sum(term**2 / df for term, df in terms) if variance > 0 else 0.0


def _vary_one(squares: Sequence[_Squares], sets: Sequence[Float[np.ndarray, "subjects _"]], weights: Sequence[float]) -> float:
    """Return the variance of one response, of a subject to an image: subjects + images + residual, mean over sets."""
    each = []
    for one, values in zip(squares, sets, strict=True):
        subjects, images = values.shape
        by_subject = max(float(values.mean(axis=1).var(ddof=1)) - one.error / images, 0.0)
        by_image = max(float(values.mean(axis=0).var(ddof=1)) - one.error / subjects, 0.0)
        each.append(by_subject + by_image + one.error)
    return float(np.average(each, weights=np.abs(weights)))


def refuse_small_sets(sizes: Sequence[int]) -> None:
    """Raise InputError where an image set has one image."""
    if min(sizes) < 2:
        raise InputError(f"an image set has {min(sizes)} image; at least 2 are needed to generalize to other images")


def refuse_no_variance(variance: float) -> None:
    """Raise InputError where there is no variance to test against."""
    if not variance > 0:
        raise InputError("all responses are equal; there is no variance to test against")


def find_min_f(
    scores: Float[np.ndarray, " subjects"], image_means: Sequence[Float[np.ndarray, " _"]], weights: Sequence[float]
) -> tuple[float, float]:
    """Return min F' = F1 F2 / (F1 + F2) and its second degrees of freedom (Clark 1973). NaN where subjects do not vary."""
    estimate = float(scores.mean())
    subjects_df = len(scores) - 1
    a = float(scores.var(ddof=1)) / len(scores) if subjects_df else 0.0
    terms = [(w**2 * float(means.var(ddof=1)) / len(means), len(means) - 1) for w, means in zip(weights, image_means, strict=True)]
    b = sum(term for term, _ in terms)
    if a == 0:
        return float("nan"), float("nan")
    df = (a + b) ** 2 / (a**2 / subjects_df + sum(term**2 / one for term, one in terms))
    return estimate**2 / (a + b), df


def conclude(
    estimate: float, variance: float, df: float, counts: tuple[int, int], method: str, beside: tuple[float, tuple[float, float]]
) -> Effect:
    """Return the Effect of an estimate with its variance and degrees of freedom.

    `counts` are subjects and images, `beside` the variance of one response and min F' with its degrees of freedom. The standardized
    effect's interval is that of the noncentrality of t, in units of one response's standard deviation, which is taken as known.
    """
    from scipy.special import fdtrc, stdtr, stdtrit  # a tenth of the import time of scipy.stats

    se, unit = float(np.sqrt(variance)), float(np.sqrt(beside[0]))
    subjects = counts[0]
    df = min(df, float(_MOST_DF_PER_SUBJECT * (subjects - 1))) if 1 < subjects < _FEW_SUBJECTS else df
    t = estimate / se
    reach = float(stdtrit(df, 0.975)) * se
    min_f, min_f_df = beside[1]
    low, high = (bound * se / unit for bound in _bound_noncentrality(t, df))
    told = Beside(estimate / unit, low, high, min_f, min_f_df, float(fdtrc(1, min_f_df, min_f)))
    return Effect(estimate, se, df, t, 2 * float(stdtr(df, -abs(t))), estimate - reach, estimate + reach, *counts, method, told)


def _bound_noncentrality(t: float, df: float) -> tuple[float, float]:
    """Return the noncentralities of which t is the 97.5th and the 2.5th percentile."""
    from scipy.special import nctdtrinc

    low, high = (float(nctdtrinc(df, p, t)) for p in (0.975, 0.025))
    return low, high
