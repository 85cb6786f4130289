"""The verbs from end to end, on real trained networks: what they write, and that the same seed writes it again."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from protocols.errors import InputError
from protocols.provenance import Provenance, hash_file
from protocols.stimulus_set import StimulusSet
from stimgen import optimize
from stimgen.encoding_model import EncodingModel
from stimgen.image_files import read_image
from stimgen.judge import make_scorer, predict_files
from stimgen.pool import NaturalPool
from stimgen.set_check import measure_set, summarize_targets
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
        again = scorer.score(predict_files(scorer.model, paths))
        for roi in ("V3", "LO"):
            np.testing.assert_allclose(made.table[prefix + roi], again[roi], atol=1e-3)


def test_a_few_steps_already_raise_the_predicted_drive_above_the_scrambled_copy(made):
    drive = made.table.set_index("stim_id")
    for roi in ("V3", "LO"):
        assert drive.loc[f"target{roi}01", f"predicted_{roi}"] > drive.loc[f"scrambled{roi}01", f"predicted_{roi}"]


def test_the_sidecar_names_the_models_and_every_column(made):
    assert (made.description["models"], made.description["judges"]) == (["lite0"], ["lite1"])
    assert (made.description["pool_images"], made.description["size_px"]) == (24, 64)
    assert set(made.table["condition"]) <= set(made.description["condition"]["Levels"])
    assert "dose" not in made.table.columns  # no target has one
    assert {"drive_predicted", "drive_judged", "drive_ratio", "drive_percentile", "gate"} <= set(made.description) & set(made.table.columns)
    assert list(made.description["diversity"].items()) == [("V3", None), ("LO", None), ("V3overLO", None)]  # an only image has none


def test_the_same_seed_makes_the_same_bytes_and_another_seed_other_images(lab, made, tmp_path):
    assert lab.generate(tmp_path / "again").status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["again"]  # the work folder is gone
    again = StimulusSet.read(tmp_path / "again").table
    own = [name for name in again.columns if name not in ("drive_judged", "drive_ratio", "drive_percentile", "gate")]  # no judge here
    assert again.drop(columns=own).isna().all(axis=None)
    pd.testing.assert_frame_equal(again[own], made.table[own])
    for name in made.table["stim_file"]:
        assert (tmp_path / "again" / name).read_bytes() == (lab.stimuli / name).read_bytes()
    assert lab.generate(tmp_path / "other", "--seed", 2).status == 0
    other = StimulusSet.read(tmp_path / "other").table
    assert set(other["sha256"]).isdisjoint(made.table["sha256"])  # natural images as well: their photometry is drawn anew


@pytest.fixture(scope="module")
def wishes(lab, tmp_path_factory):
    """The set of the other kinds of target, and what was printed."""
    out = tmp_path_factory.mktemp("wishes") / "set"
    finished = lab.generate(out, "--judge", lab.judge, targets=lab.wishes)
    assert finished.status == 0, finished.err
    return StimulusSet.read(out), finished.out


def test_quadrants_doses_and_holds_are_made_in_the_files_order(wishes):
    table = wishes[0].table
    assert list(table["target"]) == ["V3upLOup", "V3upLOdown", "LOupV3down", "V3downLOdown", "V3dose", "V3held"]
    assert set(table["condition"]) == {"target"}  # controls = []
    drives = table.set_index("target")[["drive_predicted", "drive_judged", "drive_percentile"]].astype(float)
    assert drives.notna().all(axis=None)
    dose = table.set_index("target").loc["V3dose"]
    assert dose["drive_ratio"] is None  # a distance has no ratio
    assert drives.loc["V3dose", "drive_predicted"] <= 0
    assert (float(dose["dose"]), dose["dose_roi"]) == (80, "V3")
    assert table["dose"].notna().sum() == table["dose_roi"].notna().sum() == 1
    one = table.set_index("target").loc["V3upLOdown"]
    assert drives.loc["V3upLOdown", "drive_predicted"] == pytest.approx(min(one["predicted_V3"], -one["predicted_LO"]), abs=2e-4)


def test_bounds_that_cannot_be_had_are_told_and_stay_in_the_sidecar(wishes):
    made, printed = wishes
    table = made.table.set_index("target")
    missed = made.description["missed_bounds"]
    for label, sides in (("V3upLOdown", {"V3": 1, "LO": -1}), ("LOupV3down", {"V3": -1, "LO": 1})):
        expected = {roi for roi, sign in sides.items() if sign * table.loc[label, f"predicted_{roi}"] < 0.5 - 0.25}
        assert {bound.split(" ")[0] for bound in missed.get(label, [])} == expected
    assert missed
    assert "V3held" not in missed  # within 40 z it was easily held
    for label, bounds in missed.items():
        assert f"target {label}: not all it asks for can be had at once; mean of its images: {bounds[0]}" in printed


def test_check_tells_drive_flags_and_missed_bounds(wishes, made, lab):
    finished = run_stimgen("check", wishes[0].folder)
    for label, bounds in wishes[0].description["missed_bounds"].items():
        assert f"target {label}: mean of its images: {bounds[0]}" in finished.out
    summary = summarize_targets(made, measure_set(made)).set_index(["condition", "target"])
    row = made.table.set_index("stim_id").loc["targetLO01"]
    assert summary.loc[("target", "LO"), "drive_judged"] == float(row["drive_judged"])
    assert summary.loc[("target", "LO"), "flagged"] == (row["gate"] == "flag")


def test_crops_of_public_photographs_are_the_pool_where_none_is_named(lab, tmp_path, monkeypatch):
    monkeypatch.setattr("stimgen.default_pool.COUNT", 7)
    monkeypatch.setattr("stimgen.default_pool.SIZE_PX", 64)
    cache, out = tmp_path / "cache", tmp_path / "set"
    assert run_stimgen("generate", lab.targets, "--model", lab.maker, "--cache", cache, "--out", out).status == 0
    described = StimulusSet.read(out)
    assert described.description["pool_images"] == 7
    assert NaturalPool.read(cache / "pool-7-64-1").table["stim_id"].isin(described.table["source_image"]).any()
    assert Provenance.read(out).inputs["pool"] == hash_file(cache / "pool-7-64-1" / "provenance.json")


def test_an_interrupted_command_goes_on_to_the_same_bytes(lab, tmp_path, monkeypatch):
    """Six steps of batches of 2 and 1; the command ends in the ninth of its twelve steps."""
    targets = tmp_path / "targets.toml"
    targets.write_text(lab.targets.read_text().replace("steps = 12", "steps = 6, batch = 2, checkpoint_s = 1e-9"))
    taken, take = [], optimize._take_step

    def take_some(most):
        def step(*arguments):
            if len(taken) == most:
                raise InputError("the light went out")
            taken.append(1)
            return take(*arguments)

        taken.clear()
        monkeypatch.setattr(optimize, "_take_step", step)

    take_some(8)
    out, work = tmp_path / "set", tmp_path / ".set.work"
    ended = lab.generate(out, targets=targets)
    assert (ended.status, "the light went out" in ended.err, out.exists()) == (1, True, False)
    assert sorted(path.suffix for path in work.iterdir()) == [".safetensors", ".state"]
    take_some(99)
    assert lab.generate(out, targets=targets).status == 0
    assert len(taken) == 4
    assert not work.exists()
    assert lab.generate(tmp_path / "whole", targets=targets).status == 0
    names = sorted(path.name for path in out.iterdir() if path.name != "provenance.json")
    assert [(out / name).read_bytes() for name in names] == [(tmp_path / "whole" / name).read_bytes() for name in names]
    assert Provenance.read(out).outputs == Provenance.read(tmp_path / "whole").outputs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "targets.toml", "whole"]


def test_a_validating_model_neither_makes_nor_judges(lab, tmp_path):
    assert lab.generate(tmp_path / "set", "--validate", lab.judge, targets=lab.wishes).status == 0
    described = StimulusSet.read(tmp_path / "set").description
    assert (described["models"], described["judges"]) == (["lite0"], [])
    assert "validator 1 lite1" in Provenance.read(tmp_path / "set").inputs


def test_photographs_to_edit_and_the_mask_are_inputs(lab, tmp_path):
    """Larger than the network's input; only the mask's white half changes."""
    folder, mask = tmp_path / "photographs", tmp_path / "mask.png"
    folder.mkdir()
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(60, 190, (240, 240, 3), dtype=np.uint8)).save(folder / "one.png")
    Image.fromarray(np.repeat([[0, 255]], 32, axis=1).repeat(64, axis=0).astype(np.uint8)).save(mask)
    targets, out = tmp_path / "targets.toml", tmp_path / "set"
    image = f'[image]\nparameterization = "edit"\nphotographs = "{folder}"\nmask = "{mask}"\n'
    free = '[photometry]\nmatching = "none"\n'
    targets.write_text(f'targets = [{{ roi = "V3" }}]\ncount = 1\nsize_px = 64\ncontrols = []\nascent = {{ steps = 2 }}\n{image}{free}')
    finished = lab.generate(out, targets=targets)
    assert finished.status == 0, finished.err
    made = StimulusSet.read(out)
    assert (made.table["source_image"][0], made.table["method"][0]) == ("one", "edit_ascent")
    change = np.abs(read_image(made.image_path("targetV301"), 64) - read_image(folder / "one.png", 64))
    assert change[:, :31].max() <= 1 / 255
    assert change[:, 33:].max() > 2 / 255
    assert {"photographs", "mask"} <= set(Provenance.read(out).inputs)


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
    for _ in range(2):  # the picture beside the set is replaced
        finished = run_stimgen("check", lab.stimuli)
        assert finished.status == 0, finished.err
        assert "9 images, every file matches its hash, no rule broken" in finished.out
        for title in ("means by condition", "standardized differences between conditions", "standardized differences between targets"):
            assert title in finished.out
        assert "stimuli-check.png" in finished.out.replace("\n", "")
    with Image.open(lab.root / "stimuli-check.png") as sheet:
        assert sheet.size[0] == 1600


def test_check_writes_its_picture_where_it_is_told_and_over_nothing(lab, tmp_path):
    assert run_stimgen("check", lab.stimuli, "--out", tmp_path / "look.png").status == 0
    assert (tmp_path / "look.png").is_file()
    finished = run_stimgen("check", lab.stimuli, "--out", tmp_path / "look.png")
    assert (finished.status, "look.png: is there already; name another file" in finished.err) == (1, True)


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
