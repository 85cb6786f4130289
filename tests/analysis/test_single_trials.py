"""Single-trial responses: LSS against as many separate fits, ridge against its definition, and planted responses found again."""

import time

import numpy as np
import pytest

from analysis.design import compute_frame_times
from analysis.single_trials import (
    TrialRun,
    choose_fractions,
    fit_all_at_once,
    fit_ridge,
    fit_separately,
    respond_to_trials,
    restore_scale,
)
from protocols.errors import InputError

VOLUMES, VOXELS = 240, 30


def make_run(
    rng: np.random.Generator, trials: int = 40, noise: float = 1.0, spacing_s: float = 5.3, betas: np.ndarray | None = None
) -> tuple:
    """Return series, trial regressors, nuisance and planted responses; onsets fall anywhere between volumes."""
    times = compute_frame_times(VOLUMES, 1.0, 0.5)
    onsets = 3.0 + np.arange(trials) * spacing_s + rng.uniform(0, 0.6, trials)
    x = respond_to_trials(times, onsets, np.full(trials, 1.5), "glover")
    nuisance = np.column_stack([np.ones(VOLUMES), np.linspace(-1, 1, VOLUMES), np.cumsum(rng.standard_normal((VOLUMES, 4)), axis=0)])
    planted = 1 + rng.standard_normal((trials, VOXELS)) if betas is None else betas
    series = x @ planted + nuisance @ rng.standard_normal((6, VOXELS)) + noise * rng.standard_normal((VOLUMES, VOXELS))
    return series, x, nuisance, planted


def fit_one_by_one(series: np.ndarray, trials: np.ndarray, nuisance: np.ndarray, conditions: list[str]) -> np.ndarray:
    """Return what as many `lstsq` as there are trials return."""
    betas = []
    for trial in range(trials.shape[1]):
        rest = [[n for n in range(len(conditions)) if conditions[n] == name and n != trial] for name in dict.fromkeys(conditions)]
        others = [trials[:, members].sum(axis=1) for members in rest if members]
        betas.append(np.linalg.lstsq(np.column_stack([trials[:, trial], *others, nuisance]), series)[0][0])
    return np.stack(betas)


@pytest.mark.parametrize("conditions", [["all"] * 40, ["a", "b", "c", "a"] * 10, ["once", *["a", "b", "b"] * 13]])
def test_separate_fits_are_those_of_one_model_per_trial(conditions: list[str]) -> None:
    series, x, nuisance, _ = make_run(np.random.default_rng(0))
    ours = fit_separately(series, x, nuisance, conditions)
    np.testing.assert_allclose(ours, fit_one_by_one(series, x, nuisance, conditions), rtol=1e-8, atol=1e-8)


def test_without_conditions_all_others_are_one_regressor() -> None:
    series, x, nuisance, _ = make_run(np.random.default_rng(1))
    np.testing.assert_array_equal(fit_separately(series, x, nuisance), fit_separately(series, x, nuisance, ["all"] * 40))


def test_150_separate_fits_are_20_times_faster_than_one_by_one() -> None:
    rng = np.random.default_rng(2)
    times = compute_frame_times(640, 1.0, 0.5)
    x = respond_to_trials(times, 4.0 * np.arange(150) + rng.uniform(0, 1, 150), np.full(150, 2.0), "glover")
    nuisance = np.column_stack([np.ones(640), rng.standard_normal((640, 18))])
    series = rng.standard_normal((640, 200))
    started = time.perf_counter()
    theirs = fit_one_by_one(series, x, nuisance, ["all"] * 150)
    one_by_one = time.perf_counter() - started
    took = []
    for _ in range(3):
        started = time.perf_counter()
        ours = fit_separately(series, x, nuisance)
        took.append(time.perf_counter() - started)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8)
    assert one_by_one > 20 * min(took)


def test_all_at_once_finds_what_was_planted_off_the_grid() -> None:
    series, x, nuisance, planted = make_run(np.random.default_rng(3), noise=0.0)
    np.testing.assert_allclose(fit_all_at_once(series, x, nuisance), planted, atol=1e-9)


def test_a_regressor_peaks_at_one_wherever_its_onset_lies() -> None:
    fine = np.arange(0, 40, 0.05)
    made = respond_to_trials(fine, np.array([0.0, 3.37, 8.9]), np.array([0.5, 2.0, 2.0]), "spm")
    np.testing.assert_allclose(made.max(axis=0), 1.0, atol=1e-3)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.95, 1.0])
