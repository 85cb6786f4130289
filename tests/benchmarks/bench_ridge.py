"""Is the regression right? `python -m tests.benchmarks.bench_ridge` prints two tables.

First, this project's fit against himalaya called directly on the same standardized, centered features, and against a closed form in
float64, in primal and in dual form. Second, test r with shuffled responses, which must be 0 on average.
"""

import numpy as np
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.ridge import RidgeCV

from stimgen.ridge import RidgeFit, RidgePlan, fit_ridge, split_folds, split_groups
from stimgen.solvers import Search
from tests.benchmarks.report import print_table

PENALTIES = np.logspace(-4, 3, 15)
NONE = np.array([], dtype=np.int64)
LARGEST_DIFFERENCE = 1e-4
LARGEST_BIAS = 0.01


def simulate(images: int, features: int, voxels: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features of two layers with unequal gains, responses linear in them, and the layer of each feature."""
    rng = np.random.default_rng(seed)
    layer = (np.arange(features) >= features // 3).astype(np.int64)
    x = rng.standard_normal((images, features)) * np.where(layer, 5.0, 0.3) + rng.uniform(-2, 2, features)
    signal = (x / np.where(layer, 5.0, 0.3)) @ rng.standard_normal((features, voxels)) / np.sqrt(features)
    responses = signal + noise * rng.standard_normal((images, voxels)) + 3
    return x.astype(np.float32), responses.astype(np.float32), layer


def fit(x: np.ndarray, y: np.ndarray, layer: np.ndarray, is_test: np.ndarray, form: str) -> RidgeFit:
    """Fit by this project's own code, every image a group of its own."""
    plan = RidgePlan(5, Search(PENALTIES, np.ones((1, 1))), [[0, 1]], form)
    return fit_ridge(x, np.arange(len(x)), y, layer, [str(image) for image in range(len(x))], is_test, plan, NONE)


def compare_solvers() -> None:
    """Print the largest differences in penalties, test predictions and the final readout's predictions."""
    rows = []
    for images, features in ((300, 900), (600, 150)):
        x, y, layer = simulate(images, features, 40, 1.0, 0)
        is_test = np.arange(images) % 5 == 0
        for form in ("dual", "primal"):
            found = fit(x, y, layer, is_test, form)
            z = (x - found.readout.feature_mean) / found.readout.feature_scale
            direct, chosen = _call_himalaya(z, y, is_test, form)
            exact = _solve_exactly(z, y, found.choice.penalties)
            scale = y.std()
            rows.append(
                (
                    f"{images} x {features}",
                    form,
                    float((~np.isclose(found.choice.penalties, chosen)).mean()),
                    f"{np.abs(found.test_predictions - direct).max() / scale:.1e}",
                    f"{np.abs(found.readout.predict(x) - exact).max() / scale:.1e}",
                    np.abs(found.test_predictions - direct).max() / scale < LARGEST_DIFFERENCE
                    and np.abs(found.readout.predict(x) - exact).max() / scale < LARGEST_DIFFERENCE,
                )
            )
    columns = ("images x features", "form", "other penalty", "himalaya", "float64", "below 1e-4")
    print_table("largest difference in predictions, in sd of the responses (40 voxels)", columns, rows)


def _call_himalaya(z: np.ndarray, y: np.ndarray, is_test: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray]:
    train = np.flatnonzero(~is_test)
    splits = split_folds([str(image) for image in train], 5)
    alphas, offset, mean = PENALTIES.astype(np.float32), z[train].mean(axis=0), y[train].mean(axis=0)
    model = KernelRidgeCV(alphas=alphas, cv=splits, warn=False) if form == "dual" else RidgeCV(
        alphas=alphas, cv=splits, solver_params={"warn": False}
    )  # fmt: skip
    model.fit(z[train] - offset, y[train] - mean)
    return np.asarray(model.predict(z[is_test] - offset)) + mean, np.asarray(model.best_alphas_)


def _solve_exactly(z: np.ndarray, y: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Return predictions of the closed form in float64, refitted on all images."""
    x, centered = z.astype(np.float64) - z.mean(axis=0, dtype=np.float64), y.astype(np.float64) - y.mean(axis=0, dtype=np.float64)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    shrunk = (s**2)[:, None] / ((s**2)[:, None] + penalties.astype(np.float64))
    return u @ (shrunk * (u.T @ centered)) + y.mean(axis=0, dtype=np.float64)


def shuffle_responses(repetitions: int) -> None:
    """Print mean test r and cross-validated r with responses shuffled over images."""
    rows = []
    for images, features in ((150, 600), (600, 150)):
        test_r, cv_r = [], []
        for seed in range(repetitions):
            x, y, layer = simulate(images, features, 30, 0.5, seed)
            rng = np.random.default_rng(seed)
            mixed = np.stack([rng.permutation(column) for column in y.T], axis=1)
            found = fit(x, mixed, layer, split_groups([str(image) for image in range(images)], 0.2, rng), "auto")
            test_r.append(found.test_r.mean())
            cv_r.append(found.cv_r.mean())
        error = np.std(test_r) / np.sqrt(repetitions)
        rows.append(
            (f"{images} x {features}", repetitions * 30, np.mean(test_r), error, np.mean(cv_r), abs(np.mean(test_r)) < LARGEST_BIAS)
        )
    columns = ("images x features", "voxels", "mean test r", "standard error", "mean cv r", "test r within .01 of 0")
    print_table("shuffled responses", columns, rows)


def main() -> None:
    """Print both tables."""
    compare_solvers()
    shuffle_responses(60)


if __name__ == "__main__":
    main()
