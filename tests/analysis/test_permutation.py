"""The permutation twin: exact by brute force, floors that it never goes below, and errors that are held where tests are many."""

import itertools

import numpy as np
import pytest
from scipy import stats

from analysis.crossed import estimate_effect
from analysis.permutation import PermutedTest, Twin, _permute_images, permute_contrasts

PAIR = np.array([1.0, -1.0])


def make_test(
    values: np.ndarray, sizes: tuple[int, ...], weights: np.ndarray = PAIR, family: str = "primary", name: str = "i"
) -> PermutedTest:
    sets = np.repeat(np.arange(len(sizes)), sizes)
    return PermutedTest(family, tuple(f"{name}{number:03d}" for number in range(len(sets))), values, sets, weights)


def draw_values(rng: np.random.Generator, subjects: int, sizes: tuple[int, ...], sds: tuple[float, float, float]) -> np.ndarray:
    by_set, by_image, residual = sds
    levels = by_set * rng.standard_normal((subjects, len(sizes)))
    images = by_image * rng.standard_normal(sum(sizes))
    return np.repeat(levels, sizes, axis=1) + images + residual * rng.standard_normal((subjects, sum(sizes)))


def brute_force(values: np.ndarray, sizes: tuple[int, ...], weights: np.ndarray) -> tuple[float, float]:
    """Return the share of all orders of the images, and of all signs of the subjects, that reach the observed |t| and |sum|."""
    bounds = np.cumsum([0, *sizes])

    def take_t(order: tuple[int, ...]) -> float:
        sets = [values[:, list(order[low:high])] for low, high in itertools.pairwise(bounds)]
        return abs(estimate_effect(sets, list(weights)).t)

    identity = tuple(range(values.shape[1]))
    observed = take_t(identity)
    images = np.mean([take_t(order) >= observed * (1 - 1e-9) for order in itertools.permutations(identity)])
    scores = sum(weight * values[:, low:high].mean(axis=1) for weight, (low, high) in zip(weights, itertools.pairwise(bounds), strict=True))
    signs = itertools.product((1, -1), repeat=len(values))
    subjects = np.mean([abs(np.dot(sign, scores)) >= abs(np.sum(scores)) * (1 - 1e-9) for sign in signs])
    return float(images), float(subjects)


@pytest.mark.parametrize(("sizes", "subjects"), [((3, 3), 4), ((2, 4), 3), ((2, 2, 2), 5)])
def test_exact_p_is_that_of_brute_force(sizes: tuple[int, ...], subjects: int) -> None:
    weights = PAIR if len(sizes) == 2 else np.array([1.0, -0.5, -0.5])
    values = draw_values(np.random.default_rng(len(sizes)), subjects, sizes, (0.3, 0.5, 0.5)) + 0.6 * (np.arange(sum(sizes)) < sizes[0])
    (twin,) = permute_contrasts([make_test(values, sizes, weights)])
    images, signs = brute_force(values, sizes, weights)
    assert (twin.p_images, twin.p_subjects) == pytest.approx((images, signs))
    assert twin.p == twin.p_corrected == max(twin.p_images, twin.p_subjects, twin.p_both)
    assert twin.exact


def test_floors_are_reached_and_never_passed() -> None:
    rng = np.random.default_rng(3)
    strong = draw_values(rng, 4, (3, 3), (0.1, 0.1, 0.1)) + 9 * (np.arange(6) < 3)
    (twin,) = permute_contrasts([make_test(strong, (3, 3))])
    assert twin.p_images == pytest.approx(2 / 20)
    assert twin.p_subjects == twin.p == twin.p_floor == 2 / 16
    strong = draw_values(rng, 7, (3, 4), (0.1, 0.1, 0.1)) + 9 * (np.arange(7) < 3)
    (twin,) = permute_contrasts([make_test(strong, (3, 4))])
    assert twin.p_images == twin.p == twin.p_floor == pytest.approx(1 / 35)
    assert twin.p_subjects == 2 / 128


def test_one_subject_has_images_alone() -> None:
    values = draw_values(np.random.default_rng(4), 1, (5, 5), (0.5, 0.5, 0.5))
    (twin,) = permute_contrasts([make_test(values, (5, 5))])
    assert np.isnan(twin.p_subjects)
    assert twin.p == twin.p_images
    assert twin.p_floor == pytest.approx(2 / 252)


def test_a_subject_without_the_roi_is_left_out_there() -> None:
    values = draw_values(np.random.default_rng(5), 6, (4, 4), (0.5, 0.5, 0.5)) + (np.arange(8) < 4)
    gapped = np.insert(values, 2, np.nan, axis=0)
    other = make_test(np.random.default_rng(6).standard_normal((7, 8)), (4, 4), family="secondary")
    whole, with_gap = permute_contrasts([make_test(values, (4, 4))]), permute_contrasts([make_test(gapped, (4, 4)), other])
    assert (with_gap[0].p_images, with_gap[0].p_subjects) == (whole[0].p_images, whole[0].p_subjects)
    assert with_gap[0].p_both == pytest.approx(whole[0].p_both, abs=0.02)


