"""A RoiTable in; how reliable each region's responses to images are, and the correlation that a perfect model could reach, out.

A repetition is a run. With signal variance `signal` over images, noise variance `noise` over runs, n[i] runs that showed image i and
h = mean of 1 / n[i], what is analyzed is the mean over runs, and

    reliability = signal / (signal + noise h),    noise ceiling = sqrt(reliability)

as in Allen et al. 2022, Nature Neuroscience (NSD), whose noise ceiling in percent is 100 reliability. Where every image was in the same
runs, a run's mean over images is removed, because it cancels in every comparison of images; elsewhere it is noise like any other.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from protocols.config import config
from protocols.roi_table import RoiTable
from protocols.tables import Columns

FEWEST_IMAGES = 5  # the interval's t quantile has three degrees of freedom then
FEWEST_SPARE = 3  # runs beyond each image's first: with fewer the noise is a guess
COLUMNS: Columns = {
    "subject": "text",
    "roi": "text",
    "hemisphere": "text",
    "images": "integer",
    "runs": "integer",
    "split_half": "optional number",
    "split_half_low": "optional number",
    "split_half_high": "optional number",
    "reliability": "optional number",
    "reliability_low": "optional number",
    "reliability_high": "optional number",
    "noise_ceiling": "optional number",
    "noise_ceiling_low": "optional number",
    "noise_ceiling_high": "optional number",
}
_LARGEST_R = 1 - 1e-9  # Fisher's z of 1 is infinite


@config
class ReliabilitySettings:
    """How intervals are made: resamples of images, random splits of runs into halves, confidence, and the seed of both."""

    resamples: int = 1000
    splits: int = 100
    confidence: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; NaN where the data are too few."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan


def tabulate_reliability(table: RoiTable, settings: ReliabilitySettings) -> pd.DataFrame:
    """Return a row for each subject, ROI and hemisphere (`COLUMNS`); estimates are NaN where images or runs are too few."""
    rows = []
    keys = ["subject", "roi", "hemisphere"]
    for (subject, roi, hemisphere), part in table.table.groupby(keys, sort=False):
        responses = part.assign(session=part["session"].fillna("")).pivot(
            index="stim_id", columns=["session", "run"], values="response_psc"
        )
        values = responses.to_numpy(dtype=np.float64)
        rng = np.random.default_rng(settings.seed)
        reliability = estimate_reliability(values, rng, settings)
        found = (estimate_split_half(values, rng, settings), reliability, to_ceiling(reliability))
        numbers = [number for one in found for number in (one.value, one.low, one.high)]
        rows.append((subject, roi, hemisphere, *values.shape, *numbers))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def estimate_reliability(responses: Float[np.ndarray, "images runs"], rng: np.random.Generator, settings: ReliabilitySettings) -> Estimate:
    """Return the reliability of the mean over runs from variance components; `responses` is NaN where a run did not show an image.

    With F = of_means / (noise h), of_means the variance over images of the means over runs and I the number of images,

        reliability = 1 - (I - 3) / (I - 1) / F,    ends of theta = log F:  theta - b -+ t s sqrt(I / (I - 3))

    unbiased for Gaussian responses and not clipped. Images are drawn with replacement; s and b are the standard deviation and the bias of
    theta over the draws, t the quantile of Student's t with I - 2 degrees of freedom, and theta of the truth is -log(1 - reliability).
    """
    kept = _center_runs(responses[~np.isnan(responses).all(axis=1)])
    counts = (~np.isnan(kept)).sum(axis=1)
    images, spare = len(kept), int((counts - 1).sum())
    if images < FEWEST_IMAGES or spare < FEWEST_SPARE:
        return Estimate()
    complete = not np.isnan(kept).any()
    mean = np.nanmean(kept, axis=1)
    squares = np.nansum((kept - mean[:, None]) ** 2, axis=1) * (images / (images - 1) if complete else 1)  # runs' means cost as many
    drawn = np.concatenate([np.ones((1, images)), _draw(images, settings.resamples, rng)])
    total = drawn.sum(axis=1)
    of_means = ((drawn @ mean**2) / total - (drawn @ mean / total) ** 2) * images / (images - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = (drawn @ squares) / (drawn @ (counts - 1))
        theta = np.log(of_means / (noise * (drawn @ (1 / counts)) / total))
    again = theta[1:][np.isfinite(theta[1:])]
    if not np.isfinite(theta[0]) or len(again) < 2:
        return Estimate()
    half = _widen(images, settings) * again.std(ddof=1)
    center = 2 * theta[0] - again.mean()
    value = 1 - (images - 3) / (images - 1) / np.exp(theta[0])
    return Estimate(float(value), float(1 - np.exp(half - center)), float(1 - np.exp(-half - center)))


def estimate_split_half(responses: Float[np.ndarray, "images runs"], rng: np.random.Generator, settings: ReliabilitySettings) -> Estimate:
    """Return the reliability of the mean over all runs from random halves of the runs.

    r is the correlation over images of the halves' means, its covariance and variances averaged over splits; an image without a run in both
    halves does not count in a split. With k = mean(1 / m) / h, m an image's runs in a half,

        reliability = 1 - (1 - k r / (1 + (k - 1) r)) (I - 3) / (I - 1)

    Spearman-Brown's formula (k is 2 for an even number of runs that show all images), less its bias where images are few. The interval is
    that of Fisher's z of r, from images drawn with replacement: z -+ t s sqrt(I / (I - 3)).
    """
    kept = _center_runs(responses[(~np.isnan(responses)).sum(axis=1) > 1])
    images, runs = kept.shape
    if images < FEWEST_IMAGES:
        return Estimate()
    places = np.argsort(rng.random((settings.splits, runs)), axis=1)
    halves = [(places >= low) & (places < low + runs // 2) for low in (0, runs // 2)]
    shown = ~np.isnan(kept)
    counts = [shown.astype(np.float64) @ half.T for half in halves]
    valid = (counts[0] > 0) & (counts[1] > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = (np.where(valid, np.nan_to_num(kept) @ half.T / count, 0.0) for half, count in zip(halves, counts, strict=True))
        inverse = np.where(valid, 1 / counts[0] + 1 / counts[1], 0.0) / 2
    drawn = np.concatenate([np.ones((1, images)), _draw(images, settings.resamples, rng)])
    z = _correlate(drawn, first, second, valid)
    again = z[1:][np.isfinite(z[1:])]
    if not np.isfinite(z[0]) or len(again) < 2:
        return Estimate()
    k = inverse.sum() / valid.sum() / (1 / shown.sum(axis=1)).mean()
    half = _widen(images, settings) * again.std(ddof=1)
    r = np.tanh([z[0], z[0] - half, z[0] + half])
    stepped = k * r / (1 + (k - 1) * r)
    return Estimate(float(1 - (1 - stepped[0]) * (images - 3) / (images - 1)), float(stepped[1]), float(stepped[2]))


def to_ceiling(reliability: Estimate) -> Estimate:
    """Return the noise ceiling, the root of the reliability; 0 where that is negative."""
    value, low, high = np.sqrt(np.clip([reliability.value, reliability.low, reliability.high], 0, 1))
    return Estimate(float(value), float(low), float(high))


def _center_runs(responses: Float[np.ndarray, "images runs"]) -> Float[np.ndarray, "images runs"]:
    """Remove runs' means where every image is in every run."""
    return responses if not len(responses) or np.isnan(responses).any() else responses - responses.mean(axis=0)


