"""Event regressors against nilearn's, peaks against published figures, and designs that cannot be estimated."""

import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import compute_regressor, make_first_level_design_matrix

from analysis.design import Design, DesignSettings, build_design, compute_frame_times
from analysis.hrf import HRF_LIBRARY, find_peak, respond_to_events
from protocols.config import parse_config
from protocols.errors import InputError

NO_CONFOUNDS = pd.DataFrame(index=range(60))


SHAPES_WITH_DERIVATIVES = [f"{shape}+{parts}" for shape in ("glover", "spm") for parts in ("derivative", "derivative+dispersion")]


def make_events(onsets: list[float], names: list[str], duration: float = 2.0) -> pd.DataFrame:
    return pd.DataFrame({"onset": onsets, "duration": duration, "name": names})


@pytest.mark.parametrize("hrf", ["glover", "spm"])
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


@pytest.mark.parametrize("hrf", SHAPES_WITH_DERIVATIVES)
@pytest.mark.parametrize("duration", [1.0, 5.0])
def test_derivatives_are_nilearns(hrf: str, duration: float) -> None:
    times = compute_frame_times(60, 2.0, 0.5)
    events = make_events([4.3, 20, 36.1, 60, 80.7], ["b", "a", "b", "c", "a"], duration)
    design = build_design(events, "name", times, NO_CONFOUNDS, DesignSettings(hrf=hrf), "run")
    renamed = events.rename(columns={"name": "trial_type"})
    theirs = make_first_level_design_matrix(times, renamed, hrf_model=hrf.replace("+", " + "), high_pass=1 / 128, oversampling=500)
    assert set(design.matrix.columns) == set(theirs.columns)
    np.testing.assert_allclose(design.matrix[theirs.columns], theirs, atol=0.01)
    assert list(design.matrix.columns[:4]) == ["b", "a", "c", "b_derivative"]
    assert list(design.peaks) == ["b", "a", "c"]
    assert design.peaks["a"] == find_peak(duration, hrf.partition("+")[0])


@pytest.mark.parametrize(("reference", "duration"), [(0.0, 2.0), (0.5, 1.0), (0.3, 6.0)])
def test_bins_are_nilearns(reference: float, duration: float) -> None:
    times = compute_frame_times(90, 2.0, reference)
    events = make_events([4.3, 40, 56.1, 90, 120.7], ["b", "a", "b", "a", "a"], duration)
    design = build_design(events, "name", times, NO_CONFOUNDS.reindex(range(90)), DesignSettings(hrf="fir", fir_length_s=20.0), "run")
    renamed = events.rename(columns={"name": "trial_type"})
    theirs = make_first_level_design_matrix(
        times, renamed, hrf_model="fir", fir_delays=list(range(11)), high_pass=1 / 128, oversampling=1000
    )
    assert set(design.matrix.columns) == set(theirs.columns)
    np.testing.assert_allclose(design.matrix[theirs.columns], theirs, atol=0.01)
    assert design.peaks == {}


def plant(design_times: np.ndarray, events: pd.DataFrame, amplitudes: dict[str, float], hrf: str = "glover") -> np.ndarray:
    responses = respond_to_events(design_times, events["onset"].to_numpy(), events["duration"].to_numpy(), hrf)
    return responses @ events["name"].map(amplitudes).to_numpy()


def fit(design: Design, series: np.ndarray) -> np.ndarray:
    """Return the response to one event of each condition."""
    return design.loadings @ np.linalg.lstsq(design.values, series[design.volumes])[0]


@pytest.mark.parametrize("hrf", ["glover", *SHAPES_WITH_DERIVATIVES[:2]])
def test_loadings_return_the_planted_peak(hrf: str) -> None:
    times = compute_frame_times(80, 2.0, 0.5)
    events = make_events(list(np.arange(8) * 18 + 2.7), ["a", "b"] * 4)
    design = build_design(events, "name", times, NO_CONFOUNDS.reindex(range(80)), DesignSettings(hrf=hrf), "run")
    planted = plant(times, events, {"a": 3.0, "b": -1.0})
    np.testing.assert_allclose(fit(design, planted), np.array([3.0, -1.0]) * find_peak(2.0, "glover"), rtol=1e-9)


