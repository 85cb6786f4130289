"""Bounds on predicted responses, met by an augmented Lagrangian: neither side of a pair is traded for the other.

For a bound g(x) <= 0 with multiplier u >= 0 and strength s the penalty is (max(0, u + s g)^2 - u^2) / (2 s); every few steps
u <- max(0, u + s g), and s grows where g has not shrunk (Nocedal & Wright 2006, Numerical Optimization, 17.4).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stimgen.objective import Wishes, rate_wishes

_FIRST_STRENGTH, _LARGEST_STRENGTH = 0.5, 8.0
_GROWTH, _ENOUGH_PROGRESS = 2.0, 0.7
_LARGEST_MULTIPLIER = 20.0


@dataclass
class Multipliers:
    """Multipliers of both bounds, the strength, and the breach at the last update, of every image and term."""

    low: Float[Tensor, "images terms"]
    high: Float[Tensor, "images terms"]
    strength: Float[Tensor, "images terms"]
    breach: Float[Tensor, "images terms"]

    @classmethod
    def start(cls, wishes: Wishes) -> "Multipliers":
        """Return multipliers of zero."""
        zeros = torch.zeros_like(wishes.factors)
        return cls(zeros, zeros.clone(), torch.full_like(zeros, _FIRST_STRENGTH), torch.full_like(zeros, torch.inf))

    def penalize(self, low: Float[Tensor, "images terms"], high: Float[Tensor, "images terms"], wishes: Wishes) -> Float[Tensor, " images"]:
        """Return each image's penalty for its bounds; differentiable."""
        too_low, too_high = _measure_breach(low, high, wishes)
        penalty = torch.zeros_like(low)
        for gap, multiplier in ((too_low, self.low), (too_high, self.high)):
            penalty = penalty + (torch.relu(multiplier + self.strength * gap) ** 2 - multiplier**2) / (2 * self.strength)
        bounded = wishes.low.isfinite() | wishes.high.isfinite()
        return torch.where(bounded, penalty, 0.0).sum(dim=1)

    def update(self, low: Float[Tensor, "images terms"], high: Float[Tensor, "images terms"], wishes: Wishes) -> None:
        """Raise the multipliers of broken bounds, lower those of bounds with room; readings are means over the last steps."""
        too_low, too_high = _measure_breach(low, high, wishes)
        self.low = torch.relu(self.low + self.strength * too_low).clamp(max=_LARGEST_MULTIPLIER)
        self.high = torch.relu(self.high + self.strength * too_high).clamp(max=_LARGEST_MULTIPLIER)
        breach = torch.relu(torch.maximum(too_low, too_high))
        stuck = breach > _ENOUGH_PROGRESS * self.breach
        self.strength = torch.where(stuck, self.strength * _GROWTH, self.strength).clamp(max=_LARGEST_STRENGTH)
        self.breach = breach


def rate_bounded(low: Float[Tensor, "images terms"], high: Float[Tensor, "images terms"], wishes: Wishes) -> Float[Tensor, " images"]:
    """Return what images do for their wishes, broken bounds counted against them at the first strength."""
    return rate_wishes(low, high, wishes) - Multipliers.start(wishes).penalize(low, high, wishes)


def _measure_breach(
    low: Float[Tensor, "images terms"], high: Float[Tensor, "images terms"], wishes: Wishes
) -> tuple[Float[Tensor, "images terms"], Float[Tensor, "images terms"]]:
    """Return how far each term is on the wrong side of each bound; very negative where there is no bound."""
    too_low = torch.where(wishes.low.isfinite(), wishes.low.nan_to_num(neginf=0.0) - low, -1e6)
    too_high = torch.where(wishes.high.isfinite(), high - wishes.high.nan_to_num(posinf=0.0), -1e6)
    return too_low, too_high