def _draw(images: int, resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "resamples images"]:
    """Draw how often each image is in each resample."""
    drawn: Float[np.ndarray, "resamples images"] = rng.multinomial(images, np.full(images, 1 / images), resamples).astype(np.float64)
    return drawn


def _widen(images: int, settings: ReliabilitySettings) -> float:
    """Return half an interval's width in standard deviations over resamples."""
    from scipy.stats import t

    return float(t.ppf((1 + settings.confidence) / 2, images - 2) * np.sqrt(images / (images - 3)))


def _correlate(
    drawn: Float[np.ndarray, "draws images"],
    first: Float[np.ndarray, "images splits"],
    second: Float[np.ndarray, "images splits"],
    valid: Bool[np.ndarray, "images splits"],
) -> Float[np.ndarray, " draws"]:
    """Return Fisher's z of the halves' correlation under each row of weights, moments averaged over splits."""
    total = drawn @ valid
    with np.errstate(divide="ignore", invalid="ignore"):
        means = [drawn @ half / total for half in (first, second)]
        covariance = (drawn @ (first * second) / total - means[0] * means[1]).mean(axis=1)
        variances = [(drawn @ half**2 / total - mean**2).mean(axis=1) for half, mean in zip((first, second), means, strict=True)]
        r = covariance / (sum(variances) / 2)
    z: Float[np.ndarray, " draws"] = np.arctanh(np.clip(r, -_LARGEST_R, _LARGEST_R))
    return z