def test_ridge_has_the_norm_that_was_asked_for_and_is_ridge(fraction: float) -> None:
    series, x, nuisance, _ = make_run(np.random.default_rng(4))
    plain = fit_all_at_once(series, x, nuisance)
    betas = fit_ridge(series, x, nuisance, np.full(VOXELS, fraction))
    np.testing.assert_allclose(np.linalg.norm(betas, axis=0), fraction * np.linalg.norm(plain, axis=0), rtol=2e-3)
    clean = x - nuisance @ np.linalg.lstsq(nuisance, x)[0]
    gradient = clean.T @ (series - clean @ betas)  # of a ridge solution it is lambda times the solution
    ratio = (gradient * betas).sum(axis=0) / (betas**2).sum(axis=0)
    np.testing.assert_allclose(gradient, ratio * betas, atol=1e-6 * np.abs(clean.T @ series).max())


def test_ridge_of_nothing_is_zero() -> None:
    series, x, nuisance, _ = make_run(np.random.default_rng(4))
    assert not fit_ridge(series, x, nuisance, np.zeros(VOXELS)).any()


def make_repeats(noise: np.ndarray, seed: int = 5) -> tuple[list[TrialRun], np.ndarray]:
    """Return four runs of the same 45 images, quickly after one another, and the responses to them."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal((45, VOXELS))
    runs = []
    for _ in range(4):
        order = rng.permutation(45)
        series, x, nuisance, _ = make_run(rng, 45, 0.0, 2.5, truth[order])
        series = series + noise * rng.standard_normal(series.shape)
        runs.append(TrialRun(series, x, nuisance, [f"image{n}" for n in order]))
    return runs, truth


def test_noisy_voxels_are_shrunk_more_and_come_closer_to_the_truth() -> None:
    noise = np.where(np.arange(VOXELS) < 15, 0.02, 3.0)
    runs, truth = make_repeats(noise)
    fractions = choose_fractions(runs)
    assert fractions[:15].min() >= 0.9
    assert fractions[15:].max() <= 0.6
    for run in runs:
        order = [int(name.removeprefix("image")) for name in run.stim_ids]
        errors = [
            ((betas - truth[order]) ** 2).mean(axis=0)[15:]
            for betas in (fit_all_at_once(run.series, run.trials, run.nuisance), fit_ridge(run.series, run.trials, run.nuisance, fractions))
        ]
        assert errors[1].mean() < 0.5 * errors[0].mean()


def test_images_shown_in_one_run_do_not_choose() -> None:
    runs, _ = make_repeats(np.ones(VOXELS))
    changed = [TrialRun(r.series, r.trials, r.nuisance, [f"{n} {name}" for name in r.stim_ids]) for n, r in enumerate(runs)]
    with pytest.raises(InputError, match=r"no image is shown in two runs: a fraction cannot be cross-validated; give it, or use LSS"):
        choose_fractions(changed)
    extra = TrialRun(runs[0].series * 100, runs[0].trials, runs[0].nuisance, [f"alone {name}" for name in runs[0].stim_ids])
    np.testing.assert_array_equal(choose_fractions([*runs, extra]), choose_fractions(runs))


def test_scale_is_restored_but_not_turned_round() -> None:
    rng = np.random.default_rng(6)
    plain = 2 + rng.standard_normal((40, 3))
    shrunk = 0.3 * plain + 0.1
    shrunk[:, 2] *= -1
    restored = restore_scale(shrunk, plain)
    np.testing.assert_allclose(restored[:, :2], plain[:, :2], atol=1e-12)
    np.testing.assert_array_equal(restored[:, 2], shrunk[:, 2])


def test_trials_that_cannot_be_told_apart_are_refused() -> None:
    series, x, nuisance, _ = make_run(np.random.default_rng(7))
    doubled = np.column_stack([x, x[:, 3]])
    with pytest.raises(
        InputError, match=r"a trial cannot be told from the others, from confounds or from drifts; merge trials, or use ridge"
    ):
        fit_all_at_once(series, doubled, nuisance)
    with pytest.raises(InputError, match=r"trial 4 cannot be told from the others"):
        fit_separately(series, doubled, nuisance, [*["a"] * 3, "b", *["a"] * 36, "b"])
    after_the_end = np.column_stack([x, np.zeros(VOLUMES)])
    with pytest.raises(InputError, match=r"trial 41 cannot be told from the others"):
        fit_separately(series, after_the_end, nuisance)
