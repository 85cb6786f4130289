"""Bounded edits: they begin at the photograph, never leave their ball, and leave masked places alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stimgen.edit import Edit, measure_edit, project


def draw_photographs(size_px, seed=0, count=2):
    """Draw noise with a black and a white patch."""
    photographs = torch.rand(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))
    photographs[:, :, :3, :4] = 0.0
    photographs[:, :, 3:5, 2:] = 1.0
    return photographs


def change(edit, loudness, seed=0):
    """Return parameters away from those of the photographs."""
    parameters = edit.encode(edit.photographs)
    return parameters + loudness * torch.randn(parameters.shape, generator=torch.Generator().manual_seed(seed))


@given(
    size_px=st.integers(6, 13),
    norm=st.sampled_from(["l2", "linf"]),
    largest=st.floats(0.001, 1.0),
    loudness=st.sampled_from([0.001, 0.1, 1.0, 100.0]),
    seed=st.integers(0, 1000),
)
def test_an_edit_never_leaves_its_ball(size_px, norm, largest, loudness, seed):
    edit = Edit(draw_photographs(size_px, seed), largest, norm)
    images = edit.decode(change(edit, loudness, seed)).double().numpy()
    away = images - edit.photographs.double().numpy()
    size = np.sqrt((away**2).mean(axis=(1, 2, 3))) if norm == "l2" else np.abs(away).max(axis=(1, 2, 3))
    assert (size <= largest + 1e-6).all()
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_ball_is_used_up(norm):
    photographs = torch.full((2, 3, 8, 8), 0.5)
    edit = Edit(photographs, 0.05, norm)
    away = (edit.decode(change(edit, 10.0)) - photographs).double()
    size = away.square().mean(dim=(1, 2, 3)).sqrt() if norm == "l2" else away.abs().amax(dim=(1, 2, 3))
    np.testing.assert_allclose(size, 0.05, rtol=1e-3)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("value", [None, 0.0, 1.0])
def test_an_edit_begins_at_its_photograph(norm, value):
    photographs = draw_photographs(9) if value is None else torch.full((2, 3, 9, 9), value)
    edit = Edit(photographs, 0.1, norm)
    np.testing.assert_allclose(edit.decode(edit.encode(photographs)), photographs, atol=1e-4)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("value", [None, 0.0, 1.0])
def test_the_first_step_has_a_gradient(norm, value):
    photographs = draw_photographs(9) if value is None else torch.full((2, 3, 9, 9), value)
    edit = Edit(photographs, 0.1, norm)
    parameters = edit.encode(photographs).requires_grad_(True)
    edit.decode(parameters)[:, 0, 4].sum().backward()
    assert torch.isfinite(parameters.grad).all()
    assert (parameters.grad.flatten(1).norm(dim=1) > 0).all()


def test_masked_places_stay_the_photograph():
    photographs = draw_photographs(9)
    mask = torch.zeros(9, 9)
    mask[2:6, 4:] = 1.0
    edit = Edit(photographs, 0.3, "linf", mask)
    away = (edit.decode(change(edit, 1.0)) - photographs).abs()
    assert float(away[:, :, mask == 0].max()) == 0
    assert float(away[:, :, mask == 1].max()) > 0.2


def test_the_mask_is_applied_before_the_ball():
    """All of an edit's size may lie where the mask allows it."""
    mask = torch.zeros(8, 8)
    mask[:2] = 1.0
    photographs = torch.full((1, 3, 8, 8), 0.5)
    edit = Edit(photographs, 0.05, "l2", mask)
    np.testing.assert_allclose(measure_edit(edit.decode(change(edit, 10.0)), photographs), 0.05, rtol=1e-3)


def test_a_change_within_the_ball_is_kept_and_one_outside_is_shortened():
    small = torch.full((1, 3, 4, 4), 0.01)
    torch.testing.assert_close(project(small, torch.full((1, 1, 1, 1), 0.02), "l2"), small)
    torch.testing.assert_close(project(small, torch.full((1, 1, 1, 1), 0.005), "l2"), small / 2)
    pointed = small.clone()
    pointed[0, 1, 2, 3] = -0.5
    shortened = pointed.clone()
    shortened[0, 1, 2, 3] = -0.02
    torch.testing.assert_close(project(pointed, torch.full((1, 1, 1, 1), 0.02), "linf"), shortened)


def test_the_size_of_an_edit_is_the_root_mean_square_of_each_image():
    photographs = draw_photographs(6, count=3) / 2
    images = photographs.clone()
    images[1] += 0.1
    images[2, 0] -= 0.3
    np.testing.assert_allclose(measure_edit(images, photographs), [0, 0.1, 0.3 / np.sqrt(3)], rtol=1e-5)


def test_the_largest_change_of_an_edit_is_that_of_any_pixel_and_channel():
    photographs = draw_photographs(6, count=3)
    images = photographs.clone()
    images[1, 2, 4, 5] += 0.1
    images[2, 0, 1, 1] -= 0.3
    images[2, 1, 0, 3] += 0.2
    np.testing.assert_allclose(measure_edit(images, photographs, "linf"), [0, 0.1, 0.3], atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_each_image_has_its_own_ball(norm):
    photographs = torch.full((3, 3, 8, 8), 0.5)
    largest = torch.tensor([0.01, 0.2, 0.05])
    edit = Edit(photographs, largest, norm)
    np.testing.assert_allclose(measure_edit(edit.decode(change(edit, 10.0)), photographs, norm), largest, rtol=1e-3)


@given(size_px=st.integers(6, 13), loudness=st.sampled_from([0.01, 0.1, 1.0, 100.0]), seed=st.integers(0, 1000))
def test_an_exact_edit_has_the_size_of_its_image_however_small_or_large_the_change(size_px, loudness, seed):
    photographs = 0.4 + 0.2 * torch.rand(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))
    sizes = torch.tensor([0.005, 0.02])  # too small for black and white to cut anything off
    edit = Edit(photographs, sizes, exact=True)
    np.testing.assert_allclose(measure_edit(edit.decode(change(edit, loudness, seed)), photographs), sizes, rtol=1e-2)


def test_an_exact_edit_lies_where_the_mask_allows_it():
    photographs = torch.full((1, 3, 8, 8), 0.5)
    mask = torch.zeros(8, 8)
    mask[:, 5:] = 1.0
    edit = Edit(photographs, 0.05, mask=mask, exact=True)
    images = edit.decode(change(edit, 0.1))
    assert torch.equal(images[..., :5], photographs[..., :5])
    np.testing.assert_allclose(measure_edit(images, photographs), 0.05, rtol=1e-3)
