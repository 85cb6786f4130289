"""Generators of one's own: loaded by a dotted path, resized and checked, and refused with what to do."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from protocols.errors import InputError
from stimgen.user_generator import UserGenerator, load_generator

HERE = "tests.stimgen.test_user_generator"


@dataclass
class Fake:
    """Images are whatever `paint` makes of the latents."""

    paint: Any
    latent_shape: Any = (2,)

    def decode(self, latents):
        return self.paint(latents)


@dataclass
class Gray:
    """One gray per image, at 6 pixels a side: an exact inverse exists."""

    latent_shape = (1,)

    def decode(self, latents):
        return torch.sigmoid(latents)[..., None, None].expand(-1, 3, 6, 6)

    def encode(self, images):
        return torch.logit(images.mean(dim=(1, 2, 3)))[:, None]


class Painter(nn.Module):
    """A network; dropout would make its images random outside evaluation mode."""

    latent_shape = (2, 3)

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(6, 75), nn.Dropout(0.5), nn.Sigmoid())

    def decode(self, latents):
        return self.layers(latents).view(-1, 3, 5, 5)


def stripes(latents):
    """Return images whose columns run from black to white."""
    return (torch.linspace(0, 1, 8) + 0 * latents[:, :1]).view(-1, 1, 1, 8).expand(-1, 3, 8, 8)


def wrap(decoder, size_px=8):
    return UserGenerator("own:make", size_px, tuple(decoder.latent_shape), decoder)


def make_nothing():
    return None


def make_number_latents():
    return Fake(stripes, 512)


def make_empty_latents():
    return Fake(stripes, (4, 0))


def make_failing():
    raise RuntimeError("no weights here\nmore lines")


def test_latents_are_standard_normal_and_belong_to_their_generator():
    made = wrap(Fake(stripes, (40, 50)))
    first, again, other = (made.draw(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (40, 50)
    assert first.dtype == torch.float32
    assert abs(float(first.mean())) < 0.1
    assert abs(float(first.std()) - 1) < 0.1


def test_images_of_another_size_are_resized_with_antialiasing():
    latents = torch.zeros(3, 2)
    assert torch.equal(wrap(Fake(stripes)).decode(latents), stripes(latents))
    fine = Fake(lambda latents: (torch.arange(8) % 2).float().expand(len(latents), 3, 8, 8))
    small = wrap(fine, 3).decode(latents)
    assert small.shape == (3, 3, 3, 3)
    assert float((small - 0.5).abs().max()) < 0.2  # without antialiasing, stripes of one pixel would alias to black and white
    assert wrap(Fake(stripes), 20).decode(latents).shape == (3, 3, 20, 20)


def test_a_generator_is_differentiable_and_images_do_not_mix():
    made = wrap(Gray(), 4)
    latents = torch.tensor([[0.3], [-1.0]], requires_grad=True)
    made.decode(latents)[1].mean().backward()
    gray = torch.sigmoid(torch.tensor(-1.0))
    np.testing.assert_allclose(latents.grad, [[0], [float(gray * (1 - gray))]], rtol=1e-4)


def test_encoding_gives_the_latents_of_images_back():
    made = wrap(Gray())
    latents = torch.tensor([[0.3], [-1.0]])
    torch.testing.assert_close(made.encode(made.decode(latents)), latents)


def test_values_a_rounding_error_outside_0_and_1_are_clamped():
    images = wrap(Fake(lambda latents: stripes(latents) * 1.0015 - 0.0007)).decode(torch.zeros(2, 2))
    assert float(images.min()) == 0
    assert float(images.max()) == 1


def test_images_of_half_precision_become_those_of_their_latents():
    assert wrap(Fake(lambda latents: stripes(latents).half())).decode(torch.zeros(2, 2)).dtype == torch.float32


REFUSED = {
    "nothing": (lambda latents: None, "decode returns a NoneType; return a torch.Tensor of floating-point numbers"),
    "bytes": (lambda latents: (255 * stripes(latents)).byte(), "decode returns a tensor of torch.uint8; return a torch.Tensor of floating"),
    "no channels": (
        lambda latents: stripes(latents)[:, 0],
        r"decode returns shape (2, 8, 8) for 2 latents; return square color images, (2, 3,",
    ),
    "gray": (lambda latents: stripes(latents)[:, :1], r"decode returns shape (2, 1, 8, 8) for 2 latents"),
    "channels last": (lambda latents: stripes(latents).movedim(1, 3), r"decode returns shape (2, 8, 8, 3) for 2 latents"),
    "not square": (lambda latents: stripes(latents)[..., 1:], r"decode returns shape (2, 3, 8, 7) for 2 latents"),
    "one image": (lambda latents: stripes(latents)[:1], r"decode returns shape (1, 3, 8, 8) for 2 latents"),
    "scalar": (lambda latents: latents.sum(), r"decode returns shape () for 2 latents"),
    "empty": (lambda latents: stripes(latents)[..., :0, :0], r"decode returns shape (2, 3, 0, 0) for 2 latents"),
    "-1 to 1": (lambda latents: 2 * stripes(latents) - 1, r"decode returns values from -1 to 1; bring them to 0-1"),
    "0 to 255": (lambda latents: 255 * stripes(latents), r"decode returns values from 0 to 255; bring them to 0-1"),
    "slightly above": (lambda latents: 1.002 * stripes(latents), r"decode returns values from 0 to 1.002; bring"),
    "nan": (lambda latents: stripes(latents) * torch.nan, r"decode returns NaN or infinite values; mend it"),
    "infinite": (lambda latents: stripes(latents) / 0, r"decode returns NaN or infinite values; mend it"),
    "no gradient": (lambda latents: stripes(latents).detach(), r"decode returns images without a gradient"),
    "fails": (lambda latents: latents @ torch.zeros(5, 5), "decode fails for a tensor of shape (2, 2) (RuntimeError: "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_image_is_refused(case):
    paint, message = REFUSED[case]
    with pytest.raises(InputError, match="generator 'own:make': " + re.escape(message)):
        wrap(Fake(paint)).decode(torch.zeros(2, 2, requires_grad=True))


def test_without_gradients_a_generator_that_has_none_will_do():
    with torch.no_grad():
        assert wrap(Fake(lambda latents: stripes(latents).detach())).decode(torch.zeros(2, 2, requires_grad=True)).shape == (2, 3, 8, 8)


def test_running_out_of_memory_is_not_called_the_generators_fault():
    def run_out(latents):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        wrap(Fake(run_out)).decode(torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (None, 'has no encode(images), so it cannot start from a photograph; set start = "noise"'),
        (lambda images: None, "encode returns a NoneType"),
        (lambda images: torch.zeros(2, 5), "encode returns shape (2, 5); return images x latent_shape, (2, 2)"),
        (lambda images: torch.full((2, 2), torch.nan), "encode returns NaN or infinite values"),
        (lambda images: {}["x"], "encode fails for a tensor of shape (2, 3, 8, 8) (KeyError: 'x')"),
    ],
)
def test_what_cannot_be_encoded_is_refused(encode, message):
    decoder = Fake(stripes)
    decoder.encode = encode
    with pytest.raises(InputError, match="generator 'own:make': " + re.escape(message)):
        wrap(decoder).encode(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize("name", [f"{HERE}:Painter", f"{HERE}.Painter"])
def test_a_network_is_loaded_in_evaluation_mode_with_fixed_weights(name):
    made = load_generator(name, 7)
    assert (made.name, made.size_px, made.latent_shape) == (name, 7, (2, 3))
    latents = made.draw(torch.Generator().manual_seed(1))[None].requires_grad_(True)
    images = made.decode(latents)
    assert images.shape == (1, 3, 7, 7)
    assert torch.equal(images, made.decode(latents))
    images.square().sum().backward()
    assert float(latents.grad.norm()) > 0
    assert all(weight.grad is None for weight in made.decoder.parameters())


def test_a_file_of_the_current_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "own_gray_generator.py").write_text(
        "class Gray:\n    latent_shape = [2]\n    def decode(self, latents):\n"
        "        return latents.sigmoid().mean(dim=1)[:, None, None, None].expand(-1, 3, 4, 4)\n"
    )
    monkeypatch.chdir(tmp_path)
    made = load_generator("own_gray_generator:Gray", 4)
    assert made.latent_shape == (2,)
    assert float(made.decode(torch.zeros(1, 2)).mean()) == 0.5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:make", "'no_such_module' cannot be imported (ModuleNotFoundError: No module named 'no_such_module'); install it"),
        (f"{HERE}:make_typo", f"{HERE} has no 'make_typo'; name a function of it that returns the generator"),
        (f"{HERE}:make_failing", "fails when called without arguments (RuntimeError: no weights here); name a function that needs none"),
        (f"{HERE}:make_nothing", "returns a NoneType without decode; return an object with latent_shape and decode(latents)"),
        (f"{HERE}:make_number_latents", "its latent_shape is 512; set it to the axes of one image's latents"),
        (f"{HERE}:make_empty_latents", "its latent_shape is (4, 0); set it to the axes"),
    ],
)
def test_what_is_no_generator_is_refused(name, message):
    with pytest.raises(InputError, match=re.escape(f"generator {name!r}: {message}")):
        load_generator(name, 8)
