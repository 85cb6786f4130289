"""Ridge gives the closed form per voxel, finds planted weights, and never lets a test image or a group leak."""

import numpy as np
import pytest

from protocols.errors import InputError
from stimgen.ridge import RidgePlan, fit_ridge, split_folds, split_groups
from stimgen.solvers import Search
from tests.stimgen.ridge_oracle import LAYERS, apply, fit, mark_test, simulate, solve

FORMS = ("primal", "dual")


def test_the_readout_is_the_closed_form_with_each_voxels_own_penalty():
    features, responses, _ = simulate()
    responses[:, 2:] += 5 * np.random.default_rng(1).standard_normal((60, 3))
    for form in FORMS:
        found = fit(features, responses, mark_test(60), form=form)
        assert len(set(found.choice.penalties.tolist())) > 1
        expected = solve(apply(features, mark_test(60)), responses, found.choice.penalties)
        np.testing.assert_allclose(found.readout.predict(features), expected, atol=1e-3)


def test_planted_weights_are_recovered():
    features, responses, weights = simulate(images=400, noise=0.1)
    found = fit(features, responses, mark_test(400, 80))
    slope = found.readout.coefficients / found.readout.feature_scale[:, None]
    np.testing.assert_allclose(slope[:, 1:], weights[:, 1:], atol=0.05 * np.abs(weights).max())
    assert found.test_r[1:].min() > 0.95
    assert abs(found.test_r[0]) < 0.3


def test_a_constant_layer_contributes_nothing_even_where_it_varies_later():
    features, responses, _ = simulate()
    features[:, 6:] = 0.1  # not exact in binary: its mean and sd are off by rounding
    found = fit(features, responses, mark_test(60))
    changed = features.copy()
    changed[:, 6:] = 100.0
    np.testing.assert_allclose(found.readout.predict(changed), found.readout.predict(features), atol=1e-4)


def test_a_constant_feature_contributes_nothing_where_it_stays_so():
    features, responses, _ = simulate()
    features[:, 4] = 0.1
    with_constant = fit(features, responses, mark_test(60))
    size = np.abs(with_constant.readout.coefficients).max(axis=1)
    assert size[4] < 1e-4 * np.delete(size, 4).min()


