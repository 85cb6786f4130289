"""Diversity: a number that is 0 for copies and about 1 for unrelated images, and a choice that trades drive for it."""

import numpy as np
import pytest

from stimgen.diversity import choose_diverse, describe_images, measure_diversity

ONE, OTHER, BETWEEN = np.eye(2)[0], np.eye(2)[1], np.array([0.6, 0.8])


def test_copies_have_no_diversity_and_unrelated_images_have_1():
    assert measure_diversity(np.stack([ONE, ONE, ONE])) == pytest.approx(0)
    assert measure_diversity(np.stack([ONE, OTHER])) == pytest.approx(1)
    assert measure_diversity(np.stack([ONE, OTHER, BETWEEN])) == pytest.approx(1 - (0 + 0.6 + 0.8) / 3)
    assert np.isnan(measure_diversity(ONE[None]))
    drawn = np.random.default_rng(1).standard_normal((7, 4000))
    described = describe_images(drawn, np.zeros((3, 4000)), np.zeros(4000, dtype=int))
    assert measure_diversity(described) == pytest.approx(1, abs=0.02)


def test_images_are_described_by_how_they_differ_from_the_natural_mean_all_layers_alike():
    rng = np.random.default_rng(2)
    layers = np.repeat([0, 1], [5, 3])
    natural = rng.standard_normal((400, 8)) * np.where(layers == 0, 1.0, 1000.0) + 7
    features = natural[:6].copy()
    described = describe_images(features, natural, layers)
    np.testing.assert_allclose(np.linalg.norm(described, axis=1), 1)
    share = (described[:, layers == 0] ** 2).sum(axis=1).mean()
    assert 0.3 < share < 0.7  # the loud layer does not drown the other
    np.testing.assert_array_equal(features, natural[:6])
    at_the_mean = describe_images(natural.mean(axis=0)[None], natural, layers)
    np.testing.assert_allclose(at_the_mean, 0)


def test_a_layer_that_does_not_vary_does_no_harm():
    natural = np.array([[1.0, 2.0], [3.0, 2.0]])
    np.testing.assert_allclose(describe_images(np.array([[5.0, 2.0]]), natural, np.array([0, 1])), [[1.0, 0.0]])


@pytest.mark.parametrize(
    ("weight", "chosen"),
    [
        (0.0, [0, 1]),  # the two best
        (1.0, [0, 2]),  # the copy of the best loses 1 z, the one between only 0.6
        (9.0, [0, 3]),  # only what is wholly unlike it
    ],
)
def test_a_choice_trades_drive_for_difference(weight, chosen):
    described = np.stack([ONE, ONE, BETWEEN, OTHER])
    assert list(choose_diverse(np.array([3.0, 2.9, 2.7, 1.0]), described, 2, weight)) == chosen


def test_no_more_are_chosen_than_there_are_and_the_best_is_among_them():
    described = np.stack([ONE, OTHER, BETWEEN])
    assert list(choose_diverse(np.array([1.0, 5.0, 2.0]), described, 9, 2.0)) == [0, 1, 2]
    assert list(choose_diverse(np.array([1.0, 5.0, 2.0]), described, 1, 2.0)) == [1]
