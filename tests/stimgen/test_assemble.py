"""How a set's pictures are named, which controls stand beside them, and that they are measured as they were saved."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from protocols.provenance import hash_file
from stimgen.assemble import Picture, collect_ascent, collect_targets, save_pictures
from stimgen.display import load_display
from stimgen.look import Viewing
from stimgen.make import Job, Made
from stimgen.order import plan_order
from stimgen.photometry import measure_photometry
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


def test_pictures_are_measured_as_they_were_saved_on_the_display_they_are_for(natural, tmp_path):
    """Values out of range are clipped, and all are rounded to 8 bits, before anything is measured."""
    wild = (0.5 + np.random.default_rng(2).standard_normal((20, 20, 3))).astype(np.float32)
    picture = Picture("targetV301", "target", "V3", "fourier_ascent", 7, "n04", wild, None, 3)
    for gamma in (None, 2.0):
        table = save_pictures([picture], tmp_path, natural, Viewing(load_display(gamma)))
        row = table.iloc[0]
        saved = measure_photometry((np.clip(wild, 0, 1) * 255).round() / 255, load_display(gamma))
        for column, name in (
            ("mean_luminance", "luminance"),
            ("rms_contrast", "contrast"),
            ("slope", "slope"),
            ("saturation", "saturation"),
        ):
            assert row[column] == pytest.approx(saved[name], abs=1e-5)
        assert (row["stim_file"], row["width_px"], row["height_px"]) == ("stim-targetV301_image.png", 20, 20)
        assert row["sha256"] == hash_file(tmp_path / row["stim_file"])
        assert (row["seed"], row["source_image"], row["profile"], row["control_of"]) == (7, "n04", 3, None)


def test_license_and_source_are_those_of_the_photograph_behind_an_image(natural, tmp_path):
    image = np.full((8, 8, 3), 0.5, dtype=np.float32)
    pictures = [
        Picture("targetV301", "target", "V3", "fourier_ascent", 7, "n04", image),
        Picture("scrambledV301", "scrambled", "V3", "phase_scramble", 8, "targetV301", image, "targetV301"),
        Picture("targetV302", "target", "V3", "fourier_ascent", 9, None, image),
        Picture("targetV303", "target", "V3", "edit_ascent", 9, "holiday", image),
    ]
    table = save_pictures(pictures, tmp_path, natural, Viewing(load_display())).set_index("stim_id")
    assert table["source"].fillna("").tolist() == ["photo1", "photo1", "", "holiday"]
    assert table["license"].fillna("").tolist() == ["CC0", "CC0", "", "unknown"]


def test_the_ascent_is_told_of_target_images_alone(makers):
    made = draw_made(plan_order(make_order({"roi": "V3"}, count=2), makers), np.random.default_rng(1))
    pictures = collect_targets(make_order({"roi": "V3"}, count=2), made)
    made = [dataclasses.replace(one, trace=np.array([1.0, 2.5 + index], np.float32)) for index, one in enumerate(made)]
    told = collect_ascent([*pictures, pictures[0]], made)
    assert told.to_numpy().tolist() == [["targetV301", 10, 1.0], ["targetV301", 20, 2.5], ["targetV302", 10, 1.0], ["targetV302", 20, 3.5]]
