"""A set, copied as `stimuli/` into a minimal BIDS data set whose events show its images, passes the BIDS validator."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from protocols.stimulus_set import StimulusSet
from stimgen.pool import NaturalPool

TASK = "sub-01_task-images"


@pytest.fixture
def bids(lab, tmp_path):
    """A data set of one run of one subject, and the set's images."""
    func = tmp_path / "sub-01" / "func"
    func.mkdir(parents=True)
    shutil.copytree(lab.stimuli, tmp_path / "stimuli")
    about = {"Name": "images", "BIDSVersion": "1.10.0", "License": "CC0", "Authors": ["A. Founder", "B. Founder"]}
    (tmp_path / "dataset_description.json").write_text(json.dumps(about))
    (tmp_path / "README.md").write_text("Images that were made for single regions, shown one after another to one person in one run.\n" * 4)
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2, 20), np.int16), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((2, 2, 2, 1.0))
    nibabel.save(image, func / f"{TASK}_bold.nii.gz")
    (func / f"{TASK}_bold.json").write_text(json.dumps({"TaskName": "images", "RepetitionTime": 1.0}))
    shown = StimulusSet.read(lab.stimuli).table
    events = pd.DataFrame(
        {"onset": np.arange(len(shown)), "duration": 0.5, "trial_type": shown["condition"], "stim_file": shown["stim_file"]}
    )
    events.to_csv(func / f"{TASK}_events.tsv", sep="\t", index=False)
    return tmp_path


def find_errors(root):
    command = [Path(sys.executable).with_name("bids-validator-deno"), "--json", root]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(checked.stdout)["issues"]["issues"]
    return [(issue["code"], issue.get("location")) for issue in issues if issue["severity"] == "error"]


def test_a_set_is_a_ready_stimuli_folder(bids):
    assert find_errors(bids) == []


def test_the_validator_misses_an_image_that_events_show(bids):
    (bids / "stimuli" / "stim-targetV301_image.png").unlink()
    assert [code for code, _ in find_errors(bids)] == ["STIMULUS_FILE_MISSING"]


def test_every_column_and_level_of_the_table_is_described(lab):
    made = StimulusSet.read(lab.stimuli)
    assert set(made.table["condition"]) <= set(made.description["condition"]["Levels"])
    open_columns = {name for name in made.table.columns if name.startswith(("predicted_", "judged_"))}
    undescribed = set(made.table.columns) - open_columns - set(made.description)
    assert undescribed == set()
    assert {"predicted_<roi>", "judged_<roi>"} <= set(made.description)


def test_the_source_and_license_of_every_natural_image_are_told(lab):
    table = StimulusSet.read(lab.stimuli).table
    natural = table[table["condition"] == "natural"]
    pool = NaturalPool.read(lab.pool).table.set_index("stim_id").loc[natural["source_image"]]
    assert list(natural["source"]) == list(pool["source"])
    assert list(natural["license"]) == list(pool["license"])
    assert "unknown" not in set(natural["license"])
