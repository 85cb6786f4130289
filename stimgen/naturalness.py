"""How unlike natural images are features? Distance from the natural pool, in the pool's own principal directions and outside them."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_DIRECTIONS = 200


@dataclass(frozen=True)
class Naturalness:
    """Penalty max(0, d - 1) + max(0, r - 1): d is the mean squared score along the pool's principal directions, in units of their
    variance (Mahalanobis); r is the energy outside of them, in units of the pool's own. Both are 1 on average for natural images.
    """

    mean: Float[Tensor, " features"]
    scale: Float[Tensor, " features"]
    directions: Float[Tensor, "features directions"]
    variance: Float[Tensor, " directions"]
    rest: float

    def penalize(self, features: Float[Tensor, "images features"]) -> Float[Tensor, " images"]:
        """Return the penalty of images; differentiable."""
        z = (features - self.mean) / self.scale
        scores = z @ self.directions
        distance = (scores**2 / self.variance).mean(dim=1)
        outside = ((z**2).sum(dim=1) - (scores**2).sum(dim=1)) / self.rest
        return torch.relu(distance - 1) + torch.relu(outside - 1)


def measure_naturalness(features: Float[np.ndarray, "images features"], layer_of_feature: np.ndarray, device: torch.device) -> Naturalness:
    """Measure the natural pool; every layer weighs the same, whatever its number and scale of features."""
    x = torch.from_numpy(features)
    mean = x.mean(dim=0)
    scale = torch.ones(x.shape[1])
    for layer in np.unique(layer_of_feature):
        inside = torch.from_numpy(layer_of_feature == layer)
        scale[inside] = torch.sqrt(((x[:, inside] - mean[inside]) ** 2).sum(dim=1).mean()) + 1e-12
    z = (x - mean) / scale
    count = min(_DIRECTIONS, len(x) // 4, x.shape[1])
    kernel = (z @ z.T).double()
    values, vectors = torch.linalg.eigh(kernel)
    values, vectors = values[-count:].clamp(min=1e-9), vectors[:, -count:]
    directions = (z.T.double() @ vectors / torch.sqrt(values)).float()
    rest = float((z**2).sum(dim=1).mean()) - float(values.sum()) / len(x)
    variance = (values / len(x)).float()
    return Naturalness(mean.to(device), scale.to(device), directions.to(device), variance.to(device), max(rest, 1e-6))
