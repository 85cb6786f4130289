"""Noise ceilings: single-trial betas and the image of each trial in, the accuracy that a perfect model could reach out.

Betas follow beta[t] = s[image of t] + e[t], with signal variance `signal` over images and noise variance `noise` over trials.
What is tested is the mean over all trials of an image, n[i] of them, so over images of equal weight

    h = mean over images of 1 / n[i],    reliability = signal / (signal + noise h),    ceiling = sqrt(reliability)

An image shown once adds no knowledge of the noise, but is tested like the others and counts in h and in the variance of the
means. Every function works on voxels independently: hand it columns of a memory map, a chunk at a time, and it makes
float64 copies of that chunk only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

FEWEST_IMAGES = 4  # with fewer, or with fewer spare trials than 3, the corrections below have no finite mean
FEWEST_SPARE = 3
LARGEST_CORRECTION = 0.5  # of the square root's bias, relative; measured by tests/benchmarks/bench_ceilings.py beside other limits
LOWEST_RELIABILITY = 0.1  # below it normalized accuracy multiplies r^2 more than tenfold, by a number that is mostly error
_TRIAL_BATCH = 256


@dataclass(frozen=True)
class VarianceComponents:
    """What single trials tell of signal and noise; variances in squared units of the betas, per voxel.

    Attributes
    ----------
    of_means
        Variance over images of the means over trials, an unbiased estimate of signal + noise h.
    noise
        Variance of trials about their image's mean, pooled over images: unbiased.
    images
        Number of images, I; `of_means` has I - 1 degrees of freedom.
    spare
        Trials beyond each image's first, the degrees of freedom of `noise`.
    inverse_count
        h, the mean over images of 1 / number of trials.
    """

    of_means: Float[np.ndarray, " voxels"]
    noise: Float[np.ndarray, " voxels"]
    images: int
    spare: int
    inverse_count: float


def estimate_variance(betas: Float[np.ndarray, "trials voxels"], image_of_trial: Int[np.ndarray, " trials"]) -> VarianceComponents | None:
    """Return the variance components, or None where trials are too few: below 4 images, or 3 trials beyond each image's first."""
    order, starts, counts = _sort_trials(image_of_trial)
    images, spare = len(counts), len(order) - len(counts)
    if images < FEWEST_IMAGES or spare < FEWEST_SPARE:
        return None
    trials = np.asarray(betas)[order].astype(np.float64)
    mean = np.add.reduceat(trials, starts, axis=0) / counts[:, None]
    trials -= np.repeat(mean, counts, axis=0)
    noise = np.einsum("tv,tv->v", trials, trials) / spare
    return VarianceComponents(mean.var(axis=0, ddof=1), noise, images, spare, float((1 / counts).mean()))


def estimate_ncsnr(betas: Float[np.ndarray, "trials voxels"], image_of_trial: Int[np.ndarray, " trials"]) -> Float[np.ndarray, " voxels"]:
    """Return the noise ceiling signal-to-noise ratio: standard deviation of the signal over that of a single trial's noise.

    ncsnr^2 = of_means / noise (spare - 2) / spare - h, unbiased for Gaussian noise, and 0 where that is negative; its root is corrected as
    in `estimate_noise_ceiling`. NaN where no image is repeated, or trials are too few (`estimate_variance`), and for a constant voxel.
    After Allen et al. 2022, Nature Neuroscience (NSD).
    """
    parts = estimate_variance(betas, image_of_trial)
    if parts is None:
        return _fill_missing(betas)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = parts.of_means / parts.noise * (parts.spare - 2) / parts.spare
    return _take_root(total - parts.inverse_count, total, parts).astype(np.float32)


def estimate_reliability(
    betas: Float[np.ndarray, "trials voxels"], image_of_trial: Int[np.ndarray, " trials"]
) -> Float[np.ndarray, " voxels"]:
    """Return the reliability of the mean over repetitions: the share of its variance over images that is signal.

    reliability = 1 - noise h / of_means (I - 3) / (I - 1), unbiased for Gaussian responses: noise h / of_means is 1 - reliability times
    an F ratio, whose mean is (I - 1) / (I - 3). It is not clipped, so that means over voxels stay unbiased; in a voxel of pure noise it is
    below 0 half the time. NaN as in `estimate_ncsnr`.
    """
    parts = estimate_variance(betas, image_of_trial)
    if parts is None:
        return _fill_missing(betas)
    return _divide(parts).astype(np.float32)


