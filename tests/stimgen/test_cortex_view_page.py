"""The page of a cortex in a real browser, from disk, without a network: by pointer, finger and keyboard, and by its address."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from stimgen.cortex_pictures import name_picture
from stimgen.roi_colors import sample_palettes
from stimgen.view_cortex import write_cortex
from tests.stimgen.browser import SOFTWARE_GRAPHICS, start_browser, watch
from tests.stimgen.small_cortex import make_given, make_vertices

READY = "document.documentElement.dataset.ready && (!scene || scene.renderer.info.render.frame > 0)"
AIM = "id => { scene.camera.updateMatrixWorld(); return scene.project(cortex.placeOf[cortex.index.get(id)]); }"
FREE = """
id => {
  scene.camera.updateMatrixWorld();
  const place = cortex.placeOf[cortex.index.get(id)], at = scene.project(place);
  return [[0, 0], [5, 0], [-5, 0], [0, 5], [0, -5]].every(([x, y]) => scene.pick(at.x + x, at.y + y) === place);
}
"""
SHOWN = "scene ? [scene.getCamera(), state.color, state.region, state.side, state.least, document.querySelector('h2').textContent] : null"

NO_WEBGL = """
const get = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
  return kind.startsWith("webgl") ? null : get.call(this, kind, ...more);
};
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Vertices of two subjects, who share their first ones; an image for every third."""
    table = pd.concat([make_vertices(), make_vertices({"L": 5, "R": 5}, "02")], ignore_index=True)
    return make_given(tmp_path_factory.mktemp("given"), voxels=table)


@pytest.fixture(scope="module")
def folder(given, tmp_path_factory):
    written = tmp_path_factory.mktemp("page")
    write_cortex(given, None, written)
    return written


@pytest.fixture(scope="module")
def browser():
    with start_browser(*SOFTWARE_GRAPHICS) as started:
        yield started


def open_page(browser, folder, address="", **how):
    """Open a page and wait until it has drawn; return it and the list of what went wrong."""
    page = browser.new_page(viewport={"width": 900, "height": 520}, **how)
    wrong = watch(page)
    page.goto((folder / "index.html").as_uri() + address)
    page.wait_for_function(READY)
    return page, wrong


@pytest.fixture
def page(browser, folder):
    opened, wrong = open_page(browser, folder)
    yield opened
    assert wrong == []
    opened.close()


def click(page, voxel_id, act="click"):
    """Click (or tap) where a voxel is."""
    at, box = page.evaluate(AIM, voxel_id), page.locator("#canvas").bounding_box()
    assert not at["behind"]
    point = (box["x"] + at["x"], box["y"] + at["y"])
    page.mouse.click(*point) if act == "click" else page.touchscreen.tap(*point)


def find_facing(page, given, subject="01"):
    """Return a voxel with an image that faces the viewer, and the number of its image."""
    for number, target in enumerate(given.store.images["target_id"]):
        if target.startswith(subject) and page.evaluate(FREE, target):
            return target, number
    raise LookupError("no voxel faces the viewer")


def test_a_click_shows_the_images_of_the_place(page, given):
    voxel, number = find_facing(page, given)
    click(page, voxel)
    assert page.inner_text("#panel h2") == voxel
    assert page.get_attribute(".own img", "src") == name_picture("images", number)
    assert page.evaluate("document.querySelector('.own img').decode().then(() => document.querySelector('.own img').naturalWidth)") == 24
    row = given.store.images.iloc[number]
    assert page.inner_text(".own figcaption") == f"predicted {row['predicted']:.2f} z, judged {row['judged']:.2f} z"
    assert f"{given.model.voxels.set_index('voxel_id')['cv_r'][voxel]:.2f}" in page.inner_text("#panel tbody tr")
    assert page.locator("#panel .tiles >> nth=0 >> img").count() == 12  # natural images
    assert page.evaluate("Promise.all([...document.images].map(image => image.decode())).then(all => all.length)") > 12
    page.mouse.click(4, page.locator("#canvas").bounding_box()["y"] + 4)  # beside the cortex
    assert page.inner_text("#panel h2") == "tiny"


def test_a_link_shows_the_same(page, browser, folder, given):
    voxel, _ = find_facing(page, given)
    page.select_option("#color", "rois")
    page.select_option("#b", "FFA")
    page.fill("#region", "v1")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.select_option("#side", "L")
    page.evaluate("id => select(cortex.placeOf[cortex.index.get(id)])", voxel)
    page.focus("#stage")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("+")
    other, wrong = open_page(browser, folder, page.evaluate("location.hash"))
    assert other.evaluate(SHOWN) == page.evaluate(SHOWN)
    assert other.evaluate("[state.a, state.b, state.voxel]") == page.evaluate("[state.a, state.b, state.voxel]")
    assert (other.input_value("#region"), other.input_value("#b"), wrong) == ("V1", "FFA", [])
    other.close()


def test_all_goes_by_keyboard(page, given):
    page.focus("#stage")
    page.keyboard.press("n")
    first = page.inner_text("#panel h2")
    assert first in set(given.store.images["target_id"])
    page.keyboard.press("n")
    assert page.inner_text("#panel h2") != first
    page.keyboard.press("p")
    assert page.inner_text("#panel h2") == first
    for key, axis, sign in (("ArrowLeft", "x", -1), ("ArrowDown", "y", 1), ("ArrowRight", "x", 1)):
        before = page.inner_text("#panel h2")
        screen = page.evaluate("Object.fromEntries(cortex.ids.map((id, voxel) => [id, scene.project(cortex.placeOf[voxel])]))")
        page.keyboard.press(key)
        after = page.inner_text("#panel h2")
        assert after == before or sign * (screen[after][axis] - screen[before][axis]) > 0
    assert page.inner_text("#panel h2") != first
    page.keyboard.press("/")
    page.keyboard.type("FFA")
    page.keyboard.press("Enter")
    assert page.inner_text("#panel h2") == "FFA"
    page.focus("#stage")
    page.keyboard.press("Escape")
    assert page.inner_text("#panel h2") == "tiny"
    page.keyboard.press("?")
    assert page.is_visible("#help")


def test_neighbors_are_the_nearest_voxels_along_the_surface(page, given):
    """The page's own search against scipy's, on the pial surface while the inflated one is shown."""
    table, left = given.model.voxels, given.surfaces.hemispheres[0]
    points, corners = left.positions["pial"], left.triangles
    pairs = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
    lengths = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    far = dijkstra(coo_array((lengths, pairs.T), shape=(60, 60)).tocsr(), directed=False, indices=8)
    vertices = table["i"][(table["subject"] == "01") & (table["hemisphere"] == "L")].to_numpy()
    nearest = sorted((far[vertex], vertex) for vertex in vertices if vertex != 8)[:8]
    page.evaluate("select(8)")
    tiles = page.locator("#panel .tiles >> nth=1 >> button")
    assert tiles.evaluate_all("tiles => tiles.map(tile => tile.dataset.voxel)") == [f"01_L{vertex:05d}" for _, vertex in nearest]
    assert f"{nearest[0][0]:.0f} mm" in tiles.first.inner_text()
    tiles.first.click()
    assert page.inner_text("#panel h2") == f"01_L{nearest[0][1]:05d}"


def test_colors_are_those_of_the_values(page, given):
    table, low = given.model.voxels, 0.0
    own = table[table["subject"] == "01"]
    high = round(np.percentile(table["cv_r"], 98), 3)
    steps = np.round(np.clip((own["cv_r"] - low) / (high - low), 0, 1) * 255).astype(int)
    expected = sample_palettes()["sequential"][steps] / 255
    place = own["i"] + np.where(own["hemisphere"] == "R", 60, 0)
    drawn = np.array(page.evaluate("[...scene.colors]")).reshape(-1, 3)
    np.testing.assert_allclose(drawn[place], expected, atol=1 / 255)
    bare = np.setdiff1d(np.arange(110), place)
    assert set(np.unique(drawn[bare].round(2))) == {0.56, 0.72}  # curvature
    page.fill("#least", "0.4")
    drawn = np.array(page.evaluate("[...scene.colors]")).reshape(-1, 3)
    assert ((drawn[place] == drawn[place][:, :1]).all(axis=1) == (own["cv_r"] < 0.4)).all()
    page.select_option("#color", "roi")
    page.fill("#least", "0")
    drawn = np.array(page.evaluate("[...scene.colors]")).reshape(-1, 3)
    named = place[own["roi"] != "none"]
    assert len(np.unique(drawn[named].round(3), axis=0)) == 2  # V1 and FFA
    assert set(np.unique(drawn[np.setdiff1d(place, named)].round(2))) == {0.56, 0.72}


def test_a_finger_subjects_and_a_picture_that_is_gone(browser, folder, given):
    page, wrong = open_page(browser, folder, has_touch=True)
    page.select_option("#subject", "02")
    page.select_option("#view", "top")
    voxel, number = find_facing(page, given, "02")
    file = folder / name_picture("images", number)
    kept = file.read_bytes()
    file.unlink()
    click(page, voxel, "tap")
    assert page.inner_text("#panel h2") == voxel
    page.wait_for_selector(".own .missing")
    assert page.inner_text(".own .missing") == "image is missing"
    file.write_bytes(kept)
    assert {text for text in wrong if name_picture("images", number) not in text} <= {"Failed to load resource: net::ERR_FILE_NOT_FOUND"}
    page.close()


def test_without_webgl_regions_are_searched(browser, folder):
    page = browser.new_page()
    wrong = watch(page)
    page.add_init_script(NO_WEBGL)
    page.goto((folder / "index.html").as_uri())
    assert page.is_visible("text=This browser draws no 3D graphics")
    page.fill("#region", "FFA")
    page.keyboard.press("Enter")
    page.click("#panel .tiles button")
    assert page.locator(".own img").count() == 1
    assert wrong == []
    page.close()


def test_a_cloud_of_voxels(browser, tmp_path):
    given = make_given(tmp_path, surfaces=False)
    (tmp_path / "page").mkdir()
    write_cortex(given, None, tmp_path / "page")
    page, wrong = open_page(browser, tmp_path / "page", "#color=layer")
    voxel, _ = find_facing(page, given)
    click(page, voxel)
    assert page.inner_text("#panel h2") == voxel
    assert page.locator(".own img").count() == 1
    assert not page.is_visible("#side")
    assert json.loads(page.evaluate("JSON.stringify(cortex.near(0, positions, () => true, 3).map(one => one[1]))")) == [4, 4, 4]
    assert wrong == []
    page.close()
