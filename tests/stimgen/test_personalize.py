"""A new subject's model from few images: the ensemble is found, is an EncodingModel, and is judged by images it was not fitted to."""

import numpy as np
import pandas as pd
import pytest

from protocols.errors import InputError
from stimgen.personalize import (
    Predictors,
    assign_folds,
    build_readout,
    center_folds,
    choose_predictors,
    compare_models,
    correlate,
    cross_validate_ensemble,
    cross_validate_scratch,
    fit_ensemble,
    list_folds,
)
from tests.stimgen.tiny import make_tiny_model, make_voxels

ROIS = ("V3", "LO", "EBA")


def make_group(seed=0):
    """Return a model of two subjects with unequal voxels; EBA is predictable in the second only."""
    first = make_voxels((0.5, 0.3, -0.1, 0.6, -0.2), ("V3", "V3", "V3", "LO", "EBA"))
    second = make_voxels((0.4, 0.6, 0.2, 0.3), ("V3", "LO", "LO", "EBA"), subject="02")
    return make_tiny_model(seed=seed, voxels=pd.concat([first, second], ignore_index=True))


def simulate(rng, images, tests=400, subjects=4, own=1.0, other=0.5, noise=3.0, per_roi=12):
    """Return predictors, responses of a new subject whose voxels mix their own ROI with others, ROI names; tests follow the images."""
    features = rng.standard_normal((images + tests, 60))
    shape = np.arange(1, 61)[:, None] ** -0.5
    shared = rng.standard_normal((60, len(ROIS)))
    tuning = [(shared + 0.3 * rng.standard_normal((60, len(ROIS)))) * shape for _ in range(subjects + 1)]
    drawn = [features @ one / (features @ one).std(axis=0) for one in tuning]
    rois = [roi for roi in ROIS for _ in range(per_roi)]
    mixing = other * rng.standard_normal((len(ROIS), len(rois))) / np.sqrt(len(ROIS))
    mixing[[ROIS.index(roi) for roi in rois], np.arange(len(rois))] += own
    signal = drawn[-1] @ mixing
    y = signal / signal.std(axis=0) + noise * rng.standard_normal(signal.shape)
    table = pd.DataFrame([(str(subject), roi) for subject in range(subjects) for roi in ROIS], columns=["subject", "roi"])
    means = np.tile(np.eye(len(ROIS)), (subjects, 1)) / subjects
    return np.hstack(drawn[:-1]), y, rois, Predictors(table, np.eye(len(table)), list(ROIS), means)


def fold(images, folds=5, seed=0):
    return assign_folds([str(image) for image in range(images)], folds, np.random.default_rng(seed))


def test_predictors_are_each_subjects_rois_weighted_by_accuracy():
    chosen = choose_predictors(make_group())
    assert list(chosen.table.itertuples(index=False, name=None)) == [
        ("01", "V3"), ("01", "LO"), ("02", "V3"), ("02", "LO"), ("02", "EBA"),
    ]  # fmt: skip
    np.testing.assert_allclose(chosen.mixture[:3, 0], [0.25 / 0.34, 0.09 / 0.34, 0])
    np.testing.assert_allclose(chosen.mixture[6:8, 3], [0.36 / 0.40, 0.04 / 0.40])
    np.testing.assert_allclose(chosen.mixture.sum(axis=0), 1)
    assert chosen.rois == ["V3", "LO", "EBA"]
    np.testing.assert_allclose(chosen.means, [[0.5, 0, 0], [0, 0.5, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 1]])


def test_the_mean_over_subjects_is_the_groups_own_roi_response():
    model = make_group()
    for voxels in (False, True):
        chosen = choose_predictors(model, voxels)
        np.testing.assert_allclose(chosen.mixture @ chosen.means, model.roi_weights(), atol=1e-6)
    assert chosen.mixture.shape == (9, 7)  # by voxel, without the two of no accuracy


def test_a_group_that_predicts_nothing_is_refused():
    model = make_tiny_model(cv_r=(-0.1, 0.0), rois=("V3", "LO"))
    with pytest.raises(InputError, match=r"group model: no voxel is predictable .*; fit it on more images"):
        choose_predictors(model)


