"""Images brought to a wished photometry: what comes out is measured after rounding to 8 bits."""

import dataclasses

import numpy as np
import pytest
import torch

from stimgen.display import load_display
from stimgen.image import Fourier
from stimgen.match import Matcher
from stimgen.photometry import measure_light, measure_photometry, measure_stripes

WISH = torch.tensor([[0.25, 0.6, -1.2, 0.2]])
SIDE = 64


def draw_images(count=2, side=SIDE, gain=1.0):
    fourier = Fourier(side)
    drawn = torch.stack([fourier.draw(torch.Generator().manual_seed(seed)) for seed in range(count)])
    noise = fourier.decode(drawn) - 0.5
    return (0.5 + gain * 0.15 * noise / noise.std()).clamp(0, 1)


def match(wishes=WISH, count=2, gamma=None, size_deg=8.0, **settings):
    return Matcher(load_display(gamma), wishes.expand(count, -1).clone(), size_deg, **settings)


@pytest.mark.parametrize("gamma", [None, 1.8])
def test_a_finished_image_has_the_wished_photometry_as_its_png_is_shown(gamma):
    finished, errors = match(gamma=gamma).finish(draw_images())
    assert torch.equal((finished * 255).round() / 255, finished)
    for image in finished:
        measured = measure_photometry(image.permute(1, 2, 0).numpy(), load_display(gamma))
        assert list(measured.values()) == pytest.approx(WISH[0].tolist(), abs=2e-3)
    assert float(errors.abs().max()) < 2e-3


def test_each_image_has_its_own_wish_and_what_is_not_wished_stays():
    wishes = torch.tensor([[0.2, 0.5, torch.nan, 0.1], [0.3, 0.7, -1.3, torch.nan]])
    images = draw_images()
    finished, _ = Matcher(load_display(), wishes, 8.0).finish(images)
    measured = measure_light(load_display().to_linear(finished)).stack()
    own = measure_light(load_display().to_linear(images)).stack()
    expected = torch.where(wishes.isnan(), own, wishes)
    torch.testing.assert_close(measured, expected, atol=5e-3, rtol=0)


def test_what_is_held_while_an_image_is_made_is_near_the_wish_already():
    held = match().hold(draw_images())
    measured = measure_light(load_display().to_linear(held)).stack()
    torch.testing.assert_close(measured, WISH.expand(2, -1), atol=0.03, rtol=0)


def test_the_gradient_of_a_held_image_has_little_of_what_photometry_forbids():
    """Nothing is gained by brighter images, more contrast or more color."""
    images = draw_images().requires_grad_(True)
    slopes = {}
    for name, shown in (("free", images), ("held", match().hold(images))):
        measured = measure_light(load_display().to_linear(shown)).stack()
        slopes[name] = [float(torch.autograd.grad(one.sum(), images, retain_graph=True)[0].norm()) for one in measured.unbind(1)]
    assert all(held < 0.35 * free for held, free in zip(slopes["held"], slopes["free"], strict=True)), slopes


def test_gray_is_had_by_a_saturation_of_0():
    finished, _ = match(torch.tensor([[0.25, 0.6, -1.2, 0.0]])).finish(draw_images())
    assert float((finished.max(dim=1).values - finished.min(dim=1).values).max()) <= 1 / 255 + 1e-6


def test_stripes_are_held_below_the_limit_and_contrast_all_the_same():
    axis = torch.arange(SIDE) / SIDE
    stripes = 0.5 + 0.4 * torch.sin(2 * torch.pi * 24 * axis).expand(2, 3, SIDE, SIDE)
    images = (stripes + 0.3 * (draw_images() - 0.5)).clamp(0, 1)
    striped, _ = match(count=2).finish(images)
    calm, errors = match(count=2, most_striped=0.1).finish(images)
    measured = [float(measure_stripes(load_display().to_linear(some), 8.0).max()) for some in (striped, calm)]
    assert measured[0] > 0.3
    assert measured[1] < 0.105
    assert float(errors[:, 1].abs().max()) < 0.01


def test_outside_the_aperture_and_in_the_hole_lies_the_background():
    axis = torch.arange(SIDE) - SIDE / 2 + 0.5
    radius = torch.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    window = ((radius < 28) & (radius > 4)).float()
    finished, _ = match(window=window, background=100 / 255).finish(draw_images())
    levels = (finished * 255).round()
    assert (levels[:, :, window == 0] == 100).all()
    measured = measure_light(load_display().to_linear(finished), window).stack()
    torch.testing.assert_close(measured, WISH.expand(2, -1), atol=5e-3, rtol=0)


def test_a_wish_that_cannot_be_had_is_told_by_what_is_left():
    _, errors = match(torch.tensor([[0.9, 3.0, -1.0, 0.2]])).finish(draw_images())
    assert float(errors[:, :2].abs().max()) > 0.1


def test_a_gray_image_gets_no_colors_out_of_its_rounding_noise():
    gray = draw_images().mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    noise = torch.randint(0, 2, (2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1)) / 255
    _, errors = match().finish(gray + noise)
    assert float(errors[:, 3].max()) < -0.1


def test_a_selection_has_the_wishes_of_its_images():
    wishes = torch.arange(12.0).reshape(3, 4)
    chosen = dataclasses.replace(match(), wishes=wishes).select(slice(1, 3))
    np.testing.assert_array_equal(chosen.wishes, wishes[1:])
