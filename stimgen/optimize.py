"""Gradient ascent: jobs (target, seed) in, images in 0-1 out; many jobs share each forward pass.

Each job has its own random generator, so that an image depends on its seed and not on what else is in its batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from protocols.config import config
from stimgen.features import FeatureSpace
from stimgen.image import Fourier
from stimgen.objective import Drive
from stimgen.transforms import Jitter, apply_affine, draw_affine


@config
class Ascent:
    """How images are made by gradient ascent (Adam)."""

    steps: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    batch: int = Field(default=10, ge=1)
    jitter: Jitter = Jitter()


@dataclass(frozen=True)
class Job:
    """One image to make: what it shall drive, in every generating model, and its seed."""

    label: str
    drives: tuple[Drive, ...]
    seed: int


def ascend(
    jobs: Sequence[Job],
    spaces: Sequence[FeatureSpace],
    parameterization: Fourier,
    ascent: Ascent,
    on_step: Callable[[int], None] = lambda images: None,
) -> Float[Tensor, "images 3 height width"]:
    """Make one image per job, ascending the mean of its drives over the models in `spaces`.

    `on_step` is told after every step how many images took it. Images are returned on the CPU, in the order of `jobs`.
    """
    batches = [jobs[start : start + ascent.batch] for start in range(0, len(jobs), ascent.batch)]
    return torch.cat([_ascend_batch(batch, spaces, parameterization, ascent, on_step) for batch in batches])


def _ascend_batch(
    jobs: Sequence[Job], spaces: Sequence[FeatureSpace], parameterization: Fourier, ascent: Ascent, on_step: Callable[[int], None]
) -> Float[Tensor, "images 3 height width"]:
    device = spaces[0].backbone.device
    generators = [torch.Generator().manual_seed(job.seed) for job in jobs]
    parameters = torch.stack([parameterization.draw(generator) for generator in generators]).to(device).requires_grad_(True)
    slopes = [torch.stack([job.drives[index].slope for job in jobs]).to(device) for index in range(len(spaces))]
    optimizer = torch.optim.Adam([parameters], lr=ascent.learning_rate)
    for _ in range(ascent.steps):
        affine = torch.stack([draw_affine(ascent.jitter, generator) for generator in generators])
        images = apply_affine(parameterization.decode(parameters), affine)
        drive = sum((space.extract(images) * slope).sum() for space, slope in zip(spaces, slopes, strict=True)) / len(spaces)
        optimizer.zero_grad()
        (-drive).backward()  # type: ignore[union-attr]
        optimizer.step()
        on_step(len(jobs))
    with torch.no_grad():
        return parameterization.decode(parameters).cpu()
