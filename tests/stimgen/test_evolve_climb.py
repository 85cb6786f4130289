"""Images evolved without gradients serve the goals of an ascent, each by its own seed."""

import numpy as np
import torch

from stimgen.edit import Edit
from stimgen.evolve import Evolution
from stimgen.evolve_climb import evolve_all
from stimgen.goal import Goal
from stimgen.image import Fourier
from stimgen.objective import Ensemble
from stimgen.optimize import Ascent, Climb
from stimgen.predictors import build_panel
from tests.stimgen.tiny import draw_images, make_scorer, make_tiny_model

GOALS = (Goal("V3", factors={"V3": 1.0}, own={"V3": 1.0}), Goal("LO", factors={"LO": -1.0}, own={"LO": -1.0}))


def evolve(drawing, start, seeds=(1, 2), goals=GOALS):
    panel = build_panel([make_scorer(make_tiny_model(), size_px=16)], goals, Ensemble())
    settings = Ascent(optimizer="cma_es", steps=7, evolution=Evolution(generations=25, cutoff=3))
    told = []
    climbed = evolve_all(Climb(goals, seeds, drawing, start, panel, Ensemble(), settings), told.append)
    with torch.no_grad():
        z = panel.predictors[0].read(climbed.images, False)[0][0]
    return climbed, z, told


def test_each_image_does_what_its_goal_wants_and_is_its_own_seeds():
    fourier = Fourier(16)
    climbed, z, told = evolve(fourier, None)
    start = torch.stack([fourier.draw(torch.Generator().manual_seed(seed)) for seed in (1, 2)])
    panel = build_panel([make_scorer(make_tiny_model(), size_px=16)], GOALS, Ensemble())
    before = panel.predictors[0].read(fourier.decode(start), False)[0][0]
    assert z[0, 0] > before[0, 0] + 0.5
    assert z[1, 1] < before[1, 1] - 0.5
    assert told == [7, 7]
    alone, _, _ = evolve(fourier, None, seeds=(2,), goals=GOALS[1:])
    np.testing.assert_allclose(alone.images[0], climbed.images[1], atol=1e-4)


def test_each_edit_is_of_its_own_photograph():
    photographs = draw_images(2, 16, seed=8)
    drawing = Edit(photographs, torch.tensor([0.02, 0.05]))
    climbed, _, _ = evolve(drawing, drawing.encode(photographs))
    sizes = torch.sqrt(((climbed.images - photographs) ** 2).mean(dim=(1, 2, 3)))
    assert (sizes > 0.005).all()
    assert (sizes < torch.tensor([0.0201, 0.0501])).all()
