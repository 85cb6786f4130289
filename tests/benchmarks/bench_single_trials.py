"""Single-trial responses: is LSS right and quick, and which method comes closest?

`python -m tests.benchmarks.bench_single_trials` prints two tables. First, LSS of 150 trials in one product against 150 separate fits: by
nilearn's `run_glm` (ordinary least squares), as its own example of single trials does, by numpy's `lstsq`, and by the first row of each
model's pseudoinverse, the least that separate fits can cost. Second, the correlation of estimated with planted responses, over trials,
for trials that follow each other more or less quickly (onsets between volumes, autocorrelated noise, 36 images shown once in each of four
runs); the ridge fraction is cross-validated over the runs.
"""

import time
from collections.abc import Callable

import numpy as np

from analysis.design import compute_frame_times
from analysis.single_trials import TrialRun, choose_fractions, fit_all_at_once, fit_ridge, fit_separately, respond_to_trials
from tests.benchmarks.report import print_table

TRIALS, VOLUMES, VOXELS = 150, 620, 2000
IMAGES = 36
LARGEST_DIFFERENCE = 1e-8
LEAST_SPEEDUP = 20


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    times = compute_frame_times(VOLUMES, 1.0, 0.5)
    trials = respond_to_trials(times, 4.0 * np.arange(TRIALS) + rng.uniform(0, 1, TRIALS), np.full(TRIALS, 2.0), "glover")
    nuisance = np.column_stack([np.ones(VOLUMES), np.cumsum(rng.standard_normal((VOLUMES, 18)), axis=0)])
    return rng.standard_normal((VOLUMES, VOXELS)) + trials @ rng.standard_normal((TRIALS, VOXELS)), trials, nuisance


def fit_one_by_one(
    series: np.ndarray, trials: np.ndarray, nuisance: np.ndarray, fit: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return the first weight of every trial's model."""
    whole = trials.sum(axis=1)
    return np.stack([fit(np.column_stack([x, whole - x, nuisance]), series) for x in trials.T])


def fit_nilearn(design: np.ndarray, series: np.ndarray) -> np.ndarray:
    from nilearn.glm.first_level import run_glm

    _, results = run_glm(series, design, noise_model="ols")
    return results[0.0].theta[0]


def compare_speed() -> None:
    series, trials, nuisance = draw(np.random.default_rng(0))
    took = []
    for _ in range(3):
        started = time.perf_counter()
        ours = fit_separately(series, trials, nuisance)
        took.append(time.perf_counter() - started)
    rows = []
    ways = {
        "nilearn run_glm": fit_nilearn,
        "numpy lstsq": lambda x, y: np.linalg.lstsq(x, y)[0][0],
        "first row of pinv": lambda x, y: np.linalg.pinv(x)[0] @ y,
    }
    for name, way in ways.items():
        started = time.perf_counter()
        theirs = fit_one_by_one(series, trials, nuisance, way)
        seconds = time.perf_counter() - started
        difference = np.abs(ours - theirs).max()
        rows.append((name, f"{seconds:.2f}", f"{min(took):.3f}", f"{seconds / min(took):.0f}", f"{difference:.1e}"))
        if name != "first row of pinv":
            rows[-1] += (bool(seconds > LEAST_SPEEDUP * min(took) and difference < LARGEST_DIFFERENCE),)
        else:
            rows[-1] += ("",)
    title = f"LSS, {TRIALS} trials, {VOLUMES} volumes, {VOXELS} voxels, 19 nuisance columns: one product against separate fits"
    print_table(title, ("separate fits by", "seconds", "ours", "times faster", "largest difference", "20 times, 1e-8"), rows)


def draw_runs(spacing_s: float, noise: float, rng: np.random.Generator) -> tuple[list[TrialRun], list[np.ndarray]]:
    """Return four runs of the same images in other orders, and the planted responses of every trial."""
    planted = 1 + rng.standard_normal((IMAGES, 200))
    runs, truths = [], []
    for _ in range(4):
        order = rng.permutation(IMAGES)
        volumes = int(spacing_s * IMAGES) + 24
        onsets = 4 + spacing_s * np.arange(IMAGES) + rng.uniform(0, 1, IMAGES)
        trials = respond_to_trials(compute_frame_times(volumes, 1.0, 0.5), onsets, np.full(IMAGES, 1.0), "glover")
        white = rng.standard_normal((volumes + 50, 200))
        for volume in range(1, len(white)):
            white[volume] = 0.4 * white[volume - 1] + np.sqrt(1 - 0.4**2) * white[volume]
        nuisance = np.column_stack([np.ones(volumes), np.cumsum(rng.standard_normal((volumes, 6)), axis=0)])
        runs.append(TrialRun(trials @ planted[order] + noise * white[50:], trials, nuisance, [str(image) for image in order]))
        truths.append(planted[order])
    return runs, truths


def correlate(betas: list[np.ndarray], truths: list[np.ndarray]) -> float:
    """Return the mean over voxels of the correlation over all trials."""
    estimated, planted = np.concatenate(betas), np.concatenate(truths)
    estimated, planted = estimated - estimated.mean(axis=0), planted - planted.mean(axis=0)
    return float(np.mean((estimated * planted).sum(axis=0) / np.linalg.norm(estimated, axis=0) / np.linalg.norm(planted, axis=0)))


def compare_methods() -> None:
    rows = []
    for spacing_s in (2.0, 3.0, 4.0, 8.0):
        for noise in (0.5, 2.0):
            runs, truths = draw_runs(spacing_s, noise, np.random.default_rng(1))
            fractions = choose_fractions(runs)
            all_at_once = [fit_all_at_once(run.series, run.trials, run.nuisance) for run in runs]
            separate = [fit_separately(run.series, run.trials, run.nuisance) for run in runs]
            ridge = [fit_ridge(run.series, run.trials, run.nuisance, fractions) for run in runs]
            r = tuple(correlate(betas, truths) for betas in (all_at_once, separate, ridge))
            rows.append((f"{spacing_s:g}", noise, *r, float(fractions.mean())))
    print_table(
        "r of estimated with planted responses over trials", ("spacing, s", "noise sd, %", "LSA", "LSS", "ridge", "mean fraction"), rows
    )


if __name__ == "__main__":
    compare_speed()
    compare_methods()
