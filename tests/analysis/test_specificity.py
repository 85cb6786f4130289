"""Specificity: exact by brute force, uniform under the null, unmoved by what drives everything; and its crossed twin."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from analysis.specificity import count_own_wins, double_center, estimate_specificity, relabel_sets, relabel_wins


def test_double_centering_leaves_no_roi_or_set_mean() -> None:
    matrix = np.random.default_rng(0).standard_normal((3, 4, 4)) + np.arange(4)[:, None] * 3
    centered = double_center(matrix)
    np.testing.assert_allclose(centered.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(centered.mean(axis=2), 0, atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_p_is_that_of_brute_force(k: int) -> None:
    matrix = np.random.default_rng(k).standard_normal((3, k, k)) + 0.4 * np.eye(k)
    means = matrix.mean(axis=0)
    statistics = []
    for order in itertools.permutations(range(k)):
        relabeled = means[:, list(order)]
        centered = relabeled - relabeled.mean(axis=1, keepdims=True) - relabeled.mean(axis=0) + relabeled.mean()
        statistics.append(np.trace(centered) / k)
    result = relabel_sets(matrix)
    assert result.statistic == pytest.approx(statistics[0])
    assert result.p == pytest.approx(np.mean(np.array(statistics) >= statistics[0] - 1e-12))
    assert result.p_floor == pytest.approx(1 / math.factorial(k))


def test_p_is_uniform_under_the_null_even_with_strong_rois_and_sets() -> None:
    rng = np.random.default_rng(1)
    p = []
    for _ in range(600):
        strong = 5 * rng.standard_normal((1, 5, 1)) + 5 * rng.standard_normal((1, 1, 5))
        p.append(relabel_sets(strong + rng.standard_normal((4, 5, 5))).p)
    reached = np.array(p) + 1 / 240 - rng.uniform(0, 1 / 120, 600)  # between the attainable values
    assert stats.kstest(np.clip(reached, 0, 1), "uniform").pvalue > 0.001
    assert np.mean(np.array(p) <= 0.05) <= stats.binom.ppf(0.999, 600, 0.05) / 600


def test_a_set_that_drives_every_roi_changes_nothing() -> None:
    matrix = np.random.default_rng(2).standard_normal((4, 5, 5)) + 0.5 * np.eye(5)
    strong = matrix + np.array([0, 9, 0, 0, 0]) + np.array([0, 0, 7, 0, 0])[:, None]
    assert relabel_sets(strong).p == relabel_sets(matrix).p
    assert relabel_sets(strong).statistic == pytest.approx(relabel_sets(matrix).statistic)


def test_more_than_eight_sets_are_drawn_reproducibly() -> None:
    matrix = np.random.default_rng(3).standard_normal((2, 9, 9)) + 2 * np.eye(9)
    first, second = relabel_sets(matrix), relabel_sets(matrix)
    assert first == second
    assert first.relabelings == 20_000
    assert first.p == pytest.approx(first.p_floor)


def test_own_wins_are_counted_per_subject_and_for_the_mean() -> None:
    wins = np.array([[[2.0, 3, 4], [0, 2, 1], [0, 0, 2]], [[9, 0, 0], [0, 2, 0], [0, 0, 9]]])
    assert count_own_wins(wins) == ([2, 3], 3)


def test_crossed_estimate_is_the_same_statistic() -> None:
    rng = np.random.default_rng(4)
    responses = [rng.standard_normal((3, 4, size)) for size in (5, 6, 7)]
    matrix = np.stack([values.mean(axis=2) for values in responses], axis=2).transpose(1, 0, 2)
    effect = estimate_specificity(responses)
    assert effect.estimate == pytest.approx(relabel_sets(matrix).statistic)
    assert effect.images == 18


@pytest.mark.parametrize("k", [3, 5])
def test_p_of_the_confusion_count_is_that_of_brute_force(k: int) -> None:
    matrix = np.random.default_rng(k).standard_normal((3, k, k)) + 0.8 * np.eye(k)
    means = matrix.mean(axis=0)
    counts = [sum(means[roi].argmax() == order[roi] for roi in range(k)) for order in itertools.permutations(range(k))]
    result = relabel_wins(matrix)
    assert result.statistic == counts[0] == count_own_wins(matrix)[1]
    assert result.p == pytest.approx(np.mean(np.array(counts) >= counts[0]))


def test_four_of_five_may_happen_by_a_strong_set_never() -> None:
    strong = np.random.default_rng(5).standard_normal((4, 5, 5)) + 50 * (np.arange(5) == 2)
    assert relabel_wins(strong).statistic == 1
    assert relabel_wins(strong).p == 1
    perfect = np.broadcast_to(np.eye(5), (2, 5, 5))
    assert relabel_wins(perfect).p == pytest.approx(1 / 120)


def test_confusion_count_is_rarely_significant_by_chance() -> None:
    rng = np.random.default_rng(6)
    rejected = sum(relabel_wins(rng.standard_normal((1, 5, 1)) + rng.standard_normal((4, 5, 5))).p <= 0.05 for _ in range(600))
    assert rejected <= stats.binom.ppf(0.999, 600, 0.05)


def test_gaps_leave_the_estimate_where_it_was() -> None:
    rng = np.random.default_rng(7)
    responses = [rng.standard_normal((3, 6, 8)) + (np.arange(3) == c)[:, None, None] for c in range(3)]
    gapped = [values.copy() for values in responses]
    gapped[1][:, 2, 3] = np.nan
    whole, less = estimate_specificity(responses), estimate_specificity(gapped)
    assert "restricted maximum likelihood" in less.method
    assert (less.estimate, less.se) == pytest.approx((whole.estimate, whole.se), rel=0.1)
    assert less.beside.d == pytest.approx(whole.beside.d, rel=0.1)
