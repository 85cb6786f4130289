"""Primal and dual ridge are the closed form and what himalaya's own estimators give; bands of features are weighed by what they explain."""

import numpy as np
import pytest
from himalaya.backend import get_backend, set_backend
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.ridge import RidgeCV

from stimgen.accuracy import split_variance
from stimgen.ridge import RidgePlan, center_folds, correlate, fit_ridge, predict_nested, split_folds
from stimgen.solvers import Choice, DualRidge, PrimalRidge, Search, Solver
from stimgen.standardize import Rows, Standardizer
from tests.stimgen.ridge_oracle import ONE_BAND, PENALTIES, solve

NOBODY = np.arange(0)


def simulate(images, features, voxels=5, noise=1.0, seed=0):
    """Return features of mean squared norm 1, and responses of which the first voxel has no signal."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((images, features)) * rng.uniform(0.2, 2, features) / np.sqrt(features)
    weights = rng.standard_normal((features, voxels)) * np.r_[0, np.ones(voxels - 1)]
    return x.astype(np.float32), (x @ weights + noise * rng.standard_normal((images, voxels)) + 3).astype(np.float32)


def keep(x):
    """Return a standardizer that changes nothing."""
    return Standardizer(np.zeros(x.shape[1], dtype=np.float32), np.ones(x.shape[1], dtype=np.float32))


def make_dual(x, bands=None, weights=ONE_BAND, penalties=PENALTIES):
    bands = bands or [[slice(0, x.shape[1])]]
    return DualRidge.build(Rows(x, np.arange(len(x)), keep(x)), bands, Search(penalties, weights))


def split(count, folds=4):
    return split_folds([str(number) for number in range(count)], folds)


@pytest.mark.parametrize(("images", "features"), [(50, 80), (90, 12)])
@pytest.mark.parametrize("form", ["primal", "dual"])
def test_a_fit_is_the_closed_form_with_each_voxels_own_penalty(form, images, features):
    x, y = simulate(images, features)
    solver = make_dual(x) if form == "dual" else PrimalRidge(x, PENALTIES)
    assert isinstance(solver, Solver)
    inside, outside = np.r_[5:images], np.r_[0:5, 7]
    penalties = np.array([1e-4, 100, 0.001, 1, 10])  # the dual form of many images has eigenvalues of 0, which small ones must not magnify
    coefficients, intercept = solver.solve(inside, y[inside], Choice(penalties, np.zeros(5, dtype=np.int64)))
    expected = solve(x.astype(np.float64), y, penalties, np.arange(images) >= 5)
    np.testing.assert_allclose(x @ coefficients + intercept, expected, atol=1e-4)
    choice, by_band, constant = solver.search(inside, y[inside], split(len(inside)), outside)
    expected = solve(x.astype(np.float64), y, choice.penalties, np.arange(images) >= 5)[outside]
    np.testing.assert_allclose(by_band.sum(axis=0) + constant, expected, atol=1e-4)
    assert set(np.round(np.log10(choice.penalties), 4)) <= {-3, -2, -1, 0, 1, 2}
    assert choice.penalties[0] == 100  # no signal


def test_primal_and_dual_choose_and_give_the_same():
    x, y = simulate(70, 40)
    inside = np.arange(60)
    penalties = PENALTIES[2:]
    (one, predicted, constant), (other, again, level) = (
        solver.search(inside, y[:60], split(60), np.arange(60, 70))
        for solver in (PrimalRidge(x, penalties), make_dual(x, penalties=penalties))
    )
    np.testing.assert_allclose(one.penalties, other.penalties, rtol=1e-5)
    np.testing.assert_allclose(predicted[0] + constant, again[0] + level, atol=1e-4)
    for found, expected in zip(
        make_dual(x, penalties=penalties).solve(inside, y[:60], one), PrimalRidge(x, penalties).solve(inside, y[:60], one), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(("images", "features"), [(50, 80), (90, 12)])
def test_searches_agree_with_himalayas_own_estimators(images, features):
    x, y = simulate(images, features, voxels=9)
    inside, outside, penalties = np.arange(images - 7), np.arange(images - 7, images), PENALTIES[2:]
    splits = split(len(inside))
    kernel = KernelRidgeCV(alphas=penalties, cv=splits, warn=False).fit(x[inside] - x[inside].mean(0), y[inside] - y[inside].mean(0))
    primal = RidgeCV(alphas=penalties, cv=splits, solver_params={"warn": False}).fit(
        x[inside] - x[inside].mean(0), y[inside] - y[inside].mean(0)
    )
    for solver, reference in ((make_dual(x, penalties=penalties), kernel), (PrimalRidge(x, penalties), primal)):
        choice, by_band, constant = solver.search(inside, y[inside], splits, outside)
        np.testing.assert_allclose(choice.penalties, reference.best_alphas_, rtol=1e-5)
        np.testing.assert_allclose(
            by_band.sum(axis=0) + constant, reference.predict(x[outside] - x[inside].mean(0)) + y[inside].mean(0), atol=1e-4
        )


def test_voxels_that_share_their_penalty_take_the_one_that_suits_most():
    x, y = simulate(60, 30, voxels=7)
    inside = np.arange(60)
    for solver in (make_dual(x), PrimalRidge(x, PENALTIES)):
        apart, *_ = solver.search(inside, y, split(60), NOBODY)
        together, *_ = solver.search(inside, y, split(60), NOBODY, together=True)
        assert len(set(apart.penalties.tolist())) > 1
        assert len(set(together.penalties.tolist())) == 1
        assert apart.penalties.min() <= together.penalties[0] <= apart.penalties.max()


def weigh(x, bands, weights):
    scaled = x.astype(np.float64)
    for band, weight in zip(bands, weights, strict=True):
        for columns in band:
            scaled[:, columns] *= np.sqrt(weight)
    return scaled


BANDS = [[slice(0, 10), slice(30, 36)], [slice(10, 30)]]  # the first is of two ranges


@pytest.mark.parametrize("images", [30, 80])
def test_bands_are_the_closed_form_of_features_scaled_by_the_roots_of_their_weights(images):
    x, y = simulate(images, 36)
    weights, penalties = np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([0.1, 1, 10, 0.3, 3])
    solver = make_dual(x, BANDS, weights, np.unique(penalties))
    candidate = np.array([0, 1, 0, 1, 1])
    inside, mask = np.arange(4, images), np.arange(images) >= 4
    coefficients, intercept = solver.solve(inside, y[inside], Choice(penalties, candidate))
    for voxel in range(5):
        expected = solve(weigh(x, BANDS, weights[candidate[voxel]]), y[:, [voxel]], penalties[[voxel]], mask)
        np.testing.assert_allclose(x @ coefficients[:, [voxel]] + intercept[voxel], expected, atol=1e-3)
    choice, by_band, constant = solver.search(inside, y[inside], split(len(inside)), np.arange(4))
    assert by_band.shape == (2, 4, 5)
    assert set(choice.candidate.tolist()) <= {0, 1}
    fitted = solver.solve(inside, y[inside], choice)
    for number, band in enumerate(BANDS):
        part = sum(x[:4, columns] @ fitted[0][columns] for columns in band)
        np.testing.assert_allclose(by_band[number], part, atol=1e-3)
    np.testing.assert_allclose(constant, fitted[1], atol=1e-3)


def test_one_band_of_weight_1_is_plain_ridge_and_equal_bands_are_the_mean_kernel():
    x, y = simulate(40, 36)
    inside, choice = np.arange(40), Choice(np.full(5, 0.5), np.zeros(5, dtype=np.int64))
    plain, _ = PrimalRidge(x, PENALTIES).solve(inside, y, choice)
    one, _ = make_dual(x).solve(inside, y, choice)
    np.testing.assert_allclose(one, plain, atol=1e-3)
    halves = make_dual(x, BANDS, np.full((1, 2), 0.5)).solve(inside, y, Choice(np.full(5, 0.25), choice.candidate))[0]
    np.testing.assert_allclose(halves, plain, atol=1e-3)  # half the kernel and half the penalty


def test_a_band_of_noise_is_turned_down_and_held_out_images_are_predicted_better_than_by_plain_ridge():
    """Forty features that matter, and forty that do not."""
    rng = np.random.default_rng(6)
    signal, noise = rng.standard_normal((130, 40)), rng.standard_normal((130, 40))
    features = np.concatenate([signal, noise], axis=1).astype(np.float32)
    y = (signal @ rng.standard_normal((40, 12)) + 3 * rng.standard_normal((130, 12))).astype(np.float32)
    layers, is_test = np.repeat([0, 1], 40), np.arange(130) < 40
    candidates = np.stack([np.linspace(0.05, 0.95, 7), np.linspace(0.95, 0.05, 7)], axis=1)
    found = {}
    for name, bands, weights in (("plain", [[0, 1]], ONE_BAND), ("banded", [[0], [1]], candidates)):
        plan = RidgePlan(4, Search(np.logspace(-3, 3, 10), weights), bands)
        found[name] = fit_ridge(features, np.arange(130), y, layers, [str(n) for n in range(130)], is_test, plan, NOBODY)
    weight = candidates[found["banded"].choice.candidate]
    assert np.median(weight[:, 0]) > 0.8
    assert found["banded"].test_r.mean() > found["plain"].test_r.mean() + 0.05
    assert found["banded"].cv_r.mean() > found["plain"].cv_r.mean() + 0.05
    explained = split_variance(y[is_test], found["banded"])
    assert explained[0].mean() > 0.6
    assert abs(explained[1].mean()) < 0.05


def test_nested_accuracy_of_noise_is_about_zero_where_that_of_the_best_penalty_is_not():
    """Forty voxels of noise in each of eight subjects; a penalty chosen by the very correlation it is reported by flatters."""
    nested, best = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, y = simulate(60, 50, 2, seed=seed)[0], rng.standard_normal((60, 40)).astype(np.float32)
        groups, everybody = [str(number) for number in range(60)], np.arange(60)
        scores = []
        for penalties in (PENALTIES, *PENALTIES[:, None]):
            predicted, fold = predict_nested(PrimalRidge(x, penalties), everybody, y, groups, 5)
            scores.append(correlate(center_folds(y, fold), center_folds(predicted, fold)))
        nested.append(scores[0].mean())
        best.append(np.max(scores[1:], axis=0).mean())
        assert abs(np.mean(scores[1:])) < 0.1
    assert abs(np.mean(nested)) < 0.1
    assert np.mean(best) > np.mean(nested) + 0.1
    assert np.mean(best) > 0.05


def test_nested_predictions_see_nothing_of_the_images_left_out():
    """Other responses of one fold's images leave the predictions of that fold as they were."""
    x, y = simulate(40, 60)
    groups, everybody = [str(number // 2) for number in range(40)], np.arange(40)
    for solver in (make_dual(x), PrimalRidge(x, PENALTIES)):
        before, fold = predict_nested(solver, everybody, y, groups, 4)
        changed = y.copy()
        changed[fold == 2] = 100 * np.random.default_rng(1).standard_normal(changed[fold == 2].shape)
        after, again = predict_nested(solver, everybody, changed, groups, 4)
        np.testing.assert_array_equal(fold, again)
        np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
        assert np.abs(before[fold != 2] - after[fold != 2]).max() > 0.1


def test_features_that_do_not_vary_give_the_mean_response():
    """Nothing is left of the centered kernel."""
    x, y = np.full((20, 5), 0.1, dtype=np.float32), simulate(20, 5)[1]
    inside = np.arange(15)
    for solver in (make_dual(x), PrimalRidge(x, PENALTIES)):
        _, by_band, constant = solver.search(inside, y[:15], split(15), np.arange(15, 20))
        np.testing.assert_allclose(by_band.sum(axis=0) + constant, np.tile(y[:15].mean(axis=0), (5, 1)), atol=1e-4)


def test_himalayas_backend_is_left_as_it_was():
    x, y = simulate(20, 5)
    before = set_backend("torch")
    try:
        for solver in (make_dual(x), PrimalRidge(x, PENALTIES)):
            solver.search(np.arange(20), y, split(20), NOBODY)
            assert get_backend() is before
    finally:
        set_backend("numpy")
