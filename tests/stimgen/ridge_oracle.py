"""Simulated features and responses, and the closed form of ridge in float64 to hold every solver against."""

import numpy as np

from stimgen.ridge import RidgePlan, fit_ridge
from stimgen.solvers import Search

LAYERS = np.array([0] * 6 + [1] * 3)
PENALTIES = np.logspace(-3, 2, 6)
ONE_BAND = np.ones((1, 1))


def simulate(images=60, voxels=5, noise=0.5, seed=0):
    """Return features, responses and the true weights; the first voxel has no signal."""
    rng = np.random.default_rng(seed)
    features = (rng.standard_normal((images, 9)) * rng.uniform(0.2, 5, 9) + rng.uniform(-3, 3, 9)).astype(np.float32)
    weights = rng.standard_normal((9, voxels)) / features.std(axis=0)[:, None]
    weights[:, 0] = 0
    responses = features @ weights + noise * rng.standard_normal((images, voxels)) + 7
    return features, responses.astype(np.float32), weights


def mark_test(images, count=12):
    return np.arange(images) < count


def fit(features, responses, is_test, groups=None, *, folds=4, form="auto", index=None, extra_index=(), penalties=PENALTIES):
    """Fit plain ridge on both layers."""
    index = np.arange(len(features)) if index is None else index
    groups = groups or [str(number) for number in index]
    plan = RidgePlan(folds, Search(penalties, ONE_BAND), [[0, 1]], form)
    return fit_ridge(features, index, responses, LAYERS, groups, is_test, plan, np.array(extra_index, dtype=np.int64))


def apply(features, is_test, rows=None):
    """Standardize `rows` (or `features`) by the training images, from the definition, in float64: each layer has half of the variance."""
    x = features[~is_test].astype(np.float64)
    total = np.bincount(LAYERS, x.var(axis=0))
    return ((features if rows is None else rows) - x.mean(axis=0)) / np.sqrt(2 * total)[LAYERS]


def solve(x, responses, penalties, inside=None):
    """Return predictions for all rows of `x` of the closed form fitted to those `inside`, one penalty per voxel, in float64."""
    inside = np.ones(len(x), dtype=bool) if inside is None else inside
    x_mean, y_mean = x[inside].mean(axis=0), responses[inside].mean(axis=0, dtype=np.float64)
    a, y = x[inside] - x_mean, responses[inside] - y_mean
    columns = [
        np.linalg.solve(a.T @ a + penalty * np.eye(x.shape[1]), a.T @ column) for column, penalty in zip(y.T, penalties, strict=True)
    ]
    return (x - x_mean) @ np.stack(columns, axis=1) + y_mean
