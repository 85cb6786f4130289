"""`stimgen similarity` on a planted brain: retinotopy is found in images that `stimgen sweep` made, ROIs in readouts; maps; refusals."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from protocols.provenance import Provenance
from protocols.tables import read_tsv, write_tsv
from stimgen.backbone import load_backbone
from stimgen.encoding_model import EncodingModel, Readout
from stimgen.networks import Preprocessing
from stimgen.similarity_study import COLUMNS
from tests.stimgen.conftest import run_stimgen
from tests.stimgen.tiny import make_space

ROIS = ["V1"] * 6 + ["FFA"] * 5 + ["hV4"]
SEEN = Preprocessing(input_px=16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
SWEEP = 'size_px = 32\nascent = { steps = 24, learning_rate = 0.1 }\nimage = { start = "noise" }\n'


@dataclass(frozen=True)
class Planted:
    """Folders of a model of which it is known where its voxels look, of a pool, and of a sweep."""

    root: Path
    centers: np.ndarray

    @property
    def options(self):
        return ("--pool", self.root / "pool", "--no-cache")

    def compare(self, out, *more, model="model"):
        return run_stimgen("similarity", "--model", self.root / model, "--out", out, *self.options, *more)


def plant_model(rng):
    """A model on a network of a few weights: every voxel reads a Gaussian window of one layer's map by its ROI's tuning."""
    backbone = load_backbone("tests.stimgen.tiny:TinyNet", preprocessing=SEEN)
    space = make_space(backbone, ["second"], budget=6 * 64)
    grid = space.layers[0].grid
    centers = rng.uniform(0.25, 0.75, size=(len(ROIS), 2))
    at = (np.arange(grid) + 0.5) / grid
    tuning = {roi: rng.standard_normal(6) for roi in dict.fromkeys(ROIS)}
    coefficients = []
    for roi, (x, y) in zip(ROIS, centers, strict=True):
        window = np.exp(-((at - y) ** 2)[:, None] / 0.02 - ((at - x) ** 2)[None] / 0.02)
        coefficients.append((tuning[roi][:, None, None] * window).ravel())
    size = space.size
    readout = Readout(
        np.stack(coefficients, axis=1).astype(np.float32),
        np.zeros(len(ROIS), dtype=np.float32),
        np.zeros(size, dtype=np.float32),
        np.ones(size, dtype=np.float32),
    )
    places = np.stack(np.unravel_index(np.arange(len(ROIS)), (3, 2, 2)), axis=1)
    columns = dict(zip(("i", "j", "k"), places.T, strict=True)) | dict(zip(("x_mm", "y_mm", "z_mm"), 2.0 * places.T - 40, strict=True))
    voxels = pd.DataFrame({"voxel_id": [f"01_{roi}{row:03d}" for row, roi in enumerate(ROIS)], "subject": "01", "roi": ROIS})
    voxels = voxels.assign(cv_r=0.5, test_r=0.4, noise_ceiling=0.8, hemisphere="L", **columns)
    return EncodingModel(space, readout, voxels, {}), centers


def draw_natural(rng):
    """Blotches of one image's own color and contrast: as in nature, distant places of an image are alike."""
    color, contrast = rng.uniform(64, 192, 3), rng.uniform(10, 60)
    blotches = np.clip(color + contrast * rng.standard_normal((8, 8, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(blotches).resize((32, 32), Image.Resampling.BICUBIC)


def write_model(model, folder):
    folder.mkdir()
    model.write(folder)
    Provenance.collect("stimgen fit", {}, {}).write(folder)


def rewrite(planted, tmp_path, change):
    """Return a copy of the planted model whose table is changed."""
    model = EncodingModel.read(planted.root / "model")
    write_model(replace(model, voxels=change(model.voxels)), tmp_path / "changed")
    return tmp_path / "changed"


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    root = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(5)
    model, centers = plant_model(rng)
    write_model(model, root / "model")
    (root / "pool").mkdir()
    for number in range(40):
        draw_natural(rng).save(root / "pool" / f"n{number:02d}.png")
    (root / "sweep.toml").write_text(SWEEP)
    made = ("--pool", root / "pool", "--settings", root / "sweep.toml", "--cache", root / "cache", "--images", 2)
    finished = run_stimgen("sweep", "--model", root / "model", "--out", root / "sweep", *made)
    assert finished.status == 0, finished.err
    return Planted(root, centers)


@pytest.fixture(scope="module")
def compared(planted):
    """The comparison by readouts, with what the images say of where voxels look."""
    finished = planted.compare(planted.root / "out", "--sweep", planted.root / "sweep")
    assert finished.status == 0, finished.err
    return finished


def measure_error(folder, centers):
    table = read_tsv(folder / "voxels.tsv", COLUMNS)
    return np.hypot(table["rf_x"] - centers[:, 0], table["rf_y"] - centers[:, 1])


def test_planted_retinotopy_is_found_in_images(planted, compared):
    error = measure_error(planted.root / "out", planted.centers)
    assert np.median(error) < 0.1
    assert (error < 0.1).mean() >= 0.75


def test_planted_rois_are_found_in_readouts(planted, compared):
    card = json.loads((planted.root / "out" / "similarity.json").read_text())
    assert card["own_roi_share"] >= 0.9
    table = read_tsv(planted.root / "out" / "voxels.tsv", COLUMNS)
    assert table["voxel_id"].tolist() == [f"01_{roi}{row:03d}" for row, roi in enumerate(ROIS)]
    alone = (table["roi"] == "hV4").to_numpy()
    assert (table["nearest_roi"] == table["roi"])[~alone].mean() == pytest.approx(card["own_roi_share"])
    assert table.loc[alone, ["nearest_roi", "nearest_roi_r", "own_roi_r"]].isna().all(axis=None)
    assert card["own_roi_share_by_roi"]["hV4"] is None
    assert card["own_roi_share_other_subjects"] is None
    assert card["receptive_fields"] == "images"


def test_what_is_written_is_told(planted, compared):
    out = planted.root / "out"
    assert "12 voxels" in compared.out
    assert "NIfTI, 3 x 2 x 2 voxels" in compared.out
    Provenance.read(out).verify_outputs(out)
    with Image.open(out / "similarity.png") as picture:
        assert min(picture.size) > 800


def test_the_sweeps_drive_and_every_number_are_mapped(planted, compared):
    out = planted.root / "out"
    table = read_tsv(out / "voxels.tsv", COLUMNS)
    sweep = read_tsv(planted.root / "sweep" / "images.tsv", {"target_id": "text", "predicted": "number"})
    means = sweep.groupby("target_id")["predicted"].mean()
    assert table["sweep_predicted"].to_numpy() == pytest.approx(means[table["voxel_id"]].to_numpy(), abs=1e-3)
    assert table["sweep_judged"].isna().all()
    named = {path.name.removeprefix("sub-01_").removesuffix(".nii.gz") for path in (out / "maps").glob("*.nii.gz")}
    numbers = {name for name in COLUMNS if name not in ("voxel_id", "subject", "sweep_judged")}
    assert named == numbers
    volume = nibabel.load(out / "maps" / "sub-01_sweep_predicted.nii.gz").get_fdata()
    places = table[["i", "j", "k"]].to_numpy(dtype=int)
    assert volume[tuple(places.T)] == pytest.approx(table["sweep_predicted"].to_numpy(), abs=1e-3)
    clusters = np.asarray(nibabel.load(out / "maps" / "sub-01_cluster.nii.gz").dataobj)
    assert clusters.dtype == np.int16
    assert clusters[tuple(places.T)].tolist() == table["cluster"].tolist()


def test_by_images_and_without_a_sweep(planted, tmp_path):
    sweep = ("--sweep", planted.root / "sweep", "--by", "images", "--method", "pca", "--clusters", 2, "--no-maps")
    by_images = planted.compare(tmp_path / "images", *sweep)
    assert by_images.status == 0, by_images.err
    card = json.loads((tmp_path / "images" / "similarity.json").read_text())
    assert (card["by"], card["method"], len(card["clusters"]), card["maps"]) == ("images", "pca", 2, {})
    assert not (tmp_path / "images" / "maps").exists()
    alone = planted.compare(tmp_path / "alone")
    assert alone.status == 0, alone.err
    assert json.loads((tmp_path / "alone" / "similarity.json").read_text())["receptive_fields"] == "readouts"
    assert np.median(measure_error(tmp_path / "alone", planted.centers)) < 0.1


def test_vertices_get_surfaces(planted, tmp_path):
    def lay_on_surface(voxels):
        return voxels.assign(hemisphere=["L", "R"] * 6, i=np.arange(12), j=0, k=0)

    model = rewrite(planted, tmp_path, lay_on_surface)
    finished = planted.compare(tmp_path / "out", "--vertices", 20, model=model)
    assert finished.status == 0, finished.err
    table = read_tsv(tmp_path / "out" / "voxels.tsv", COLUMNS)
    values = nibabel.load(tmp_path / "out" / "maps" / "sub-01_hemi-R_x.shape.gii").darrays[0].data
    assert values[1:12:2] == pytest.approx(table["x"].to_numpy()[1::2], abs=1e-3)
    assert np.isnan(values).sum() == 14


def cut(rows):
    return lambda voxels: voxels.assign(cv_r=[0.5] * rows + [0.05] * (len(voxels) - rows))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (None, ("--by", "images"), "--by images compares the images of a sweep; give it with --sweep"),
        (None, ("--clusters", "many"), "--clusters 'many': is no whole number"),
        (None, ("--clusters", "12"), "--clusters 12: .* has 12 voxels to compare; ask for fewer"),
        (None, ("--min-r", "0.6"), r"0 voxel\(s\) to compare, at least 3 are needed; give a lower --min-r"),
        (cut(2), (), r"2 voxel\(s\) to compare, at least 3"),
        (lambda voxels: voxels.drop(columns="x_mm"), (), "neither their affine nor x_mm y_mm z_mm; give --reference"),
        (lambda voxels: voxels.assign(roi="V1"), ("--sweep", "sweep"), r"was made with another model \(model\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(planted, tmp_path, change, options, message):
    model = planted.root / "model" if change is None else rewrite(planted, tmp_path, change)
    refused = planted.compare(tmp_path / "out", *(planted.root / "sweep" if one == "sweep" else one for one in options), model=model)
    assert refused.status == 1
    assert pd.Series([" ".join(refused.err.split())]).str.contains(message)[0], refused.err
    assert not (tmp_path / "out").exists()


def damage_provenance(sweep):
    (sweep / "provenance.json").unlink()


def damage_target(sweep):
    for name in ("targets.tsv", "images.tsv"):
        (sweep / name).write_text((sweep / name).read_text().replace("01_FFA007", "01_FFA999"))


def damage_card(sweep):
    card = json.loads((sweep / "sweep.json").read_text())
    (sweep / "sweep.json").write_text(json.dumps(card | {"parcels": True}))


def damage_shard(sweep):
    next((sweep / "shards").glob("*.zip")).unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_provenance, "incomplete"),
        (damage_target, "target '01_FFA999' is no voxel of the model"),
        (damage_card, "its targets are parcels"),
        (damage_shard, "cannot be read"),
    ],
)
def test_a_sweep_that_cannot_be_read_is_refused(planted, tmp_path, damage, message):
    shutil.copytree(planted.root / "sweep", tmp_path / "sweep")
    damage(tmp_path / "sweep")
    refused = planted.compare(tmp_path / "out", "--sweep", tmp_path / "sweep")
    assert refused.status == 1
    assert message in " ".join(refused.err.split())
    assert not (tmp_path / "out").exists()


def test_two_subjects_are_compared_apart_too(planted, tmp_path):
    def split(voxels):
        return voxels.assign(subject=["01", "02"] * 6)

    finished = planted.compare(tmp_path / "out", "--no-maps", model=rewrite(planted, tmp_path, split))
    assert finished.status == 0, finished.err
    assert json.loads((tmp_path / "out" / "similarity.json").read_text())["own_roi_share_other_subjects"] is not None


def test_a_folder_of_something_else_is_left_alone(planted, tmp_path):
    write_tsv(pd.DataFrame({"a": [1]}), tmp_path / "out" / "mine.tsv")
    refused = planted.compare(tmp_path / "out")
    assert refused.status == 1
    assert "is not empty" in refused.err
