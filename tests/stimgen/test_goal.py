"""A goal is its target in numbers: factors, bounds, matches, and the terms that the image is judged by."""

import numpy as np
import pytest

from protocols.errors import InputError
from stimgen.goal import Goal, join_terms, plan_goal
from stimgen.target import Target

ROIS = ["V3", "LO", "EBA", "PPA"]


def check(goal, **expected):
    for key in ("factors", "low", "high", "matches", "own"):
        assert dict(getattr(goal, key)) == pytest.approx(expected.get(key, {})), key
    assert goal.score == expected.get("score", "sum")


def test_an_roi_is_driven_against_the_mean_of_the_others():
    goal = plan_goal(Target(roi="LO", minus_others=0.75, name="object", subjects=("01",)), ROIS)
    check(goal, factors={"LO": 1, "V3": -0.25, "EBA": -0.25, "PPA": -0.25}, own={"LO": 1})
    assert (goal.label, goal.subjects) == ("object", ("01",))
    assert goal.terms == ["LO", "V3", "EBA", "PPA"]


def test_what_is_held_is_bounded_on_both_sides_and_not_among_the_others():
    goal = plan_goal(Target(roi="LO", minus_others=0.5, hold=("PPA", "01_V3001"), hold_within=0.3), ROIS)
    bounds = {"PPA": 0.3, "01_V3001": 0.3}
    check(goal, factors={"LO": 1, "V3": -0.25, "EBA": -0.25}, own={"LO": 1}, low=dict.fromkeys(bounds, -0.3), high=bounds)


@pytest.mark.parametrize(("target", "rois"), [(Target(roi="V3"), ["V3"]), (Target(roi="V3", minus_others=0), ROIS)])
def test_an_only_roi_or_one_that_minds_no_others_has_none_to_count_against(target, rois):
    check(plan_goal(target, rois), factors={"V3": 1}, own={"V3": 1})


def test_when_all_others_are_held_none_counts_against():
    goal = plan_goal(Target(roi="V3", hold=("LO", "EBA", "PPA")), ROIS)
    assert goal.factors == {"V3": 1.0}


@pytest.mark.parametrize(
    ("target", "term"),
    [(Target(voxel="01_V3002", name="v"), "01_V3002"), (Target(voxels=("01_V3002", "01_LO004")), "01_V3002+01_LO004")],
)
def test_voxels_are_driven_alone(target, term):
    check(plan_goal(target, ROIS), factors={term: 1}, own={term: 1})
    assert join_terms(("a", "b", "c")) == "a+b+c"


def test_a_contrast_weighs_its_two_sides_alike_whatever_their_number():
    both = {"V3": 0.5, "EBA": 0.5, "LO": -1}
    check(plan_goal(Target(contrast="V3 + EBA - LO"), ROIS), factors=both, own=both)


def test_what_is_suppressed_has_a_negative_factor():
    check(plan_goal(Target(suppress="LO", hold=("V3",)), ROIS), factors={"LO": -1}, own={"LO": -1}, low={"V3": -0.5}, high={"V3": 0.5})


def test_up_and_down_are_bounded_beyond_their_level_and_driven_there():
    goal = plan_goal(Target(up=("V3", "LO"), down=("EBA",), level=1.5, hold=("PPA",), hold_within=0.25), ROIS)
    check(
        goal,
        factors={"V3": 1 / 3, "LO": 1 / 3, "EBA": -1 / 3},
        low={"V3": 1.5, "LO": 1.5, "PPA": -0.25},
        high={"EBA": -1.5, "PPA": 0.25},
        own={"V3": 1, "LO": 1, "EBA": -1},
        score="weakest",
    )


def test_a_pattern_is_matched_term_by_term():
    goal = plan_goal(Target(pattern={"V3": 1.5, "LO": -2}, hold=("EBA",)), ROIS)
    check(goal, matches={"V3": 1.5, "LO": -2}, own={"V3": 1, "LO": 1}, low={"EBA": -0.5}, high={"EBA": 0.5}, score="match")


def test_a_dose_is_matched_at_its_percentiles_z():
    check(plan_goal(Target(roi="V3", dose=90), ROIS, {"V3": 1.2}), matches={"V3": 1.2}, own={"V3": 1}, score="match")
    joined = plan_goal(Target(voxels=("a", "b"), dose=10), ROIS, {"a+b": -1.1})
    check(joined, matches={"a+b": -1.1}, own={"a+b": 1}, score="match")


@pytest.mark.parametrize("target", [Target(quadrants=("V3", "LO")), Target(each_voxel_of="V3")])
def test_a_target_that_stands_for_several_has_no_goal_of_its_own(target):
    with pytest.raises(InputError, match=f"target '{target.label}': stands for several; expand it first"):
        plan_goal(target, ROIS)


Z = {"V3": np.array([2.0, -1.0, 0.5]), "LO": np.array([1.0, 3.0, -0.5])}


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        (Goal("sum", own={"V3": 1.0, "LO": -0.5}), [1.5, -2.5, 0.75]),
        (Goal("weakest", own={"V3": 1.0, "LO": -1.0}, score="weakest"), [-1, -3, 0.5]),
        (Goal("match", matches={"V3": 1.0, "LO": 0.0}, own={"V3": 1.0, "LO": 1.0}, score="match"), [-1, -np.sqrt(6.5), -0.5]),
    ],
    ids=lambda value: getattr(value, "label", ""),
)
def test_an_image_is_rated_by_its_own_terms(goal, expected):
    np.testing.assert_allclose(goal.rate(Z), expected)


def test_rating_ignores_what_counts_against_and_the_bounds():
    goal = Goal("t", factors={"V3": 1.0, "LO": -9.0}, low={"LO": 5.0}, own={"V3": 1.0})
    np.testing.assert_allclose(goal.rate(Z), Z["V3"])


def test_bounds_that_are_broken_by_more_than_the_tolerance_are_told():
    goal = Goal("t", low={"V3": 2.0, "LO": -0.5}, high={"LO": 0.5, "EBA": -2.0})
    assert goal.find_violations({"V3": 1.85, "LO": 0.65, "EBA": -1.9}, 0.2) == []
    told = goal.find_violations({"V3": 1.75, "LO": 0.75, "EBA": -1.5}, 0.2)
    assert told == ["V3 >= 2.00 (reached 1.75)", "LO <= 0.50 (reached 0.75)", "EBA <= -2.00 (reached -1.50)"]
    assert goal.find_violations({"V3": 9.0, "LO": -0.75, "EBA": -9.0}, 0.2) == ["LO >= -0.50 (reached -0.75)"]
