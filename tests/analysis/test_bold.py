"""The simulated scanner: responses of the stated height, noise of the stated kind, motion that confounds explain."""

import numpy as np
import pandas as pd
import pytest

from analysis.bold import HEAD_RADIUS_MM, Participant, Scan, convolve_responses, draw_ar1, simulate_series, tabulate_confounds
from analysis.confounds import MOTION

QUIET = {"noise_sd_psc": 0, "shared_noise_sd_psc": 0, "drift_psc": 0, "motion_psc": 0}
ONE_EVENT = pd.DataFrame({"onset": [10.0], "duration": [2.0]})


def make_scan(**changes: object) -> Scan:
    return Scan(participants=(Participant(subject="01", responses="responses"),), **changes)


def test_one_event_peaks_at_gain_times_z() -> None:
    series = simulate_series(np.array([[2.0, -1.0]]), ONE_EVENT, 200, 0.25, make_scan(gain_psc=0.8, **QUIET), np.random.default_rng(0))
    percent = 100 * (series.values / series.values[0] - 1)
    assert percent[:, 0].max() == pytest.approx(1.6, abs=0.01)
    assert percent[:, 1].min() == pytest.approx(-0.8, abs=0.01)
    middles = (np.arange(200) + 0.5) * 0.25
    np.testing.assert_allclose(percent[:, :1], convolve_responses(np.array([[1.6]]), ONE_EVENT, middles, "glover"), atol=1e-9)


def test_responses_add() -> None:
    times = np.arange(60.0)
    both = pd.DataFrame({"onset": [5.0, 12.3], "duration": [2.0, 3.0]})
    peaks = np.array([[1.0], [2.0]])
    parts = [convolve_responses(peaks[[row]], both.iloc[[row]], times, "glover") for row in (0, 1)]
    np.testing.assert_allclose(convolve_responses(peaks, both, times, "glover"), sum(parts))


def test_ar1_noise_has_its_variance_and_correlation() -> None:
    noise = draw_ar1((400, 300), 0.6, np.random.default_rng(1))
    assert noise.var() == pytest.approx(1, rel=0.03)
    assert (noise[1:] * noise[:-1]).mean() == pytest.approx(0.6, abs=0.02)


def test_missing_volumes_shorten_the_run() -> None:
    series = simulate_series(np.zeros((1, 3)), ONE_EVENT, 50, 1.0, make_scan(missing_volumes=7), np.random.default_rng(2))
    assert series.values.shape == (43, 3)
    assert len(series.motion) == 43


def test_motion_signal_is_explained_by_the_motion_parameters() -> None:
    settings = {**QUIET, "motion_psc": 1.0}
    series = simulate_series(np.zeros((1, 5)), ONE_EVENT, 80, 1.0, make_scan(**settings), np.random.default_rng(3))
    regressors = np.column_stack([series.motion, np.ones(80)])
    _, residual, *_ = np.linalg.lstsq(regressors, series.values, rcond=None)
    assert residual.max() < 1e-10 * (series.values**2).sum()


def test_framewise_displacement_is_powers() -> None:
    motion = pd.DataFrame(np.zeros((3, 6)), columns=list(MOTION))
    motion.loc[1, "trans_x"], motion.loc[2, "rot_z"] = 0.5, 0.01
    displacement = tabulate_confounds(motion)["framewise_displacement"]
    assert np.isnan(displacement[0])
    assert displacement[1:].tolist() == pytest.approx([0.5, 0.5 + 0.01 * HEAD_RADIUS_MM])
