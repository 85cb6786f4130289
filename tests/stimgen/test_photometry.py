"""Photometry of colors and patterns whose values are known."""

import numpy as np
import pytest
import torch

from stimgen.photometry import WEDGES, high_frequency_share, measure_light, measure_photometry, measure_slope, measure_stripes


def fill(red, green, blue):
    return np.broadcast_to(np.array([red, green, blue], dtype=np.float32), (16, 16, 3)).copy()


@pytest.mark.parametrize(
    ("color", "luminance", "saturation"),
    [
        ((1, 1, 1), 1.0, 0),
        ((1, 0, 0), 0.2126, np.sqrt((0.7874**2 + 2 * 0.2126**2) / 3) / 0.2126),  # ITU-R BT.709
        ((0, 1, 0), 0.7152, np.sqrt((0.2848**2 + 2 * 0.7152**2) / 3) / 0.7152),
        ((0, 0, 1), 0.0722, np.sqrt((0.9278**2 + 2 * 0.0722**2) / 3) / 0.0722),
        ((0.5, 0.5, 0.5), 0.21404, 0),  # IEC 61966-2-1
        ((0.04, 0.04, 0.04), 0.04 / 12.92, 0),
        ((128 / 255, 128 / 255, 128 / 255), 0.21586, 0),
    ],
)
def test_luminance_and_saturation_of_known_colors(color, luminance, saturation):
    measured = measure_photometry(fill(*color))
    assert measured["luminance"] == pytest.approx(luminance, abs=1e-5)
    assert measured["saturation"] == pytest.approx(saturation, abs=1e-3)
    assert measured["contrast"] == pytest.approx(0, abs=1e-3)


def make_checkerboard(side=1, size=16):
    squares = np.add.outer(np.arange(size) // side, np.arange(size) // side) % 2
    return np.repeat(squares[:, :, None], 3, axis=2).astype(np.float32)


def test_contrast_of_half_black_half_white_is_one_whatever_the_arrangement():
    for side in (1, 2, 8):
        measured = measure_photometry(make_checkerboard(side))
        assert measured["contrast"] == pytest.approx(1)
        assert measured["luminance"] == pytest.approx(0.5)
    assert measure_photometry(make_checkerboard() * 0)["luminance"] == 0


@pytest.mark.parametrize("slope", [-0.5, -1.0, -2.0])
@pytest.mark.parametrize("side", [64, 65])
def test_the_slope_of_noise_is_the_one_it_was_made_with(slope, side):
    rows, columns = np.fft.fftfreq(side)[:, None] * side, np.fft.rfftfreq(side)[None, :] * side
    ring = np.maximum(np.sqrt(rows**2 + columns**2).round(), 1)
    white = np.fft.rfft2(np.random.default_rng(1).standard_normal((side, side)))
    plane = np.fft.irfft2(ring**slope * white / np.abs(white), s=(side, side))
    assert float(measure_slope(torch.from_numpy(plane)[None])) == pytest.approx(slope, abs=1e-3)


def draw_grating(cycles, angle_deg, contrast, side=128):
    axis = np.arange(side) / side
    place = np.cos(np.radians(angle_deg)) * axis[None, :] + np.sin(np.radians(angle_deg)) * axis[:, None]
    plane = 0.5 * (1 + contrast * np.sqrt(2) * np.sin(2 * np.pi * cycles * place))
    return torch.from_numpy(plane).float()[None, None].expand(1, 3, -1, -1)


def test_stripes_near_3_cycles_per_degree_are_measured_by_their_contrast_and_orientation():
    at_3_per_degree = measure_stripes(draw_grating(24, 90, 0.4), size_deg=8.0)[0]
    assert int(at_3_per_degree.argmax()) == WEDGES // 2
    assert float(at_3_per_degree.max()) == pytest.approx(0.4, abs=0.01)
    for size_deg in (2.0, 32.0):  # the same image seen from afar and from near: 12 and 0.75 cycles per degree
        assert float(measure_stripes(draw_grating(24, 90, 0.4), size_deg).max()) < 0.01


def test_what_the_window_hides_does_not_count():
    hidden = torch.full((1, 3, 32, 32), 0.5)
    hidden[..., :16, :] = torch.rand((1, 3, 16, 32), generator=torch.Generator().manual_seed(1))
    window = torch.zeros(32, 32)
    window[16:] = 1
    seen = measure_light(hidden, window)
    assert (float(seen.luminance), float(seen.contrast)) == pytest.approx((0.5, 0), abs=1e-5)


def test_single_pixels_are_high_frequency_and_a_gradient_is_not():
    gradient = np.repeat(np.repeat(np.linspace(0, 1, 16, dtype=np.float32)[None, :, None], 16, axis=0), 3, axis=2)
    assert high_frequency_share(make_checkerboard(1)) == pytest.approx(1)
    assert high_frequency_share(gradient) < 0.1
    assert high_frequency_share(gradient) < high_frequency_share(make_checkerboard(4)) < high_frequency_share(make_checkerboard(2))
