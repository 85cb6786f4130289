"""The interval of a correlation covers the truth, and whole photographs are resampled, not their crops."""

import numpy as np
import pytest
from scipy import stats

from protocols.errors import InputError
from stimgen import bootstrap
from stimgen.bootstrap import bootstrap_correlation


def draw(n, voxels, r, seed=0, crops=1):
    """Return measured, predicted and groups: n groups of `crops` images that share most of their variance."""
    rng = np.random.default_rng(seed)

    def make():
        alone = rng.standard_normal((n * crops, voxels))
        shared = np.repeat(rng.standard_normal((n, voxels)), crops, axis=0)
        return alone if crops == 1 else np.sqrt(0.7) * shared + np.sqrt(0.3) * alone

    predicted = make()
    measured = r * predicted + np.sqrt(1 - r**2) * make()
    return measured, predicted, [f"photo{index}" for index in np.repeat(np.arange(n), crops)]


def cover(low, high, r):
    return ((low <= r) & (r <= high)).mean()


@pytest.mark.parametrize("r", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("n", [40, 120])
def test_intervals_cover_the_truth(n, r):
    measured, predicted, groups = draw(n, 1500, r)
    low, high = bootstrap_correlation(measured, predicted, groups, np.random.default_rng(1), resamples=400)
    assert 0.93 <= cover(low, high, r) <= 0.97


def test_photographs_are_resampled_whole():
    measured, predicted, groups = draw(30, 1000, 0.5, crops=5)
    rng = np.random.default_rng(1)
    low, high = bootstrap_correlation(measured, predicted, groups, rng, resamples=300)
    careless = bootstrap_correlation(measured, predicted, [str(image) for image in range(150)], rng, resamples=300)
    assert cover(low, high, 0.5) >= 0.93
    assert cover(*careless, 0.5) < 0.85
    assert np.median(high - low) > 1.3 * np.median(careless[1] - careless[0])


def test_the_spread_over_resamples_is_scipys():
    """The same standard error of z as scipy's bootstrap, before the factor that widens it."""
    measured, predicted, groups = draw(60, 1, 0.6)
    low, high = bootstrap_correlation(measured, predicted, groups, np.random.default_rng(2), resamples=20_000)
    factor = stats.t.ppf(0.975, 58) * np.sqrt(60 / 57)
    spread = (np.arctanh(high) - np.arctanh(low))[0] / 2 / factor

    def fisher(y, x, axis):
        y, x = (values - values.mean(axis=axis, keepdims=True) for values in (y, x))
        return np.arctanh((y * x).sum(axis=axis) / np.sqrt((y**2).sum(axis=axis) * (x**2).sum(axis=axis)))

    data = (measured[:, 0], predicted[:, 0])
    reference = stats.bootstrap(
        data, fisher, paired=True, vectorized=True, n_resamples=20_000, method="basic", rng=np.random.default_rng(3)
    )
    np.testing.assert_allclose(spread, reference.standard_error, rtol=0.03)
    np.testing.assert_allclose((np.arctanh(high) + np.arctanh(low))[0] / 2, np.arctanh(np.corrcoef(*data)[0, 1]), rtol=1e-6)


def test_weights_give_the_correlation_of_the_resampled_images():
    """The oracle repeats the images of each drawn group, groups of unequal size, and correlates them."""
    rng = np.random.default_rng(4)
    group = np.array([2, 0, 1, 0, 3, 2, 2, 1, 3, 4, 4, 0])
    measured, predicted = rng.standard_normal((12, 3)), rng.standard_normal((12, 3))
    drawn = rng.multinomial(5, np.full(5, 0.2), 50).astype(float)
    drawn = drawn[(drawn > 0).sum(axis=1) >= 3]
    expected = []
    for counts in drawn:
        rows = np.concatenate([np.flatnonzero(group == index) for index in range(5) for _ in range(int(counts[index]))])
        expected.append([np.arctanh(np.corrcoef(measured[rows, voxel], predicted[rows, voxel])[0, 1]) for voxel in range(3)])
    _, spread = bootstrap._resample(measured, predicted, group, drawn)
    np.testing.assert_allclose(spread, np.std(expected, axis=0, ddof=1), rtol=1e-8)


def test_more_confidence_is_wider_and_scale_does_not_matter():
    measured, predicted, groups = draw(50, 4, 0.5)
    intervals = [bootstrap_correlation(measured, predicted, groups, np.random.default_rng(5), confidence=c) for c in (0.8, 0.95)]
    assert (intervals[1][0] < intervals[0][0]).all()
    assert (intervals[1][1] > intervals[0][1]).all()
    scaled = bootstrap_correlation(1000 * measured + 5e4, -0.01 * predicted, groups, np.random.default_rng(5))
    np.testing.assert_allclose(scaled, [-intervals[1][1], -intervals[1][0]], rtol=1e-6)


def test_voxels_in_batches_share_their_resamples(monkeypatch):
    measured, predicted, groups = draw(30, 7, 0.5)
    whole = bootstrap_correlation(measured, predicted, groups, np.random.default_rng(6))
    monkeypatch.setattr(bootstrap, "_VOXEL_BATCH", 2)
    np.testing.assert_allclose(bootstrap_correlation(measured, predicted, groups, np.random.default_rng(6)), whole)


def test_where_there_is_no_correlation_there_is_no_interval():
    measured, predicted, groups = draw(30, 4, 0.5)
    measured[:, 0], predicted[:, 1], measured[3, 2] = 0.3, -7.1, np.nan
    low, high = bootstrap_correlation(measured, predicted, groups, np.random.default_rng(7))
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True, True, True, False]
    few = bootstrap_correlation(measured[:8], predicted[:8], list("aabbccdd"), np.random.default_rng(7))
    assert np.isnan(few).all()
    perfect = bootstrap_correlation(measured[:, 3:], measured[:, 3:], groups, np.random.default_rng(7))
    np.testing.assert_allclose(perfect, 1, atol=1e-6)


def test_five_groups_are_enough_for_an_interval_however_wide():
    measured, predicted, groups = draw(5, 50, 0.5)
    low, high = bootstrap_correlation(measured, predicted, groups, np.random.default_rng(8))
    assert np.isfinite(low).all()
    assert cover(low, high, 0.5) > 0.93


def test_an_image_without_a_group_is_refused():
    measured, predicted, groups = draw(10, 2, 0.5)
    with pytest.raises(InputError, match="bootstrap: 10 images, 9 groups; give the group of every image"):
        bootstrap_correlation(measured, predicted, groups[:9], np.random.default_rng(9))
