"""The Fourier parameterization: images in 0-1, energy as 1/f, colors mixed within a pixel and not between pixels."""

import numpy as np
import pytest
import torch

from stimgen.image import Fourier, color_matrix


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
