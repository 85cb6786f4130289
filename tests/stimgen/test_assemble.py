"""How a set's pictures are named, which controls stand beside them, and that they are measured as they were saved."""

from pathlib import Path

import numpy as np
import pytest

from protocols.errors import InputError
from protocols.provenance import hash_file
from stimgen.assemble import Picture, choose_natural, collect_targets, save_pictures, scramble_targets
from stimgen.image_files import read_image
from stimgen.make import Job, Made
from stimgen.order import plan_order
from stimgen.photometry import mean_luminance, rms_contrast
from tests.stimgen.conftest import make_order


def draw_made(wanted, rng, source="n03"):
    """Return as many images of noise as each target wants, the targets taking turns."""
    most = max(one.count for one in wanted)
    turns = [(index, one) for index in range(most) for one in wanted if index < one.count]
    return [
        Made(Job(one, 100 + index, Path("x.png"), source), rng.uniform(0, 1, (32, 32, 3)).astype(np.float32), 0, False)
        for index, one in turns
    ]


def test_images_are_numbered_within_their_targets(makers):
    order = make_order({"roi": "V3", "count": 1}, {"roi": "LO"}, count=3)
    pictures = collect_targets(order, draw_made(plan_order(order, makers), np.random.default_rng(1)))
    assert [one.stim_id for one in pictures] == ["targetV301", "targetLO01", "targetLO02", "targetLO03"]
    assert [one.seed for one in pictures] == [100, 100, 101, 102]
    assert {(one.condition, one.method, one.source_image) for one in pictures} == {("target", "fourier_ascent", "n03")}


@pytest.mark.parametrize(("parameterization", "method"), [("pixels", "pixels_ascent"), ("my.generator:make", "my.generator.make_ascent")])
def test_the_method_names_the_parameterization(makers, parameterization, method):
    order = make_order({"roi": "V3"}, count=1, image={"parameterization": parameterization})
    (picture,) = collect_targets(order, draw_made(plan_order(order, makers), np.random.default_rng(1)))
    assert picture.method == method


def test_natural_controls_are_the_pools_best_by_what_the_target_is_for_each_image_once(makers, natural):
    """A control is the best photograph for the ROI, not the most selective one; for a contrast, the contrast's best."""
    order = make_order({"roi": "V3", "count": 1}, {"contrast": "V3 - LO", "name": "c"}, count=3)
    chosen = choose_natural(order, plan_order(order, makers), makers, natural)
    assert [one.stim_id for one in chosen] == ["naturalV301", "naturalc01", "naturalc02", "naturalc03"]
    assert {(one.condition, one.method, one.seed) for one in chosen} == {("natural", "best_of_pool", None)}
    assert len({one.source_image for one in chosen}) == 4
    z = np.mean([maker.score(maker.pool) for maker in makers], axis=0)  # images x V3, LO, EBA
    best = int(z[:, 0].argmax())
    assert chosen[0].source_image == natural.table["stim_id"][best]
    contrast = z[:, 0] - z[:, 1]
    contrast[best] = -np.inf  # taken
    assert chosen[1].source_image == natural.table["stim_id"][contrast.argmax()]
    np.testing.assert_array_equal(chosen[0].image, read_image(natural.image_paths()[best], 32))


def test_a_pool_too_small_for_the_controls_is_refused(makers, natural):
    order = make_order({"roi": "V3"}, {"roi": "LO"}, count=7)
    with pytest.raises(InputError, match="the natural pool has 12 images, but 2 targets need 14; give a larger pool, or lower 'count'"):
        choose_natural(order, plan_order(order, makers), makers, natural)


def test_each_target_image_has_a_scrambled_copy_of_its_own_seed(makers):
    order = make_order({"roi": "V3"}, count=2)
    pictures = collect_targets(order, draw_made(plan_order(order, makers), np.random.default_rng(1)))
    scrambled, again = scramble_targets(pictures), scramble_targets(pictures)
    assert [one.source_image for one in scrambled] == ["targetV301", "targetV302"]
    assert [one.stim_id for one in scrambled] == ["scrambledV301", "scrambledV302"]
    assert scrambled[0].seed != scrambled[1].seed
    for one, same, original in zip(scrambled, again, pictures, strict=True):
        np.testing.assert_array_equal(one.image, same.image)
        assert np.abs(one.image - original.image).mean() > 0.05


def test_pictures_are_measured_as_they_were_saved(tmp_path):
    """Values out of range are clipped, and all are rounded to 8 bits, before anything is measured."""
    wild = (0.5 + np.random.default_rng(2).standard_normal((20, 20, 3))).astype(np.float32)
    table = save_pictures([Picture("targetV301", "target", "V3", "fourier_ascent", 7, None, wild)], tmp_path)
    row = table.iloc[0]
    saved = (np.clip(wild, 0, 1) * 255).round() / 255
    assert row["mean_luminance"] == pytest.approx(mean_luminance(saved), abs=1e-6)
    assert row["rms_contrast"] == pytest.approx(rms_contrast(saved), abs=1e-5)
    assert (row["stim_file"], row["width_px"], row["height_px"]) == ("stim-targetV301_image.png", 20, 20)
    assert row["sha256"] == hash_file(tmp_path / row["stim_file"])
    assert (row["seed"], row["source_image"]) == (7, None)
