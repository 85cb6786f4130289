"""The HRF that was planted is chosen, from the runs that are given and no others."""

import numpy as np
import pandas as pd
import pytest

from analysis.design import DesignSettings, compute_frame_times
from analysis.hrf import HRF_LIBRARY, respond_to_events
from analysis.hrf_choice import LocalizerRun, choose_hrf
from protocols.errors import InputError

VOXELS = 40


def make_run(number: int, hrf: str, effect: float = 3.0, names: str = "abc", drift: float = 3.0) -> LocalizerRun:
    """Draw a run: the same condition has the same responses in every run; drift, noise, a confound, and three bright first volumes."""
    rng = np.random.default_rng(number)
    volumes = 150 + 10 * number
    times = compute_frame_times(volumes, 1.5, 0.5)
    onsets = np.sort(rng.uniform(0, volumes * 1.5 - 20, 18))
    events = pd.DataFrame({"onset": onsets, "duration": 2.0, "regressor": rng.permutation(list(names) * 6)})
    amplitudes = dict(zip("abcxyz", np.random.default_rng(0).standard_normal((6, VOXELS)), strict=True))
    signal = respond_to_events(times, onsets, np.full(18, 2.0), hrf) @ np.stack([amplitudes[name] for name in events["regressor"]])
    series = (
        effect * signal + rng.standard_normal((volumes, VOXELS)) + drift * np.cos(np.pi * (np.arange(volumes) + 0.5) / volumes)[:, None]
    )
    kept = np.arange(volumes) >= 3
    series[~kept] += 50
    scan = {"subject": "01", "session": None, "task": "floc", "run": number, "sha256": f"{number:064d}"}
    return LocalizerRun(scan, series, events, times, pd.DataFrame({"motion": rng.standard_normal(volumes)}), kept)


@pytest.mark.parametrize("planted", HRF_LIBRARY)
def test_the_planted_response_is_chosen(planted: str) -> None:
    runs = [make_run(number, planted) for number in (1, 2, 3)]
    choice = choose_hrf(runs, DesignSettings())
    assert choice.hrf == planted
    assert choice.chosen_from == [run.scan for run in runs]
    assert list(choice.r2) == list(HRF_LIBRARY)
    assert 0 < choice.r2[planted] < 1


def test_a_drift_is_no_variance_to_explain() -> None:
    calm, drifting = (
        choose_hrf([make_run(n, "glover", drift=drift) for n in (1, 2)], DesignSettings(), ["glover"]).r2["glover"] for drift in (0, 60)
    )
    assert drifting == pytest.approx(calm, abs=0.01)


def test_noise_is_predicted_by_no_response() -> None:
    runs = [make_run(number, "glover", effect=0.0) for number in (1, 2, 3, 4)]
    assert max(choose_hrf(runs, DesignSettings()).r2.values()) < 0


def test_one_run_cannot_choose() -> None:
    with pytest.raises(InputError, match=r"an HRF is chosen across runs, and there is 1; give two"):
        choose_hrf([make_run(1, "glover")], DesignSettings())


def test_runs_without_a_common_condition_are_refused() -> None:
    runs = [make_run(1, "glover"), make_run(2, "glover", names="xyz")]
    with pytest.raises(InputError, match=r"subject-01_task-floc_run-1 and the other localizer runs have no condition in common"):
        choose_hrf(runs, DesignSettings())