def estimate_noise_ceiling(
    betas: Float[np.ndarray, "trials voxels"], image_of_trial: Int[np.ndarray, " trials"]
) -> Float[np.ndarray, " voxels"]:
    """Return the highest correlation with the mean over repetitions that a perfect model can reach.

    ceiling = sqrt(R) (1 + min(v / (8 R^2), 1/2)), at most 1, with R the reliability clipped at 0 and v its sampling variance,
    v = 2 (1 - R)^2 (1 / (I - 1) + 1 / spare). The square root of an unbiased R is too small by v / (8 R^2) of itself, to second order;
    that is added. The limit of 1/2 keeps unreliable voxels from being lifted by a term that no longer holds there. NaN as in
    `estimate_ncsnr`.
    """
    parts = estimate_variance(betas, image_of_trial)
    if parts is None:
        return _fill_missing(betas)
    reliability = np.clip(_divide(parts), 0, 1)
    return np.minimum(_take_root(reliability, 1 - reliability, parts), 1).astype(np.float32)


def estimate_split_half(
    betas: Float[np.ndarray, "trials voxels"], image_of_trial: Int[np.ndarray, " trials"], rng: np.random.Generator, splits: int = 20
) -> Float[np.ndarray, " voxels"]:
    """Return the reliability of the mean over all repetitions from random split halves of each image's trials.

    A half holds m[i] = floor(n[i] / 2) trials of every image with n[i] of 2 or more; with an odd count another trial is left out in each
    split, and images shown once take no part. With r the correlation of the halves, their covariance and variances averaged over splits,
    and k = mean(1 / m) / h,

        reliability = 1 - (1 - k r / (1 + (k - 1) r)) (I - 3) / (I - 1)

    k r / (1 + (k - 1) r) is Spearman-Brown's formula for the means over all trials of all images (k is 2 where counts are even and all
    alike). 1 minus it is the halves' variance of the difference over that of the sum, whose mean is too large by (I - 1) / (I - 3), with
    I the number of repeated images. Not clipped; NaN as in `estimate_ncsnr`.
    """
    order, starts, counts = _sort_trials(image_of_trial)
    halves = counts // 2
    repeated = halves > 0
    images = int(repeated.sum())
    if images < FEWEST_IMAGES or len(order) - len(counts) < FEWEST_SPARE:
        return _fill_missing(betas)
    trials = np.asarray(betas)[order]
    covariance, variance = np.zeros(betas.shape[1]), np.zeros(betas.shape[1])
    for _ in range(splits):
        first, second = _halve(trials, starts, counts, rng)
        covariance += (first * second).mean(axis=0)
        variance += (first**2 + second**2).mean(axis=0) / 2
    k = (1 / halves[repeated]).mean() / (1 / counts).mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        r = covariance / variance
        unreliable = 1 - k * r / (1 + (k - 1) * r)
    reliability: npt.NDArray[np.float32] = (1 - unreliable * (images - 3) / (images - 1)).astype(np.float32)
    return reliability


def normalize_accuracy(r: Float[np.ndarray, " voxels"], noise_ceiling: Float[np.ndarray, " voxels"]) -> Float[np.ndarray, " voxels"]:
    """Return the share of the explainable variance that a model explains: r^2 / ceiling^2 with the sign of r.

    The ceiling's square is the reliability, so this is r^2 / reliability, never (r / reliability)^2. It may pass 1 by chance and is not
    clipped. NaN where the ceiling is NaN or the reliability is below 0.1: the ratio would say more of the ceiling's error than of the
    model.
    """
    reliability = noise_ceiling.astype(np.float64) ** 2
    enough = reliability >= LOWEST_RELIABILITY  # False for NaN
    normalized: npt.NDArray[np.float32] = np.where(enough, np.sign(r) * r**2 / np.where(enough, reliability, 1), np.nan).astype(np.float32)
    return normalized


