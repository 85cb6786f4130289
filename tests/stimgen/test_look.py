"""Edges and complexity of images whose order is known, and the viewing that a sidecar tells."""

import numpy as np
import pytest
import torch

from stimgen.display import load_display
from stimgen.look import Viewing, measure_complexity, measure_edges, read_viewing
from stimgen.matching import PhotometrySettings, describe_matching, draw_window
from stimgen.photometry import measure_photometry


def repeat(plane):
    return np.repeat(plane[:, :, None], 3, axis=2).astype(np.float32)


def draw_bars(width, side=32):
    return repeat(np.broadcast_to(np.arange(side) // width % 2, (side, side)))


def test_edges_are_counted_where_lightness_steps():
    assert measure_edges(repeat(np.full((32, 32), 0.5)), load_display()) == 0
    assert measure_edges(repeat(np.broadcast_to(np.linspace(0.4, 0.6, 32), (32, 32))), load_display()) == 0
    assert measure_edges(draw_bars(16), load_display()) == pytest.approx(2 / 32)  # one edge, two pixels wide
    assert measure_edges(draw_bars(8), load_display()) == pytest.approx(6 / 32)


def test_noise_is_more_complex_than_bars_and_bars_than_gray():
    noise = np.random.default_rng(1).uniform(0, 1, (32, 32, 3)).astype(np.float32)
    gray, bars, random = (measure_complexity(image) for image in (repeat(np.full((32, 32), 0.5)), draw_bars(3), noise))
    assert gray < bars < random


@pytest.mark.parametrize("table", [False, True])
def test_a_sidecar_tells_the_viewing_that_the_set_was_made_for(table, tmp_path):
    path = tmp_path / "lum.tsv"
    path.write_text("level\tluminance_cd_m2\n0\t1\n128\t40\n255\t200\n")
    curve = {"luminance_table": path} if table else {"gamma": 1.7}
    settings = PhotometrySettings(matching="none", aperture_deg=6.0, hole_deg=0.5, size_deg=9.0, **curve)
    viewing = read_viewing({"photometry": describe_matching(settings, None)}, 64)
    gray = torch.full((1, 3, 1, 1), 0.3)
    torch.testing.assert_close(viewing.display.to_linear(gray), load_display(settings.gamma, settings.luminance_table).to_linear(gray))
    torch.testing.assert_close(viewing.window, draw_window(settings, 64))
    assert viewing.size_deg == 9.0


def test_light_is_measured_through_the_window():
    image = np.random.default_rng(1).uniform(0, 1, (64, 64, 3)).astype(np.float32)
    window = draw_window(PhotometrySettings(aperture_deg=4.0), 64)
    seen = Viewing(load_display(), window).measure_light(image)
    assert seen["mean_luminance"] == measure_photometry(image, load_display(), window)["luminance"]
    image[:8] = 1
    assert Viewing(load_display(), window).measure_light(image) == seen  # outside the aperture
    assert Viewing(load_display()).measure_light(image) != seen


def test_a_set_that_tells_nothing_was_made_for_srgb():
    viewing = read_viewing({}, 32)
    assert viewing.window is None
    assert float(viewing.display.to_linear(torch.full((1, 3, 1, 1), 0.5))[0, 0]) == pytest.approx(0.214, abs=1e-3)
