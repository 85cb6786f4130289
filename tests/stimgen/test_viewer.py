"""The page of a set: what it knows of each image, and that it works in a real browser, from disk, without a network."""

from itertools import pairwise

import pytest

from protocols.errors import InputError
from stimgen.set_tables import SCORES
from stimgen.viewer import describe_images, render_page
from tests.stimgen.browser import start_browser, watch
from tests.stimgen.conftest import run_stimgen
from tests.stimgen.small_set import write_set


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set of twelve images; one target image is flagged, subjects differ by target."""
    folder = tmp_path_factory.mktemp("viewed") / "set"
    gate = ["flag", *["pass"] * 11]
    subjects = ["01 02"] * 3 + ["02"] * 3 + ["01 02"] * 3 + ["02"] * 3
    return write_set(folder, gate=gate, subjects=subjects, license="CC0 <b>", source="a & b")


@pytest.fixture(scope="module")
def viewer(made):
    """The page that the command writes."""
    out = made.folder.parent / "viewer"
    finished = run_stimgen("view", "--set", made.folder, "--out", out)
    assert finished.status == 0, finished.err
    return out


@pytest.fixture(scope="module")
def browser():
    with start_browser() as started:
        yield started


@pytest.fixture
def page(browser, viewer):
    """The opened page; every test ends with no error on the console and no request that failed or left the disk."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    wrong = watch(opened)
    opened.goto((viewer / "index.html").as_uri())
    yield opened
    assert wrong == []
    opened.close()


def list_shown(page):
    return page.eval_on_selector_all(".tile", "tiles => tiles.map(tile => tile.dataset.id)")


def test_the_page_shows_every_image_and_its_drive(page, made):
    assert list_shown(page) == list(made.table["stim_id"])
    assert page.inner_text("#count") == "12 of 12 images"
    assert page.inner_text(".tile >> nth=1 >> .drive") == "4.0 / 3.0"
    assert page.locator(".tile.flag").count() == 1
    loaded = page.evaluate("Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)))")
    assert loaded == [16] * 12


def test_filters_narrow_one_another_and_the_address_remembers_them(page):
    page.select_option("#target", "LO")
    assert page.inner_text("#count") == "6 of 12 images"
    page.select_option("#condition", "natural")
    assert list_shown(page) == ["naturalLO01", "naturalLO02", "naturalLO03"]
    page.reload()
    assert list_shown(page) == ["naturalLO01", "naturalLO02", "naturalLO03"]
    page.select_option("#subject", "01")
    assert page.inner_text("#count") == "0 of 12 images"
    assert page.is_visible("text=No image is of all these.")
    page.select_option("#target", "")
    assert list_shown(page) == ["naturalV301", "naturalV302", "naturalV303"]


def test_the_gate_filters_and_drive_orders(page):
    page.select_option("#gate", "flag")
    assert list_shown(page) == ["targetV301"]
    page.select_option("#gate", "")
    page.select_option("#order", "judged")
    drives = [float(text.split(" / ")[1]) for text in page.locator(".tile .drive").all_text_contents()]
    assert all(one >= other for one, other in pairwise(drives))


def test_an_image_opens_with_its_controls_drives_and_ascent(page):
    page.click(".tile >> nth=0")
    assert page.inner_text("#name") == "targetV301"
    right = page.inner_text("#right")
    assert "m\tmaker\t2.00" in right
    assert page.get_attribute("#right svg", "aria-label") == "drive against steps, 1.50 to 1.50 z"
    assert page.inner_text("#left").count("CC0 <b>") == 1
    page.click("#right .others button")
    assert page.inner_text("#name") == "naturalV301"
    page.click("#right .others button")
    assert page.inner_text("#name") == "targetV301"
    page.click("#close")
    assert not page.is_visible("#opened")


def test_all_goes_by_keyboard(page):
    def find_focus():
        return page.evaluate("document.activeElement.dataset.id ?? document.activeElement.id")

    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert find_focus() == "targetV302"
    page.keyboard.press("Enter")
    assert page.inner_text("#name") == "targetV302"
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#name") == "targetV303"
    assert page.url.endswith("#image=targetV303")
    page.keyboard.press("Escape")
    page.wait_for_function("document.activeElement.dataset.id === 'targetV303'")  # the dialog tells that it closed a moment later
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    columns = page.evaluate("getComputedStyle(document.getElementById('grid')).gridTemplateColumns.split(' ').length")
    assert find_focus() == list_shown(page)[1 + columns]
    page.keyboard.press("/")
    assert find_focus() == "target"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.is_visible("#help")


def test_a_link_to_an_image_opens_it(page, viewer):
    page.wait_for_load_state("networkidle")  # thumbnails that are on their way would fail when the page is left
    page.goto("about:blank")
    page.goto(f"{(viewer / 'index.html').as_uri()}#condition=natural&image=naturalLO02")
    assert page.inner_text("#name") == "naturalLO02"
    assert page.inner_text("#count") == "6 of 12 images"


def test_a_set_without_tables_beside_it_has_the_drives_of_its_own(tmp_path):
    made = write_set(tmp_path / "set")
    for name in ("scores.tsv", "ascent.tsv"):
        (made.folder / name).unlink()
    first = describe_images(made)[0]
    assert (first["predicted"], first["judged"], first["scores"], first["ascent"]) == (3.0, 2.0, [], [])
    assert first["rois"] == [["V3", None, 1.0]]


def test_a_table_beside_the_set_that_names_another_image_is_refused(tmp_path):
    made = write_set(tmp_path / "set")
    path = made.folder / SCORES
    path.write_text(path.read_text().replace("targetLO01", "targetXX01"))
    with pytest.raises(InputError, match=r"scores.tsv: names 'targetXX01', which is not in the set; copy the set again"):
        describe_images(made)


def test_text_cannot_become_markup():
    page = render_page("<b>", [{"id": "a", "license": "</script><img src=x>"}])
    assert "</script><img" not in page
    assert "<title>&lt;b&gt;" in page
