"""Fourier: images in 0-1, energy as 1/f, colors mixed within a pixel and not between pixels; its inverse, and that of pixels, is exact."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stimgen.image import Fourier, Pixels, color_matrix, to_image, to_spectrum


def draw(size_px, seeds):
    fourier = Fourier(size_px)
    return fourier, torch.stack([fourier.draw(torch.Generator().manual_seed(seed)) for seed in seeds])


@pytest.mark.parametrize("size_px", [16, 33])
@pytest.mark.parametrize("gain", [1, 1e4])
def test_values_stay_within_0_and_1_however_large_the_parameters(size_px, gain):
    fourier, parameters = draw(size_px, (1, 2))
    images = fourier.decode(parameters * gain)
    assert images.shape == (2, 3, size_px, size_px)
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1
    assert torch.isfinite(images).all()


def test_an_image_begins_nearly_gray_and_depends_on_its_generator():
    fourier, parameters = draw(32, (1, 1, 2))
    images = fourier.decode(parameters)
    assert float((images - 0.5).abs().max()) < 0.1
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_the_amplitude_spectrum_of_initial_images_falls_as_one_over_f():
    fourier, parameters = draw(64, range(40))
    images = torch.logit(fourier.decode(parameters).double())
    amplitude = np.sqrt((torch.fft.fft2(images).abs() ** 2).mean(dim=(0, 1)).numpy())
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None, :])
    inside = (frequency > 1.5 / 64) & (frequency < 0.45)
    slope = np.polyfit(np.log(frequency[inside]), np.log(amplitude[inside]), 1)[0]
    assert -1.1 < slope < -0.9


def test_colors_are_mixed_within_a_pixel_only():
    """A change confined to one pixel of the decorrelated planes changes that pixel of the image and no other."""
    fourier, parameters = draw(16, (3,))
    planes = torch.zeros(1, 3, 16, 16)
    planes[0, 1, 5, 9] = 3.0
    spectrum = torch.fft.rfft2(planes, norm="ortho") / fourier._scale(planes.device)
    change = fourier.decode(parameters + torch.view_as_real(spectrum)) - fourier.decode(parameters)
    changed = change[0].abs().sum(dim=0) > 1e-4
    assert changed.nonzero().tolist() == [[5, 9]]


def test_a_channel_moves_rgb_along_its_column_of_the_color_matrix():
    fourier, parameters = draw(16, (3,))
    assert color_matrix(torch.device("meta")).device.type == "meta"
    matrix = color_matrix(torch.device("cpu"))
    np.testing.assert_allclose(torch.linalg.vector_norm(matrix, dim=0).max(), 1)
    for channel in range(3):
        one = torch.zeros_like(parameters)
        one[:, channel] = parameters[:, channel]
        logits = torch.logit(fourier.decode(one).double())[0].flatten(1)
        expected = matrix[:, channel].double()
        cosine = (logits * expected[:, None]).sum(dim=0).abs() / (logits.norm(dim=0) * expected.norm())
        assert float(cosine.min()) > 0.999


def test_decoding_is_differentiable_and_images_do_not_mix():
    fourier, parameters = draw(16, (1, 2))
    parameters.requires_grad_(True)
    fourier.decode(parameters)[1].sum().backward()
    assert float(parameters.grad[0].abs().sum()) == 0
    assert float(parameters.grad[1].abs().sum()) > 0


@given(size_px=st.integers(4, 33), decay=st.sampled_from([0.5, 1.0, 1.5]), seed=st.integers(0, 2**31))
def test_what_no_clamp_touches_is_inverted_exactly(size_px, decay, seed):
    images = 1 / 512 + (1 - 2 / 512) * torch.rand(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))
    for made in (Fourier(size_px, decay), Pixels(size_px)):
        np.testing.assert_allclose(made.decode(made.encode(images)), images, atol=2e-6)


@pytest.mark.parametrize("size_px", [16, 33])
@pytest.mark.parametrize("decay", [1.0, 1.5])
def test_parameters_that_were_encoded_again_show_the_same_image(size_px, decay):
    fourier, parameters = Fourier(size_px, decay), draw(size_px, (1, 2))[1] * 40
    images = fourier.decode(parameters)
    assert float(images.min()) > 1 / 512
    assert float(images.std()) > 0.02
    np.testing.assert_allclose(fourier.decode(fourier.encode(images)), images, atol=2e-6)


def test_black_and_white_come_back_half_a_step_of_8_bits_inside():
    images = torch.zeros(1, 3, 9, 9)
    images[:, :, 3:, :4] = 1.0
    for made in (Fourier(9), Pixels(9)):
        np.testing.assert_allclose(made.decode(made.encode(images)), images.clamp(1 / 512, 511 / 512), atol=1e-5)
        assert torch.equal((made.decode(made.encode(images)) * 255).round(), images * 255)


@pytest.mark.parametrize("size_px", [8, 9])
def test_the_spectrum_of_an_image_is_that_of_its_planes_by_the_full_transform(size_px):
    images = 0.1 + 0.8 * torch.rand(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(4))
    rgb = np.log(images.double().numpy() / (1 - images.double().numpy()))
    planes = np.einsum("cr,nrhw->nchw", np.linalg.inv(color_matrix(images.device).double().numpy()), rgb) / 0.25
    expected = np.fft.fft2(planes, norm="ortho")[..., : size_px // 2 + 1]
    np.testing.assert_allclose(to_spectrum(images), expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(to_image(to_spectrum(images), size_px), images, atol=2e-6)
