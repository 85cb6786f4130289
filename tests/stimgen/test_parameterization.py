"""Every parameterization: decoding undoes encoding, gradients arrive, and draws belong to their generator."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stimgen.edit import Edit
from stimgen.image import Fourier, Pixels
from stimgen.maco import Maco, measure_own_magnitude
from stimgen.parameterization import Parameterization

NEAR = 1 / 512 + 1e-4  # black and white are moved inwards by 1/512; the rest is float32
FREE = {"pixels": Pixels, "fourier": Fourier, "fourier1.5": lambda size_px: Fourier(size_px, 1.5)}
NAMES = [*FREE, "maco", "maco_budget", "edit"]


def build(name, images):
    """Return a parameterization that can show the images."""
    if name in FREE:
        return FREE[name](images.shape[-1])
    if name == "edit":
        return Edit((images + torch.linspace(-0.1, 0.1, images.shape[-1])).clamp(0, 1), 0.2, "linf")
    return Maco(images.shape[-1], measure_own_magnitude(images), 0.5 if name == "maco_budget" else 0.0)


@st.composite
def pictures(draw):
    """Images of every kind between noise and a smooth ramp, with black and white places, of odd and even sizes."""
    count, size_px = draw(st.integers(1, 3)), draw(st.integers(6, 19))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((count, 3, size_px, size_px))
    share = draw(st.sampled_from([0.0, 0.2, 1.0]))
    contrast = draw(st.sampled_from([0.1, 1.0, 3.0]))
    images = share * noise + (1 - share) * np.linspace(0, 1, size_px)
    return torch.from_numpy(np.clip(0.5 + contrast * (images - 0.5), 0, 1)).float()


@pytest.mark.parametrize("name", NAMES)
@given(images=pictures())
def test_decoding_undoes_encoding(name, images):
    made = build(name, images)
    assert made.size_px == images.shape[-1]
    np.testing.assert_allclose(made.decode(made.encode(images)), images, atol=NEAR)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size_px", [8, 9])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_black_gray_and_white_come_back(name, size_px, value):
    images = torch.full((2, 3, size_px, size_px), value)
    made = build(name, images)
    np.testing.assert_allclose(made.decode(made.encode(images)), images, atol=NEAR)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [None, 0.0, 1.0])
def test_gradients_through_decoding_are_finite_and_not_zero(name, value):
    rng = np.random.default_rng(3)
    images = torch.from_numpy(rng.random((2, 3, 9, 9))).float()
    if value is not None:
        images[:, :, 2:7, 1:6] = value
    made = build(name, images)
    parameters = made.encode(images).requires_grad_(True)
    wanted = torch.from_numpy(rng.standard_normal((2, 3, 9, 9))).float()
    (made.decode(parameters) * wanted).sum().backward()
    assert torch.isfinite(parameters.grad).all()
    assert (parameters.grad.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_depends_on_its_generator_only_and_can_be_decoded(name):
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    made = build(name, images)
    first, again, other = (made.draw(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float32
    assert first.shape == made.encode(images)[0].shape
    assert made.decode(first[None]).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("name", NAMES)
def test_constants_follow_the_parameters_to_their_device(name):
    """On the device `meta` nothing is computed, but tensors that were left on the CPU are refused as on a GPU."""
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    made = build(name, images)
    decoded = made.decode(made.encode(images).to("meta"))
    assert decoded.device.type == "meta"
    assert made.encode(decoded).device.type == "meta"


def test_the_mask_and_the_ball_of_an_edit_follow_too():
    photographs = torch.full((2, 3, 8, 8), 0.5)
    for exact in (False, True):
        edit = Edit(photographs, torch.tensor([0.1, 0.2]), mask=torch.ones(8, 8), exact=exact)
        assert edit.decode(edit.encode(photographs).to("meta")).device.type == "meta"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_a_parameterization_by_the_interface(name):
    assert isinstance(build(name, torch.full((1, 3, 8, 8), 0.5)), Parameterization)


def test_another_decay_spends_the_same_energy_on_lower_frequencies():
    size_px = 32
    parameters = torch.stack([Fourier(size_px).draw(torch.Generator().manual_seed(seed)) for seed in range(60)])

    def measure(decay):
        planes = torch.logit(Fourier(size_px, decay).decode(parameters).double())
        return (torch.fft.rfft2(planes, norm="ortho").abs() ** 2).mean(dim=(0, 1)).numpy()

    one, steep = measure(1.0), measure(1.5)
    np.testing.assert_allclose(steep.mean(), one.mean(), rtol=0.15)
    frequency = np.hypot(np.fft.fftfreq(size_px)[:, None], np.fft.rfftfreq(size_px)[None, :])
    inside = (frequency > 1.5 / size_px) & (frequency < 0.45)
    slope = np.polyfit(np.log(frequency[inside]), np.log(np.sqrt(steep)[inside]), 1)[0]
    assert -1.6 < slope < -1.4
