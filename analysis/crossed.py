"""Responses of subjects to images in; does the effect hold for new subjects and new images?

Model, for subject s and image i of set g: y_si = mu_g + p_sg + q_i + e_si, with subject effects p (a covariance of any form
over sets), image effects q (a variance for each set) and residuals e all random. The effect is sum_g w_g mu_g. Its estimate d is the mean
over subjects of d_s = sum_g w_g mean_i y_si, and with S subjects and n_g images

    Var(d) = Var_p / S + sum_g w_g^2 Var_q,g / n_g + sum_g w_g^2 Var_e,g / (n_g S).

Three mean squares estimate it: A = var_s(d_s) / S holds the first and third term, B = sum_g w_g^2 var_i(mean_s y_si) / n_g
the second and third, C = sum_g w_g^2 MS_e,g / (n_g S) the third. So Var(d) = A + B - C, where a component that comes out negative
counts as 0: max(A, C) + max(B, C) - C. Degrees of freedom after Satterthwaite (1946), as for the quasi-F of Clark (1973).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from protocols.errors import InputError

CROSSED = "crossed random subjects and images, Satterthwaite"
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


def estimate_effect(sets: Sequence[Float[np.ndarray, "subjects _"]], weights: Sequence[float]) -> Effect:
    """Estimate sum_g w_g mu_g over image sets, `subjects` rows and one column per image in each; test it against 0.

    With one subject only the images are random, and the result says so.

    Raises
    ------
    InputError
        When a set has one image, so that nothing can be said about other images, or all responses are equal.
    """
    small = [number for number, values in enumerate(sets) if values.shape[1] < 2]
    if small:
        raise InputError("an image set has 1 image; at least 2 are needed to generalize to other images")
    subjects = len(sets[0])
    scores = sum(weight * values.mean(axis=1) for weight, values in zip(weights, sets, strict=True))
    variance, df = _combine_squares(sets, weights, np.asarray(scores)) if subjects > 1 else _image_squares(sets, weights)
    if variance <= 0:
        raise InputError("all responses are equal; there is no variance to test against")
    images = sum(values.shape[1] for values in sets)
    return _conclude(float(np.mean(scores)), variance, df, subjects, images)


def _combine_squares(
    sets: Sequence[Float[np.ndarray, "subjects _"]], weights: Sequence[float], scores: Float[np.ndarray, " subjects"]
) -> tuple[float, float]:
    """Return Var(d) and its degrees of freedom."""
    subjects = len(scores)
    a = float(scores.var(ddof=1)) / subjects
    by_image, by_residual = [], []
    for weight, values in zip(weights, sets, strict=True):
        images = values.shape[1]
        residual = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
        error = float((residual**2).sum()) / ((subjects - 1) * (images - 1))
        by_image.append((weight**2 * float(values.mean(axis=0).var(ddof=1)) / images, images - 1))
        by_residual.append((weight**2 * error / (images * subjects), (subjects - 1) * (images - 1)))
    b, c = (sum(term for term, _ in terms) for terms in (by_image, by_residual))
    kept = [(a, subjects - 1)] if a > c else []
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


def _conclude(estimate: float, variance: float, df: float, subjects: int, images: int) -> Effect:
    from scipy.special import stdtr, stdtrit  # Student's t; a tenth of the import time of scipy.stats

    se = float(np.sqrt(variance))
    t = estimate / se
    reach = float(stdtrit(df, 0.975)) * se
    p = 2 * float(stdtr(df, -abs(t)))
    return Effect(estimate, se, df, t, p, estimate - reach, estimate + reach, subjects, images, CROSSED if subjects > 1 else IMAGES_ONLY)
