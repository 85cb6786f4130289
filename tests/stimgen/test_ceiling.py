"""Ceilings: what a perfect model reaches is recovered from noisy trials, without bias, whatever the repetitions."""

import numpy as np
import pytest

from stimgen.ceiling import (
    average_voxels,
    estimate_ncsnr,
    estimate_noise_ceiling,
    estimate_reliability,
    estimate_roi_ceiling,
    estimate_split_half,
    normalize_accuracy,
    weigh_rois,
)

REPEATS = {"equal": [3], "pairs": [2], "unequal": [2, 3, 6], "many once": [1, 1, 4]}


def simulate(signal_sd, repeats, images=150, voxels=600, seed=0):
    """Return trials of unit noise, each one's image, and the signal, images x voxels."""
    rng = np.random.default_rng(seed)
    signal = signal_sd * rng.standard_normal((images, voxels))
    image = np.repeat(np.arange(images), np.resize(repeats, images))
    return (signal[image] + rng.standard_normal((len(image), voxels))).astype(np.float32), image, signal


def split(betas, image, seed=0):
    return estimate_split_half(betas, image, np.random.default_rng(seed))


@pytest.mark.parametrize("repeats", REPEATS.values(), ids=REPEATS)
@pytest.mark.parametrize("reliability", [0.25, 0.5, 0.8])
def test_the_truth_is_recovered_without_bias(repeats, reliability):
    h = (1 / np.resize(repeats, 150)).mean()
    signal_sd = np.sqrt(reliability / (1 - reliability) * h)
    betas, image, signal = simulate(signal_sd, repeats)
    assert abs(estimate_ncsnr(betas, image).mean() - signal_sd) < 0.02
    assert abs(estimate_reliability(betas, image).mean() - reliability) < 0.02
    assert abs(split(betas, image).mean() - reliability) < 0.025
    assert abs(estimate_noise_ceiling(betas, image).mean() - np.sqrt(reliability)) < 0.02
    mean = np.stack([betas[image == index].mean(axis=0) for index in range(150)])
    reached = [np.corrcoef(signal[:, voxel], mean[:, voxel])[0, 1] for voxel in range(600)]
    assert abs(estimate_noise_ceiling(betas, image).mean() - np.mean(reached)) < 0.02


def test_repeats_that_are_all_equal_have_ceiling_one():
    exact = np.repeat(np.random.default_rng(1).standard_normal((20, 3)), 2, axis=0).astype(np.float32)
    image = np.repeat(np.arange(20), 2)
    for estimate in (estimate_noise_ceiling, estimate_reliability, split):
        np.testing.assert_allclose(estimate(exact, image), 1, atol=1e-6)
    assert np.isinf(estimate_ncsnr(exact, image)).all()


def test_pure_noise_has_reliability_about_zero_on_both_sides():
    betas, image, _ = simulate(0.0, [4], images=200)
    for values in (estimate_reliability(betas, image), split(betas, image)):
        assert abs(values.mean()) < 0.02
        assert 0.3 < (values < 0).mean() < 0.6
    assert (estimate_noise_ceiling(betas, image) == 0).mean() > 0.3
    assert estimate_noise_ceiling(betas, image).max() < 0.6


def test_scale_shift_and_order_do_not_matter():
    betas, image, _ = simulate(0.7, [2, 3], images=40, voxels=9)
    order = np.random.default_rng(2).permutation(len(image))
    for estimate in (estimate_ncsnr, estimate_reliability, estimate_noise_ceiling):
        expected = estimate(betas, image)
        np.testing.assert_allclose(estimate(300 * betas - 50, image), expected, rtol=1e-3)
        np.testing.assert_allclose(estimate(betas[order], 7 * image[order] + 5), expected, rtol=1e-4)
    np.testing.assert_allclose(split(300 * betas - 50, image), split(betas, image), rtol=1e-2, atol=1e-3)


def test_voxels_are_independent_so_that_chunks_give_the_same():
    betas, image, _ = simulate(0.7, [2, 3], images=40, voxels=9)
    for estimate in (estimate_ncsnr, estimate_reliability, estimate_noise_ceiling, split):
        whole, chunk = estimate(betas, image), estimate(betas[:, 4:6], image)
        np.testing.assert_allclose(chunk, whole[4:6], rtol=1e-6)


