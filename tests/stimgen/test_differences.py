"""Standardized differences by their definition, and which of them break the rule."""

import numpy as np
import pandas as pd
import pytest

from stimgen.differences import compare_conditions, compare_targets, find_unbalanced, standardize
from stimgen.look import LOOKS


def test_a_difference_is_that_of_means_in_pooled_standard_deviations():
    first, second = np.array([1.0, 3.0]), np.array([2.0, 8.0])  # sd 1 and 3
    assert standardize(first, second, 0.0) == pytest.approx(-3 / np.sqrt((1 + 9) / 2))


def test_images_all_alike_are_told_apart_by_a_twentieth_of_natural_spread_alone():
    assert standardize(np.array([0.301, 0.301]), np.array([0.3, 0.3]), 0.2) == pytest.approx(0.1)
    assert standardize(np.array([0.301, 0.301]), np.array([0.3, 0.3]), 0.0) == np.inf
    assert standardize(np.array([0.3, 0.3]), np.array([0.3, 0.3]), 0.0) == 0


def make_table():
    """Two targets and their controls, which differ in slope; targets differ in luminance."""
    table = pd.DataFrame({"condition": ["target"] * 4 + ["natural"] * 4, "target": ["V3", "V3", "LO", "LO"] * 2})
    looks = pd.DataFrame(dict.fromkeys(LOOKS, [1.0, 2.0] * 4))
    looks.loc[table["condition"] == "natural", "slope"] += 1
    looks.loc[table["target"] == "LO", "mean_luminance"] -= 1
    return table, looks


def test_conditions_and_targets_are_compared_pair_by_pair():
    table, looks = make_table()
    (conditions,) = compare_conditions(table, looks, {}).to_dict("records")
    assert (conditions["first"], conditions["second"]) == ("target", "natural")
    assert conditions["slope"] == pytest.approx(-2)
    assert all(conditions[look] == 0 for look in LOOKS if look != "slope")
    (targets,) = compare_targets(table, looks, {}).to_dict("records")
    assert (targets["first"], targets["second"], targets["mean_luminance"]) == ("V3", "LO", pytest.approx(2))
    assert all(targets[look] == 0 for look in LOOKS if look != "mean_luminance")


def test_what_is_wanted_to_differ_breaks_no_rule():
    compared = compare_conditions(*make_table(), {})
    (line,) = find_unbalanced(compared, [], "conditions")
    assert line.startswith("conditions target and natural differ by more than 0.1 standard deviations: slope -2.00; match it")
    assert find_unbalanced(compared, ["slope"], "conditions") == []


def test_a_difference_of_a_tenth_passes():
    compared = pd.DataFrame([{"first": "a", "second": "b", **dict.fromkeys(LOOKS, 0.0), "slope": 0.1, "saturation": -0.11}])
    (line,) = find_unbalanced(compared, [], "targets")
    assert "saturation -0.11" in line
    assert "slope" not in line
