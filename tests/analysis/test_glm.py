"""The first level: equal to nilearn's `run_glm`, true to known responses, and clear about what it cannot use."""

import numpy as np
import pandas as pd
import pytest
from nilearn.glm.contrasts import compute_contrast
from nilearn.glm.first_level import run_glm

from analysis.bold import convolve_responses, draw_ar1
from analysis.design import Design, DesignSettings, build_design, compute_frame_times
from analysis.glm import find_usable, fit_run, scale_to_percent, weigh_columns
from analysis.noise import NoiseModel

VOLUMES, VOXELS, TR_S = 130, 17, 1.5


def make_design(rng: np.random.Generator, volumes: int = VOLUMES, kept: np.ndarray | None = None) -> tuple[Design, pd.DataFrame]:
    onsets = 5 + 6.0 * np.arange(28)
    events = pd.DataFrame({"onset": onsets, "duration": 2.0, "name": [f"s{number % 9}" for number in range(28)]})
    walk = rng.standard_normal((volumes, 6)).cumsum(axis=0) * [1, 1, 1, 1e-3, 1e-3, 1e-3]  # millimeters and radians
    confounds = pd.DataFrame(walk - walk.mean(axis=0), columns=[f"motion{axis}" for axis in range(6)])
    times = compute_frame_times(volumes, TR_S, 0.5)
    return build_design(events, "name", times, confounds, DesignSettings(), "run", kept), events


def weigh(design: Design) -> np.ndarray:
    weights = weigh_columns(design, ["s0", "s3"], ["s5"])
    assert weights is not None
    return weights[None]


@pytest.mark.parametrize(("noise", "nilearn_name"), [("ols", "ols"), ("nilearn-ar1", "ar1")])
@pytest.mark.parametrize("dropped", [(), (0, 1, 40, 41, 77)])
def test_fit_equals_nilearn(noise: NoiseModel, nilearn_name: str, dropped: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    kept = ~np.isin(np.arange(VOLUMES), dropped)
    design, _ = make_design(rng, kept=kept)
    drifting = 1000 + 5 * draw_ar1((VOLUMES, VOXELS), 0.6, rng) + rng.standard_normal((VOLUMES, VOXELS)).cumsum(axis=0)
    series = scale_to_percent(drifting[kept])
    weights = weigh(design)
    ours = fit_run(series, design, weights, noise)
    theirs = compute_contrast(*run_glm(series, design.values, noise_model=nilearn_name), weights[0], stat_type="t")
    np.testing.assert_allclose(ours.effect[0], theirs.effect.ravel(), rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(ours.variance[0], theirs.variance.ravel(), rtol=1e-8)
    assert ours.df == theirs.dof


def test_gaps_are_what_generalized_least_squares_says_they_are() -> None:
    rng = np.random.default_rng(2)
    kept = rng.random(VOLUMES) > 0.15
    design, _ = make_design(rng, kept=kept)
    series = scale_to_percent(1000 + draw_ar1((VOLUMES, VOXELS), 0.6, rng))[kept]
    weights = weigh(design)
    found = fit_run(series, design, weights, "ar1")
    volumes, x = np.flatnonzero(kept), design.values
    for voxel in range(VOXELS):
        correlation = found.rho[voxel] ** np.abs(volumes[:, None] - volumes).astype(float)
        precision = np.linalg.inv(correlation) * (1 - found.rho[voxel] ** 2)
        covariance = np.linalg.inv(x.T @ precision @ x)
        beta = covariance @ x.T @ precision @ series[:, voxel]
        residual = series[:, voxel] - x @ beta
        dispersion = residual @ precision @ residual / found.df
        assert found.effect[0, voxel] == pytest.approx(weights[0] @ beta, rel=1e-8)
        assert found.variance[0, voxel] == pytest.approx(weights[0] @ covariance @ weights[0] * dispersion, rel=1e-8)


@pytest.mark.parametrize("noise", ["ols", "ar1", "ar1-white", "nilearn-ar1"])
def test_blocks_change_nothing(noise: NoiseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    design, _ = make_design(rng)
    series = (1000 + draw_ar1((VOLUMES, VOXELS), 0.4, rng)).astype(np.float32)
    whole = fit_run(series, design, design.loadings, noise, percent=True)
    monkeypatch.setattr("analysis.glm._BLOCK_VALUES", 5 * VOLUMES)
    parts = fit_run(series, design, design.loadings, noise, percent=True)
    for name in ("effect", "variance", "rho", "r2"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-12)


def test_a_volume_that_is_left_out_cannot_matter() -> None:
    rng = np.random.default_rng(4)
    kept = ~np.isin(np.arange(VOLUMES), [0, 30, 31])
    series = 1000 + draw_ar1((VOLUMES, VOXELS), 0.4, rng)
    design, _ = make_design(np.random.default_rng(5), kept=kept)
    clean = fit_run(series[kept], design, design.loadings, "ar1", percent=True)
    series[~kept] = 9999.0
    again = fit_run(series[kept], design, design.loadings, "ar1", percent=True)
    np.testing.assert_array_equal(clean.effect, again.effect)


def test_known_responses_come_back_in_percent_signal_change() -> None:
    rng = np.random.default_rng(3)
    design, events = make_design(rng)
    true = rng.uniform(-1, 2, (9, VOXELS))
    index = events["name"].str[1:].astype(int).to_numpy()
    percent = convolve_responses(true[index], events, compute_frame_times(VOLUMES, TR_S, 0.5), "glover")
    series = rng.uniform(500, 900, VOXELS) * (1 + percent / 100)
    for noise in ("ols", "ar1"):
        effects = fit_run(series, design, design.loadings, noise, percent=True).effect
        np.testing.assert_allclose(effects, true, atol=0.03)  # the mean of the series is not quite the baseline


def test_r2_is_of_the_series_and_not_of_the_whitened_ones() -> None:
    rng = np.random.default_rng(6)
    design, _ = make_design(rng)
    series = draw_ar1((VOLUMES, VOXELS), 0.7, rng)
    found = fit_run(series, design, np.eye(design.matrix.shape[1]), "ar1")
    residual = series - design.values @ found.effect
    np.testing.assert_allclose(found.r2, 1 - residual.var(axis=0) / series.var(axis=0) - residual.mean(axis=0) ** 2 / series.var(axis=0))


@pytest.mark.parametrize("noise", ["ols", "ar1", "ar1-white"])
def test_white_noise_gives_nominal_false_positives(noise: NoiseModel) -> None:
    from scipy import stats

    rng = np.random.default_rng(4)
    design, _ = make_design(rng)
    series = 1000 + rng.standard_normal((VOLUMES, 4000))
    found = fit_run(series, design, weigh(design), noise, percent=True)
    p = 2 * stats.t.sf(np.abs(found.effect[0] / np.sqrt(found.variance[0])), found.df)
    assert 0.035 < np.mean(p < 0.05) < 0.065


def test_a_run_without_a_condition_has_no_weights() -> None:
    design, _ = make_design(np.random.default_rng(6))
    assert weigh_columns(design, ["s0"], ["absent"]) is None


def test_unusable_voxels_are_found() -> None:
    series = np.random.default_rng(7).uniform(900, 1100, (20, 5))
    series[:, 1], series[3, 2], series[:, 3] = 1000.0, np.nan, -series[:, 3]
    assert find_usable(series).tolist() == [True, False, False, False, True]
