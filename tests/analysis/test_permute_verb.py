"""`analysis permute` on a planted study: own images are found in their region, and what would be circular or has no answer is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.permute_runs import COLUMNS
from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.tables import read_tsv
from tests.analysis.planted import ROIS, TASK, Study
from tests.analysis.program import run_analysis

OWN = "target_FFA - natural_FFA - natural_V3 - natural_LO"
PAIR = "target_FFA - natural_FFA"
EVENTS = "sub-01/ses-01/func/sub-01_ses-01_task-planted_run-02_events.tsv"


@pytest.fixture(scope="module")
def tested(study: Study, bids: Path) -> Path:
    out = study.folder / "permutation"
    run_analysis("permute", bids, "--task", TASK, "--contrast", OWN, "--contrast", "natural_V3 - natural_LO", "--out", out)
    return out


@pytest.fixture
def copied(bids: Path, tmp_path: Path) -> Path:
    shutil.copytree(bids, tmp_path / "bids")
    return tmp_path / "bids"


def permute(bids: Path, *options: object) -> pd.DataFrame:
    out = bids.parent / f"out{len(list(bids.parent.iterdir()))}"
    run_analysis("permute", bids, "--task", TASK, "--contrast", PAIR, "--subject", "01", "--out", out, *options)
    return read_tsv(out / "permutation.tsv", COLUMNS)


def test_own_images_are_found_in_their_region(tested: Path) -> None:
    table = read_tsv(tested / "permutation.tsv", COLUMNS)
    assert len(table) == 3 * 2 * len(ROIS)
    own = table[(table["expression"] == OWN) & (table["roi"] == "FFA")]
    assert (own["p_corrected"] < 0.05).all()
    assert np.mean(own["estimate_psc"]) == pytest.approx(1.5, abs=0.4)  # three standard deviations of .5 %
    assert set(own["labelings"]) == {1001}
    assert set(own["p_floor"]) == {1 / 1001}
    assert (table.loc[table["roi"] != "FFA", "p"] > 0.05).mean() > 0.8
    assert set(table["runs"]) == {2}
    assert set(own["images"]) == {12}


def test_the_seed_and_the_settings_are_recorded(tested: Path) -> None:
    provenance = Provenance.read(tested)
    assert provenance.seeds == {"labelings": 0}
    assert provenance.config["permutations"] == 1000
    assert provenance.config["contrasts"][0] == OWN


def test_images_keep_their_label_in_all_runs(copied: Path) -> None:
    together = permute(copied, "--roi", "FFA")
    assert set(together["labelings"]) == {20}  # 3 of 6 images
    assert set(together["p_floor"]) == {2 / 20}
    for run in (1, 2):  # now every run has images of its own, and they change places run by run
        path = copied / EVENTS.replace("run-02", f"run-0{run}")
        path.write_text(path.read_text().replace("FFA", f"FFA{run}").replace(f"_FFA{run}", "_FFA"))
    apart = permute(copied, "--roi", "FFA")
    assert set(apart["labelings"]) == {20 * 20}
    assert set(apart["p_floor"]) == {2 / 400}
    assert apart["estimate_psc"].to_numpy() == pytest.approx(together["estimate_psc"].to_numpy())


def test_a_region_that_tested_runs_chose_is_refused(copied: Path) -> None:
    chosen = {"ChosenFrom": [{"subject": "01", "session": "01", "task": TASK, "run": 2, "sha256": None}]}
    for side in "LR":
        mask = copied / f"derivatives/rois/sub-01/anat/sub-01_space-MNI152NLin2009cAsym_hemi-{side}_label-FFA_mask.json"
        mask.write_text(json.dumps(chosen))
    with pytest.raises(InputError, match=r"analysis permute: circular:\n  ROI FFA L .* was chosen from sub-01_ses-01_task-planted_run-02"):
        permute(copied)
    permute(copied, "--roi", "V3")


def test_an_image_of_two_conditions_is_refused(copied: Path) -> None:
    path = copied / EVENTS
    lines = path.read_text().splitlines()
    row = next(number for number, line in enumerate(lines) if "natural_FFA" in line)
    path.write_text("\n".join([*lines[:row], lines[row].replace("natural_FFA", "natural_EBA"), *lines[row + 1 :]]) + "\n")
    with pytest.raises(
        InputError, match=r"run-02_events.tsv: 'naturalFFA\d' is shown as 'natural_EBA', elsewhere as 'natural_FFA'; an image"
    ):
        permute(copied)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hrf", "glover+derivative"], r"a trial has one regressor; choose a shape without derivatives"),
        (["--contrast", "target_FFA - nothing"], r"no trial type 'nothing'"),
        (["--permutations", "5"], r"key 'permutations' is 5"),
        (["--masks", ".", "--labels", "."], r"give either --masks or --labels, not both"),
    ],
)
def test_what_cannot_be_asked_is_refused(bids: Path, tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_analysis("permute", bids, "--task", TASK, "--contrast", OWN, "--subject", "01", "--out", tmp_path / "out", *options)
