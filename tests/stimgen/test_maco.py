"""MACO: magnitudes of natural images are kept, or left by no more than the budget; the constant term is not free at all."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stimgen.image import color_matrix
from stimgen.maco import Maco, measure_magnitude, measure_own_magnitude


def draw_images(count, size_px, seed=0):
    """Draw images with a natural spectrum, dark enough that their constant terms are negative."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 3, size_px, size_px, generator=generator)
    rows, columns = torch.fft.fftfreq(size_px)[:, None], torch.fft.rfftfreq(size_px)[None, :]
    frequency = torch.sqrt(rows**2 + columns**2).clamp(min=1 / size_px)
    planes = torch.fft.irfft2(torch.fft.rfft2(noise, norm="ortho") / frequency, s=(size_px, size_px), norm="ortho")
    return torch.sigmoid(0.1 * planes - 0.7)


def measure_spectrum(images):
    """Return the spectrum of the decorrelated planes behind the images, by NumPy and its full transform."""
    images = images.detach().double().numpy()
    logits = np.log(images / (1 - images))
    planes = np.einsum("cr,nrhw->nchw", np.linalg.inv(color_matrix(torch.device("cpu")).double().numpy()), logits) / 0.25
    return np.fft.fft2(planes, norm="ortho")[..., : images.shape[-1] // 2 + 1]


def stack_draws(maco, count, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([maco.draw(generator) for _ in range(count)])


@pytest.mark.parametrize("size_px", [12, 15])
@pytest.mark.parametrize("loudness", [1.0, 7.0])
def test_magnitudes_are_the_template_whatever_the_phases(size_px, loudness):
    natural = draw_images(5, size_px)
    maco = Maco(size_px, measure_magnitude(natural))
    expected = np.abs(measure_spectrum(natural)).mean(axis=0)
    expected[:, 0, 0] = np.abs(measure_spectrum(natural)[:, :, 0, 0].real.mean(axis=0))
    found = np.abs(measure_spectrum(maco.decode(loudness * stack_draws(maco, 3))))
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=2e-3, atol=2e-3)


@given(
    size_px=st.sampled_from([12, 15]),
    budget=st.sampled_from([0.1, 0.5, 3.0]),
    seed=st.integers(0, 1000),
    loudness=st.sampled_from([0.3, 30]),
)
def test_magnitudes_stay_within_the_budget(size_px, budget, seed, loudness):
    maco = Maco(size_px, 0.3 * measure_magnitude(draw_images(5, size_px)), budget)
    parameters = stack_draws(maco, 2, seed)
    parameters[..., 1] = loudness * torch.randn(parameters.shape[:-1], generator=torch.Generator().manual_seed(seed))
    gain = np.abs(measure_spectrum(maco.decode(parameters))) / maco.magnitude.abs().numpy()
    assert gain.max() <= (1 + budget) * 1.01
    assert gain.min() >= 1 / (1 + budget) / 1.01
    if loudness > 1:  # the budget can be spent
        assert gain.max() > (1 + budget) * 0.95
        assert gain.min() < 1 / (1 + budget) / 0.95


@pytest.mark.parametrize("budget", [0.0, 0.5])
@pytest.mark.parametrize("size_px", [12, 15])
def test_the_constant_term_keeps_its_template_and_sign(budget, size_px):
    natural = draw_images(5, size_px)
    expected = measure_spectrum(natural)[..., 0, 0].real.mean(axis=0)
    assert (expected < 0).any()
    maco = Maco(size_px, measure_magnitude(natural), budget)
    parameters = stack_draws(maco, 3) + 1.0
    found = measure_spectrum(maco.decode(parameters))[..., 0, 0]
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("budget", [0.0, 0.5])
@pytest.mark.parametrize("size_px", [12, 15])
def test_the_template_of_one_image_makes_its_encoding_exact(budget, size_px):
    images = draw_images(1, size_px)
    maco = Maco(size_px, measure_magnitude(images), budget)
    np.testing.assert_allclose(maco.decode(maco.encode(images)), images, atol=1e-4)


def test_each_image_has_its_own_template():
    images = draw_images(3, 12)
    own = measure_own_magnitude(images)
    for row in range(3):
        torch.testing.assert_close(own[row], measure_magnitude(images[row : row + 1]))
    maco = Maco(12, own)
    np.testing.assert_allclose(maco.decode(maco.encode(images)), images, atol=1e-4)


def test_images_of_other_magnitudes_are_encoded_within_the_budget():
    natural = draw_images(2, 12)
    maco = Maco(12, measure_own_magnitude(natural[:1]), 0.2)
    found = np.abs(measure_spectrum(maco.decode(maco.encode(natural[1:])))) / maco.magnitude.abs().numpy()
    wanted = np.abs(measure_spectrum(natural[1:])) / maco.magnitude.abs().numpy()
    wanted[..., 0, 0] = 1
    np.testing.assert_allclose(found, wanted.clip(1 / 1.2, 1.2), rtol=1e-2)
