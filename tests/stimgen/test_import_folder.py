"""A plain folder becomes a responses folder: values, order and names survive, absent columns are filled in, broken rules are refused."""

import io
import pickle
import shlex

import numpy as np
import pytest
import typer
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from protocols.provenance import Provenance
from protocols.responses import Responses
from stimgen.__main__ import app
from tests.stimgen.conftest import run_stimgen
from tests.stimgen.test_verb_refusals import refused

STIMS = ["b", "a", "b", "c", "a"]
VOXELS = [("v1", "FFA-1"), ("v2", "V1v"), ("v3", "FFA-1")]


def write_tsv(path, header, *rows):
    path.write_text("\n".join("\t".join(map(str, row)) for row in (header, *rows)) + "\n")


def draw_png(path, shade):
    """Write a small picture whose file differs with `shade`, with a remark that is lost where it is not copied byte for byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remark = PngInfo()
    remark.add_text("Comment", "by hand")
    Image.fromarray(np.full((6, 5, 3), shade, dtype=np.uint8)).save(path, pnginfo=remark, comment="by hand")


def is_same_image(left, right):
    return np.array_equal(np.asarray(Image.open(left)), np.asarray(Image.open(right)))


@pytest.fixture
def source(tmp_path):
    """Five trials of three images (one a JPEG in a subfolder) in three voxels, nothing optional."""
    folder = tmp_path / "mine"
    folder.mkdir()
    write_tsv(folder / "trials.tsv", ["stim_id"], *[[stim] for stim in STIMS])
    write_tsv(folder / "voxels.tsv", ["voxel_id", "roi"], *VOXELS)
    np.save(folder / "betas.npy", np.random.default_rng(1).normal(size=(5, 3)))
    for shade, name in enumerate(["a.png", "b.png", "more/c.jpg"]):
        draw_png(folder / "images" / name, 50 * shade)
    return folder


@pytest.fixture
def imported(source, tmp_path):
    """Import and read what was written."""

    def run(*more):
        finished = run_stimgen("import", "folder", source, "--out", tmp_path / "sub-07", *more)
        assert finished.status == 0, finished.err
        responses = Responses.read(tmp_path / "sub-07")
        responses.verify()
        return responses, finished

    return run


def test_values_order_and_names_survive_and_the_rest_is_filled_in(source, imported):
    responses, finished = imported()
    assert responses.subject == "07"
    assert responses.trials.to_dict("list") == {"stim_id": STIMS, "session": ["01"] * 5, "run": [1] * 5}
    np.testing.assert_array_equal(responses.betas, np.load(source / "betas.npy").astype(np.float32))
    assert list(zip(responses.voxels["voxel_id"], responses.voxels["roi"], strict=True)) == VOXELS
    assert responses.voxels[["hemisphere", "i", "j", "k"]].to_numpy().tolist() == [["LR", 0, 0, 0], ["LR", 1, 0, 0], ["LR", 2, 0, 0]]
    assert dict(zip(responses.images["stim_id"], responses.images["image_file"], strict=True)) == {
        "a": "images/a.png",
        "b": "images/b.png",
        "c": "images/more/c.jpg",
    }
    for name in responses.images["image_file"]:
        assert (responses.folder / name).read_bytes() == (source / name).read_bytes()
    assert "5 trials of 3 images in 3 voxels of 2 ROIs (FFA-1 2, V1v 1)" in finished.out
    provenance = Provenance.read(responses.folder)
    assert provenance.command == "stimgen import folder"
    assert set(provenance.inputs) == {"source"}


def test_what_is_given_is_kept(source, imported):
    write_tsv(source / "trials.tsv", ["run", "stim_id", "session", "rt"], *[[3, stim, "ses2", "n/a"] for stim in STIMS])
    write_tsv(
        source / "voxels.tsv",
        ["voxel_id", "roi", "hemisphere", "i", "j", "k", "snr"],
        *[[*voxel, "R", 4, 5, index, 0.5] for index, voxel in enumerate(VOXELS)],
    )
    write_tsv(
        source / "images.tsv",
        ["stim_id", "image_file", "source"],
        ["b", "x/b.png", "s1"],
        ["a", "images/a.png", "s1"],
        ["c", "x/b.png", "n/a"],
    )
    draw_png(source / "x/b.png", 9)
    responses, _ = imported()
    assert (responses.trials["session"] == "ses2").all()
    assert (responses.trials["run"] == 3).all()
    assert responses.voxels[["hemisphere", "i", "j", "k", "snr"]].iloc[2].tolist() == ["R", 4, 5, 2, "0.5"]
    assert responses.images["source"].tolist() == ["s1", "s1", None]
    assert is_same_image(responses.folder / "x/b.png", source / "x/b.png")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_any_floating_point_type_is_written_as_float32(source, imported, dtype):
    values = np.arange(15, dtype=dtype).reshape(5, 3)
    values[0, 0] = np.nan
    np.save(source / "betas.npy", values)
    np.testing.assert_array_equal(imported()[0].betas, values.astype(np.float32))


def test_an_output_that_holds_anything_is_kept_unless_overwrite(source, imported, tmp_path):
    imported()
    assert "is not empty" in refused(run_stimgen("import", "folder", source, "--out", tmp_path / "sub-07"))
    imported("--overwrite")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trials.tsv", "trials.tsv: no such file; write one row per trial with its stim_id"),
        ("voxels.tsv", "voxels.tsv: no such file; write one row per voxel with voxel_id and roi"),
        ("betas.npy", "betas.npy: no such file; save the responses there, trials x voxels, with numpy.save"),
        ("images", "images: no such folder; put the images there, each named after its stim_id"),
        ("", "mine: no such folder; name the folder that holds the data"),
    ],
)
def test_a_missing_file_is_named(source, tmp_path, name, message):
    (source / name).rename(tmp_path / "away")
    assert f"{tmp_path}/mine{'/' if name else ''}{message.removeprefix('mine')}" in refused(run_import(source, tmp_path))


def save(array):
    return lambda source: np.save(source / "betas.npy", array)


def save_bytes(data):
    return lambda source: (source / "betas.npy").write_bytes(data)


def table(name, header, *rows):
    return lambda source: write_tsv(source / name, header, *rows)


def archive():
    stream = io.BytesIO()
    np.savez(stream, betas=np.zeros((5, 3)))
    return stream.getvalue()


IMAGES = ["stim_id", "image_file"]
KNOWN = [["a", "images/a.png"], ["b", "images/b.png"]]
BROKEN = {
    "fewer trials": (
        save(np.zeros((4, 3))),
        "betas.npy: shape (4, 3), but trials.tsv has 5 rows and voxels.tsv 3; write the three from the same data",
    ),
    "fewer voxels": (save(np.zeros((5, 2))), "betas.npy: shape (5, 2), but trials.tsv has 5 rows and voxels.tsv 3"),
    "integers": (save(np.zeros((5, 3), int)), "betas.npy: holds int64, expected floating-point numbers; convert the responses first"),
    "a cube": (save(np.zeros((5, 3, 1))), "betas.npy: shape (5, 3, 1), expected two dimensions, trials x voxels; save it so"),
    "pickled": (save(np.array([[None]])), "betas.npy: cannot be read as a NumPy array"),
    "a bare pickle": (save_bytes(pickle.dumps([1.5])), "betas.npy: cannot be read as a NumPy array"),
    "truncated": (save_bytes(b"\x93NUMPY"), "betas.npy: cannot be read as a NumPy array"),
    "an archive": (save_bytes(archive()), "betas.npy: holds an archive of arrays; save the one array with numpy.save"),
    "an unknown image": (
        table("trials.tsv", ["stim_id"], ["a"], ["z"], *"abc"),
        "trials.tsv row 3: stim_id 'z' is not in images.tsv; add the image",
    ),
    "no stim_id": (table("trials.tsv", ["image"], *"abcab"), "trials.tsv: missing column stim_id; found image\n"),
    "run no number": (
        table("trials.tsv", ["stim_id", "run"], *[[stim, 1.5] for stim in STIMS]),
        "trials.tsv row 2: run is '1.5', expected a whole number",
    ),
    "a voxel twice": (
        table("voxels.tsv", ["voxel_id", "roi"], *VOXELS[:2], VOXELS[0]),
        "voxels.tsv row 4: voxel_id 'v1' stands there twice",
    ),
    "no roi": (table("voxels.tsv", ["voxel_id"], *[[one] for one, _ in VOXELS]), "voxels.tsv: missing column roi; found voxel_id\n"),
    "a part of a place": (
        table("voxels.tsv", ["voxel_id", "roi", "i", "k"], *[[*voxel, 1, 2] for voxel in VOXELS]),
        "voxels.tsv: missing column j; give i, j and k, or none of them",
    ),
    "an image twice": (
        table("images.tsv", IMAGES, ["a", "images/a.png"], ["a", "images/b.png"]),
        "images.tsv row 3: stim_id 'a' stands there twice",
    ),
    "an absent image": (
        table("images.tsv", IMAGES, *KNOWN, ["c", "images/z.png"]),
        "images.tsv row 4: image_file 'images/z.png' is missing; put the image there",
    ),
    "an image elsewhere": (
        table("images.tsv", IMAGES, *KNOWN, ["c", "../c.png"]),
        "images.tsv row 4: image_file '../c.png' must be a path below the folder, written with /",
    ),
    "two stems": (
        lambda source: draw_png(source / "images/a.jpg", 3),
        "images: 'images/a.jpg' and 'images/a.png' would have the same stim_id; rename one",
    ),
    "no picture": (lambda source: (source / "images/b.png").write_bytes(b"\x89PNG\r\n"), "images/b.png: cannot be decoded as an image"),
}


def run_import(source, tmp_path):
    return run_stimgen("import", "folder", source, "--out", tmp_path / "sub-07")


@pytest.mark.parametrize("case", BROKEN)
def test_each_broken_rule_is_refused(source, tmp_path, case):
    break_it, message = BROKEN[case]
    break_it(source)
    assert message in refused(run_import(source, tmp_path))
    assert not (tmp_path / "sub-07").exists()


def test_the_examples_of_all_imports_can_be_parsed_by_them():
    group = typer.main.get_command(app).commands["import"]
    assert sorted(group.commands) == ["algonauts2023", "folder", "nsd", "roi-table"]
    for verb, command in group.commands.items():
        _, _, line = command.help.partition("Example: stimgen import ")
        words = shlex.split(line.splitlines()[0])
        assert words[0] == verb
        assert command.make_context(verb, words[1:]).params
        assert [parameter.name for parameter in command.params if parameter.name != "help" and not parameter.help] == []
        assert run_stimgen("import", verb, "--help").status == 0
