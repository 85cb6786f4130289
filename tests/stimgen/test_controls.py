"""Controls: the best natural images shared out fairly, and scrambled copies that keep everything but the arrangement."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError
from stimgen.controls import best_natural, phase_scramble


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 10), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_each_image_serves_one_target_and_no_source_more_than_a_third_where_there_are_enough(targets, count, spare, per_source, seed):
    images = targets * count + spare
    scores = np.random.default_rng(seed).standard_normal((images, targets))
    labels, sources = [f"roi{index}" for index in range(targets)], [f"photo{index // per_source}" for index in range(images)]
    chosen = best_natural(scores, labels, count, sources)
    taken = [index for label in labels for index in chosen[label]]
    assert list(chosen) == labels
    assert [len(chosen[label]) for label in labels] == [count] * targets
    assert len(set(taken)) == len(taken)
    if per_source == 1:
        assert all(len({sources[index] for index in chosen[label]}) == count for label in labels)


def test_the_best_are_chosen_in_turn():
    scores = np.array([[9.0, 9.0], [8.0, 8.0], [1.0, 0.0], [2.0, 1.0], [0.0, 3.0]])
    chosen = best_natural(scores, ["a", "b"], 2, list("vwxyz"))
    assert chosen == {"a": [0, 3], "b": [1, 4]}


def test_at_most_a_third_comes_from_one_source_until_there_is_no_other():
    scores = np.arange(12.0)[::-1, None]
    sources = ["one"] * 6 + ["two"] * 3 + ["three"] * 3
    chosen = best_natural(scores, ["a"], 6, sources)["a"]
    assert chosen == [0, 1, 6, 7, 9, 10]
    assert max(sum(sources[index] == source for index in chosen) for source in set(sources)) == math.ceil(6 / 3)
    assert best_natural(scores, ["a"], 3, ["one"] * 12)["a"] == [0, 1, 2]


def test_a_pool_that_is_too_small_is_refused():
    message = "the natural pool has 7 images, but 2 targets need 8; give a larger pool, or lower 'count'"
    with pytest.raises(InputError, match=message):
        best_natural(np.zeros((7, 2)), ["a", "b"], 4, ["s"] * 7)


def make_soft_image(height, width):
    """Return an image whose scrambled copies stay within 0-1, so that nothing is clipped."""
    return (0.5 + 0.02 * np.random.default_rng(1).standard_normal((height, width, 3))).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 20), (9, 7)])
def test_scrambling_keeps_the_amplitude_spectrum_and_mean_of_each_channel(height, width):
    image = make_soft_image(height, width)
    scrambled = phase_scramble(image, np.random.default_rng(2))
    before, after = (np.abs(np.fft.fft2(one, axes=(0, 1))) for one in (image, scrambled))
    np.testing.assert_allclose(after, before, atol=1e-3)
    np.testing.assert_allclose(scrambled.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1e-5)


def test_scrambling_keeps_the_relation_of_the_colors_and_destroys_the_arrangement():
    image = make_soft_image(32, 32)
    image[..., 1] = 0.3 * image[..., 0] + 0.4
    scrambled = phase_scramble(image, np.random.default_rng(2))
    np.testing.assert_allclose(np.corrcoef(scrambled.reshape(-1, 3).T), np.corrcoef(image.reshape(-1, 3).T), atol=1e-3)
    assert abs(np.corrcoef(scrambled[..., 0].ravel(), image[..., 0].ravel())[0, 1]) < 0.2


def test_a_scrambled_copy_stays_an_image_and_depends_on_its_generator():
    image = np.random.default_rng(3).integers(0, 2, (16, 16, 3)).astype(np.float32)
    one, again, other = (phase_scramble(image, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert one.dtype == np.float32
    assert (one.min(), one.max()) == (0, 1)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1
