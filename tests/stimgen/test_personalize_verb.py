"""The verb `personalize`, on real networks: a new subject's model that every other verb takes, and its report."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from protocols.provenance import Provenance
from stimgen.encoding_model import EncodingModel
from stimgen.personalize import choose_predictors
from tests.stimgen.conftest import run_stimgen


@pytest.fixture(scope="module")
def made(lab, tmp_path_factory):
    """Models of subject 01 alone and, from it, of subject 02 by a few images."""
    root = tmp_path_factory.mktemp("personalize")
    fitted = run_stimgen("fit", lab.root / "lite0.toml", "--responses", lab.responses[0], "--out", root / "group")
    assert fitted.status == 0, fitted.err
    shutil.copytree(lab.responses[1], root / "sub-02")
    for name, rows in (("trials", slice(0, 30)), ("images", slice(None))):
        path = root / "sub-02" / f"{name}.tsv"
        pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)[rows].to_csv(path, sep="\t", index=False, lineterminator="\n")
    np.save(root / "sub-02" / "betas.npy", np.load(root / "sub-02" / "betas.npy")[:30])
    Provenance("somebody's own program").write(root / "sub-02")
    finished = run_stimgen("personalize", root / "group", "--responses", root / "sub-02", "--out", root / "new", "--folds", 3)
    assert finished.status == 0, finished.err
    return root, finished.out


def test_the_verb_writes_a_model_of_the_new_subject(made):
    root, printed = made
    assert f"wrote {root / 'new'}: 8 voxels, each of 2 predictors" in printed
    assert "personalized" in printed
    model = EncodingModel.read(root / "new")
    group = EncodingModel.read(root / "group")
    assert set(model.voxels["subject"]) == {"02"}
    assert model.voxels["voxel_id"].str.startswith("02_").all()
    assert model.voxels["test_r"].isna().all()
    assert (model.card["subjects"], model.card["ensemble_of"], model.card["test_groups"]) == (["02"], ["01"], [])
    mixed, _, rank, _ = np.linalg.lstsq(choose_weights(group), model.readout.coefficients, rcond=None)
    assert rank == 2
    np.testing.assert_allclose(choose_weights(group) @ mixed, model.readout.coefficients, atol=1e-4)  # combinations of the group's


def choose_weights(group):
    return group.readout.coefficients @ choose_predictors(group).mixture.astype(np.float32)


def test_the_report_tells_three_models_apart(made):
    root, _ = made
    table = pd.read_csv(root / "new" / "personalization.tsv", sep="\t")
    assert list(table["roi"]) == ["V3", "LO"]
    assert list(table.columns) == [
        "roi", "voxels", "images",
        *(f"{model}_r{end}" for model in ("group", "personal", "scratch") for end in ("", "_low", "_high")),
        "noise_ceiling",
    ]  # fmt: skip
    assert table["noise_ceiling"].between(0, 1).all()
    with Image.open(root / "new" / "personalization.png") as image:
        assert len(image.convert("RGB").getcolors(100_000)) > 10
    provenance = json.loads((root / "new" / "provenance.json").read_text())
    assert provenance["config"] == {"voxels": False, "folds": 3, "seed": 1}
    assert set(provenance["inputs"]) == {"model", "responses 02"}


def test_predict_and_generate_work_on_the_new_model(made, lab, tmp_path):
    root, _ = made
    finished = run_stimgen("predict", root / "new", lab.pool, "--out", tmp_path / "all.tsv")
    assert finished.status == 0, finished.err
    assert list(pd.read_csv(tmp_path / "all.tsv", sep="\t").columns) == ["image_file", "V3", "LO"]
    finished = run_stimgen("generate", lab.targets, "--model", root / "new", "--pool", lab.pool, "--out", tmp_path / "set")
    assert finished.status == 0, finished.err
    assert "9 images" in finished.out


def test_single_voxels_may_be_the_predictors(made):
    root, _ = made
    words = ("personalize", root / "group", "--responses", root / "sub-02", "--out", root / "voxels", "--folds", 3, "--voxels")
    finished = run_stimgen(*words)
    assert finished.status == 0, finished.err
    predictable = int((EncodingModel.read(root / "group").voxels["cv_r"] > 0).sum())
    assert f"8 voxels, each of {predictable} predictors" in finished.out
    again = run_stimgen(*words)
    assert (again.status, "is not empty" in again.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--folds", 2), "2 folds; give 3 or more"),
        (("--folds", 40), "groups of images for 40 folds; give more images, or lower --folds"),
    ],
)
def test_folds_that_cannot_be_are_refused(made, tmp_path, words, message):
    root, _ = made
    finished = run_stimgen("personalize", root / "group", "--responses", root / "sub-02", "--out", tmp_path / "new", *words)
    assert (finished.status, message in finished.err) == (1, True), finished.err
    assert not (tmp_path / "new").exists()


def test_a_subject_of_the_group_is_refused(made, lab, tmp_path):
    root, _ = made
    finished = run_stimgen("personalize", root / "group", "--responses", lab.responses[0], "--out", tmp_path / "new")
    assert finished.status == 1
    assert "subject '01' is one of its own, whose responses it has seen; fit the group without this subject" in finished.err
