"""Label permutation: is it exact, and quick? `python -m tests.benchmarks.bench_permute_labels` prints two tables.

First, 1,000 relabelings of 20 ROIs and 10 runs of 75 images, against refitting by `lstsq` (a few relabelings, multiplied up): both refit
the whole first level. Second, how often p <= .05 and p <= .01 in 1,000 simulations without an effect, for white and autocorrelated noise,
images of one run or repeated in all, and images with responses of their own.
"""

import time

import numpy as np

from analysis.design import compute_frame_times
from analysis.permute_labels import RoiRun, permute_labels
from analysis.single_trials import respond_to_trials
from tests.benchmarks.report import print_table

LIMIT_S = 60.0


def make_run(ids: list[str], rois: int, nuisance: int, rho: float, own: dict[str, float], rng: np.random.Generator) -> RoiRun:
    order = list(rng.permutation(ids))
    volumes = 4 * len(order) + 16
    trials = respond_to_trials(
        compute_frame_times(volumes, 1.0, 0.5), 4.0 * np.arange(len(order)) + rng.uniform(0, 1), np.full(len(order), 2.0), "glover"
    )
    noise = rng.standard_normal((volumes + 30, rois))
    for volume in range(1, len(noise)):
        noise[volume] += rho * noise[volume - 1]
    slow = np.column_stack([np.ones(volumes), np.cumsum(rng.standard_normal((volumes, nuisance)), axis=0)])
    return RoiRun(trials @ np.array([[own.get(s, 0.0)] for s in order]) + noise[30:], trials, slow, order)


def measure_speed() -> None:
    rng = np.random.default_rng(0)
    conditions = {f"image{n}": "abcde"[n % 5] for n in range(75)}
    runs = [make_run(list(conditions), 20, 20, 0.4, {}, rng) for _ in range(10)]
    started = time.perf_counter()
    test = permute_labels(runs, conditions, {"a": 1.0, "b": -1.0}, rng, 1000)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(3):
        labels = dict(zip(conditions, rng.permutation(list(conditions.values())), strict=True))
        for run in runs:
            columns = [run.trials[:, [labels[s] == name for s in run.stim_ids]].sum(axis=1) for name in "abcde"]
            np.linalg.lstsq(np.column_stack([*columns, run.nuisance]), run.series)
    refits = (time.perf_counter() - started) / 3 * 1000
    rows = [(test.labelings, 20, 10, f"{ours:.2f}", f"{refits:.0f}", bool(ours < LIMIT_S))]
    print_table("label permutation, seconds", ("labelings", "ROIs", "runs", "ours", "by lstsq", "below 60 s"), rows)


def measure_exactness(simulations: int = 1000) -> None:
    rows = []
    for rho in (0.0, 0.4, 0.8):
        for repeated, image_sd in ((False, 0.0), (True, 0.0), (True, 2.0)):
            rng = np.random.default_rng(1)
            ids = [[f"{0 if repeated else run} image{n}" for n in range(16)] for run in range(2)]
            conditions = {stim_id: "ab"[n % 2] for names in ids for n, stim_id in enumerate(names)}
            p = []
            for _ in range(simulations):
                own = {stim_id: image_sd * rng.standard_normal() for stim_id in conditions}
                runs = [make_run(names, 1, 3, rho, own, rng) for names in ids]
                p.append(float(permute_labels(runs, conditions, {"a": 1.0, "b": -1.0}, rng, 199).p[0]))
            share = [float(np.mean(np.array(p) <= level)) for level in (0.05, 0.01)]
            rows.append((rho, "in both" if repeated else "of one", image_sd, *share, bool(0.035 < share[0] < 0.065)))
    columns = ("AR(1)", "images in runs", "image sd, %", "p <= .05", "p <= .01", ".035 to .065")
    print_table(f"false positives, {simulations} simulations, 2 runs of 16 images", columns, rows)


if __name__ == "__main__":
    measure_speed()
    measure_exactness()