def weigh_rois(rois: Iterable[str]) -> tuple[list[str], Float[np.ndarray, "voxels rois"]]:
    """Return the ROIs in order of first appearance, and the weights (a column sums to 1) that average each; `rois` names each voxel's."""
    of_voxel = list(rois)
    names = list(dict.fromkeys(of_voxel))
    inside = np.array(of_voxel)[:, None] == np.array(names)[None, :]
    return names, inside / inside.sum(axis=0)


def average_voxels(
    betas: Float[np.ndarray, "trials voxels"], weights: Float[np.ndarray, "voxels rois"]
) -> Float[np.ndarray, "trials rois"]:
    """Return betas @ weights in float64, a batch of trials at a time; a voxel without weight in an ROI may hold NaN."""
    inside = [np.flatnonzero(column) for column in weights.T]
    averages = np.empty((len(betas), len(inside)))
    for start in range(0, len(betas), _TRIAL_BATCH):
        batch = np.asarray(betas[start : start + _TRIAL_BATCH])  # rows of a memory map are read in one piece, columns are not
        for roi, chosen in enumerate(inside):
            averages[start : start + _TRIAL_BATCH, roi] = batch[:, chosen].astype(np.float64) @ weights[chosen, roi]
    return averages


def estimate_roi_ceiling(
    betas: Float[np.ndarray, "trials voxels"], image_of_trial: Int[np.ndarray, " trials"], weights: Float[np.ndarray, "voxels rois"]
) -> Float[np.ndarray, " rois"]:
    """Return the noise ceiling of each ROI's weighted mean response: single trials are averaged over voxels first.

    It is not a mean of the voxels' ceilings: averaging cancels the noise that voxels do not share and keeps what they do.
    """
    return estimate_noise_ceiling(average_voxels(betas, weights), image_of_trial)


def _sort_trials(
    image_of_trial: Int[np.ndarray, " trials"],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the order that puts an image's trials together, where each image starts in it, and its number of trials."""
    order = np.argsort(image_of_trial, kind="stable")
    _, starts, counts = np.unique(image_of_trial[order], return_index=True, return_counts=True)
    return order, starts.astype(np.int64), counts.astype(np.int64)


def _divide(parts: VarianceComponents) -> npt.NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        share = parts.noise * parts.inverse_count / parts.of_means * (parts.images - 3) / (parts.images - 1)
    reliability: npt.NDArray[np.float64] = 1 - share
    return reliability


def _take_root(
    value: Float[np.ndarray, " voxels"], ratio: Float[np.ndarray, " voxels"], parts: VarianceComponents
) -> npt.NDArray[np.float64]:
    """Return the root of an unbiased `value` that is a constant and an F-distributed `ratio`, less its bias to second order."""
    variance = 2 * ratio**2 * (1 / (parts.images - 1) + 1 / parts.spare)
    clipped = np.clip(value, 0, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        correction = np.minimum(np.where((variance > 0) & np.isfinite(variance), variance / (8 * clipped**2), 0), LARGEST_CORRECTION)
    root: npt.NDArray[np.float64] = np.sqrt(clipped) * (1 + correction)
    return root


def _halve(
    trials: Float[np.ndarray, "trials voxels"],
    starts: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the centered means of two random halves of every repeated image's trials, images x voxels each."""
    image = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((rng.random(len(trials)), image))  # random within each image
    rank = np.arange(len(trials)) - starts[image]
    halves = counts // 2
    means = []
    for low in (0, 1):
        chosen = order[(rank >= low * halves[image]) & (rank < (low + 1) * halves[image])]
        sizes = halves[halves > 0]
        sums = np.add.reduceat(trials[chosen].astype(np.float64), np.cumsum(sizes) - sizes, axis=0)
        means.append(sums / sizes[:, None])
    return means[0] - means[0].mean(axis=0), means[1] - means[1].mean(axis=0)


def _fill_missing(betas: Float[np.ndarray, "trials voxels"]) -> npt.NDArray[np.float32]:
    return np.full(betas.shape[1], np.nan, dtype=np.float32)
