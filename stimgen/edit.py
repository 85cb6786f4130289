"""Bounded edits of photographs: the search starts at a photograph and never leaves a ball around it."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from stimgen.image import Fourier

Norm = Literal["l2", "linf"]


@dataclass(frozen=True)
class Edit:
    """image = photograph + the edit, projected into its ball; the edit is searched in the Fourier parameterization.

    Attributes
    ----------
    photographs
        One per image, in 0-1.
    largest
        The ball's radius in units of 0-1: of the root mean square over pixels and channels (`l2`), or of any of them (`linf`).
    norm
        The ball's kind.
    mask
        Where the image may change, 0-1; everywhere if None.
    exact
        The edit has exactly the size `largest` (root mean square), before black and white cut it off: what a sham edit needs.
    """

    photographs: Float[Tensor, "images 3 height width"]
    largest: float | Float[Tensor, " images"]
    norm: Norm = "l2"
    mask: Float[Tensor, "height width"] | None = None
    exact: bool = False

    @property
    def size_px(self) -> int:
        """Side of the images."""
        return self.photographs.shape[-1]

    def draw(self, generator: torch.Generator) -> Float[Tensor, "3 height half 2"]:
        """Draw the parameters of a nearly gray image, to start anew from; an edit begins at `encode(photographs)`, which is no edit."""
        return Fourier(self.size_px).draw(generator)

    def decode(self, parameters: Float[Tensor, "images 3 height half 2"]) -> Float[Tensor, "images 3 height width"]:
        """Return edited photographs in 0-1; differentiable."""
        fourier = Fourier(self.size_px)
        photographs = self.photographs.to(parameters.device)
        with torch.no_grad():  # what black and white lose on the way there and back is not part of the edit
            start = fourier.decode(fourier.encode(photographs))
        change = fourier.decode(parameters) - start
        if self.mask is not None:
            change = change * self.mask.to(change)
        largest = torch.as_tensor(self.largest, device=change.device).reshape(-1, 1, 1, 1)
        bounded = resize_edit(change, largest) if self.exact else project(change, largest, self.norm)
        edited = photographs + bounded  # cut off without clamp, which has no gradient at 0 and 1: black and white would be dead
        return torch.maximum(torch.minimum(edited, torch.ones_like(edited)), torch.zeros_like(edited))

    def encode(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 height half 2"]:
        """Return the parameters of images; exact for images within the ball."""
        return Fourier(self.size_px).encode(images)


def project(
    change: Float[Tensor, "images 3 height width"], largest: Float[Tensor, "#images 1 1 1"], norm: Norm
) -> Float[Tensor, "images 3 height width"]:
    """Return the nearest change within the ball."""
    if norm == "linf":
        return torch.maximum(torch.minimum(change, largest), -largest)
    size = torch.sqrt((change**2).mean(dim=(1, 2, 3), keepdim=True) + 1e-12)
    return change * (largest / size).clamp(max=1.0)


def resize_edit(
    change: Float[Tensor, "images 3 height width"], size: Float[Tensor, "#images 1 1 1"]
) -> Float[Tensor, "images 3 height width"]:
    """Return the change scaled to a root mean square of `size`."""
    return change * size / torch.sqrt((change**2).mean(dim=(1, 2, 3), keepdim=True) + 1e-12)


def measure_edit(
    images: Float[Tensor, "images 3 height width"], photographs: Float[Tensor, "images 3 height width"], norm: Norm = "l2"
) -> Float[Tensor, " images"]:
    """Return the size of each image's difference from its photograph in 0-1 units: what `largest` bounds in a ball of that norm."""
    change = images - photographs
    if norm == "linf":
        return change.abs().amax(dim=(1, 2, 3))
    size: Tensor = torch.sqrt((change**2).mean(dim=(1, 2, 3)))
    return size
