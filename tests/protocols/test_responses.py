"""Responses: a round trip keeps them, sizes and ids must agree, and a damaged array is refused."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from protocols.errors import InputError
from protocols.output_folder import staged_folder
from protocols.provenance import Provenance
from protocols.responses import IMAGE_COLUMNS, TRIAL_COLUMNS, VOXEL_COLUMNS, Responses
from tests.protocols.strategies import make_table, tables

FOLDER = Path("sub-07")


@st.composite
def any_responses(draw):
    images = draw(tables(IMAGE_COLUMNS, 1)).drop_duplicates("stim_id").reset_index(drop=True)
    voxels = draw(tables(VOXEL_COLUMNS, 1)).drop_duplicates("voxel_id").reset_index(drop=True)
    trials = draw(tables(TRIAL_COLUMNS, 1, 6))
    shown = draw(st.lists(st.sampled_from(images["stim_id"].tolist()), min_size=len(trials), max_size=len(trials)))
    betas = draw(nps.arrays(np.float32, (len(trials), len(voxels)), elements=st.floats(width=32)))
    return Responses(FOLDER, trials.assign(stim_id=pd.Series(shown, dtype=object)), betas, voxels, images)


@given(responses=any_responses())
def test_write_then_read_is_identity(responses, tmp_path):
    responses.write(tmp_path)
    Provenance("test").write(tmp_path)
    read = Responses.read(tmp_path)
    for name in ("trials", "voxels", "images"):
        pd.testing.assert_frame_equal(getattr(read, name), getattr(responses, name))
    np.testing.assert_array_equal(read.betas, responses.betas)
    assert read.betas.dtype == np.float32
    assert read.image_paths() == [tmp_path / name for name in responses.images["image_file"]]


def test_betas_stay_on_disk(written):
    assert isinstance(Responses.read(written).betas, np.memmap)


@pytest.fixture
def responses():
    """Three trials of two images in four voxels."""
    trials = make_table(TRIAL_COLUMNS, [("a", "01", 1), ("b", "01", 1), ("a", "01", 2)])
    voxels = make_table(VOXEL_COLUMNS, [(f"v{number}", "FFA", "L", number, 0, 0) for number in range(4)])
    images = make_table(IMAGE_COLUMNS, [("a", "images/a.png"), ("b", "images/b.png")])
    return Responses(FOLDER, trials, np.arange(12, dtype=np.float32).reshape(3, 4), voxels, images)


@pytest.fixture
def written(responses, tmp_path):
    folder = tmp_path / "sub-07"
    responses.write(folder)
    Provenance("test").write(folder)
    return folder


def test_the_subject_is_the_folder_s_name(written):
    assert Responses.read(written).subject == "07"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"betas": np.zeros((4, 4), dtype=np.float32)},
            "betas.npy: shape (4, 4), but trials.tsv has 3 rows and voxels.tsv 4; write the three from the same data",
        ),
        ({"betas": np.zeros(12, dtype=np.float32)}, "betas.npy: shape (12,), but trials.tsv has 3 rows and voxels.tsv 4"),
        ({"images": make_table(IMAGE_COLUMNS, [("a", "a.png")])}, "trials.tsv row 3: stim_id 'b' is not in images.tsv; add the image"),
        (
            {"images": make_table(IMAGE_COLUMNS, [("a", "1.png"), ("b", "2.png"), ("a", "3.png")])},
            "images.tsv row 4: stim_id 'a' stands there twice",
        ),
        ({"voxels": make_table(VOXEL_COLUMNS, [("v", "FFA", "L", 0, 0, 0)] * 4)}, "voxels.tsv row 3: voxel_id 'v' stands there twice"),
        (
            {"trials": pd.DataFrame({"stim_id": ["a", "b", "a"], "run": [1, 1, 2]})},
            "trials.tsv: missing column session; found stim_id, run",
        ),
        (
            {"trials": pd.DataFrame({"stim_id": list("aba"), "session": list("111"), "run": ["1", "x", "1"]})},
            "trials.tsv row 3: run is 'x', expected a number",
        ),
    ],
)
def test_each_broken_rule_is_named(changes, expected, responses):
    with pytest.raises(InputError) as refusal:
        dataclasses.replace(responses, **changes)
    assert str(refusal.value).startswith(str(FOLDER / expected))


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: whole[:20], lambda whole: b"", lambda whole: b"text\n"])
def test_a_damaged_array_is_refused(damage, written):
    path = written / "betas.npy"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"betas\.npy: cannot be read as a NumPy array .*; copy the folder again"):
        Responses.read(written)


def test_a_missing_array_is_refused(written):
    (written / "betas.npy").unlink()
    with pytest.raises(InputError, match=r"betas\.npy: cannot be read as a NumPy array"):
        Responses.read(written)


def test_an_array_of_another_type_is_refused(written):
    np.save(written / "betas.npy", np.zeros((3, 4)))
    with pytest.raises(InputError, match=r"betas\.npy: holds float64, expected float32; write it again"):
        Responses.read(written)
    with (written / "betas.npy").open("wb") as stream:
        np.savez(stream, betas=np.zeros((3, 4), dtype=np.float32))
    with pytest.raises(InputError, match=r"betas\.npy: holds an archive, expected float32"):
        Responses.read(written)


def test_a_pickled_array_is_not_loaded(written):
    np.save(written / "betas.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as a NumPy array"):
        Responses.read(written)


@pytest.mark.parametrize("name", ["trials", "voxels", "images"])
def test_a_missing_table_is_refused(name, written):
    (written / f"{name}.tsv").unlink()
    with pytest.raises(InputError, match=rf"{name}\.tsv: no such file"):
        Responses.read(written)


def test_an_incomplete_folder_is_refused(written):
    (written / "provenance.json").unlink()
    with pytest.raises(InputError, match=r"has no provenance\.json, so it is incomplete"):
        Responses.read(written)


def test_verify_finds_a_missing_image_and_a_changed_file(tmp_path, responses):
    folder = tmp_path / "sub-07"
    with staged_folder(folder, Provenance("test")) as staging:
        responses.write(staging)
        for name in responses.images["image_file"]:
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_bytes(b"an image")
    whole = Responses.read(folder)
    whole.verify()
    whole.image_paths()[1].write_bytes(b"another")
    with pytest.raises(InputError, match=r"does not match its sha256 in provenance\.json; copy the folder again"):
        whole.verify()
    whole.image_paths()[1].unlink()
    with pytest.raises(InputError, match=r"images\.tsv row 3: image '.*' is missing; copy the folder again"):
        whole.verify()
