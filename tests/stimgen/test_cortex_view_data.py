"""What the page of a cortex is given: numbers, places, colors, favorites and contrasts, as the model and the sweep have them."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stimgen.cortex_page import DATA, Places, decode
from stimgen.cortex_pictures import name_picture, write_page
from stimgen.features import extract_files
from stimgen.roi_colors import GRAY, OKABE_ITO, assign_colors, sample_palettes
from stimgen.surface_files import read_surfaces
from stimgen.view_cortex import choose_subjects, write_cortex
from stimgen.voxel_maps import BEST, compare_conditions, compare_rois, map_voxels
from stimgen.voxel_places import find_points, find_vertices
from tests.stimgen.small_cortex import (
    make_given,
    make_points,
    make_vertices,
    write_pool,
    write_surfaces,
    write_sweep,
)
from tests.stimgen.small_set import write_set
from tests.stimgen.tiny import make_tiny_model


def read_data(folder):
    """Return the data of a written page."""
    return json.loads((folder / DATA).read_text().removeprefix("const DATA = ").removesuffix(";\n"))


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    root = tmp_path_factory.mktemp("cortex")
    return make_given(root, each=2, every=6, stimuli=write_set(root / "set"))


@pytest.fixture(scope="module")
def page(given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return folder, write_cortex(given, None, folder)


@pytest.fixture(scope="module")
def features(given):
    return extract_files(given.model.space, given.pool.image_paths())


def test_every_voxel_has_its_numbers_its_region_and_its_vertex(given, page):
    data, table = read_data(page[0]), given.model.voxels
    voxels = data["voxels"]
    assert voxels["id"] == list(table["voxel_id"])
    assert [data["rois"][roi]["name"] for roi in decode(voxels["roi"])] == list(table["roi"])
    assert {one["name"]: one["voxels"] for one in data["rois"]} == table["roi"].value_counts().to_dict()
    assert ["LR"[side] for side in decode(voxels["hemisphere"])] == list(table["hemisphere"])
    assert decode(voxels["vertex"]).tolist() == table["i"].tolist()
    numbers = {one["key"]: one for one in data["numbers"]}
    for name in ("cv_r", "test_r", "noise_ceiling"):
        np.testing.assert_array_equal(decode(numbers[name]["values"]), table[name].to_numpy(dtype=np.float32))
    assert (numbers["cv_r"]["low"], numbers["cv_r"]["high"]) == (0.0, round(np.percentile(table["cv_r"], 98), 3))


def test_the_meshes_are_those_of_the_files(given, page):
    for found, one in zip(read_data(page[0])["surfaces"], given.surfaces.hemispheres, strict=True):
        assert list(found["positions"]) == ["inflated", "pial"]
        assert decode(found["triangles"]).reshape(-1, 3).tolist() == one.triangles.tolist()
        np.testing.assert_array_equal(decode(found["positions"]["pial"]).reshape(-1, 3), one.positions["pial"])
        np.testing.assert_array_equal(decode(found["sulc"]), one.positions["inflated"][:, 0])


def test_images_belong_to_their_voxels_and_are_there(given, page):
    folder, _ = page
    images, voxels = read_data(folder)["images"], read_data(folder)["voxels"]
    assert [voxels["id"][voxel] for voxel in decode(images["voxel"])] == list(given.store.images["target_id"])
    drive = next(decode(one["values"]) for one in read_data(folder)["numbers"] if one["key"] == "predicted")
    best = given.store.images.groupby("target_id")["predicted"].max().reindex(given.model.voxels["voxel_id"])
    np.testing.assert_array_equal(drive, best.to_numpy(dtype=np.float32))  # NaN where the sweep has no image
    np.testing.assert_array_equal(decode(images["judged"]), given.store.images["judged"].to_numpy(dtype=np.float32))
    for number, image_id in enumerate(images["id"]):
        with Image.open(folder / name_picture("images", number)) as shown:
            small = np.asarray(shown, dtype=float)
        sweep = given.store.read_image(image_id)
        (folder / "one.png").write_bytes(sweep)
        with Image.open(folder / "one.png") as made:
            assert np.abs(small - np.asarray(made.convert("RGB"), dtype=float)).mean() < 12


def test_an_image_of_a_parcel_is_that_of_all_its_voxels(tmp_path):
    given = make_given(tmp_path, every=1)
    table = given.model.voxels
    parcels = table.drop_duplicates("roi").assign(voxel_id=lambda rows: "01_" + rows["roi"])
    store = write_sweep(tmp_path / "parcels", parcels, card={"parcels": True})
    (tmp_path / "page").mkdir()
    view = write_cortex(given.__class__("tiny", given.model, store, given.pool, given.surfaces), None, tmp_path / "page")
    assert view.images["voxel"].tolist() == [-1] * 3
    data = read_data(tmp_path / "page")
    drive = next(decode(one["values"]) for one in data["numbers"] if one["key"] == "predicted")
    of_roi = dict(zip(view.images["roi"], view.images["predicted"].astype(np.float32), strict=True))
    assert drive.tolist() == [of_roi[roi] for roi in table["roi"]]


def test_favorites_are_the_natural_images_with_the_highest_prediction(given, page, features):
    data = read_data(page[0])["natural"]
    best, z = (decode(data[name]).reshape(-1, BEST) for name in ("best", "z"))
    predicted = given.model.readout.predict(features)
    assert best.tolist() == np.argsort(-predicted, axis=0)[:BEST].T.tolist()
    expected = (predicted - predicted.mean(axis=0)) / predicted.std(axis=0)
    np.testing.assert_allclose(z, np.take_along_axis(expected.T, best, axis=1), atol=1e-4)
    assert data["name"] == list(given.pool.table["stim_id"])
    assert all((page[0] / name_picture("natural", row)).is_file() for row in np.unique(best).tolist())


def test_the_preferred_layer_carries_most_of_the_prediction(given, features):
    """Weights of one layer only leave no doubt which layer it is; what never changes has none, and no favorites."""
    model = make_tiny_model(voxels=given.model.voxels)
    of_feature = model.space.layer_of_feature
    model.readout.coefficients[of_feature == 1, 0] = 0
    model.readout.coefficients[of_feature == 0, 1] = 0
    model.readout.coefficients[:, 2] = 0
    maps = map_voxels(model, features)
    assert maps.layer[:3].tolist() == [0, 1, -1]
    assert maps.best[2].tolist() == [-1] * BEST
    assert maps.z[:, 2].tolist() == [0.0] * len(features)
    parts = [features[:, of_feature == layer] / model.readout.feature_scale[of_feature == layer] for layer in (0, 1)]
    parts = [part @ model.readout.coefficients[of_feature == layer] for layer, part in enumerate(parts)]
    whole = sum(parts)
    shares = [((part - part.mean(axis=0)) * (whole - whole.mean(axis=0))).sum(axis=0) for part in parts]
    assert maps.layer[3:].tolist() == np.argmax(shares, axis=0)[3:].tolist()


def test_likeness_to_regions_is_the_correlation_over_the_pool(features):
    model = make_tiny_model()
    found = compare_rois(model, map_voxels(model, features))
    predicted = model.readout.predict(features)
    assert found.groups == ("V3", "LO", "EBA")
    assert found.values[1, 3] == pytest.approx(1, abs=1e-5)  # LO's only voxel
    assert found.values[1, 0] == pytest.approx(np.corrcoef(predicted[:, 3], predicted[:, 0])[0, 1], abs=1e-5)


def test_contrasts_are_of_mean_predictions_by_condition_and_target(given, page, features):
    maps = map_voxels(given.model, features)
    table = given.stimuli.table
    predicted = given.model.readout.predict(
        extract_files(given.model.space, [given.stimuli.image_path(stim_id) for stim_id in table["stim_id"]])
    )
    found = compare_conditions(maps, predicted, list(table["condition"]), list(table["target"]))
    assert found.groups == ("target", "natural", "target for V3", "target for LO", "natural for V3", "natural for LO")
    z = (predicted - maps.mean) / maps.sd
    np.testing.assert_allclose(found.values[0], z[:6].mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found.values[5], z[9:].mean(axis=0), rtol=1e-4)
    written = {one["key"]: one for one in read_data(page[0])["contrasts"]}
    assert list(written) == ["set", "rois"]
    np.testing.assert_allclose(decode(written["set"]["values"]).reshape(6, -1), found.values, rtol=1e-5)


def test_regions_that_touch_differ_in_color():
    rois = [f"roi{number}" for number in range(9)] + ["none"]
    ring = np.array([[number, (number + 1) % 9] for number in range(9)] + [[0, 7], [0, 9]])
    colors = assign_colors(rois, rois, ring)
    assert all(colors[rois[one]] != colors[rois[other]] for one, other in ring[:10].tolist())
    assert set(colors.values()) == {*OKABE_ITO, GRAY}
    assert colors["none"] == GRAY


def test_touching_voxels_are_neighbors_on_the_mesh_or_in_space(tmp_path):
    surfaces = read_surfaces(write_surfaces(tmp_path / "surfaces"))
    voxels = make_vertices()
    touching = Places(surfaces, find_vertices(voxels, surfaces), None).find_touching()
    joined = {
        tuple(sorted(pair))
        for triangle in surfaces.hemispheres[0].triangles.tolist()
        for pair in zip(triangle, triangle[1:] + triangle[:1], strict=True)
    }
    left = {tuple(sorted(pair)) for pair in touching.tolist() if max(pair) < 36}
    assert left == {pair for pair in joined if max(pair) < 36}
    points, _ = find_points(make_points(40))
    near = Places(None, None, points).find_touching()
    assert np.linalg.norm(points[near[:, 0]] - points[near[:, 1]], axis=1).max() < 9


def test_palettes_run_from_end_to_end():
    palettes = sample_palettes()
    assert {steps.shape for steps in palettes.values()} == {(256, 3)}
    light = palettes["sequential"] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(light) > -1).all()  # by luminance alone the order can be seen
    assert palettes["diverging"][128].min() > 235


def test_only_the_chosen_subjects_are_shown(tmp_path):
    table = pd.concat([make_vertices({"L": 9, "R": 4}, "01"), make_vertices({"L": 7, "R": 5}, "02")], ignore_index=True)
    given = make_given(tmp_path, voxels=table, every=1)
    fewer = choose_subjects(given.model, ["02"])
    assert fewer.voxels["voxel_id"].tolist() == table["voxel_id"].tolist()[13:]
    images = write_pool(tmp_path / "more").image_paths()
    features = extract_files(given.model.space, images)
    np.testing.assert_allclose(fewer.readout.predict(features), given.model.readout.predict(features)[:, 13:], rtol=1e-4)
    (tmp_path / "page").mkdir()
    write_cortex(given.__class__("tiny", fewer, given.store, given.pool, given.surfaces), None, tmp_path / "page")
    data = read_data(tmp_path / "page")
    assert data["subjects"] == ["02"]
    assert data["images"]["id"] == [f"{voxel}_0" for voxel in fewer.voxels["voxel_id"]]
    assert len(list((tmp_path / "page" / "images").rglob("*.jpg"))) == 12


def test_points_are_in_millimeters_where_the_table_has_them():
    table = make_points()
    points, unit = find_points(table)
    assert (points.tolist(), unit) == (table[["x_mm", "y_mm", "z_mm"]].to_numpy().tolist(), "mm")
    points, unit = find_points(table.drop(columns="x_mm"))
    assert (points.tolist(), unit) == (table[["i", "j", "k"]].to_numpy().tolist(), "voxels")


def test_a_title_cannot_become_markup(tmp_path):
    write_page("<b>", tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "<title>&lt;b&gt;: cortex" in page
    assert all((tmp_path / name).is_file() for name in re.findall(r'(?:src|href)="(code/[^"]+)"', page))
