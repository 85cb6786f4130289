"""Objectives: predicted z of every term in, one number per image out, to be ascended; several models' predictions are combined.

Goals of a batch are laid out as matrices (images x terms), so that images with different goals share a forward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from protocols.config import config
from stimgen.goal import Goal
from stimgen.readings import Term


@config
class Ensemble:
    """How the predictions of several members become one. Terms are driven by the cautious reading, the worse for the goal."""

    combine: Literal["mean", "minimum", "mean_minus_sd"] = "mean"
    sd: float = Field(default=1.0, ge=0)
    """Standard deviations that `mean_minus_sd` subtracts."""
    members: Literal["models", "subjects"] = "models"
    """A member per model, its subjects pooled; or a member per subject of each model."""


@dataclass(frozen=True)
class Wishes:
    """The goals of a batch of images. Bounds are infinite and matches NaN where a goal has none."""

    factors: Float[Tensor, "images terms"]
    low: Float[Tensor, "images terms"]
    high: Float[Tensor, "images terms"]
    matches: Float[Tensor, "images terms"]

    def to(self, device: torch.device) -> "Wishes":
        """Return the wishes on another device."""
        return Wishes(self.factors.to(device), self.low.to(device), self.high.to(device), self.matches.to(device))


def stack_goals(goals: Sequence[Goal], terms: Sequence[Term]) -> Wishes:
    """Lay out the goals of images as rows over the columns `terms`."""
    column = {term: number for number, term in enumerate(terms)}
    factors = torch.zeros(len(goals), len(terms))
    low, high = torch.full_like(factors, -torch.inf), torch.full_like(factors, torch.inf)
    matches = torch.full_like(factors, torch.nan)
    for row, goal in enumerate(goals):
        for matrix, values in ((factors, goal.factors), (low, goal.low), (high, goal.high), (matches, goal.matches)):
            for name, value in values.items():
                matrix[row, column[Term(name, goal.subjects)]] = value
    return Wishes(factors, low, high, matches)


def combine_members(
    z: Float[Tensor, "members images terms"], known: Bool[Tensor, "members terms"], ensemble: Ensemble
) -> tuple[Float[Tensor, "images terms"], Float[Tensor, "images terms"]]:
    """Return the low and the high reading of every term: what it surely reaches, and what it surely stays below.

    With `mean` both are the mean of the members that know the term; with `mean_minus_sd` mean -+ sd x their standard deviation; with
    `minimum` the least and the largest of them.
    """
    inside = known[:, None, :]
    if ensemble.combine == "minimum":
        low = torch.where(inside, z, torch.inf).amin(dim=0)
        return low, torch.where(inside, z, -torch.inf).amax(dim=0)
    count = inside.sum(dim=0).clamp(min=1)
    mean = torch.where(inside, z, 0.0).sum(dim=0) / count
    if ensemble.combine == "mean" or len(z) == 1:
        return mean, mean
    variance = torch.where(inside, (z - mean) ** 2, 0.0).sum(dim=0) / count
    margin = ensemble.sd * torch.sqrt(variance + 1e-8)
    return mean - margin, mean + margin


def rate_wishes(low: Float[Tensor, "images terms"], high: Float[Tensor, "images terms"], wishes: Wishes) -> Float[Tensor, " images"]:
    """Return sum over terms of factor x z, minus half the mean squared distance from the matches; bounds are `lagrangian`'s."""
    driven = wishes.factors * torch.where(wishes.factors > 0, low, high)
    drive = torch.where(wishes.factors != 0, driven, 0.0).sum(dim=1)
    matched = ~wishes.matches.isnan()
    distance = torch.where(matched, (low + high) / 2 - wishes.matches.nan_to_num(), 0.0)
    return drive - (distance**2).sum(dim=1) / matched.sum(dim=1).clamp(min=1) / 2