def test_test_responses_influence_nothing_but_the_score_and_the_final_refit():
    features, responses, _ = simulate()
    is_test = mark_test(60)
    changed = responses.copy()
    changed[is_test] = np.random.default_rng(5).standard_normal(changed[is_test].shape) * 50
    for form in FORMS:
        before, after = fit(features, responses, is_test, form=form), fit(features, changed, is_test, form=form)
        np.testing.assert_array_equal(before.choice.penalties, after.choice.penalties)
        for name in ("cv_r", "test_predictions", "test_by_band"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
        assert np.abs(before.test_r[1:] - after.test_r[1:]).max() > 0.1
        assert np.abs(before.readout.coefficients - after.readout.coefficients).max() > 0.01


def test_test_images_influence_no_choice():
    features, responses, _ = simulate()
    is_test = mark_test(60)
    changed = features.copy()
    changed[is_test] = 1000
    before, after = fit(features, responses, is_test), fit(changed, responses, is_test)
    np.testing.assert_array_equal(before.choice.penalties, after.choice.penalties)
    np.testing.assert_array_equal(before.cv_r, after.cv_r)
    np.testing.assert_array_equal(before.readout.feature_mean, after.readout.feature_mean)


def test_test_r_is_the_correlation_of_measured_and_predicted():
    features, responses, _ = simulate()
    found = fit(features, responses, mark_test(60))
    expected = [np.corrcoef(responses[:12, v], found.test_predictions[:, v])[0, 1] for v in range(5)]
    np.testing.assert_allclose(found.test_r, expected, atol=1e-5)


def test_test_predictions_are_the_closed_form_of_the_training_images():
    features, responses, _ = simulate()
    is_test = mark_test(60)
    for form in FORMS:
        found = fit(features, responses, is_test, form=form)
        x = apply(features, is_test)
        expected = solve(x, responses, found.choice.penalties, ~is_test)
        np.testing.assert_allclose(found.test_predictions, expected[is_test], atol=1e-3)
        np.testing.assert_allclose(found.test_by_band.sum(axis=0), x[is_test] @ slopes(x, responses, found, ~is_test), atol=1e-3)


def slopes(x, responses, found, inside):
    """Return coefficients by differences of the closed form's predictions at unit vectors."""
    probe = np.concatenate([x, np.eye(x.shape[1]), np.zeros((1, x.shape[1]))])
    padded = np.concatenate([responses, np.zeros((x.shape[1] + 1, responses.shape[1]))])
    marked = np.concatenate([inside, np.zeros(x.shape[1] + 1, dtype=bool)])
    predicted = solve(probe, padded, found.choice.penalties, marked)
    return predicted[len(x) : -1] - predicted[-1]


def test_images_without_responses_are_predicted_by_the_readout_of_the_training_images():
    """Rows in any order, among them an image that is a test image: both predictions of it agree."""
    features, responses, _ = simulate(images=70)
    index, extra, is_test = np.random.default_rng(1).permutation(70)[:50], np.array([3, 69, 0, 12]), mark_test(50)
    extra_index = np.concatenate([extra, index[:2]])
    for form in FORMS:
        found = fit(features, responses[index], is_test, index=index, extra_index=extra_index, form=form)
        np.testing.assert_array_equal(found.extra_index, extra_index)
        np.testing.assert_allclose(found.extra_predictions[4:], found.test_predictions[:2], atol=1e-4)
        x = apply(features[index], is_test, features)
        stacked = np.concatenate([x[index], x[extra]])
        expected = solve(stacked, np.concatenate([responses[index], responses[extra]]), found.choice.penalties, mark_training(is_test, 4))
        np.testing.assert_allclose(found.extra_predictions[:4], expected[50:], atol=1e-3)


def mark_training(is_test, more):
    return np.concatenate([~is_test, np.zeros(more, dtype=bool)])


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


def test_folds_hold_whole_groups_and_every_image_once():
    groups = [f"photo{index % 7}" for index in range(40)]
    splits = split_folds(groups, 3)
    np.testing.assert_array_equal(np.sort(np.concatenate([outside for _, outside in splits])), np.arange(40))
    for inside, outside in splits:
        assert not {groups[position] for position in inside} & {groups[position] for position in outside}
        assert len(inside) + len(outside) == 40


@pytest.mark.parametrize(
    ("groups", "folds", "count"),
    [
        ([index // 5 for index in range(20)], 4, 3),  # three photographs are left for four folds
        ([*range(5), *[7] * 10, *[8] * 5], 2, 2),  # two folds of one photograph each: none is left to choose penalties on
    ],
)
def test_too_few_groups_for_the_folds_are_refused(groups, folds, count):
    features, responses, _ = simulate(images=20)
    with pytest.raises(InputError, match=f"{count} training groups of images for {folds} folds; give more images, or lower 'folds'"):
        fit(features, responses, mark_test(20, 5), [f"photo{group}" for group in groups], folds=folds)


def test_fewer_groups_than_folds_within_a_fold_are_still_fitted():
    """Five groups for five folds leave four within each fold: the inner search takes four folds."""
    features, responses, _ = simulate(images=30)
    groups = [f"photo{index // 5}" for index in range(30)]
    assert np.isfinite(fit(features, responses, mark_test(30, 5), groups, folds=5).cv_r).all()


def test_layer_positions_of_a_band_need_not_be_in_order():
    features, responses, _ = simulate()
    search = Search(np.array([0.1]), np.array([[0.3, 0.7]]))
    index, nobody = np.arange(60), np.arange(0)
    groups = [str(number) for number in range(60)]
    for bands, columns in (([[1], [0]], [slice(6, 9), slice(0, 6)]), ([[0], [1]], [slice(0, 6), slice(6, 9)])):
        plan = RidgePlan(4, search, bands)
        found = fit_ridge(features, index, responses, LAYERS, groups, mark_test(60), plan, nobody)
        x = apply(features, mark_test(60))
        weighted = np.empty_like(x)
        for weight, column in zip((0.3, 0.7), columns, strict=True):
            weighted[:, column] = np.sqrt(weight) * x[:, column]
        np.testing.assert_allclose(found.readout.predict(features), solve(weighted, responses, np.full(5, 0.1)), atol=1e-3)
