"""What an image parameterization is: a pair of inverse functions between free numbers and square images in 0-1."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Parameterization(Protocol):
    """Free numbers to images, and back.

    `decode(encode(images))` gives the images back wherever the parameterization can show them.
    """

    @property
    def size_px(self) -> int:
        """Side of the images."""

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw the parameters of one image (float32, on the CPU, without an axis of images)."""

    def decode(self, parameters: Tensor) -> Float[Tensor, "images 3 height width"]:
        """Return images in 0-1 from parameters whose first axis is the images; differentiable."""

    def encode(self, images: Float[Tensor, "images 3 height width"]) -> Tensor:
        """Return the parameters of images."""
