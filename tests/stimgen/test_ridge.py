"""Ridge gives the closed form per voxel, finds planted weights, and never lets a test image or a group leak."""

import numpy as np
import pytest

from protocols.errors import InputError
from stimgen.ridge import fit_ridge, split_groups, standardize

LAYERS = np.array([0] * 6 + [1] * 3)
PENALTIES = np.logspace(-3, 2, 6)


def simulate(images=60, voxels=5, noise=0.5, seed=0):
    """Return features, responses and the true weights; the first voxel has no signal."""
    rng = np.random.default_rng(seed)
    features = (rng.standard_normal((images, 9)) * rng.uniform(0.2, 5, 9) + rng.uniform(-3, 3, 9)).astype(np.float32)
    weights = rng.standard_normal((9, voxels)) / features.std(axis=0)[:, None]
    weights[:, 0] = 0
    responses = features @ weights + noise * rng.standard_normal((images, voxels)) + 7
    return features, responses.astype(np.float32), weights


def fit(features, responses, is_test, groups=None, folds=4):
    groups = groups or [str(index) for index in range(len(features))]
    return fit_ridge(features, responses, LAYERS, groups, is_test, folds, PENALTIES)


def mark_test(images, count=12):
    return np.arange(images) < count


def solve(features, responses, penalties):
    """Return coefficients and intercept of the closed form in float64, on raw features, one penalty per voxel."""
    mean, deviation = features.mean(axis=0, dtype=float), features.std(axis=0, dtype=float)
    x = (features - mean) / (deviation * np.sqrt(np.bincount(LAYERS)[LAYERS] * 2))
    y = responses - responses.mean(axis=0, dtype=float)
    columns = [
        np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ column) for column, penalty in zip(y.T, penalties, strict=True)
    ]
    return x @ np.stack(columns, axis=1) + responses.mean(axis=0, dtype=float)


def test_the_readout_is_the_closed_form_with_each_voxels_own_penalty():
    features, responses, _ = simulate()
    responses[:, 2:] += 5 * np.random.default_rng(1).standard_normal((60, 3))
    found = fit(features, responses, mark_test(60))
    assert len(set(found.penalties.tolist())) > 1
    np.testing.assert_allclose(found.readout.predict(features), solve(features, responses, found.penalties), atol=1e-3)


def test_planted_weights_are_recovered():
    features, responses, weights = simulate(images=400, noise=0.1)
    found = fit(features, responses, mark_test(400, 80))
    slope = found.readout.coefficients / found.readout.feature_scale[:, None]
    np.testing.assert_allclose(slope[:, 1:], weights[:, 1:], atol=0.05 * np.abs(weights).max())
    assert found.test_r[1:].min() > 0.95
    assert abs(found.test_r[0]) < 0.3


def test_layers_weigh_the_same_whatever_their_number_and_gain_of_features():
    features, _, _ = simulate()
    features[:, 6:] *= 1000
    x = standardize(features, LAYERS).apply(features)
    np.testing.assert_allclose((x[:, :6] ** 2).sum(axis=1).mean(), 0.5, rtol=1e-4)
    np.testing.assert_allclose((x[:, 6:] ** 2).sum(axis=1).mean(), 0.5, rtol=1e-4)


def test_a_constant_feature_contributes_nothing_even_where_it_varies_later():
    features, responses, _ = simulate()
    features[:, 4] = 0.1  # not exact in binary: its mean and sd are off by rounding
    found = fit(features, responses, mark_test(60))
    changed = features.copy()
    changed[:, 4] = 100.0
    np.testing.assert_allclose(found.readout.predict(changed), found.readout.predict(features), atol=1e-4)


def test_test_responses_influence_nothing_but_the_score_and_the_final_refit():
    features, responses, _ = simulate()
    is_test = mark_test(60)
    changed = responses.copy()
    changed[is_test] = np.random.default_rng(5).standard_normal(changed[is_test].shape) * 50
    before, after = fit(features, responses, is_test), fit(features, changed, is_test)
    for name in ("penalties", "cv_r", "test_predictions"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert np.abs(before.test_r[1:] - after.test_r[1:]).max() > 0.1
    assert np.abs(before.readout.coefficients - after.readout.coefficients).max() > 0.01


def test_test_images_influence_no_choice():
    features, responses, _ = simulate()
    is_test = mark_test(60)
    changed = features.copy()
    changed[is_test] = 1000
    before, after = fit(features, responses, is_test), fit(changed, responses, is_test)
    np.testing.assert_array_equal(before.penalties, after.penalties)
    np.testing.assert_array_equal(before.cv_r, after.cv_r)


def test_test_r_is_the_correlation_of_measured_and_predicted():
    features, responses, _ = simulate()
    found = fit(features, responses, mark_test(60))
    expected = [np.corrcoef(responses[:12, v], found.test_predictions[:, v])[0, 1] for v in range(5)]
    np.testing.assert_allclose(found.test_r, expected, atol=1e-5)


def test_without_signal_accuracy_is_about_zero():
    """Forty simulated data sets with shuffled responses: the mean test r is 0 within three standard errors."""
    scores = []
    for seed in range(40):
        features, responses, _ = simulate(noise=0.1, seed=seed)
        shuffled = responses[np.random.default_rng(seed).permutation(60)]
        scores.append(fit(features, shuffled, mark_test(60)).test_r.mean())
    assert abs(np.mean(scores)) < 3 * np.std(scores) / np.sqrt(len(scores))


def test_copies_of_an_image_in_one_group_are_never_on_both_sides():
    """Noise with each image as four crops: an ungrouped split would find the copies and report a high r."""
    rng = np.random.default_rng(4)
    features = (np.repeat(rng.standard_normal((24, 9)), 4, axis=0) + 0.01 * rng.standard_normal((96, 9))).astype(np.float32)
    responses = np.repeat(rng.standard_normal((24, 30)), 4, axis=0).astype(np.float32)
    groups = [f"photo{index // 4}" for index in range(96)]
    is_test = split_groups(groups, 0.25, np.random.default_rng(1))
    grouped = fit(features, responses, is_test, groups)
    ungrouped = fit(features, responses, is_test)
    assert float(ungrouped.cv_r.mean()) > 0.4
    assert float(grouped.cv_r.mean()) < 0.1


def test_a_split_takes_whole_groups_and_depends_on_its_generator_alone():
    groups = [f"photo{index % 10}" for index in range(57)]
    is_test = split_groups(groups, 0.3, np.random.default_rng(2))
    sides = {group: {bool(side) for g, side in zip(groups, is_test, strict=True) if g == group} for group in groups}
    assert all(len(side) == 1 for side in sides.values())
    assert sum(True in side for side in sides.values()) == 3
    np.testing.assert_array_equal(is_test, split_groups(groups, 0.3, np.random.default_rng(2)))
    assert any((split_groups(groups, 0.3, np.random.default_rng(seed)) != is_test).any() for seed in range(3, 6))
    assert split_groups(["a", "b"], 0.01, np.random.default_rng(0)).sum() == 1


def test_fewer_groups_than_folds_are_refused():
    features, responses, _ = simulate(images=20)
    groups = [f"photo{index // 5}" for index in range(20)]
    with pytest.raises(InputError, match="3 training groups of images for 4 folds; give more images, or lower 'folds'"):
        fit(features, responses, mark_test(20, 5), groups)
