"""Event regressors against nilearn's, peaks against published figures, and designs that cannot be estimated."""

import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import compute_regressor, make_first_level_design_matrix

from analysis.design import DesignSettings, build_design, compute_frame_times
from analysis.hrf import HRF_MODELS, find_peak, respond_to_events
from protocols.errors import InputError

NO_CONFOUNDS = pd.DataFrame(index=range(60))


def make_events(onsets: list[float], names: list[str], duration: float = 2.0) -> pd.DataFrame:
    return pd.DataFrame({"onset": onsets, "duration": duration, "name": names})


@pytest.mark.parametrize("hrf", HRF_MODELS)
@pytest.mark.parametrize("duration", [0.5, 3.0, 12.0])
def test_regressor_is_nilearns_on_a_fine_grid(hrf: str, duration: float) -> None:
    times = compute_frame_times(50, 2.5, 0.3)
    onsets, durations = np.array([-3.0, 3.07, 40.0, 61.7]), np.full(4, duration)
    ours = respond_to_events(times, onsets, durations, hrf).sum(axis=1)
    theirs, _ = compute_regressor(np.array([onsets, durations, np.ones(4)]), hrf, times, oversampling=500)
    np.testing.assert_allclose(ours, theirs[:, 0], atol=0.006)


def test_peaks_are_those_of_the_literature() -> None:
    assert find_peak(1.0, "glover") == pytest.approx(0.34, abs=0.01)
    assert find_peak(2.0, "glover") == pytest.approx(0.67, abs=0.01)
    assert find_peak(12.0, "glover") == pytest.approx(1.55, abs=0.01)


def test_design_is_nilearns_with_stimuli_in_order_of_appearance() -> None:
    times = compute_frame_times(60, 2.0, 0.5)
    events = make_events([4, 20, 36, 60, 80], ["b", "a", "b", "c", "a"])
    design = build_design(events, "name", times, NO_CONFOUNDS, DesignSettings(), "run")
    theirs = make_first_level_design_matrix(times, events.rename(columns={"name": "trial_type"}), high_pass=1 / 128, oversampling=500)
    assert list(design.matrix.columns[:3]) == ["b", "a", "c"]
    assert set(design.matrix.columns) == set(theirs.columns)
    np.testing.assert_allclose(design.matrix[theirs.columns], theirs, atol=0.006)
    assert design.counts == {"b": 2, "a": 2, "c": 1}


def test_dependent_regressors_are_named() -> None:
    times = compute_frame_times(60, 2.0, 0.5)
    confounds = pd.DataFrame({"x": np.sin(times), "y": np.cos(times), "twice_x": 2e-3 * np.sin(times)})
    with pytest.raises(InputError, match=r"run: regressors depend on one another: x, twice_x; drop a confound"):
        build_design(make_events([4, 30], ["a", "b"]), "name", times, confounds, DesignSettings(), "run")


def test_more_regressors_than_volumes_are_refused() -> None:
    times = compute_frame_times(20, 2.0, 0.5)
    names = [f"s{number}" for number in range(25)]
    with pytest.raises(InputError, match=r"regressors for 20 volumes"):
        build_design(make_events(list(np.arange(25.0)), names), "name", times, NO_CONFOUNDS[:20], DesignSettings(), "run")


def test_events_before_the_scan_are_refused_by_name() -> None:
    times = compute_frame_times(60, 2.0, 0.5)
    with pytest.raises(InputError, match=r"regressor early is zero throughout"):
        build_design(make_events([-90, 30], ["early", "b"]), "name", times, NO_CONFOUNDS, DesignSettings(), "run")
