"""Localizer images and catch images come from folders, and become a set like any other."""

import numpy as np
from PIL import Image

from experiment.plan_folder import PlanFolder
from protocols.stimulus_set import StimulusSet
from tests.experiment.conftest import make_protocol, make_set
from tests.experiment.published import FOLDER

FLOC = ("word", "number", "body", "limb", "adult", "child", "corridor", "house", "car", "instrument")


def fill(folder, names, count=8, mode="RGB"):
    rng = np.random.default_rng(1)
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).convert(mode).save(folder / name / f"{name}-{number}.png")
    return folder


def plan(experiment, protocol, out, *arguments):
    return experiment("plan", protocol, "--subjects", 1, "--seed", 1, "--out", out, *arguments)


def test_a_localizer_is_planned_from_its_folders(experiment, tmp_path):
    images = fill(tmp_path / "images", FLOC)
    code, out, err = plan(experiment, FOLDER / "floc.toml", tmp_path / "plan", "--images", images)
    assert code == 0, err
    assert "80 images, protocol 'floc'" in out
    folder = PlanFolder.read(tmp_path / "plan")
    folder.stimuli.verify()
    table = folder.stimuli.table
    assert table.groupby("condition").size().to_dict() == dict.fromkeys(("characters", "bodies", "faces", "places", "objects"), 16)
    assert table["source_image"][table["condition"] == "faces"].tolist()[0] == "adult/adult-0.png"
    assert experiment("check", tmp_path / "plan")[0] == 0


def test_without_categories_each_folder_is_a_condition(experiment, tmp_path):
    fill(tmp_path / "images", ("faces", "my places"), mode="L")
    make_protocol(conditions=["faces"]).write(tmp_path / "p.json")
    assert plan(experiment, tmp_path / "p.json", tmp_path / "plan", "--images", tmp_path / "images")[0] == 0
    assert set(PlanFolder.read(tmp_path / "plan").stimuli.table["stim_id"]) > {"faces001", "myplaces008"}


def test_catch_images_join_a_set(experiment, tmp_path):
    given = make_set(tmp_path / "set")
    fill(tmp_path, ("odd",), count=3)
    make_protocol(probe={"kind": "catch", "count": 2}, conditions=[]).write(tmp_path / "p.json")
    code, _, err = plan(experiment, tmp_path / "p.json", tmp_path / "no", "--set", tmp_path / "set")
    assert (
        code,
        "has no image of condition 'catch', which protocol 'short' shows as catch images ('--catch FOLDER' adds them)" in err,
    ) == (1, True)
    assert plan(experiment, tmp_path / "p.json", tmp_path / "plan", "--set", tmp_path / "set", "--catch", tmp_path / "odd")[0] == 0
    folder = PlanFolder.read(tmp_path / "plan")
    folder.stimuli.verify()
    assert folder.protocol.conditions == ("target", "natural")
    assert folder.stimuli.table["stim_id"].tolist() == [*given.table["stim_id"], "catch001", "catch002", "catch003"]
    trials = folder.read_run(folder.names[0]).trials
    assert trials["trial_type"][trials["probe"] == 1].tolist() == ["catch", "catch"]
    assert experiment("check", tmp_path / "plan")[0] == 0
    code, _, err = plan(
        experiment, tmp_path / "p.json", tmp_path / "no", "--set", tmp_path / "plan" / "stimuli", "--catch", tmp_path / "odd"
    )
    assert (code, "has a stim_id 'catch001' already; name the folder" in err) == (1, True)


def test_bad_folders_are_refused(experiment, tmp_path):
    def refuse(*arguments):
        code, _, err = plan(experiment, FOLDER / "floc.toml", tmp_path / "plan", *arguments)
        assert code == 1
        assert not (tmp_path / "plan").exists()
        return err

    assert "give either --set, a stimulus set, or --images" in refuse()
    assert "no such folder" in refuse("--images", tmp_path / "none")
    fill(tmp_path / "few", ("word",))
    assert "few/number: has no image" in refuse("--images", tmp_path / "few")
    broken = fill(tmp_path / "broken", FLOC) / "car" / "car-0.png"
    broken.write_bytes(broken.read_bytes()[:40])
    assert "car-0.png: cannot be read as an image" in refuse("--images", tmp_path / "broken")
    Image.new("RGBA", (8, 8)).save(broken)
    assert "car-0.png: has mode RGBA or transparency" in refuse("--images", tmp_path / "broken")


def test_each_subject_sees_its_own_images(experiment, tmp_path):
    made = make_set(tmp_path / "made")
    own = {"targetFFA0": "01", "targetFFA1": "02", "targetV30": "01", "targetV31": "02"}
    table = made.table.assign(subjects=[own.get(stim_id) for stim_id in made.table["stim_id"]])
    StimulusSet(made.folder, table, {}).write(made.folder)
    make_protocol(own_images=True).write(tmp_path / "p.json")
    from protocols.provenance import Provenance

    Provenance("test").write(made.folder)
    assert experiment("plan", tmp_path / "p.json", "--set", made.folder, "--subjects", 2, "--seed", 1, "--out", tmp_path / "plan")[0] == 0
    folder = PlanFolder.read(tmp_path / "plan")
    for subject in ("01", "02"):
        shown = {stim for name in folder.names if name.subject == subject for stim in folder.read_run(name).trials["stim_id"].dropna()}
        assert {own[stim] for stim in shown if stim in own} == {subject}
        assert {"natural0", "natural1"} < shown
    assert experiment("check", tmp_path / "plan")[0] == 0
    make_set(tmp_path / "plain")
    err = experiment("plan", tmp_path / "p.json", "--set", tmp_path / "plain", "--subjects", 2, "--seed", 1, "--out", tmp_path / "no")[2]
    assert "has no column 'subjects', which own_images = true needs" in err
