"""The verbs from end to end, on real trained networks: what they write, and that the same seed writes it again."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet
from stimgen.encoding_model import EncodingModel
from stimgen.image_files import read_image
from stimgen.judge import make_scorer
from stimgen.pool import NaturalPool
from tests.stimgen.conftest import run_stimgen


@pytest.fixture(scope="module")
def made(lab):
    return StimulusSet.read(lab.stimuli)


def test_every_verb_says_what_it_wrote_and_where(lab):
    assert f"wrote {lab.pool}: 24 crops of 16 photographs" in lab.printed["pool"]
    for folder in lab.responses:
        assert f"wrote {folder}: 48 trials of 24 images in 8 voxels of 2 ROIs" in lab.printed["cortex"]
    assert f"wrote {lab.maker}: 16 voxels\n" in lab.printed["lite0"]
    assert f"wrote {lab.stimuli}: 9 images" in lab.printed["generate"]


def test_the_set_holds_each_target_with_its_controls(made):
    made.verify()
    counts = made.table.groupby(["condition", "target"]).size()
    assert counts.to_dict() == {(c, t): 1 for c in ("target", "natural", "scrambled") for t in ("V3", "LO", "V3overLO")}
    scrambled = made.table[made.table["condition"] == "scrambled"]
    assert list(scrambled["source_image"]) == ["targetV301", "targetLO01", "targetV3overLO01"]


def test_scores_are_those_of_the_saved_files(made, lab):
    """The oracle scores the PNGs afresh, by the definition, with the model read from disk."""
    pool = NaturalPool.read(lab.pool)
    paths = [made.image_path(stim_id) for stim_id in made.table["stim_id"]]
    for prefix, folder in (("predicted_", lab.maker), ("judged_", lab.judge)):
        scorer = make_scorer("again", EncodingModel.read(folder), pool.image_paths())
        again = scorer.score(paths)
        for roi in ("V3", "LO"):
            np.testing.assert_allclose(made.table[prefix + roi], again[roi], atol=1e-3)


def test_a_few_steps_already_raise_the_predicted_drive_above_the_scrambled_copy(made):
    drive = made.table.set_index("stim_id")
    for roi in ("V3", "LO"):
        assert drive.loc[f"target{roi}01", f"predicted_{roi}"] > drive.loc[f"scrambled{roi}01", f"predicted_{roi}"]


def test_the_sidecar_names_the_models_and_every_column(made):
    assert (made.description["models"], made.description["judges"]) == (["lite0"], ["lite1"])
    assert (made.description["pool_images"], made.description["size_px"]) == (24, 64)
    assert set(made.description["condition"]["Levels"]) == set(made.table["condition"])


def test_the_same_seed_makes_the_same_bytes_and_another_seed_other_images(lab, made, tmp_path):
    assert lab.generate(tmp_path / "again").status == 0
    again = StimulusSet.read(tmp_path / "again").table
    pd.testing.assert_frame_equal(again, made.table[again.columns])
    for name in made.table["stim_file"]:
        assert (tmp_path / "again" / name).read_bytes() == (lab.stimuli / name).read_bytes()
    assert lab.generate(tmp_path / "other", "--seed", 2).status == 0
    other = StimulusSet.read(tmp_path / "other").table
    own = made.table["condition"] == "target"
    assert set(other["sha256"][own]).isdisjoint(made.table["sha256"][own])
    assert list(other["sha256"][made.table["condition"] == "natural"]) == list(made.table["sha256"][made.table["condition"] == "natural"])


def test_an_image_does_not_depend_on_the_other_targets_of_the_file(lab, made, tmp_path):
    alone = tmp_path / "alone.toml"
    alone.write_text(lab.targets.read_text().replace('{ roi = "V3" }, ', "").replace(', { contrast = "V3 - LO", name = "V3overLO" }', ""))
    assert lab.generate(tmp_path / "alone", targets=alone).status == 0
    differ = read_image(tmp_path / "alone" / "stim-targetLO01_image.png", 64) - read_image(made.image_path("targetLO01"), 64)
    assert np.abs(differ).max() <= 2 / 255


def test_predict_gives_each_roi_as_the_weighted_mean_of_its_voxels(lab, tmp_path):
    crop = sorted(lab.pool.glob("*.png"))[0]
    for name, more in (("rois", ()), ("voxels", ("--voxels",))):
        assert run_stimgen("predict", lab.maker, crop, lab.stimuli, "--out", tmp_path / f"{name}.tsv", *more).status == 0
    rois, voxels = (pd.read_csv(tmp_path / f"{name}.tsv", sep="\t") for name in ("rois", "voxels"))
    model = EncodingModel.read(lab.maker)
    assert list(rois.columns) == ["image_file", "V3", "LO"]
    assert list(voxels.columns) == ["image_file", *model.voxels["voxel_id"]]
    assert list(rois["image_file"]) == list(voxels["image_file"])
    assert rois["image_file"][0] == str(crop)
    assert len(rois) == 1 + 9
    np.testing.assert_allclose(rois[["V3", "LO"]], voxels[model.voxels["voxel_id"]] @ model.roi_weights(), atol=1e-4)


def test_check_reports_each_condition_and_accepts_the_set(lab):
    finished = run_stimgen("check", lab.stimuli)
    assert (finished.status, finished.err) == (0, "")
    assert "9 images, every file matches its hash, no rule broken" in finished.out


def test_the_model_card_tells_how_it_was_fitted(lab):
    card = json.loads((lab.maker / "model.json").read_text())
    assert card["subjects"] == ["01", "02"]
    assert card["settings"]["folds"] == 2
    assert card["settings"]["test_fraction"] == 0.2
    assert len(card["test_groups"]) == 3
    voxels = pd.read_csv(lab.maker / "voxels.tsv", sep="\t")
    assert len(voxels) == 16
    assert set(np.round(np.log10(voxels["penalty"]), 3)) <= {-2.0, -1.0, 0.0, 1.0, 2.0}
    accuracy = pd.read_csv(lab.maker / "accuracy.tsv", sep="\t", dtype={"subject": str})
    assert list(zip(accuracy["subject"], accuracy["roi"], strict=True)) == [(s, r) for s in ("01", "02") for r in ("V3", "LO")]


def test_nan_voxels_are_left_out_and_counted(lab, tmp_path):
    broken = tmp_path / "sub-09"
    shutil.copytree(lab.responses[0], broken)
    betas = np.load(broken / "betas.npy")
    betas[3, 1] = np.nan
    betas[:, 6] = 2.5
    np.save(broken / "betas.npy", betas)
    Provenance("somebody's own program").write(broken)
    finished = run_stimgen("fit", lab.root / "lite0.toml", "--responses", broken, "--out", tmp_path / "model")
    assert finished.status == 0
    assert "6 voxels; 2 left out (constant, or NaN)" in finished.out
    voxels = pd.read_csv(tmp_path / "model" / "voxels.tsv", sep="\t")
    assert not {"09_V3002", "09_LO003"} & set(voxels["voxel_id"])


def test_overwrite_replaces_this_commands_files_and_no_others(lab, tmp_path):
    out = tmp_path / "pool"
    pool = ("pool", "--count", 3, "--size-px", 32, "--out", out)
    assert run_stimgen(*pool).status == 0
    (out / "notes.txt").write_text("mine")
    before = (out / "nat00003.png").read_bytes()
    refused = run_stimgen(*pool)
    assert (refused.status, "is not empty" in refused.err) == (1, True)
    assert run_stimgen(*pool, "--seed", 2, "--overwrite").status == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / "provenance.json").read_text())["seeds"] == {"seed": 2}
    assert (out / "nat00003.png").read_bytes() == before  # the first crop of each photograph is its center, whatever the seed
