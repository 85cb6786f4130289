"""The verb `trials`: planted responses come back trial by trial, in a folder that `stimgen fit` reads."""

import json
from pathlib import Path

import numpy as np
import pytest

from protocols.errors import InputError
from protocols.responses import Responses
from protocols.stimulus_set import StimulusSet
from tests.analysis.planted import Study, make_study
from tests.analysis.program import run_analysis
from tests.analysis.test_pipeline import QUIET


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = make_study(tmp_path_factory.mktemp("trials"), subjects=1, settings=QUIET, voxels=5)
    run_analysis("simulate", study.sim, "--plan", study.plan, "--set", study.stimuli, "--out", study.folder / "bids")
    return study


@pytest.mark.parametrize("method", ["lss", "lsa", "ridge"])
def test_each_trials_response_is_the_planted_one(quiet: Study, tmp_path: Path, method: str) -> None:
    printed = run_analysis("trials", quiet.folder / "bids", "--task", "planted", "--method", method, "--out", tmp_path / "responses")
    responses = Responses.read(tmp_path / "responses" / "sub-01")
    responses.verify()
    assert "for stimgen fit --responses" in printed
    chosen = json.loads((tmp_path / "responses" / "sub-01" / "voxels.json").read_text())["ChosenFrom"]
    assert [scan["run"] for scan in chosen] == ([1, 2] if method == "ridge" else [])
    ids = list(StimulusSet.read(quiet.stimuli).table["stim_id"])
    assert len(responses.trials) == 2 * (len(ids) + 1)  # two runs, each with one image again as a probe
    true = Responses.read(quiet.folder / "responses" / "sub-01")
    planted = 0.5 * quiet.truth["01"][[ids.index(stim_id) for stim_id in responses.trials["stim_id"]]]
    for roi in sorted(set(responses.voxels["roi"])):
        ours = responses.betas[:, (responses.voxels["roi"] == roi).to_numpy()].mean(axis=1)
        theirs = planted[:, (true.voxels["roi"] == roi).to_numpy()].mean(axis=1)
        assert np.corrcoef(ours, theirs)[0, 1] > (0.7 if method == "lss" else 0.98)  # LSS is biased where trials are close
    assert len(responses.voxels) == len(true.voxels)


def test_what_trials_cannot_be_is_refused(quiet: Study, tmp_path: Path) -> None:
    bids = quiet.folder / "bids"
    with pytest.raises(InputError, match="choose lss, lsa, ridge"):
        run_analysis("trials", bids, "--task", "planted", "--method", "glmsingle", "--out", tmp_path / "out")
    with pytest.raises(InputError, match="a trial has one regressor"):
        run_analysis("trials", bids, "--task", "planted", "--hrf", "fir", "--out", tmp_path / "out")
    with pytest.raises(InputError, match="either --masks or --labels, not both"):
        run_analysis("trials", bids, "--task", "planted", "--masks", bids, "--labels", bids, "--out", tmp_path / "out")
    path = next(bids.glob("sub-01/**/*run-01_events.tsv"))
    kept = path.read_text()
    path.write_text("onset\tduration\ttrial_type\n9\t2\ta\n")
    with pytest.raises(InputError, match="no event names its stimulus"):
        run_analysis("trials", bids, "--task", "planted", "--out", tmp_path / "out")
    path.write_text(kept)
