"""BOLD slid against events: the model is the first level's own, nothing an image did is left, and the group tells what it claims."""

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.shift_files import ARRAY, Shifted
from analysis.shift_runs import ShiftSettings, draw_lags
from protocols.errors import InputError
from protocols.roi_table import KEY, RoiTable
from tests.analysis.planted import Study
from tests.analysis.program import run_analysis

DRAWS = 6


@pytest.fixture(scope="module")
def shifted(study: Study, bids: Path, betas: Path) -> Path:
    out = study.folder / "shifted"
    run_analysis("shift", bids, "--betas", betas, "--draws", DRAWS, "--out", out)
    return out


def test_events_where_they_were_give_the_responses_of_the_first_level(shifted: Path, roi_folder: Path) -> None:
    ours, theirs = (RoiTable.read(folder).table.set_index(KEY).sort_index() for folder in (shifted, roi_folder))
    assert ours.index.equals(theirs.index)
    assert ours["condition"].equals(theirs["condition"])
    assert ours["n_voxels"].equals(theirs["n_voxels"])
    assert np.corrcoef(ours["response_psc"], theirs["response_psc"])[0, 1] > 0.99  # the noise is that of the mean series
    assert (ours["response_psc"] - theirs["response_psc"]).abs().mean() < 0.1


def test_slid_bold_knows_nothing_of_the_images(shifted: Path) -> None:
    made = Shifted.read(shifted)
    table = made.table.table
    assert made.responses.shape == (DRAWS, len(table))
    assert len({values.tobytes() for values in made.responses}) == DRAWS
    own = ((table["condition"] == "target") & (table["target"] == table["roi"])).to_numpy()
    assert table["response_psc"][own].mean() > 0.8
    assert np.abs(made.responses[:, own].mean()) < 0.2


def test_every_run_is_slid_on_its_own_and_by_a_whole_response() -> None:
    settings = ShiftSettings(draws=500)
    one, other = (draw_lags(90, 2.0, settings, f"sub-01_task-x_run-0{number}") for number in (1, 2))
    assert (one != other).any()
    assert (one.min(), one.max()) == (8, 82)
    assert np.array_equal(one, draw_lags(90, 2.0, settings, "sub-01_task-x_run-01"))
    with pytest.raises(InputError, match="16 volumes of 2 s are too few"):
        draw_lags(16, 2.0, settings, "sub-01_task-x_run-01")


def test_group_tells_what_it_would_have_claimed(study: Study, shifted: Path, roi_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "group"
    printed = run_analysis("group", roi_folder, "--protocol", study.protocol, "--shifted", shifted, "--out", out)
    told = json.loads((out / "group.json").read_text())["shift_test"]
    assert told["draws"] == DRAWS
    assert told["claimed"] <= 2
    assert f"with BOLD slid against events, the same analysis of these data claims something in {told['claimed']} of {DRAWS}" in printed
    run_analysis("report", out)
    assert (
        f"With BOLD slid against events, the same analysis of these data claims something in {told['claimed']}"
        in (out / "report.html").read_text()
    )


def test_without_a_plan_there_is_nothing_to_claim(shifted: Path, roi_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--shifted: needs a plan"):
        run_analysis("group", roi_folder, "--contrast", "target - natural", "--shifted", shifted, "--out", tmp_path / "group")


def test_other_runs_and_damaged_files_are_refused(study: Study, shifted: Path, roi_folder: Path, tmp_path: Path) -> None:
    table = RoiTable.read(roi_folder)
    fewer = table.table[(table.table["subject"] != "01") | (table.table["run"] != 2)]
    with pytest.raises(InputError, match=r"sub-01_ses-01_run-02 is in one of it"):
        Shifted.read(shifted).refuse_other_runs(RoiTable(fewer))
    np.save(shifted / ARRAY, np.load(shifted / ARRAY)[:, 1:])
    with pytest.raises(InputError, match="does not have a value for each"):
        Shifted.read(shifted)


def test_betas_of_another_command_are_refused(bids: Path, roi_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was written by 'analysis rois'"):
        run_analysis("shift", bids, "--betas", roi_folder, "--out", tmp_path / "out")
