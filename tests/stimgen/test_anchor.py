"""An anchor holds an edit's features to its photograph's, with a weight that the gradients' norms set once."""

import pytest
import torch

from stimgen.anchor import BALANCE_STEP, Anchor, balance_gradients
from stimgen.edit import Edit
from stimgen.goal import Goal
from stimgen.objective import Ensemble
from stimgen.optimize import Ascent, Climb, begin, climb_on
from stimgen.predictors import build_panel
from stimgen.transforms import Jitter
from tests.stimgen.tiny import draw_images, make_scorer, make_tiny_model

STILL = Jitter(shift=0.0, scale=0.0, rotation_deg=0.0)
GOAL = Goal("V3", factors={"V3": 1.0}, own={"V3": 1.0})


def edit(balance, steps=30):
    """Edit two photographs; return the climb, its state at the end, and the images' distance from the photographs in features."""
    scorer = make_scorer(make_tiny_model(), size_px=16)
    panel, photographs = build_panel([scorer], [GOAL], Ensemble()), draw_images(2, 16, seed=5)
    size = panel.predictors[0].readers[0].slopes.shape[0]
    anchor = Anchor(photographs, (torch.ones(size),), balance) if balance else None
    drawing = Edit(photographs, 0.2)
    settings = Ascent(steps=steps, jitter=STILL, learning_rate=0.1)
    climb = Climb((GOAL, GOAL), (1, 2), drawing, drawing.encode(photographs), panel, Ensemble(), settings, anchor=anchor)
    state = begin(climb)
    images = climb_on(climb, state).images
    features = [panel.predictors[0].read(some, False)[1] for some in (images, photographs)]
    return state, float((features[0] - features[1]).square().mean().sqrt())


def test_features_stay_nearer_to_the_photographs_the_stronger_the_anchor():
    distances = [edit(balance)[1] for balance in (0.0, 0.5, 2.0)]
    assert distances[0] > 1.05 * distances[1] > 1.05 * 1.05 * distances[2]


def test_the_weight_is_set_once_for_each_image():
    early, late = edit(1.0, steps=BALANCE_STEP + 1)[0].anchor_weight, edit(1.0, steps=20)[0].anchor_weight
    assert (early > 0).all()
    assert torch.equal(early, late)
    assert float(early[0]) != float(early[1])


def test_weighted_gradients_are_equally_long():
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    weight = balance_gradients((3 * x[:, 0] + 4 * x[:, 1]), (x**2).sum(dim=1), x, balance=2.0)
    torch.testing.assert_close(weight, 2 * 5 / (2 * x.detach().norm(dim=1)))
    flat = balance_gradients(x.sum(dim=1), (x * 0).sum(dim=1), x, balance=2.0)
    assert torch.equal(flat, torch.zeros(2))


def test_distance_is_the_root_mean_square_in_units_of_the_scale():
    anchor = Anchor(torch.zeros(1, 3, 4, 4), (torch.tensor([1.0, 2.0]),), 1.0)
    distance = anchor.measure([torch.tensor([[3.0, 8.0]])], [torch.tensor([[0.0, 0.0]])])
    assert float(distance) == pytest.approx((0.5 * (9 + 16)) ** 0.5)
