"""Bootstrap intervals of correlations: measured and predicted responses to images in, the interval of each voxel's r out.

Images are what generalizes, so images are resampled, and whole groups of them: crops of one photograph are not independent. Of the
intervals compared in tests/benchmarks/bench_ceilings.py this one covers best where images are few.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from protocols.errors import InputError

FEWEST_GROUPS = 5  # the interval's t quantile has three degrees of freedom then
FEWEST_DISTINCT = 3  # a resample of one image has no correlation, and of two it is 1 or -1 whatever the data
_VOXEL_BATCH = 512
_LARGEST_R = 1 - 1e-9  # Fisher's z of 1 is infinite


def bootstrap_correlation(
    measured: Float[np.ndarray, "images voxels"],
    predicted: Float[np.ndarray, "images voxels"],
    groups: Sequence[str],
    rng: np.random.Generator,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> tuple[Float[np.ndarray, " voxels"], Float[np.ndarray, " voxels"]]:
    """Return the lower and upper end of a confidence interval of each voxel's correlation over images.

    G groups of images are drawn with replacement, the same in all voxels. With z = arctanh(r) and s the standard deviation of z over
    resamples,

        ends = tanh(z -+ t s sqrt(G / (G - 3))),    t the quantile of Student's t with G - 2 degrees of freedom

    The root is Fisher's: z varies by 1 / (G - 3) where resamples show 1 / G. Resamples of one or two distinct groups are left out.
    A prediction is taken as given: that a model would differ if fitted to other images is not in the interval. NaN where a response or
    prediction is constant or NaN, and with fewer than 5 groups.

    Raises
    ------
    InputError
        When not every image has a group.
    """
    if len(groups) != len(measured):
        raise InputError(f"bootstrap: {len(measured)} images, {len(groups)} groups; give the group of every image")
    _, group_of_image = np.unique(np.array(groups), return_inverse=True)
    count = len(set(groups))
    low, high = np.full((2, measured.shape[1]), np.nan)
    if count < FEWEST_GROUPS:
        return low, high
    from scipy.stats import t

    drawn = rng.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)
    drawn = drawn[(drawn > 0).sum(axis=1) >= FEWEST_DISTINCT]
    factor = t.ppf((1 + confidence) / 2, count - 2) * np.sqrt(count / (count - 3))
    for start in range(0, measured.shape[1], _VOXEL_BATCH):
        chosen = slice(start, start + _VOXEL_BATCH)
        z, spread = _resample(measured[:, chosen], predicted[:, chosen], group_of_image, drawn)
        low[chosen], high[chosen] = np.tanh(z - factor * spread), np.tanh(z + factor * spread)
    return low, high


def _resample(
    measured: Float[np.ndarray, "images voxels"],
    predicted: Float[np.ndarray, "images voxels"],
    group_of_image: npt.NDArray[np.int64],
    drawn: Float[np.ndarray, "resamples groups"],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return Fisher's z of each voxel, and its standard deviation over resamples.

    A resample's correlation needs only sums over its images, which are its counts of groups times the groups' own sums.
    """
    y, x = _standardize(measured), _standardize(predicted)
    order = np.argsort(group_of_image, kind="stable")
    starts = np.searchsorted(group_of_image[order], np.arange(drawn.shape[1]))
    images = drawn @ np.bincount(group_of_image)
    my, mx, myx, myy, mxx = (
        drawn @ np.add.reduceat(product[order], starts, axis=0) / images[:, None] for product in (y, x, y * x, y * y, x * x)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (myx - my * mx) / np.sqrt((myy - my**2) * (mxx - mx**2))
    z = np.arctanh(np.clip(r, -_LARGEST_R, _LARGEST_R))
    with np.errstate(invalid="ignore"):
        whole = np.arctanh(np.clip((y * x).mean(axis=0), -_LARGEST_R, _LARGEST_R))
    return whole, z.std(axis=0, ddof=1)


def _standardize(values: Float[np.ndarray, "images voxels"]) -> npt.NDArray[np.float64]:
    """Center and scale each voxel, so that moments lose no digits; a constant voxel becomes NaN."""
    centered = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    deviation = np.sqrt((centered**2).mean(axis=0))
    size = np.abs(values).max(axis=0)
    standardized: npt.NDArray[np.float64] = centered / np.where(deviation > 1e-7 * size, deviation, np.nan)
    return standardized
