"""Random full-frame transforms that keep position: an image must drive its target when moved, scaled or turned a little."""

import math

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from protocols.config import config

_GRAY = 0.5


@config
class Jitter:
    """Largest changes, drawn uniformly for every image and step."""

    shift: float = Field(default=0.08, ge=0, le=0.5)
    """Fraction of the image's side."""
    scale: float = Field(default=0.20, ge=0, lt=1)
    rotation_deg: float = Field(default=15.0, ge=0)


def draw_affine(jitter: Jitter, generator: torch.Generator) -> Float[Tensor, "2 3"]:
    """Draw one similarity transform (rotation, scale, shift) in the units of `affine_grid`."""
    uniform = 2 * torch.rand(4, generator=generator) - 1
    scale = 1 + jitter.scale * float(uniform[0])
    angle = math.radians(jitter.rotation_deg) * float(uniform[1])
    shift = 2 * jitter.shift * uniform[2:]
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    return torch.tensor([[cosine, -sine, float(shift[0])], [sine, cosine, float(shift[1])]])


def apply_affine(
    images: Float[Tensor, "images 3 height width"], affine: Float[Tensor, "images 2 3"]
) -> Float[Tensor, "images 3 height width"]:
    """Transform each image by its own affine, bilinearly, with gray outside the frame."""
    grid = F.affine_grid(affine.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images - _GRAY, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + _GRAY