def test_without_noise_the_ensemble_is_recovered():
    rng = np.random.default_rng(1)
    x, _, rois, predictors = simulate(rng, images=200, tests=0)
    weights, level = rng.standard_normal((x.shape[1], len(rois))), 5 * rng.standard_normal(len(rois))
    ensemble = fit_ensemble(x, x @ weights + level, rois, predictors, list_folds(fold(200)))
    fresh = rng.standard_normal((50, x.shape[1]))
    r = correlate(fresh @ weights + level, ensemble.predict(fresh))
    assert r.min() > 0.98
    np.testing.assert_allclose(ensemble.predict(x).mean(axis=0), (x @ weights + level).mean(axis=0), rtol=1e-5)


def test_units_of_responses_and_of_the_groups_predictions_do_not_matter():
    x, y, rois, predictors = simulate(np.random.default_rng(2), images=40, tests=20)
    splits, scale = list_folds(fold(40)), np.random.default_rng(3).uniform(0.1, 20, y.shape[1])
    plain = fit_ensemble(x[:40], y[:40], rois, predictors, splits).predict(x[40:])
    scaled = fit_ensemble(10 * x[:40] + 3, y[:40] * scale + 7, rois, predictors, splits).predict(10 * x[40:] + 3)
    np.testing.assert_allclose(scaled, plain * scale + 7, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("images", [20, 50])
def test_shrinking_towards_the_groups_mean_beats_shrinking_towards_nothing(images):
    """Noisy voxels that resemble their ROI: r on new images, averaged over voxels and repeats of the simulation."""
    gains, over_mean = [], []
    for seed in range(4):
        x, y, rois, predictors = simulate(np.random.default_rng(seed), images)
        splits = list_folds(fold(images))
        r = [
            np.nan_to_num(
                correlate(y[images:], fit_ensemble(x[:images], y[:images], rois, predictors, splits, way).predict(x[images:]))
            ).mean()
            for way in (True, False)
        ]
        group = correlate(y[images:], (x @ predictors.means)[images:, [ROIS.index(roi) for roi in rois]]).mean()
        gains.append(r[0] - r[1])
        over_mean.append(r[0] - group)
    assert np.mean(gains) > 0.02
    assert np.mean(over_mean) > -0.02


def test_with_many_images_the_ensemble_learns_what_the_groups_mean_cannot():
    x, y, rois, predictors = simulate(np.random.default_rng(5), images=300, own=0.5, other=1.0, noise=1.0)
    personal = correlate(y[300:], fit_ensemble(x[:300], y[:300], rois, predictors, list_folds(fold(300))).predict(x[300:])).mean()
    group = correlate(y[300:], (x @ predictors.means)[300:, [ROIS.index(roi) for roi in rois]]).mean()
    assert personal > group + 0.1


def test_more_predictors_than_images_and_an_unknown_roi_are_no_obstacle():
    x, y, rois, predictors = simulate(np.random.default_rng(6), images=15, tests=200, noise=0.3, subjects=8)
    renamed = ["new" if roi == "LO" else roi for roi in rois]
    assert x.shape[1] > 15
    r = correlate(y[15:], fit_ensemble(x[:15], y[:15], renamed, predictors, list_folds(fold(15))).predict(x[15:]))
    assert r[[roi == "new" for roi in renamed]].mean() > 0.3


def test_a_constant_predictor_and_a_constant_voxel_do_no_harm():
    x, y, rois, predictors = simulate(np.random.default_rng(7), images=30, tests=0)
    x[:, 2], y[:, 3] = 4.0, 1.5
    ensemble = fit_ensemble(x, y, rois, predictors, list_folds(fold(30)))
    assert np.isfinite(ensemble.weights).all()
    np.testing.assert_allclose(ensemble.predict(x)[:, 3], 1.5, atol=1e-8)


def test_the_readout_is_the_ensemble_on_the_groups_features():
    model, rng = make_group(), np.random.default_rng(8)
    predictors = choose_predictors(model)
    features = rng.standard_normal((40, model.space.size)).astype(np.float32)
    x = model.readout.predict(features).astype(np.float64) @ predictors.mixture
    y, rois = rng.standard_normal((40, 6)) + x[:, :1], ["V3", "V3", "LO", "LO", "EBA", "new"]
    ensemble = fit_ensemble(x, y, rois, predictors, list_folds(fold(40)))
    readout = build_readout(model.readout, predictors, ensemble)
    np.testing.assert_allclose(readout.predict(features), ensemble.predict(x), atol=1e-3)


def test_photographs_stay_whole_and_folds_are_even():
    groups = [f"photo{index}" for index in np.repeat(np.arange(13), [1, 5, 2, 5, 1, 3, 5, 2, 1, 4, 5, 2, 4])]
    folds = assign_folds(groups, 4, np.random.default_rng(1))
    assert all(len(set(folds[np.array(groups) == name])) == 1 for name in set(groups))
    assert set(np.bincount(folds)) <= {9, 10, 11}
    assert (folds != assign_folds(groups, 4, np.random.default_rng(2))).any()
    for inside, outside in list_folds(folds):
        assert sorted([*inside, *outside]) == list(range(40))


def test_nested_predictions_use_no_response_of_their_fold():
    """Whatever the left-out responses are, their predictions stay."""
    x, y, rois, predictors = simulate(np.random.default_rng(9), images=30, tests=0)
    folds, features = fold(30), np.random.default_rng(1).standard_normal((30, 20)).astype(np.float32)
    layer = np.repeat([0, 1], [15, 5])
    left_out = folds == 2
    changed = y.copy()
    changed[left_out] = 100 * np.random.default_rng(2).standard_normal(changed[left_out].shape)
    for predict in (
        lambda given: cross_validate_ensemble(x, given, rois, predictors, folds),
        lambda given: cross_validate_scratch(features, given, rois, layer, folds),
    ):
        np.testing.assert_allclose(predict(changed)[left_out], predict(y)[left_out], rtol=1e-6)
        assert np.abs(predict(changed)[~left_out] - predict(y)[~left_out]).max() > 0.1


def test_ridge_from_scratch_finds_what_the_features_tell():
    rng = np.random.default_rng(10)
    features = rng.standard_normal((150, 20)).astype(np.float32)
    y = 30 * (features @ rng.standard_normal((20, 8)) + rng.standard_normal((150, 8))) + 500
    predicted = cross_validate_scratch(features, y, ["V3"] * 8, np.repeat([0, 1], [15, 5]), fold(150))
    assert correlate(y, predicted).min() > 0.8
    assert np.abs(y - predicted).mean() < 40  # in the units of the responses


def test_within_folds_an_intercept_alone_predicts_nothing():
    """Over all folds it would predict less than nothing: a fold that is low is predicted by the others' high mean."""
    y, folds = np.random.default_rng(11).standard_normal((40, 300)), fold(40)
    predicted = np.empty_like(y)
    for inside, outside in list_folds(folds):
        predicted[outside] = y[inside].mean(axis=0)
    assert correlate(y, predicted).mean() < -0.2
    assert np.isnan(correlate(center_folds(y, folds), center_folds(predicted, folds))).all()


def test_the_comparison_takes_roi_means_and_their_intervals():
    rng = np.random.default_rng(12)
    measured = rng.standard_normal((60, 5))
    group = np.stack([measured[:, :3].mean(axis=1), np.full(60, np.nan)], axis=1)
    predicted = {"personal": measured + 0.5 * rng.standard_normal((60, 5)), "scratch": rng.standard_normal((60, 5))}
    rois, groups, folds = ["V3"] * 3 + ["LO"] * 2, [str(image) for image in range(60)], fold(60)
    table = compare_models(measured, group, predicted, rois, ["V3", "LO"], groups, folds, rng).set_index("roi")
    assert table["voxels"].tolist() == [3, 2]
    assert table["images"].tolist() == [60, 60]
    np.testing.assert_allclose(table["group_r"], [1, np.nan])
    mean = [center_folds(values[:, :3].mean(axis=1, keepdims=True), folds) for values in (measured, predicted["personal"])]
    np.testing.assert_allclose(table.loc["V3", "personal_r"], correlate(*mean)[0])
    for name in ("personal", "scratch"):
        assert (table[f"{name}_r_low"] < table[f"{name}_r"]).all()
        assert (table[f"{name}_r"] < table[f"{name}_r_high"]).all()
    assert table["scratch_r_low"].max() < 0.3 < table["personal_r_low"].min()
