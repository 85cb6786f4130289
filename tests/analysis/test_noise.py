"""The autocorrelation of noise, estimated without the bias that a design puts into residuals; calibrated tests in every noise."""

import numpy as np
import pytest

from analysis.bold import draw_ar1
from analysis.glm import fit_run, weigh_columns
from analysis.mixed_noise import expect_kinds
from analysis.noise import cut_as_nilearn, debias, expect_ratios
from analysis.precision import describe_precision
from tests.benchmarks.bench_noise import DESIGNS, count_positives, draw_design, draw_noise

VOXELS = 600


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.2, 0.6])
@pytest.mark.parametrize("confounds", [0, 36])
def test_rho_comes_back_whatever_the_design_takes_out(rho: float, confounds: int) -> None:
    rng = np.random.default_rng(1)
    design = draw_design(*DESIGNS["images every 4 s"], confounds, rng)
    series = draw_ar1((200, VOXELS), rho, rng)
    weights = weigh_columns(design, ["c0"], ["c1"])
    assert weights is not None
    found = fit_run(series, design, weights[None], "ar1").rho
    assert found.mean() == pytest.approx(rho, abs=0.02)
    plain = fit_run(series, design, weights[None], "nilearn-ar1").rho
    assert plain.mean() < rho - 0.02


def test_expected_ratio_is_the_one_that_residuals_have() -> None:
    rng = np.random.default_rng(2)
    x = np.column_stack([np.ones(60), rng.standard_normal((60, 12)).cumsum(axis=0)])
    volumes = np.delete(np.arange(66), [10, 11, 30, 31, 32, 50])
    noise = draw_ar1((66, 20000), 0.5, rng)[volumes]
    residuals = noise - x @ np.linalg.lstsq(x, noise, rcond=None)[0]
    later, earlier = describe_precision(volumes).pairs[1]
    ratio = (residuals[later] * residuals[earlier]).sum() / (residuals**2).sum()
    assert debias(np.array([ratio]), expect_ratios(x, volumes))[0] == pytest.approx(0.5, abs=0.011)


def test_volumes_far_apart_have_no_lag_one() -> None:
    precision = describe_precision(np.arange(0, 40, 2))
    assert list(precision.pairs) == [2]
    assert (precision.sum_neighbors(np.ones((20, 1)), 1) == 0).all()


def test_nilearns_estimate_is_cut_towards_zero() -> None:
    np.testing.assert_allclose(cut_as_nilearn(np.array([0.299, -0.299]), 10**6), [0.29, -0.29])


def test_mixed_noise_tells_slow_noise_under_white_from_fast_noise() -> None:
    rng = np.random.default_rng(3)
    design = draw_design(*DESIGNS["images every 4 s"], 6, rng)
    mixed = expect_kinds(design.values, design.volumes)
    slow = mixed.kinds[mixed.choose(draw_noise("AR(.85) + white", 200, VOXELS, rng))]
    fast = mixed.kinds[mixed.choose(draw_noise("AR(.4)", 200, VOXELS, rng))]
    assert np.median(slow, axis=0) == pytest.approx([0.85, 0.5], abs=0.16)
    assert np.median(fast, axis=0) == pytest.approx([0.4, 1.0], abs=0.21)


def test_mixed_noise_whitens() -> None:
    rng = np.random.default_rng(4)
    volumes = np.delete(np.arange(45), [7, 8, 20])
    mixed = expect_kinds(np.ones((42, 1)), volumes)
    kind = int(np.argmin(np.abs(mixed.kinds - [0.8, 0.5]).sum(axis=1)))
    series = (np.sqrt(0.5) * (draw_ar1((45, 40000), 0.8, rng) + rng.standard_normal((45, 40000))))[volumes]
    covariance = np.cov(mixed.whiten(kind)(series))
    np.testing.assert_allclose(covariance, np.eye(42), atol=0.05)


@pytest.mark.parametrize("noise", ["white", "AR(.2)", "AR(.4)", "AR(.85) + white"])
@pytest.mark.parametrize("confounds", [0, 24])
def test_false_positives_are_nominal(noise: str, confounds: int) -> None:
    rng = np.random.default_rng(5)
    rates = []
    for _ in range(8):
        design = draw_design(*DESIGNS["images every 8 s"], confounds, rng)
        rates.append(count_positives(design, draw_noise(noise, 200, VOXELS, rng), "ar1"))
    assert 0.03 < np.mean(rates) < 0.07  # bench_noise has the figures of every cell


def test_blocks_in_slow_noise_need_the_mixed_model() -> None:
    rng = np.random.default_rng(6)
    rates = []
    for _ in range(4):
        design = draw_design(*DESIGNS["blocks of 12 s"], 12, rng)
        series = draw_noise("AR(.85) + white", 200, VOXELS, rng)
        rates.append([count_positives(design, series, noise) for noise in ("ar1", "ar1-white")])
    ar1, mixed = np.mean(rates, axis=0)
    assert mixed < 0.075 < ar1
