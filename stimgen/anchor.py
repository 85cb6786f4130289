"""What holds an edit to its photograph: the distance of the networks' features from those of the photograph under the same transform.

Its weight is set once, early in the ascent, by the ratio of the two gradients' norms (after Hamblin et al. 2024, Feature Accentuation,
arXiv 2402.10039), so that one number means the same for every target and network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

BALANCE_STEP = 4  # before it an edit is too small for its penalty to have a direction


@dataclass(frozen=True)
class Anchor:
    """Photographs, the scale of every feature (per predictor), and how strongly the penalty pulls against the drive (1: as strongly)."""

    photographs: Float[Tensor, "images 3 height width"]
    scales: tuple[Float[Tensor, " _features"], ...]
    balance: float

    def measure(self, shown: Sequence[Tensor], kept: Sequence[Tensor]) -> Float[Tensor, " images"]:
        """Return the root mean square distance between two sets of features (per predictor, images x features); differentiable."""
        parts = [(((one - other) / scale) ** 2).mean(dim=1) for one, other, scale in zip(shown, kept, self.scales, strict=True)]
        return torch.sqrt(torch.stack(parts).mean(dim=0) + 1e-12)


def balance_gradients(
    drive: Float[Tensor, " images"], distance: Float[Tensor, " images"], shown: Tensor, balance: float
) -> Float[Tensor, " images"]:
    """Return the weight of each image's distance: `balance` x the ratio of the norms of its gradients; 0 where the distance has none."""
    norms = [torch.autograd.grad(value.sum(), shown, retain_graph=True)[0].flatten(1).norm(dim=1) for value in (drive, distance)]
    return torch.where(norms[1] > 0, balance * norms[0] / norms[1].clamp(min=1e-12), 0.0)
