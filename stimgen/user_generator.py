"""An image generator of one's own: a dotted path in, a parameterization by its latents out.

What a person's code returns is checked at every call: an image with values outside 0-1 would be rated as something that no screen shows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from protocols.errors import InputError
from stimgen.networks import call_source, explain, import_attribute, make_current_folder_importable

_TOLERANCE = 1e-3  # by how much values may leave 0-1 before they are refused: less than half a step of 8 bits


@runtime_checkable
class Decoder(Protocol):
    """What a person's callable returns; a method `encode`, images to latents, may stand beside `decode`."""

    latent_shape: tuple[int, ...]
    """Axes of the latents of one image, which are searched around a standard normal distribution."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return images x 3 x side x side in 0-1 from images x latent_shape; differentiable for gradient ascent."""


@dataclass(frozen=True)
class UserGenerator:
    """image = decode(latents), resized to `size_px` (antialiased bilinear) where the generator makes another size."""

    name: str
    size_px: int
    latent_shape: tuple[int, ...]
    decoder: Decoder

    def draw(self, generator: torch.Generator) -> Float[Tensor, "*latent"]:
        """Draw the latents of one image, standard normal."""
        return torch.randn(self.latent_shape, generator=generator)

    def decode(self, parameters: Float[Tensor, "images ..."]) -> Float[Tensor, "images 3 height width"]:
        """Return images in 0-1; differentiable.

        Raises
        ------
        InputError
            When the generator fails, or returns another shape than images x 3 x side x side, NaN or values outside 0-1.
        """
        if isinstance(self.decoder, nn.Module):
            self.decoder.to(parameters.device)
        images = self._call(self.decoder.decode, "decode", parameters)
        self._check_images(images, parameters)
        images = images.to(parameters)
        if images.shape[-1] != self.size_px:
            images = F.interpolate(images, size=(self.size_px, self.size_px), mode="bilinear", antialias=True, align_corners=False)
        clamped: Tensor = images.clamp(0, 1)
        return clamped

    def encode(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images ..."]:
        """Return the generator's latents of images, which it is given at `size_px`; how near their images come is its own affair.

        Raises
        ------
        InputError
            When the generator has no `encode`, or it fails, or returns latents of another shape or NaN.
        """
        encode = getattr(self.decoder, "encode", None)
        if encode is None:
            raise InputError(
                f"generator {self.name!r}: has no encode(images), so it cannot start from a photograph; "
                'set start = "noise", or add an encode that returns latents'
            )
        if isinstance(self.decoder, nn.Module):
            self.decoder.to(images.device)
        with torch.no_grad():
            latents = self._call(encode, "encode", images)
        expected = (len(images), *self.latent_shape)
        self._check_numbers(latents, "encode")
        if tuple(latents.shape) != expected:
            raise InputError(
                f"generator {self.name!r}: encode returns shape {tuple(latents.shape)}; return images x latent_shape, {expected}"
            )
        found: Tensor = latents.to(images)
        return found

    def _call(self, function: Callable[[Tensor], Any], verb: str, given: Tensor) -> Any:
        try:
            return function(given)
        except torch.OutOfMemoryError:  # not the generator's fault
            raise
        except Exception as problem:
            raise InputError(
                f"generator {self.name!r}: {verb} fails for a tensor of shape {tuple(given.shape)} ({explain(problem)}); mend it"
            ) from None

    def _check_images(self, images: Any, latents: Tensor) -> None:
        self._check_numbers(images, "decode")
        count, side = len(latents), images.shape[-1] if images.ndim else 0
        if tuple(images.shape) != (count, 3, side, side) or side == 0:
            raise InputError(
                f"generator {self.name!r}: decode returns shape {tuple(images.shape)} for {count} latents; "
                f"return square color images, ({count}, 3, side, side)"
            )
        low, high = float(images.detach().min()), float(images.detach().max())
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:
            raise InputError(
                f"generator {self.name!r}: decode returns values from {low:.4g} to {high:.4g}; bring them to 0-1 (from -1-1 by (x + 1) / 2)"
            )
        if torch.is_grad_enabled() and latents.requires_grad and not images.requires_grad:
            raise InputError(
                f"generator {self.name!r}: decode returns images without a gradient, so that they cannot be climbed; "
                "compute them from the latents in torch, without no_grad() and detach()"
            )

    def _check_numbers(self, returned: Any, verb: str) -> None:
        where = f"generator {self.name!r}: {verb} returns"
        if not isinstance(returned, Tensor) or not returned.is_floating_point():
            found = f"a tensor of {returned.dtype}" if isinstance(returned, Tensor) else f"a {type(returned).__name__}"
            raise InputError(f"{where} {found}; return a torch.Tensor of floating-point numbers")
        if not torch.isfinite(returned.detach()).all():
            raise InputError(f"{where} NaN or infinite values; mend it, or try it on standard normal latents in float32 first")


def load_generator(name: str, size_px: int) -> UserGenerator:
    """Load a generator by `package.module:callable`; images are `size_px` a side.

    The callable, called without arguments, returns an object with `latent_shape` and `decode(latents)`, and with `encode(images)` where
    it can start from photographs (see `Decoder`). Python looks for it in the current folder too, as `python -m` does. A torch module is
    put in evaluation mode, its weights fixed, and follows its latents to their device.

    Raises
    ------
    InputError
        When the name cannot be imported, the call fails, or what it returns is no generator.
    """
    with make_current_folder_importable():
        decoder = call_source(name, "generator", import_attribute(name, "generator", "generator"))
    if not callable(getattr(decoder, "decode", None)):
        raise InputError(
            f"generator {name!r}: returns a {type(decoder).__name__} without decode; return an object with latent_shape and decode(latents)"
        )
    shape = getattr(decoder, "latent_shape", None)
    if not isinstance(shape, tuple | list) or not shape or not all(isinstance(axis, int) and axis > 0 for axis in shape):
        raise InputError(
            f"generator {name!r}: its latent_shape is {shape!r}; set it to the axes of one image's latents, such as (512,) or (4, 28, 28)"
        )
    if isinstance(decoder, nn.Module):
        decoder.eval().requires_grad_(False)
    return UserGenerator(name, size_px, tuple(shape), decoder)
