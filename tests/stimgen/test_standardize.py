"""Standardized features have the same share of variance in every layer, whatever its number of features and their gain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stimgen.standardize import Rows, standardize


def draw(sizes, images=30, seed=0):
    """Return features of layers of some sizes, of unequal gain and mean, and the layer of each feature."""
    rng, layer = np.random.default_rng(seed), np.repeat(np.arange(len(sizes)), sizes)
    gain = rng.uniform(0.1, 5, len(layer)) * 10.0 ** rng.uniform(-2, 3, len(sizes))[layer]
    return (rng.standard_normal((images, len(layer))) * gain + rng.uniform(-3, 3, len(layer)) * gain).astype(np.float32), layer


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 100))
def test_the_kernel_has_mean_diagonal_1_and_every_layer_the_same_share_of_it(sizes, seed):
    features, layer = draw(sizes, seed=seed)
    x = standardize(features, np.arange(30), layer).apply(features).astype(np.float64)
    np.testing.assert_allclose((x**2).sum(axis=1).mean(), 1, rtol=1e-3)
    np.testing.assert_allclose(np.bincount(layer, (x**2).mean(axis=0)), 1 / len(sizes), rtol=1e-3)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-4)


def test_within_a_layer_features_keep_their_relative_variance():
    features, layer = draw((6, 3))
    x = standardize(features, np.arange(30), layer).apply(features)
    for number in (0, 1):
        ratio = x[:, layer == number].std(axis=0) / features[:, layer == number].std(axis=0)
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)


def test_only_the_chosen_images_count():
    features, layer = draw((6, 3))
    index = np.array([2, 3, 11, 29, 17])
    changed = features.copy()
    changed[np.setdiff1d(np.arange(30), index)] = 1e6
    one, other = standardize(features, index, layer), standardize(changed, index, layer)
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.scale, other.scale)


def test_a_constant_layer_has_scale_1_and_the_others_are_as_without_it():
    features, layer = draw((6, 3))
    features[:, layer == 1] = 0.1
    features[::3, layer == 1] = np.nextafter(np.float32(0.1), np.float32(1))  # as rounding in a network leaves it
    found = standardize(features, np.arange(30), layer)
    np.testing.assert_array_equal(found.scale[layer == 1], 1)
    assert np.abs(found.apply(features)[:, layer == 1]).max() < 1e-7
    assert np.isfinite(found.apply(features)).all()


@pytest.mark.parametrize("size", [5, 2048, 5000])
def test_blocks_are_the_standardized_features_of_chosen_images(size):
    features, layer = draw((size, 7), images=6)
    standardizer = standardize(features, np.arange(4), layer)
    index = np.array([5, 0, 0, 3])
    whole = standardizer.apply(features)[index]
    rows = Rows(features, index, standardizer)
    for columns in (slice(0, size + 7), slice(2, size), slice(size, size + 7)):
        blocks = list(rows.blocks(columns))
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks], axis=1), whole[:, columns])
        assert [where.start for where, _ in blocks] == list(range(columns.start, columns.stop, 2048))
        np.testing.assert_array_equal(standardizer.apply(features, columns)[index], whole[:, columns])