def test_many_arrangements_are_drawn_reproducibly_and_near_the_exact_p() -> None:
    values = draw_values(np.random.default_rng(7), 16, (9, 9), (0.2, 0.5, 0.5)) + 0.45 * (np.arange(18) < 9)
    first, second = (permute_contrasts([make_test(values, (9, 9))])[0] for _ in range(2))
    assert first == second
    assert not first.exact
    assert first.p_floor == 1 / 5000
    a, b = values[:, :9], values[:, 9:]
    sign = stats.permutation_test((a.mean(axis=1) - b.mean(axis=1),), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert first.p_subjects == pytest.approx(sign.pvalue, abs=0.02)


def test_order_of_images_and_tests_does_not_matter() -> None:
    rng = np.random.default_rng(8)
    tests = [make_test(draw_values(rng, 6, (4, 5), (0.3, 0.5, 0.5)), (4, 5)) for _ in range(3)]
    shuffled = [_reorder(test, rng.permutation(9)) for test in reversed(tests)]
    for one, other in zip(permute_contrasts(tests), reversed(permute_contrasts(shuffled)), strict=True):
        assert (one.p_images, one.p_subjects) == pytest.approx((other.p_images, other.p_subjects))
        assert (one.p_both, one.p_corrected) == pytest.approx((other.p_both, other.p_corrected))


def _reorder(test: PermutedTest, order: np.ndarray) -> PermutedTest:
    return PermutedTest(test.family, tuple(test.images[one] for one in order), test.values[:, order], test.sets[order], test.weights)


def test_equal_tests_cost_nothing_and_unequal_ones_do() -> None:
    rng = np.random.default_rng(9)
    values = draw_values(rng, 7, (4, 4), (0.2, 0.4, 0.4)) + 0.8 * (np.arange(8) < 4)
    alone = permute_contrasts([make_test(values, (4, 4))])[0]
    copies = permute_contrasts([make_test(values, (4, 4))] * 4)
    assert [twin.p_corrected for twin in copies] == pytest.approx([alone.p_corrected] * 4)
    others = [make_test(rng.standard_normal((7, 8)), (4, 4), name=f"{number}") for number in range(4)]
    apart = permute_contrasts([make_test(values, (4, 4)), *others])[0]
    assert (apart.p_images, apart.p_subjects) == (alone.p_images, alone.p_subjects)
    assert apart.p_corrected > alone.p_corrected
    elsewhere = [PermutedTest("secondary", one.images, one.values, one.sets, one.weights) for one in others]
    assert permute_contrasts([make_test(values, (4, 4)), *elsewhere])[0].p_corrected == pytest.approx(alone.p_corrected, abs=0.01)


@pytest.mark.parametrize("sds", [(0.0, 0.6, 0.4), (0.6, 0.0, 0.4), (0.5, 0.5, 0.4)])
def test_false_positives_are_at_most_nominal(sds: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(10)
    twins = [permute_contrasts([make_test(draw_values(rng, 8, (5, 5), sds), (5, 5))])[0] for _ in range(200)]
    for name, assumed in (("p_images", sds[0]), ("p_subjects", sds[1]), ("p", 0.0)):
        if assumed == 0:  # each p holds where what it takes for none is none
            rejected = sum(getattr(twin, name) <= 0.05 for twin in twins)
            assert rejected <= stats.binom.ppf(0.999, 200, 0.05)


def test_images_are_corrected_by_the_largest_statistic_of_their_pool_and_of_the_others() -> None:
    rng = np.random.default_rng(14)
    shared = [make_test(draw_values(rng, 4, (3, 3), (0.3, 0.5, 0.5)), (3, 3)) for _ in range(2)]
    apart = make_test(draw_values(rng, 4, (3, 4), (0.3, 0.5, 0.5)), (3, 4), name="j")
    tail = _permute_images([*shared, apart])

    def list_t(test: PermutedTest, cut: int) -> dict[tuple[int, ...], float]:
        every = range(len(test.images))
        chosen = itertools.combinations(every, cut)
        return {one: abs(estimate_effect([test.values[:, one], np.delete(test.values, one, axis=1)], [1.0, -1.0]).t) for one in chosen}

    first, second, third = (list_t(test, 3) for test in (*shared, apart))
    pool = np.array([max(first[one], second[one]) for one in first])
    for place, t in enumerate((first, second, third)):
        observed = t[0, 1, 2] * (1 - 1e-9)
        missed = (pool < observed).mean() * (np.array(list(third.values())) < observed).mean()
        assert tail.corrected[place] == pytest.approx(1 - missed)


def test_both_ways_share_the_deviations_of_the_crossed_variance() -> None:
    """Where residuals are small, the bootstrap's standard deviation is the crossed standard error."""
    values = draw_values(np.random.default_rng(12), 40, (30, 30), (0.6, 0.6, 0.02)) + 0.3 * (np.arange(60) < 30)
    (twin,) = permute_contrasts([make_test(values, (30, 30))])
    effect = estimate_effect([values[:, :30], values[:, 30:]], [1.0, -1.0])
    assert twin.p_both == pytest.approx(2 * stats.norm.sf(abs(effect.t)), abs=0.03)
    assert twin.p_both > 2 * twin.p_subjects  # which do not see images vary


def draw_family(rng: np.random.Generator) -> list[Twin]:
    """Draw 4 regions that correlate .8, tested on the same images and on others."""
    shared = [draw_values(rng, 7, (4, 4), (0.0, 0.6, 0.4)) for _ in range(2)]
    tests = []
    for _ in range(4):
        for common, name in zip(shared, ("a", "b"), strict=True):
            own = draw_values(rng, 7, (4, 4), (0.0, 0.6, 0.4))
            tests.append(make_test(np.sqrt(0.8) * common + np.sqrt(0.2) * own, (4, 4), name=name))
    return permute_contrasts(tests)


def test_family_wise_error_is_held_with_correlated_regions() -> None:
    rng = np.random.default_rng(11)
    families = [draw_family(rng) for _ in range(120)]
    smallest = [min(twin.p_corrected for twin in twins) for twins in families]
    assert sum(p <= 0.05 for p in smallest) <= stats.binom.ppf(0.999, 120, 0.05)
    assert sum(min(twin.p for twin in twins) <= 0.05 for twins in families) >= sum(p <= 0.05 for p in smallest)
