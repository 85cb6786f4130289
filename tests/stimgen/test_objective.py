"""Goals become one number per image: what is driven up counts by its low reading, what is driven down by its high one."""

import pytest
import torch

from stimgen.goal import Goal
from stimgen.objective import Ensemble, combine_members, rate_wishes, stack_goals
from stimgen.readings import Term

Z = torch.tensor([[[1.0, 4.0]], [[3.0, -2.0]], [[8.0, 1.0]]])  # 3 members, 1 image, 2 terms
KNOWN = torch.tensor([[True, True], [True, False], [False, True]])
TERMS = [Term("V3"), Term("LO"), Term("V3", ("01",))]


@pytest.mark.parametrize(
    ("ensemble", "low", "high"),
    [
        (Ensemble(), [2.0, 2.5], [2.0, 2.5]),
        (Ensemble(combine="minimum"), [1.0, 1.0], [3.0, 4.0]),
        (Ensemble(combine="mean_minus_sd"), [1.0, 1.0], [3.0, 4.0]),
        (Ensemble(combine="mean_minus_sd", sd=2.0), [0.0, -0.5], [4.0, 5.5]),
        (Ensemble(combine="mean_minus_sd", sd=0.0), [2.0, 2.5], [2.0, 2.5]),
    ],
)
def test_members_that_lack_a_term_have_no_say_in_it(ensemble, low, high):
    combined = combine_members(Z, KNOWN, ensemble)
    torch.testing.assert_close(torch.cat(combined), torch.tensor([low, high]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("combine", ["mean", "minimum", "mean_minus_sd"])
def test_of_a_single_member_both_readings_are_its_own(combine):
    low, high = combine_members(Z[:1], KNOWN[:1], Ensemble(combine=combine))
    assert torch.equal(low, Z[0])
    assert torch.equal(high, Z[0])


@pytest.mark.parametrize("combine", ["mean", "minimum", "mean_minus_sd"])
def test_the_gradient_is_finite_and_reaches_only_members_that_know_the_term(combine):
    """Also where all members agree, at which a standard deviation has no derivative."""
    for z in (Z.clone(), torch.ones_like(Z)):
        z.requires_grad_(True)
        low, high = combine_members(z, KNOWN, Ensemble(combine=combine))
        (low.sum() - 0.5 * high.sum()).backward()
        assert torch.isfinite(z.grad).all()
        assert not z.grad[1, 0, 1]
        assert not z.grad[2, 0, 0]
        assert float(z.grad.sum()) == pytest.approx(1.0, abs=1e-3)


def test_goals_are_laid_out_over_the_terms_of_all_of_them():
    goals = [
        Goal("a", factors={"V3": 1.0, "LO": -0.5}, low={"LO": -1.0}),
        Goal("b", matches={"V3": 2.0}, high={"V3": 3.0}, subjects=("01",)),
    ]
    wishes = stack_goals(goals, TERMS)
    inf, nan = torch.inf, torch.nan
    assert wishes.factors.tolist() == [[1.0, -0.5, 0.0], [0.0, 0.0, 0.0]]
    assert wishes.low.tolist() == [[-inf, -1.0, -inf], [-inf, -inf, -inf]]
    assert wishes.high.tolist() == [[inf, inf, inf], [inf, inf, 3.0]]
    torch.testing.assert_close(wishes.matches, torch.tensor([[nan, nan, nan], [nan, nan, 2.0]]), equal_nan=True)


def test_what_is_driven_counts_by_its_low_reading_and_what_is_suppressed_by_its_high_one():
    wishes = stack_goals([Goal("a", factors={"V3": 1.0, "LO": -0.5})], TERMS[:2])
    low, high = torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 6.0]])
    assert rate_wishes(low, high, wishes).tolist() == [1.0 - 0.5 * 6.0]


def test_matches_count_by_half_their_mean_squared_distance():
    goals = [Goal("a", matches={"V3": 2.0, "LO": -1.0}), Goal("b", factors={"LO": 1.0}), Goal("c", matches={"V3": 1.0})]
    wishes = stack_goals(goals, TERMS[:2])
    low, high = torch.tensor([[0.0, 1.0]] * 3), torch.tensor([[2.0, 3.0]] * 3)
    assert rate_wishes(low, high, wishes).tolist() == [-(1.0 + 9.0) / 4, 1.0, 0.0]


def test_infinite_bounds_and_absent_matches_give_no_nan_and_a_finite_gradient():
    goals = [Goal("a", factors={"V3": 1.0}, low={"LO": 1.0}), Goal("b", high={"LO": 1.0}), Goal("c", matches={"LO": 0.5})]
    wishes = stack_goals(goals, TERMS)
    z = torch.zeros(3, 3, requires_grad=True)
    value = rate_wishes(z, z, wishes)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert z.grad.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.5, 0.0]]


def test_a_reading_that_overflows_in_a_term_that_no_goal_of_the_image_names_does_not_count():
    wishes = stack_goals([Goal("a", factors={"V3": 1.0})], TERMS[:2])
    low = torch.tensor([[2.0, torch.inf]])
    assert rate_wishes(low, low, wishes).tolist() == [2.0]


def test_an_images_number_does_not_depend_on_the_goals_beside_it():
    goals = [Goal("a", factors={"V3": 1.0, "LO": -0.5}), Goal("b", matches={"V3": 2.0}, subjects=("01",))]
    low = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    together = rate_wishes(low, low + 1, stack_goals(goals, TERMS))
    apart = [rate_wishes(low[[row]], low[[row]] + 1, stack_goals([goal], TERMS)) for row, goal in enumerate(goals)]
    assert torch.equal(together, torch.cat(apart))