def test_bins_return_the_mean_response_in_the_window_whatever_its_shape() -> None:
    times = compute_frame_times(200, 1.0, 0.5)
    events = make_events(list(np.arange(10) * 19.0), ["a", "b"] * 5)
    settings = DesignSettings(hrf="fir", fir_length_s=18.0, fir_window_s=(5.0, 9.0), high_pass_s=1e4)
    design = build_design(events, "name", times, NO_CONFOUNDS.reindex(range(200)), settings, "run")
    series = plant(times, events, {"a": 3.0, "b": 1.0}, "peak7")
    since = np.linspace(5, 9, 401)
    expected = respond_to_events(since, np.zeros(1), np.full(1, 2.0), "peak7").mean()
    np.testing.assert_allclose(fit(design, series), np.array([3.0, 1.0]) * expected, rtol=0.05)


def test_library_peaks_when_it_says() -> None:
    times = np.arange(0, 20, 0.02)
    peaks = {hrf: times[respond_to_events(times, np.zeros(1), np.full(1, 0.02), hrf).argmax()] for hrf in HRF_LIBRARY}
    assert peaks["spm"] == pytest.approx(5.0, abs=0.1)
    for peak in (3, 4, 6, 7, 8):
        assert peaks[f"peak{peak}"] == pytest.approx(peak, abs=0.1)


def test_volumes_left_out_have_no_row_and_the_others_are_untouched() -> None:
    times = compute_frame_times(60, 2.0, 0.5)
    events = make_events([4, 20, 36, 60, 80], ["b", "a", "b", "c", "a"])
    kept = np.ones(60, dtype=bool)
    kept[[0, 1, 30]] = False
    confounds = pd.DataFrame({"spike": np.eye(60)[30], "slow": np.sin(times / 9), "flat": 0.0})
    whole = build_design(events, "name", times, confounds[["slow"]], DesignSettings(hrf="spm+derivative"), "run")
    design = build_design(events, "name", times, confounds, DesignSettings(hrf="spm+derivative"), "run", kept)
    pd.testing.assert_frame_equal(design.matrix, whole.matrix[kept].reset_index(drop=True))
    np.testing.assert_array_equal(design.volumes, np.flatnonzero(kept))
    np.testing.assert_array_equal(whole.volumes, np.arange(60))
    assert list(design.matrix.columns[[kind == "task" for kind in design.kinds]]) == ["b", "a", "c", *(f"{n}_derivative" for n in "bac")]
    assert list(design.matrix.columns[[kind == "confound" for kind in design.kinds]]) == ["slow"]
    assert design.select("drift")[0, -1] == 1


@pytest.mark.parametrize("hrf", ["glover", "fir"])
def test_a_condition_in_volumes_left_out_is_named(hrf: str) -> None:
    times = compute_frame_times(120, 2.0, 0.5)
    events = make_events([20, 70, 150, 190], ["a", "shown_delay_late", "a", "a"])
    kept = np.ones(120, dtype=bool)
    kept[35:47] = False
    with pytest.raises(InputError, match=r"run: the response to 'shown_delay_late' lies in volumes that are left out \(12 of 120\); leave"):
        build_design(events, "name", times, NO_CONFOUNDS.reindex(range(120)), DesignSettings(hrf=hrf), "run", kept)


def test_a_trial_type_named_as_a_regressor_of_the_model_is_refused() -> None:
    times = compute_frame_times(60, 2.0, 0.5)
    with pytest.raises(InputError, match=r"run: two regressors are named 'a_derivative'; rename the trial type"):
        build_design(make_events([4, 30], ["a", "a_derivative"]), "name", times, NO_CONFOUNDS, DesignSettings(hrf="spm+derivative"), "run")


def test_a_window_outside_the_response_is_refused() -> None:
    with pytest.raises(InputError, match=r"glm: fir_window_s 4 to 30 s must lie, in order, within fir_length_s, 24 s"):
        parse_config({"fir_window_s": [4, 30]}, DesignSettings, "glm")
