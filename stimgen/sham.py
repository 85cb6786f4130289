"""Sham edits: as large as the edits they go with, on the same photographs, but leaving features and every ROI's response as they were."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protocols.errors import InputError
from stimgen.anchor import Anchor
from stimgen.edit import Edit, measure_edit
from stimgen.goal import Goal
from stimgen.image import Fourier
from stimgen.jobs import split_batches
from stimgen.make import Made, Studio, collect_climbed, derive_seed, measure_natural, read_starts
from stimgen.objective import Ensemble, combine_members
from stimgen.optimize import Climb
from stimgen.predictors import Panel, build_panel

_BALANCE = 1.0  # features are held to the photograph's as strongly as responses: what leaves the features leaves other networks too


def make_shams(studio: Studio, made: Sequence[Made], on_step: Callable[[int], None]) -> list[Made]:
    """Make one sham edit per edited photograph: a random change of equal root mean square, climbed until no ROI's response differs.

    Raises
    ------
    InputError
        When an image was not made from a photograph.
    """
    if any(one.job.start is None for one in made):
        raise InputError('controls: "sham" goes with images that start from photographs; set image.start = "natural"')
    shams: list[Made] = []
    for batch in split_batches(len(made), studio.order.ascent.batch):
        some = [made[index] for index in batch]
        shams += collect_climbed([one.job for one in some], studio.workplace.make(_prepare(studio, some), on_step))
    return shams


def _prepare(studio: Studio, made: Sequence[Made]) -> Climb:
    order = studio.order
    rois = [roi for roi in studio.makers[0].model.rois if all(roi in maker.model.rois for maker in studio.makers)]
    photographs = read_starts(studio, [one.job for one in made])
    sizes = measure_edit(_stack([one.image for one in made]), photographs)
    seeds = tuple(derive_seed(one.job.seed, "sham", 0) for one in made)
    every = Goal("sham", matches=dict.fromkeys(rois, 0.0), score="match")
    panel = build_panel(studio.makers, [every], Ensemble())
    goals = tuple(Goal("sham", matches=dict(zip(rois, row, strict=True)), score="match") for row in _read(panel, photographs).tolist())
    start = Fourier(order.size_px).encode(_disturb(photographs, sizes, seeds))
    anchor = Anchor(photographs, tuple(measured.scale for measured in measure_natural(studio, panel)), _BALANCE)
    return Climb(goals, seeds, Edit(photographs, sizes, exact=True), start, panel, Ensemble(), order.ascent, anchor=anchor)


def _read(panel: Panel, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images terms"]:
    """Return the mean reading of each term over the panel."""
    with torch.no_grad():
        shown = images.to(panel.device)
        z = panel.read(shown)
    return combine_members(z, panel.known.to(z.device), Ensemble())[0].cpu()


def _disturb(
    photographs: Float[Tensor, "images 3 height width"], sizes: Float[Tensor, " images"], seeds: Sequence[int]
) -> Float[Tensor, "images 3 height width"]:
    """Add 1/f noise of each edit's size to its photograph."""
    fourier = Fourier(photographs.shape[-1])
    drawn = torch.stack([fourier.draw(torch.Generator().manual_seed(seed)) for seed in seeds])
    noise = fourier.decode(drawn) - 0.5
    scale = sizes / torch.sqrt((noise**2).mean(dim=(1, 2, 3)))
    return (photographs + noise * scale[:, None, None, None]).clamp(0, 1)


def _stack(images: Sequence[Float[np.ndarray, "height width 3"]]) -> Float[Tensor, "images 3 height width"]:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
