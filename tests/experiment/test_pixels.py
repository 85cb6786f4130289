import numpy as np
import pytest
from PIL import Image

from experiment.pixels import describe_difference, load_pixels, place_centered
from protocols.protocol import Screen

SCREEN = Screen(width_px=320, height_px=240, width_cm=40, distance_cm=100, size_deg=3.0)  # images are 42 px wide


def save(tmp_path, image):
    image.save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_image_of_the_shown_size_is_taken_as_it_is(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (42, 42, 3), dtype=np.uint8)
    assert (load_pixels(save(tmp_path, Image.fromarray(pixels)), SCREEN) == pixels).all()


def test_image_of_another_size_is_resampled_to_the_shown_size(tmp_path):
    ramp = np.repeat(np.linspace(0, 250, 84, dtype=np.uint8)[None, :, None], 42, axis=0).repeat(3, axis=2)
    shown = load_pixels(save(tmp_path, Image.fromarray(ramp)), SCREEN)
    assert shown.shape == (21, 42, 3)
    assert abs(shown[10, :, 0].astype(float) - ramp[0, :, 0].reshape(42, 2).mean(axis=1)).max() < 3


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_gray_palette_and_alpha_become_rgb(tmp_path, mode):
    gray = Image.fromarray(np.full((42, 42), 90, np.uint8)).convert(mode)
    assert (load_pixels(save(tmp_path, gray), SCREEN) == 90).all()


@pytest.mark.parametrize(("width", "height", "corner"), [(4, 2, (3, 3)), (3, 3, (2, 3)), (9, 8, (0, 0))])
def test_image_lies_in_the_center_and_an_odd_remainder_goes_right_and_below(width, height, corner):
    canvas = place_centered(np.full((height, width, 3), 9, np.uint8), 127, 10, 8)
    rows, columns = np.nonzero((canvas == 9).all(axis=2))
    assert (rows.min(), columns.min()) == corner
    assert (canvas == 127).all(axis=2).sum() == 80 - width * height


def test_differences_are_counted():
    screen = place_centered(np.zeros((3, 3, 3), np.uint8), 127, 10, 8)
    assert describe_difference(screen, screen.copy()) is None
    changed = screen.copy()
    changed[0, 0, 2], changed[4, 4, 0] = 128, 255
    assert describe_difference(changed, screen) == "2 pixels differ, by up to 255 of 255"
    assert describe_difference(screen[:, :9], screen) == "the screen is 9 x 8 px, expected 10 x 8"
