"""Jitter moves, scales and turns the whole frame by what it says, with gray outside."""

import math

import pytest
import torch

from protocols.config import parse_config
from protocols.errors import InputError
from stimgen.transforms import Jitter, apply_affine, draw_affine
from tests.stimgen.tiny import draw_images

IDENTITY = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def draw_many(jitter, count=500):
    generator = torch.Generator().manual_seed(1)
    return torch.stack([draw_affine(jitter, generator) for _ in range(count)])


def place_dot(row, column, size_px=20):
    images = torch.full((1, 3, size_px, size_px), 0.5)
    images[0, :, row, column] = 1.0
    return images


def find_dot(images):
    return divmod(int((images[0, 0] - 0.5).abs().argmax()), images.shape[-1])


def test_without_jitter_an_image_stays_as_it_is():
    images = draw_images(2, 12)
    still = draw_many(Jitter(shift=0, scale=0, rotation_deg=0), 2)
    torch.testing.assert_close(still, IDENTITY.expand(2, 2, 3))
    torch.testing.assert_close(apply_affine(images, still), images, atol=1e-5, rtol=0)


def test_a_shift_moves_a_dot_by_that_fraction_of_the_side_and_leaves_gray_behind():
    shifted = IDENTITY.clone()
    shifted[:, 2] = 2 * torch.tensor([0.25, -0.1])  # what draw_affine makes of a shift of 25 % and -10 % of the side
    images = place_dot(8, 12)
    images[..., :10, :3] = 0.0
    moved = apply_affine(images, shifted[None])
    assert find_dot(place_dot(8, 12)) == (8, 12)
    assert moved[0, 0, 10, 7] == pytest.approx(1.0, abs=1e-4)  # the frame looks 5 px further right and 2 px further up
    torch.testing.assert_close(moved[..., 15:], torch.full((1, 3, 20, 5), 0.5), atol=1e-5, rtol=0)


def test_each_image_is_transformed_by_its_own_affine():
    shifted = IDENTITY.clone()
    shifted[0, 2] = 0.5
    images = draw_images(2, 8)
    both = apply_affine(images, torch.stack([IDENTITY, shifted]))
    torch.testing.assert_close(both[0], images[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(both[1:], apply_affine(images[1:], shifted[None]))
    assert float((both[1] - images[1]).abs().max()) > 0.1


def test_a_scale_magnifies_about_the_center():
    bright = torch.full((1, 3, 20, 20), 0.5)
    bright[..., 8:12, 8:12] = 1.0
    small, large = (apply_affine(bright, (IDENTITY * factor)[None])[0, 0].sub(0.5).sum() for factor in (2.0, 0.5))
    assert float(large / small) == pytest.approx(16, rel=0.1)


def test_changes_are_drawn_uniformly_up_to_their_limits():
    jitter = Jitter(shift=0.05, scale=0.2, rotation_deg=10)
    affine = draw_many(jitter)
    scale = 1 / torch.linalg.vector_norm(affine[:, 0, :2], dim=1)
    angle = torch.rad2deg(torch.atan2(affine[:, 1, 0], affine[:, 0, 0]))
    for values, low, high in ((scale, 0.8, 1.2), (angle, -10, 10), (affine[:, 0, 2] / 2, -0.05, 0.05), (affine[:, 1, 2] / 2, -0.05, 0.05)):
        assert low <= float(values.min()) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < float(values.max()) <= high
        assert float(values.std()) == pytest.approx((high - low) / math.sqrt(12), rel=0.1)


def test_a_change_keeps_angles_and_does_not_mirror():
    linear = draw_many(Jitter(shift=0.05, scale=0.2, rotation_deg=30))[:, :, :2]
    size = torch.linalg.det(linear)
    assert float(size.min()) > 0
    torch.testing.assert_close(linear @ linear.transpose(1, 2), size[:, None, None] * torch.eye(2).expand(500, 2, 2))


def test_between_pixels_neighbors_are_mixed():
    half = IDENTITY.clone()
    half[0, 2] = 1 / 20  # half a pixel of 20
    images = draw_images(1, 20)
    torch.testing.assert_close(apply_affine(images, half[None])[..., :-1], (images[..., :-1] + images[..., 1:]) / 2, atol=1e-4, rtol=0)


@pytest.mark.parametrize("key", ["shift", "scale", "rotation_deg"])
def test_negative_jitter_is_refused(key):
    with pytest.raises(InputError, match=f"jitter: key '{key}' is -0.1"):
        parse_config({key: -0.1}, Jitter, "jitter")
