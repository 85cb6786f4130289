"""A RoiTable and its stimulus set become a responses folder that can be fitted again; holes and strangers are refused."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from protocols.errors import InputError
from protocols.output_folder import staged_folder
from protocols.provenance import Provenance, hash_file
from protocols.responses import Responses
from protocols.roi_table import RoiTable
from protocols.stimulus_set import StimulusSet, image_file_name
from stimgen.import_roi_table import tabulate_responses
from tests.stimgen.conftest import run_stimgen
from tests.stimgen.test_import_folder import draw_png
from tests.stimgen.test_verb_refusals import refused

STIMS = {"targetFFA01": None, "scrambledFFA01": "targetFFA01", "naturalFFA01": "pool7", "naturalV301": "pool7", "targetV301": None}
SHOWN = [
    ("01", 1, "targetFFA01"),
    ("01", 1, "naturalFFA01"),
    ("01", 2, "naturalV301"),
    ("02", 1, "targetFFA01"),
    ("02", 1, "scrambledFFA01"),
]
ROIS = [("FFA", "L"), ("FFA", "R"), ("V3", "LR")]


@pytest.fixture
def stimuli(tmp_path):
    """A set of five images, of which four are shown."""
    folder = tmp_path / "set"
    with staged_folder(folder, Provenance("test")) as staging:
        rows = []
        for shade, (stim_id, parent) in enumerate(STIMS.items()):
            path = staging / image_file_name(stim_id)
            draw_png(path, 40 * shade)
            condition = stim_id.rstrip("0123456789")[: -len("FFA")]
            rows.append(
                {
                    "stim_id": stim_id,
                    "stim_file": path.name,
                    "condition": condition,
                    "target": "FFA",
                    "method": "made",
                    "seed": None,
                    "source_image": parent,
                    "sha256": hash_file(path),
                    "width_px": 5,
                    "height_px": 6,
                    "mean_luminance": 0.5,
                    "rms_contrast": 0.1,
                }
            )
        StimulusSet(staging, pd.DataFrame(rows), {}).write(staging)
    return StimulusSet.read(folder)


@pytest.fixture
def table():
    """Five trials of subject 01 in three ROIs, the rows shuffled, and one trial of another subject."""
    rng = np.random.default_rng(5)
    keys = [("01", *trial, *roi) for trial in SHOWN for roi in ROIS] + [("02", "01", 1, "targetFFA01", "FFA", "L")]
    rows = pd.DataFrame(keys, columns=["subject", "session", "run", "stim_id", "roi", "hemisphere"])
    rows = rows.assign(condition="target", target="FFA", response_psc=rng.normal(size=len(rows)), se_psc=0.1, n_voxels=20)
    return RoiTable(rows)


def with_rows(table, rows):
    return dataclasses.replace(table, table=rows)


def run_import(table, stimuli, tmp_path, *more):
    (tmp_path / "rois").mkdir(exist_ok=True)
    table.write(tmp_path / "rois" / "roi_table.tsv")
    options = ("--set", stimuli.folder, "--out", tmp_path / "sub-01", *(more or ("--subject", "01")))
    return run_stimgen("import", "roi-table", tmp_path / "rois", *options)


def test_values_order_and_roi_names_survive(table, stimuli, tmp_path):
    finished = run_import(table, stimuli, tmp_path)
    assert finished.status == 0, finished.err
    responses = Responses.read(tmp_path / "sub-01")
    responses.verify()
    assert list(responses.trials[["session", "run", "stim_id"]].itertuples(index=False, name=None)) == SHOWN
    assert responses.voxels["voxel_id"].tolist() == ["FFA_L", "FFA_R", "V3_LR"]
    assert list(zip(responses.voxels["roi"], responses.voxels["hemisphere"], strict=True)) == ROIS
    assert responses.voxels[["i", "j", "k"]].to_numpy().tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    expected = table.table["response_psc"].to_numpy()[:15].reshape(5, 3).astype(np.float32)
    np.testing.assert_array_equal(responses.betas, expected)
    assert responses.images["stim_id"].tolist() == ["targetFFA01", "scrambledFFA01", "naturalFFA01", "naturalV301"]
    for stim_id, path in zip(responses.images["stim_id"], responses.image_paths(), strict=True):
        assert path.read_bytes() == stimuli.image_path(stim_id).read_bytes()
    provenance = Provenance.read(responses.folder)
    assert (provenance.command, provenance.config) == ("stimgen import roi-table", {"subject": "01"})
    assert provenance.inputs["source"] == hash_file(tmp_path / "rois" / "roi_table.tsv")


def test_a_shuffled_table_gives_the_same_responses(table, stimuli):
    expected = tabulate_responses(table, stimuli, "01")
    shuffled = tabulate_responses(with_rows(table, table.table.sample(frac=1, random_state=2)), stimuli, "01")
    columns = [shuffled.voxels["voxel_id"].tolist().index(voxel) for voxel in expected.voxels["voxel_id"]]
    keys = [list(one.trials.itertuples(index=False, name=None)) for one in (expected, shuffled)]
    rows = [keys[1].index(key) for key in keys[0]]
    np.testing.assert_array_equal(shuffled.betas[np.ix_(rows, columns)], expected.betas)


def test_images_made_from_one_image_are_one_group(table, stimuli):
    images = tabulate_responses(table, stimuli, "01").images.set_index("stim_id")["source"]
    assert images.to_dict() == {
        "targetFFA01": "targetFFA01",
        "scrambledFFA01": "targetFFA01",
        "naturalFFA01": "pool7",
        "naturalV301": "pool7",
    }


def test_a_table_without_sessions_has_session_01(table, stimuli):
    rows = table.table[table.table["session"] == "01"].assign(session=None)
    responses = tabulate_responses(with_rows(table, rows), stimuli, "01")
    assert responses.trials["session"].tolist() == ["01"] * 3


def test_a_file_may_have_any_name(table, stimuli, tmp_path):
    table.write(tmp_path / "mine.tsv")
    finished = run_stimgen(
        "import", "roi-table", tmp_path / "mine.tsv", "--set", stimuli.folder, "--subject", "01", "--out", tmp_path / "out"
    )
    assert finished.status == 0, finished.err


def test_a_hole_is_refused_with_its_place(table, stimuli, tmp_path):
    hole = (table.table["run"] == 2) & (table.table["hemisphere"] == "R")
    message = refused(run_import(with_rows(table, table.table[~hole]), stimuli, tmp_path))
    assert "roi_table.tsv: session 01, run 2, stim_id naturalV301 has no response of FFA R; run analysis rois on all runs again" in message
    assert not (tmp_path / "sub-01").exists()


def test_a_session_that_is_named_in_some_rows_only_is_refused(table, stimuli):
    rows = pd.concat([table.table, table.table.iloc[:1].assign(session=None)])
    with pytest.raises(InputError, match="session 01, run 1, stim_id targetFFA01 has 2 responses of FFA L; name the session of every row"):
        tabulate_responses(with_rows(table, rows), stimuli, "01")


def test_another_subject_and_another_set_are_refused(table, stimuli, tmp_path):
    message = refused(run_import(table, stimuli, tmp_path, "--subject", "03"))
    assert "roi_table.tsv: has no subject '03'; it holds 01, 02" in message
    strange = with_rows(table, table.table.assign(stim_id=table.table["stim_id"].replace("naturalV301", "other")))
    message = refused(run_import(strange, stimuli, tmp_path))
    assert f"roi_table.tsv row 8: stim_id 'other' is not in {stimuli.folder}/stimuli.tsv; give the set that was shown" in message


def test_a_missing_table_a_missing_set_and_a_changed_image_are_refused(table, stimuli, tmp_path):
    options = ("--set", stimuli.folder, "--subject", "01", "--out", tmp_path / "sub-01")
    assert f"{tmp_path}/none.tsv: no such file" in refused(run_stimgen("import", "roi-table", tmp_path / "none.tsv", *options))
    (tmp_path / "empty").mkdir()
    assert "empty/roi_table.tsv: no such file" in refused(run_stimgen("import", "roi-table", tmp_path / "empty", *options))
    draw_png(stimuli.image_path("scrambledFFA01"), 3)
    assert "image 'stim-scrambledFFA01_image.png' does not match its sha256" in refused(run_import(table, stimuli, tmp_path))
    stimuli.folder.rename(tmp_path / "away")
    assert f"{stimuli.folder}: no such folder" in refused(run_import(table, stimuli, tmp_path))
