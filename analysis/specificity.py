"""An ROI x image-set matrix in; is each ROI driven by its own images, beyond ROIs and sets that are strong everywhere?

The matrix is double-centered (ROI and set means removed), so that neither a responsive ROI nor a set that drives every ROI counts.
The statistic is the mean of the diagonal; its null distribution comes from relabeling the sets in all k! ways, for all subjects
together, since they saw the same images. The smallest p attainable is 1 / k!.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from analysis.crossed import Effect
from analysis.unbalanced import ImageSet, estimate_contrast

_EXACT_UP_TO = 8  # 40,320 relabelings
_DRAWS = 20_000
_SEED = 0


@dataclass(frozen=True)
class Specificity:
    """The test's result. `statistic` in psc, or a count of ROIs; `p_floor` is the smallest p that this number of sets can give."""

    statistic: float
    p: float
    p_floor: float
    relabelings: int


def double_center(matrix: Float[np.ndarray, "*subjects rois sets"]) -> Float[np.ndarray, "*subjects rois sets"]:
    """Remove each ROI's and each image set's mean, and add the grand mean."""
    by_roi, by_set = matrix.mean(axis=-1, keepdims=True), matrix.mean(axis=-2, keepdims=True)
    centered: Float[np.ndarray, "*subjects rois sets"] = matrix - by_roi - by_set + matrix.mean(axis=(-2, -1), keepdims=True)
    return centered


def relabel_sets(matrix: Float[np.ndarray, "subjects rois sets"]) -> Specificity:
    """Compare the double-centered mean diagonal, averaged over subjects, with that of every relabeling of the sets (one-sided)."""
    centered = double_center(matrix).mean(axis=0)
    k = len(centered)
    orders = _list_orders(k)
    statistics = centered[np.arange(k), orders].mean(axis=1)
    observed = statistics[0]  # the first order is the identity
    reached = int((statistics >= observed - 1e-9 * np.abs(centered).max()).sum())
    return Specificity(float(observed), reached / len(orders), 1 / len(orders), len(orders))


def count_own_wins(matrix: Float[np.ndarray, "subjects rois sets"]) -> tuple[list[int], int]:
    """Return in how many ROIs the own images' mean is the largest, for each subject and for the mean over subjects."""
    diagonal = np.arange(matrix.shape[-1])
    per_subject = (matrix.argmax(axis=-1) == diagonal).sum(axis=-1)
    return [int(wins) for wins in per_subject], int((matrix.mean(axis=0).argmax(axis=-1) == diagonal).sum())


def relabel_wins(matrix: Float[np.ndarray, "subjects rois sets"]) -> Specificity:
    """Compare the number of ROIs that their own images drive most, by the mean over subjects, with that of every relabeling of the sets.

    The count is what papers report ("4 of 5"). Its null is not binomial: an image set can be the own set of one ROI only, and where one
    set drives every ROI no relabeling gives more than one.
    """
    best = matrix.mean(axis=0).argmax(axis=-1)
    orders = _list_orders(len(best))
    counts = (orders == best).sum(axis=1)
    reached = int((counts >= counts[0]).sum())
    return Specificity(float(counts[0]), reached / len(orders), 1 / len(orders), len(orders))


def estimate_specificity(responses: Sequence[Float[np.ndarray, "rois subjects _"]]) -> Effect:
    """Estimate the mean double-centered diagonal with subjects and images random.

    `responses[c]` holds the responses of all k ROIs to the images made for ROI c. The mean diagonal is a sum over sets c of
    the mean over images of u_si / k, u_si = sum_R (delta_Rc - 1/k) y_siR: the response of the own ROI beyond the mean of all. Images that a
    subject did not see are NaN.
    """
    k = len(responses)
    scores = [np.tensordot(np.eye(k)[c] - 1 / k, values, axes=1) for c, values in enumerate(responses)]
    return estimate_contrast([ImageSet(one, np.isfinite(one).astype(int), np.zeros_like(one)) for one in scores], [1 / k] * k)


def _list_orders(k: int) -> Int[np.ndarray, "orders k"]:
    if k <= _EXACT_UP_TO:
        return np.array(list(itertools.permutations(range(k))))
    rng = np.random.default_rng(_SEED)
    drawn = rng.permuted(np.tile(np.arange(k), (min(_DRAWS, math.factorial(k)) - 1, 1)), axis=1)
    return np.concatenate([np.arange(k)[None], drawn])
