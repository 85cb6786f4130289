"""The lag of a run's responses: recovered where events or volumes are off, not told of noise."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.checks import Known, check_table
from analysis.design import Design, DesignSettings, build_design, compute_frame_times
from analysis.flags import SHIFT, Flag
from analysis.response_timing import measure_lag
from protocols.roi_table import RoiTable
from protocols.tables import read_tsv
from tests.analysis.program import run_analysis
from tests.analysis.test_checks import draw_study, make_quality

VOLUMES, TR_S = 220, 1.0
NAMES = np.random.default_rng(9).permutation(["a", "b", "c", "d"] * 12)


def make_design(onsets: np.ndarray, late_s: float = 0.0, kept: np.ndarray | None = None) -> Design:
    events = pd.DataFrame({"onset": onsets + late_s, "duration": 2.0, "name": NAMES})
    times = compute_frame_times(VOLUMES, TR_S, 0.5)
    return build_design(events, "name", times, pd.DataFrame(index=range(VOLUMES)), DesignSettings(), "run", kept)


def draw_series(rng: np.random.Generator, late_s: float, signal: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw voxels that respond late to events, in autocorrelated noise; return also the events' onsets."""
    onsets = 8.0 + 4.0 * np.arange(48) + rng.uniform(0, 1, 48).round(1)
    task = make_design(onsets, late_s).select("task")
    noise = rng.standard_normal((VOLUMES, 60))
    for volume in range(1, VOLUMES):
        noise[volume] += 0.4 * noise[volume - 1]
    return task @ (signal * rng.standard_normal((task.shape[1], 60))) + noise, onsets


@pytest.mark.parametrize("late_s", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_a_lag_is_recovered(late_s: float) -> None:
    series, onsets = draw_series(np.random.default_rng(0), late_s, 4.0)
    assert measure_lag(series, make_design(onsets)) == pytest.approx(late_s, abs=0.25)


def test_volumes_that_are_left_out_do_not_move_it() -> None:
    series, onsets = draw_series(np.random.default_rng(1), 1.0, 4.0)
    kept = np.ones(VOLUMES, dtype=bool)
    kept[[0, 1, 50, 51, 52, 120]] = False
    assert measure_lag(series[kept], make_design(onsets, kept=kept)) == pytest.approx(1.0, abs=0.3)


def test_noise_has_no_lag() -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(10):
        series, onsets = draw_series(rng, 0.0, 0.0)
        found.append(measure_lag(series, make_design(onsets)))
    assert np.isnan(found).sum() >= 9
    assert np.isnan(measure_lag(np.zeros((VOLUMES, 3)), make_design(onsets)))


def test_a_run_that_is_off_by_a_volume_is_named_and_a_slow_person_is_not() -> None:
    rows = draw_study(np.random.default_rng(3), per_set=2)
    rng = np.random.default_rng(4)
    quality = make_quality(rows).assign(lag_volumes=lambda table: 0.1 * rng.standard_normal(len(table)))
    quality.loc[quality["subject"] == "03", "lag_volumes"] += 1.0
    quality.loc[3, "lag_volumes"] = np.nan
    assert check_table(RoiTable(rows), Known(quality=quality)) == []
    quality.loc[6, "lag_volumes"] = 1.05
    quality.loc[quality["subject"] == "02", "lag_volumes"] = [0.0, 0.1, 1.05, -0.1]
    found = check_table(RoiTable(rows), Known(quality=quality))
    assert found == [Flag(SHIFT, "sub-02_ses-01_run-03", "responses 1.1 volumes late, 0.0 in the other runs")]


def test_clean_runs_are_not_named() -> None:
    """Lags as they are measured in 50 studies of noisy runs."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        rows = pd.DataFrame({"subject": ["01"] * 4, "session": "01", "run": [1, 2, 3, 4]})
        rows = rows.assign(tr_s=2.0, task_motion_r2=0.0, task_motion_chance=1.0)
        lags = []
        for _ in range(4):
            series, onsets = draw_series(rng, 0.4, float(rng.choice([1.0, 2.0, 4.0])))
            lags.append(measure_lag(series, make_design(onsets)))
        table = RoiTable(draw_study(rng, subjects=1, per_set=1))
        assert check_table(table, Known(quality=rows.assign(lag_volumes=lags))) == []


def test_a_response_without_a_shape_has_no_lag() -> None:
    series, onsets = draw_series(np.random.default_rng(6), 1.0, 4.0)
    plain = make_design(onsets)
    assert np.isnan(measure_lag(series, dataclasses.replace(plain, peaks={})))


def test_events_that_are_a_volume_off_show_in_the_quality_table(bids: Path, tmp_path: Path) -> None:
    shutil.copytree(bids, tmp_path / "bids")
    path = tmp_path / "bids" / "sub-01" / "ses-01" / "func" / "sub-01_ses-01_task-planted_run-02_events.tsv"
    events = pd.read_csv(path, sep="\t", keep_default_na=False)
    events.assign(onset=events["onset"] - 1.0).to_csv(path, sep="\t", index=False)
    run_analysis("qc", tmp_path / "bids", "--task", "planted", "--subject", "01", "--out", tmp_path / "qc")
    lags = read_tsv(tmp_path / "qc" / "qc.tsv", {"lag_volumes": "optional number"})["lag_volumes"]
    assert lags[1] - lags[0] == pytest.approx(1.0, abs=0.3)
