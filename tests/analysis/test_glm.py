"""The first level: equal to nilearn's `run_glm`, true to known responses, and clear about what it cannot use."""

import numpy as np
import pandas as pd
import pytest
from nilearn.glm.contrasts import compute_contrast
from nilearn.glm.first_level import run_glm

from analysis.bold import convolve_responses, draw_ar1
from analysis.design import Design, DesignSettings, build_design, compute_frame_times
from analysis.glm import NoiseModel, combine_runs, estimate_contrast, estimate_events, find_usable, fit_run, scale_to_percent, weigh_columns

VOLUMES, VOXELS, TR_S = 130, 17, 1.5


def make_design(rng: np.random.Generator, volumes: int = VOLUMES) -> tuple[Design, pd.DataFrame]:
    onsets = 5 + 6.0 * np.arange(28)
    events = pd.DataFrame({"onset": onsets, "duration": 2.0, "name": [f"s{number % 9}" for number in range(28)]})
    walk = rng.standard_normal((volumes, 6)).cumsum(axis=0) * [1, 1, 1, 1e-3, 1e-3, 1e-3]  # millimeters and radians
    confounds = pd.DataFrame(walk - walk.mean(axis=0), columns=[f"motion{axis}" for axis in range(6)])
    return build_design(events, "name", compute_frame_times(volumes, TR_S, 0.5), confounds, DesignSettings(), "run"), events


@pytest.mark.parametrize(("noise", "nilearn_name"), [("ols", "ols"), ("nilearn-ar1", "ar1")])
def test_fit_equals_nilearn(noise: NoiseModel, nilearn_name: str) -> None:
    rng = np.random.default_rng(1)
    design, _ = make_design(rng)
    drifting = 1000 + 5 * draw_ar1((VOLUMES, VOXELS), 0.6, rng) + rng.standard_normal((VOLUMES, VOXELS)).cumsum(axis=0)
    series = scale_to_percent(drifting)
    fit = fit_run(series, design, noise)
    labels, results = run_glm(series, design.values, noise_model=nilearn_name)
    weights = weigh_columns(design, ["s0", "s3"], ["s5"])
    assert weights is not None
    ours, theirs = estimate_contrast(fit, weights), compute_contrast(labels, results, weights, stat_type="t")
    np.testing.assert_allclose(ours.effect, theirs.effect, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(ours.variance, theirs.variance, rtol=1e-8)
    np.testing.assert_allclose(ours.z_score(), theirs.z_score(), rtol=1e-8, atol=1e-10)
    assert ours.dof == theirs.dof


def test_event_responses_equal_single_column_contrasts() -> None:
    rng = np.random.default_rng(2)
    design, _ = make_design(rng)
    series = scale_to_percent(1000 + draw_ar1((VOLUMES, VOXELS), 0.4, rng))
    fit = fit_run(series, design, "nilearn-ar1")
    effects, variances = estimate_events(fit)
    column = np.zeros(design.matrix.shape[1])
    column[4] = design.peaks["s4"]
    single = estimate_contrast(fit, column)
    np.testing.assert_allclose(effects[4], single.effect.ravel())
    np.testing.assert_allclose(variances[4], single.variance.ravel())


def test_known_responses_come_back_in_percent_signal_change() -> None:
    rng = np.random.default_rng(3)
    design, events = make_design(rng)
    true = rng.uniform(-1, 2, (9, VOXELS))
    index = events["name"].str[1:].astype(int).to_numpy()
    percent = convolve_responses(true[index], events, compute_frame_times(VOLUMES, TR_S, 0.5), "glover")
    series = scale_to_percent(rng.uniform(500, 900, VOXELS) * (1 + percent / 100))
    effects, _ = estimate_events(fit_run(series, design, "ols"))
    np.testing.assert_allclose(effects, true, atol=0.03)  # the mean of the series is not quite the baseline


@pytest.mark.parametrize("noise", ["ols", "nilearn-ar1"])
def test_white_noise_gives_nominal_false_positives(noise: NoiseModel) -> None:
    rng = np.random.default_rng(4)
    design, _ = make_design(rng)
    series = scale_to_percent(1000 + rng.standard_normal((VOLUMES, 4000)))
    weights = weigh_columns(design, ["s0", "s3"], ["s5"])
    assert weights is not None
    p = estimate_contrast(fit_run(series, design, noise), weights).p_value()
    assert 0.035 < np.mean(p < 0.05) < 0.075  # nilearn's AR(1) is a little anti-conservative (.06-.12 at a nominal .05)


def test_runs_combine_as_nilearns_fixed_effects() -> None:
    rng = np.random.default_rng(5)
    design, _ = make_design(rng)
    weights = weigh_columns(design, ["s1"], ["s2"])
    assert weights is not None
    runs = [
        estimate_contrast(fit_run(scale_to_percent(1000 + rng.standard_normal((VOLUMES, 5))), design, "ols"), weights) for _ in range(3)
    ]
    maps = combine_runs(runs)
    effect = np.mean([run.effect.ravel() for run in runs], axis=0)
    se = np.sqrt(np.sum([run.variance.ravel() for run in runs], axis=0)) / 3
    np.testing.assert_allclose(maps.effect, effect)
    np.testing.assert_allclose(maps.t, effect / se)


def test_a_run_without_a_condition_has_no_weights() -> None:
    design, _ = make_design(np.random.default_rng(6))
    assert weigh_columns(design, ["s0"], ["absent"]) is None


def test_unusable_voxels_are_found() -> None:
    series = np.random.default_rng(7).uniform(900, 1100, (20, 5))
    series[:, 1], series[3, 2], series[:, 3] = 1000.0, np.nan, -series[:, 3]
    assert find_usable(series).tolist() == [True, False, False, False, True]
