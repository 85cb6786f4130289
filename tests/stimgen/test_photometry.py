"""Photometry of colors and patterns whose values are known."""

import numpy as np
import pytest

from stimgen.photometry import high_frequency_share, linear_luminance, mean_luminance, rms_contrast


def fill(red, green, blue):
    return np.broadcast_to(np.array([red, green, blue], dtype=np.float32), (4, 6, 3)).copy()


@pytest.mark.parametrize(
    ("color", "luminance"),
    [
        ((1, 1, 1), 1.0),
        ((0, 0, 0), 0.0),
        ((1, 0, 0), 0.2126),  # ITU-R BT.709
        ((0, 1, 0), 0.7152),
        ((0, 0, 1), 0.0722),
        ((0.5, 0.5, 0.5), 0.21404),  # IEC 61966-2-1
        ((0.04, 0.04, 0.04), 0.04 / 12.92),
        ((128 / 255, 128 / 255, 128 / 255), 0.21586),
    ],
)
def test_luminance_of_known_colors(color, luminance):
    assert mean_luminance(fill(*color)) == pytest.approx(luminance, abs=1e-5)
    assert rms_contrast(fill(*color)) == pytest.approx(0, abs=1e-6)


def test_luminance_is_of_each_pixel_and_without_a_step_at_the_toe():
    ramp = np.repeat(np.linspace(0.039, 0.042, 50, dtype=np.float32)[None, :, None], 3, axis=2)
    steps = np.diff(linear_luminance(ramp)[0])
    assert steps.min() > 0
    assert steps.max() < 3 * steps.min()


def make_checkerboard(side=1, size=16):
    squares = np.add.outer(np.arange(size) // side, np.arange(size) // side) % 2
    return np.repeat(squares[:, :, None], 3, axis=2).astype(np.float32)


def test_contrast_of_half_black_half_white_is_one_whatever_the_arrangement():
    for side in (1, 2, 8):
        assert rms_contrast(make_checkerboard(side)) == pytest.approx(1)
        assert mean_luminance(make_checkerboard(side)) == pytest.approx(0.5)
    assert rms_contrast(make_checkerboard() * 0) == 0


def test_single_pixels_are_high_frequency_and_a_gradient_is_not():
    gradient = np.repeat(np.repeat(np.linspace(0, 1, 16, dtype=np.float32)[None, :, None], 16, axis=0), 3, axis=2)
    assert high_frequency_share(make_checkerboard(1)) == pytest.approx(1)
    assert high_frequency_share(gradient) < 0.1
    assert high_frequency_share(gradient) < high_frequency_share(make_checkerboard(4)) < high_frequency_share(make_checkerboard(2))
