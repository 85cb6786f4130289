"""Bounds are met on small problems whose solution is known, where weights alone would trade one term for another."""

import pytest
import torch

from stimgen.goal import Goal
from stimgen.lagrangian import Multipliers
from stimgen.objective import rate_wishes, stack_goals
from stimgen.readings import Term


def solve(goal, terms, read, steps=400, start=(0.0, 0.0), learning_rate=0.1):
    """Ascend the goal over a point by Adam, with the multipliers updated every ten steps as an ascent does; return it all."""
    wishes = stack_goals([goal], [Term(name) for name in terms])
    multipliers = Multipliers.start(wishes)
    point = torch.tensor([start], requires_grad=True)
    optimizer = torch.optim.Adam([point], lr=learning_rate)
    readings = []
    for step in range(1, steps + 1):
        z = read(point)
        (multipliers.penalize(z, z, wishes) - rate_wishes(z, z, wishes)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        readings.append(z.detach())
        if step % 10 == 0:
            mean = torch.stack(readings[-10:]).mean(dim=0)
            multipliers.update(mean, mean, wishes)
    return read(point).detach()[0].tolist(), multipliers, wishes


def within_ten(point):
    """Readings that end at -10 and 10, as an image's do."""
    return 10 * torch.tanh(point / 10)


def test_a_ceiling_and_a_floor_hold_against_an_objective_that_pushes_through_one_of_them():
    """Maximize x - y where x <= 1 and y >= 2: both bounds bind, at x = 1, y = 2, each with multiplier 1."""
    goal = Goal("t", factors={"x": 1.0, "y": -1.0}, low={"y": 2.0}, high={"x": 1.0})
    reached, multipliers, _ = solve(goal, "xy", within_ten)
    assert reached == pytest.approx([1.0, 2.0], abs=0.05)
    assert float(multipliers.high[0, 0]) == pytest.approx(1.0, abs=0.1)
    assert float(multipliers.low[0, 1]) == pytest.approx(1.0, abs=0.1)


def test_a_bound_that_does_not_bind_changes_nothing_and_its_multiplier_returns_to_zero():
    """Maximize x + y where x <= 1 and y >= 2, from below both: y starts under its floor and ends far above it."""
    goal = Goal("t", factors={"x": 1.0, "y": 1.0}, low={"y": 2.0}, high={"x": 1.0})
    reached, multipliers, _ = solve(goal, "xy", within_ten, start=(0.0, -4.0))
    assert reached[0] == pytest.approx(1.0, abs=0.05)
    assert reached[1] > 6
    assert not multipliers.low.any()
    assert float(multipliers.high[0, 0]) > 0.5
    assert not multipliers.high[0, 1]


def test_equal_bounds_pin_a_term():
    goal = Goal("t", factors={"x": 1.0, "y": 1.0}, low={"x": 0.7}, high={"x": 0.7, "y": -0.5})
    reached, _, _ = solve(goal, "xy", within_ten)
    assert reached == pytest.approx([0.7, -0.5], abs=0.05)


def read_pair(point):
    """A wants the image along the first axis, B gains three times as much along it as it loses along the second: rivals."""
    x, y = torch.tanh(point[:, 0]), torch.tanh(point[:, 1])
    return torch.stack([3 * x + y, 3 * x - 2 * y], dim=1)


def test_a_pair_that_plain_weights_trade_is_brought_to_both_its_bounds():
    """Up with A and down with B: the sum alone gives A up for B's fall, the bounds reach A >= 1 and B <= -1."""
    factors = {"a": 0.5, "b": -0.5}
    weak = {"a": 0.2, "b": -0.8}
    traded, _, _ = solve(Goal("t", factors=weak), "ab", read_pair)
    assert traded[0] < 0
    reached, _, _ = solve(Goal("t", factors=weak, low={"a": 1.0}, high={"b": -1.0}), "ab", read_pair)
    assert reached[0] > 0.95
    assert reached[1] < -0.95
    balanced, _, _ = solve(Goal("t", factors=factors, low={"a": 1.0}, high={"b": -1.0}), "ab", read_pair)
    assert balanced[0] > 0.95
    assert balanced[1] < -0.95


def test_bounds_that_contradict_each_other_leave_finite_numbers_between_them():
    goal = Goal("t", factors={"x": 1.0}, low={"x": 2.0}, high={"x": -2.0})
    reached, multipliers, wishes = solve(goal, "xy", within_ten)
    assert -2.1 < reached[0] < 2.1
    for values in vars(multipliers).values():
        assert torch.isfinite(values).all()
        assert float(values.max()) <= 20
    z = torch.tensor([reached])
    assert torch.isfinite(multipliers.penalize(z, z, wishes)).all()


def test_a_bound_out_of_reach_pushes_as_far_as_it_goes_and_stays_finite():
    reached, multipliers, _ = solve(Goal("t", low={"x": 30.0}), "xy", within_ten)
    assert reached[0] > 9
    assert float(multipliers.low[0, 0]) == 20


def test_without_bounds_there_is_no_penalty_and_no_gradient():
    wishes = stack_goals([Goal("t", factors={"x": 1.0})], [Term("x"), Term("y")])
    multipliers = Multipliers.start(wishes)
    z = torch.tensor([[1e6, -1e6]], requires_grad=True)
    penalty = multipliers.penalize(z, z, wishes)
    penalty.sum().backward()
    multipliers.update(z.detach(), z.detach(), wishes)
    assert penalty.tolist() == [0.0]
    assert not z.grad.any()
    assert not multipliers.low.any()
    assert not multipliers.high.any()


def test_the_floor_is_measured_by_the_low_reading_and_the_ceiling_by_the_high_one():
    wishes = stack_goals([Goal("t", low={"x": 1.0}, high={"y": 1.0})], [Term("x"), Term("y")])
    low, high = torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, 3.0]])
    strength = 0.5
    assert float(Multipliers.start(wishes).penalize(low, high, wishes)) == pytest.approx(strength / 2 * (1.0**2 + 2.0**2))


def test_images_have_multipliers_of_their_own():
    goals = [Goal("a", low={"x": 1.0}), Goal("b", high={"x": 1.0}), Goal("c", factors={"x": 1.0})]
    wishes = stack_goals(goals, [Term("x")])
    multipliers = Multipliers.start(wishes)
    z = torch.tensor([[0.0], [0.0], [0.0]])
    multipliers.update(z, z, wishes)
    assert multipliers.low.flatten().tolist() == [0.5, 0.0, 0.0]
    multipliers.update(z + 3, z + 3, wishes)
    assert multipliers.high.flatten().tolist() == [0.0, 1.0, 0.0]
    assert multipliers.low.flatten().tolist() == [0.0, 0.0, 0.0]


def test_the_strength_grows_only_where_a_breach_does_not_shrink():
    wishes = stack_goals([Goal("t", low={"x": 1.0, "y": 1.0})], [Term("x"), Term("y")])
    multipliers = Multipliers.start(wishes)
    for x, y in ((0.0, 0.0), (0.1, 0.9)):
        z = torch.tensor([[x, y]])
        multipliers.update(z, z, wishes)
    assert multipliers.strength.tolist() == [[1.0, 0.5]]