def test_the_components_are_those_of_an_analysis_of_variance():
    """With equal repetitions the uncorrected ratio is 1 - 1 / F of a one-way layout, here by hand for one voxel."""
    betas, image, _ = simulate(1.0, [3], images=10, voxels=1)
    table = np.array([betas[image == index, 0] for index in range(10)], dtype=float)
    between = 3 * ((table.mean(axis=1) - table.mean()) ** 2).sum() / 9
    within = ((table - table.mean(axis=1, keepdims=True)) ** 2).sum() / 20
    np.testing.assert_allclose(estimate_reliability(betas, image), 1 - within / between * 7 / 9, rtol=1e-5)


def test_with_pairs_a_split_half_is_spearman_and_browns():
    betas, image, _ = simulate(0.8, [2], images=60, voxels=1)
    first, second = betas[::2, 0], betas[1::2, 0]
    same = 0.5 * (first.var() + second.var())  # of one distribution: the arithmetic mean of the two variances
    r = np.cov(first, second, ddof=0)[0, 1] / same
    values = [estimate_split_half(betas, image, np.random.default_rng(seed), splits=200)[0] for seed in range(2)]
    np.testing.assert_allclose(values, 1 - (1 - 2 * r / (1 + r)) * 57 / 59, atol=0.02)


@pytest.mark.parametrize(("images", "repeats"), [(20, [1]), (3, [4]), (5, [2, 1, 1, 1, 1])])
def test_too_few_trials_give_no_ceiling(images, repeats):
    betas, image, _ = simulate(1.0, repeats, images=images, voxels=4)
    for estimate in (estimate_ncsnr, estimate_reliability, estimate_noise_ceiling, split):
        assert np.isnan(estimate(betas, image)).all()


def test_a_constant_voxel_and_a_nan_have_no_ceiling_and_leave_the_others():
    betas, image, _ = simulate(1.0, [2], images=30, voxels=3)
    expected = estimate_noise_ceiling(betas, image)
    betas[:, 0], betas[5, 1] = 2.0, np.nan
    for estimate in (estimate_ncsnr, estimate_reliability, estimate_noise_ceiling, split):
        assert np.isnan(estimate(betas, image)).tolist() == [True, True, False]
    np.testing.assert_allclose(estimate_noise_ceiling(betas, image)[2], expected[2])


def test_normalized_accuracy_is_r_squared_over_reliability_with_the_sign_of_r():
    r, ceiling = np.array([0.6, -0.3, 0.4, 0.2, 0.2, 0.9]), np.array([0.8, 0.6, 1.0, np.nan, 0.3, 0.8])
    np.testing.assert_allclose(normalize_accuracy(r, ceiling), [0.36 / 0.64, -0.09 / 0.36, 0.16, np.nan, np.nan, 0.81 / 0.64], rtol=1e-6)


def test_an_roi_ceiling_is_that_of_the_averaged_trials():
    """Voxels of one signal and independent noise: the mean of 16 has a 16th of the noise, and its ceiling is not the voxels' mean."""
    rng = np.random.default_rng(4)
    image = np.repeat(np.arange(300), 2)
    betas = (rng.standard_normal((300, 1))[image] + 2 * rng.standard_normal((600, 16))).astype(np.float32)
    names, weights = weigh_rois(["V3"] * 16)
    assert names == ["V3"]
    ceiling = estimate_roi_ceiling(betas, image, weights)
    assert abs(ceiling[0] - np.sqrt(1 / (1 + 4 / 16 / 2))) < 0.04
    assert ceiling[0] > estimate_noise_ceiling(betas, image).mean() + 0.2


def test_averages_take_a_memory_map_and_voxels_without_weight_may_be_nan(tmp_path):
    betas = np.random.default_rng(5).standard_normal((600, 5)).astype(np.float32)
    betas[:, 1] = np.nan
    np.save(tmp_path / "betas.npy", betas)
    mapped = np.load(tmp_path / "betas.npy", mmap_mode="r")
    names, weights = weigh_rois(["LO", "none", "V3", "LO", "V3"])
    assert names == ["LO", "none", "V3"]
    averages = average_voxels(mapped, weights[:, [0, 2]])
    np.testing.assert_allclose(averages, np.stack([betas[:, [0, 3]].mean(axis=1), betas[:, [2, 4]].mean(axis=1)], axis=1), rtol=1e-5)
