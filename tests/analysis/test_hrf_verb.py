"""The verb `hrf`: the response function that made the data is chosen, and the runs that chose it cannot be tested with it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis.bold import convolve_responses
from analysis.hrf_file import HrfChoices
from protocols.errors import InputError
from tests.analysis import small_study
from tests.analysis.planted import Study
from tests.analysis.program import run_analysis
from tests.analysis.small_study import TASK, RunOf, write_volumes_of


@pytest.fixture
def localizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs of a brain whose responses peak at 7 s."""

    def respond(peaks: object, events: pd.DataFrame, times: object, hrf: str) -> object:
        return convolve_responses(peaks, events, times, "peak7")

    monkeypatch.setattr(small_study, "convolve_responses", respond)
    for number in (1, 2):
        write_volumes_of(tmp_path / "bids", RunOf(f"sub-01_task-{TASK}_run-0{number}"), number)
    return tmp_path / "bids"


def test_the_function_that_made_the_data_is_chosen_and_used(localizer: Path, tmp_path: Path) -> None:
    printed = run_analysis("hrf", localizer, "--task", TASK, "--out", tmp_path / "hrf")
    assert "sub-01: peak7" in printed
    choices = HrfChoices.read(tmp_path / "hrf")
    assert choices.of("01") == "peak7"
    assert [scan.run for scan in choices.scans["01"]] == [1, 2]
    run_analysis("glm", localizer, "--task", TASK, "--contrast", "a - b", "--hrf-from", tmp_path / "hrf", "--out", tmp_path / "glm")
    with pytest.raises(InputError, match="no response function of sub-02; chosen for sub-01"):
        choices.of("02")


def test_an_unknown_function_is_refused(localizer: Path, tmp_path: Path) -> None:
    run_analysis("hrf", localizer, "--task", TASK, "--out", tmp_path / "hrf")
    path = tmp_path / "hrf" / "sub-01" / f"sub-01_task-{TASK}_hrf.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "Hrf": "square"}))
    with pytest.raises(InputError, match="Hrf is 'square', expected one of glover"):
        HrfChoices.read(tmp_path / "hrf")


def test_runs_that_chose_their_function_are_not_tested_with_it(study: Study, bids: Path, tmp_path: Path) -> None:
    run_analysis("hrf", bids, "--task", "planted", "--out", tmp_path / "hrf")
    run_analysis("glm", bids, "--protocol", study.protocol, "--hrf-from", tmp_path / "hrf", "--out", tmp_path / "glm")
    with pytest.raises(InputError, match=r"chose"):
        run_analysis("rois", bids, "--betas", tmp_path / "glm", "--out", tmp_path / "rois")
