"""A batch of images made without gradients: each is evolved on its own, rated by the same models and for the same goal as in an ascent."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from stimgen.evolve import evolve
from stimgen.lagrangian import rate_bounded
from stimgen.objective import Wishes, combine_members
from stimgen.optimize import Climb, Climbed
from stimgen.parameterization import Parameterization


def evolve_all(climb: Climb, on_step: Callable[[int], None] = lambda images: None) -> Climbed:
    """Evolve every image of a batch and return them; bounds count by their penalty at the first strength, for want of a gradient.

    `on_step` is told once per image, as if it had taken all the steps of an ascent.
    """
    wishes = climb.wishes
    images = []
    for row, seed in enumerate(climb.seeds):
        generator = torch.Generator().manual_seed(seed)
        own = Wishes(*(matrix[row : row + 1] for matrix in vars(wishes).values()))
        start = climb.parameterization.draw(generator) if climb.start is None else climb.start[row]
        parameterization = _select(climb.parameterization, row)
        best, _ = evolve(_make_rate(climb, own), parameterization, start.to(climb.makers.device), climb.ascent.evolution, generator)
        with torch.no_grad():
            images.append(parameterization.decode(best[None]).cpu())
        on_step(climb.ascent.steps)
    dead = tuple(bool(image.std() < 1e-3) for image in images)
    return Climbed(torch.cat(images), (0,) * len(images), dead, torch.zeros(0, len(images)))


def _make_rate(climb: Climb, wishes: Wishes) -> Callable[[Tensor], Tensor]:
    def rate(images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, " images"]:
        every = Wishes(*(matrix.expand(len(images), -1) for matrix in vars(wishes).values()))
        read = climb.makers.read(images, climb.ascent.precision == "bfloat16")
        low, high = combine_members(read, climb.makers.known.to(images.device), climb.ensemble)
        return rate_bounded(low, high, every)

    return rate


def _select(parameterization: Parameterization, row: int) -> Parameterization:
    """Return the parameterization of one image of a batch: of what it has per image, only that image's."""
    own = {
        key: value[row : row + 1]
        for key, value in vars(parameterization).items()
        if isinstance(value, Tensor) and key in ("photographs", "largest") and value.ndim
    }
    selected: Parameterization = replace(parameterization, **own) if own else parameterization  # type: ignore[type-var]
    return selected
