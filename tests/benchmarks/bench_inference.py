"""False positives, coverage and power of the crossed test and its permutation twin beside the usual tests, on the same simulated data.

`python -m tests.benchmarks.bench_inference` prints three tables: twelve designs without an effect; the same with one; and the chance of any
false claim in a family of tests over correlated ROIs. Each simulation has its own seed, so that a table can be made in pieces:
`--start 1000 --simulations 500 --counts counts.json` adds to the counts in that file and prints the table of all of them.

The usual tests are the t test over subjects, nilearn's second level (the same, by nilearn), single trials permuted in each subject with a
binomial test over subjects (as in RNC), and the image-level mixed model, images random and subjects not: with as many images in each set it
is the t test over images' means.
"""

import argparse
import itertools
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.crossed import estimate_effect
from analysis.decision import correct_holm
from analysis.permutation import PermutedTest, permute_contrasts
from analysis.specificity import relabel_sets
from analysis.unbalanced import ImageSet, estimate_contrast
from tests.benchmarks.report import print_table

SUBJECT_SD, IMAGE_SD, TRIAL_SD = 0.3, 0.5, 1.8  # percent signal change; single-trial noise as in bench_calibration
EFFECT = 0.5
ALPHA = 0.05
_TRIAL_PERMUTATIONS = 199
TESTS = ("crossed", "permutation", "subjects t", "nilearn", "trials + binomial", "images")


@dataclass(frozen=True)
class Design:
    """Subjects, images in each of two sets, trials of an image; uneven: from 1 to `trials` of them; and the share of images missed."""

    subjects: int
    images: int
    trials: int
    uneven: bool = False
    missed: float = 0.0

    def __str__(self) -> str:
        uneven = ", uneven" * self.uneven + f", {100 * self.missed:g} % missed" * (self.missed > 0)
        return f"{self.subjects} x {self.images} x {self.trials}{uneven}"


DESIGNS = (
    *(Design(2, 10, 10), Design(2, 25, 6, uneven=True), Design(3, 8, 6), Design(4, 10, 10), Design(4, 5, 8, uneven=True), Design(5, 20, 4)),
    *(Design(6, 25, 6), Design(6, 10, 4, uneven=True, missed=0.1), Design(8, 5, 20), Design(8, 50, 2), Design(10, 12, 3, uneven=True)),
    Design(12, 20, 4),
)


@dataclass(frozen=True)
class Drawn:
    """One experiment: trials (subjects x images of both sets x trials), which of them exist, and the responses that they average to."""

    trials: np.ndarray
    exist: np.ndarray
    sets: list[ImageSet]


def draw(design: Design, seed: int) -> Drawn:
    """Draw an experiment without an effect."""
    rng = np.random.default_rng([20, seed])
    S, n, R = design.subjects, design.images, design.trials
    level = np.repeat(SUBJECT_SD * rng.standard_normal((S, 2)), n, axis=1) + IMAGE_SD * rng.standard_normal(2 * n)
    trials = level[:, :, None] + TRIAL_SD * rng.standard_normal((S, 2 * n, R))
    count = rng.integers(1, R + 1, (S, 2 * n)) if design.uneven else np.full((S, 2 * n), R)
    count = count * (rng.uniform(size=count.shape) >= design.missed)
    exist = np.arange(R) < count[:, :, None]
    means = np.divide(np.where(exist, trials, 0).sum(axis=2), count, out=np.full(count.shape, np.nan), where=count > 0)
    scatter = np.where(exist, (trials - np.nan_to_num(means)[:, :, None]) ** 2, 0).sum(axis=2)
    sets = [ImageSet(means[:, one], count[:, one], scatter[:, one]) for one in (slice(n), slice(n, None))]
    return Drawn(trials, exist, sets)


def count_design(design: Design, seeds: range, powered: int) -> dict[str, float]:
    """Return counts of rejections without and with an effect, of intervals that cover, and of simulations.

    An effect shifts all subjects' and images' differences alike and leaves their spread, so power needs no further fit; the permutation
    twin alone is computed again, in the first `powered` simulations.
    """
    counts: dict[str, float] = dict.fromkeys(("simulations", "powered", "covered"), 0)
    counts |= {f"{kind} {test}": 0 for kind in ("null", "power") for test in TESTS}
    scores = []
    for place, seed in enumerate(seeds):
        drawn = draw(design, seed)
        effect = estimate_contrast(drawn.sets, [1.0, -1.0])
        counts["covered"] += effect.ci_low <= 0 <= effect.ci_high
        _count_t(counts, "crossed", effect.estimate, effect.se, effect.df)
        by_subject = np.nanmean(drawn.sets[0].means, axis=1) - np.nanmean(drawn.sets[1].means, axis=1)
        _count_t(counts, "subjects t", by_subject.mean(), by_subject.std(ddof=1) / np.sqrt(design.subjects), design.subjects - 1)
        scores.append(by_subject)
        a, b = (np.nanmean(one.means, axis=0) for one in drawn.sets)
        _count_t(counts, "images", a.mean() - b.mean(), np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a)), 2 * len(a) - 2)
        for kind, shift in (("null", 0.0), ("power", EFFECT)):
            counts[f"{kind} trials + binomial"] += _permute_trials(drawn, shift)
            if kind == "null" or place < powered:
                counts[f"{kind} permutation"] += reject_by_twin([arrange(drawn.sets, shift)])
        counts["powered"] += place < powered
        counts["simulations"] += 1
    for kind, shift in (("null", 0.0), ("power", EFFECT)):
        counts[f"{kind} nilearn"] = _count_nilearn(np.array(scores) + shift)
    return counts


def _count_t(counts: dict[str, float], test: str, estimate: float, se: float, df: float) -> None:
    limit = stats.t.ppf(1 - ALPHA / 2, df) * se
    counts[f"null {test}"] += abs(estimate) > limit
    counts[f"power {test}"] += abs(estimate + EFFECT) > limit


def arrange(sets: list[ImageSet], shift: float, family: str = "primary", names: str = "i") -> PermutedTest:
    """Return two sets as the permutation twin takes them: the images that every subject saw."""
    values = np.concatenate([sets[0].means + shift, sets[1].means], axis=1)
    labels = np.repeat([0, 1], [one.means.shape[1] for one in sets])
    shared = np.isfinite(values).all(axis=0)
    images = tuple(f"{names}{image}" for image in np.flatnonzero(shared))
    return PermutedTest(family, images, values[:, shared], labels[shared], np.array([1.0, -1.0]))


def reject_by_twin(tests: list[PermutedTest]) -> bool:
    """Say whether the twin's smallest corrected p is at most alpha; images are permuted only where the flips leave that open.

    Where all subjects share fewer than 2 images of a set there is nothing to permute, and nothing is rejected.
    """
    if any(np.bincount(test.sets, minlength=len(test.weights)).min() < 2 for test in tests):
        return False
    scores = np.stack([(test.values @ (test.weights / np.bincount(test.sets))[test.sets]) for test in tests])
    subjects = scores.shape[1]
    signs = np.array([(1, *rest) for rest in itertools.product((1, -1), repeat=subjects - 1)])
    largest = np.abs(scores @ signs.T) / np.sqrt((scores**2).sum(axis=1))[:, None]
    if (largest.max(axis=0) >= largest[:, 0].max() * (1 - 1e-9)).mean() > ALPHA:
        return False
    return min(twin.p_corrected for twin in permute_contrasts(tests)) <= ALPHA


def _permute_trials(drawn: Drawn, shift: float) -> bool:
    """Permute the labels of all trials of each subject; a binomial test over the subjects that are significant at alpha."""
    subjects, images, _ = drawn.trials.shape
    significant = 0
    for values, exist in zip(drawn.trials, drawn.exist, strict=True):
        own = np.repeat(np.arange(images) < images // 2, exist.sum(axis=1))
        y = values[exist] + shift * own
        permuted = np.abs(_deal_trials(int(own.sum()), len(own)) @ y)
        observed = abs(y[own].mean() - y[~own].mean())
        significant += (1 + (permuted >= observed).sum()) / (1 + _TRIAL_PERMUTATIONS) <= ALPHA
    return bool(stats.binom.sf(significant - 1, subjects, ALPHA) <= ALPHA)


@lru_cache(maxsize=300)
def _deal_trials(own: int, trials: int) -> np.ndarray:
    """Return rows of weights that subtract the mean of the other trials from the mean of `own` drawn ones; the same rows every time."""
    weights = np.repeat([1 / own, -1 / (trials - own)], [own, trials - own])
    return np.random.default_rng(0).permuted(np.tile(weights, (_TRIAL_PERMUTATIONS, 1)), axis=1)


def _count_nilearn(scores: np.ndarray) -> int:
    """Return how often nilearn's second level rejects: each simulation is a voxel of subjects' maps."""
    import nibabel as nib
    from nilearn.glm.second_level import SecondLevelModel

    simulations, subjects = scores.shape
    maps = [nib.Nifti1Image(scores[:, [subject]].reshape(simulations, 1, 1), np.eye(4)) for subject in range(subjects)]
    mask = nib.Nifti1Image(np.ones((simulations, 1, 1), dtype=np.uint8), np.eye(4))
    model = SecondLevelModel(mask_img=mask).fit(maps, design_matrix=pd.DataFrame({"intercept": np.ones(subjects)}))
    p = model.compute_contrast("intercept", output_type="all")["stat"].get_fdata().ravel()
    return int((np.abs(p) > stats.t.ppf(1 - ALPHA / 2, subjects - 1)).sum())


def draw_family(seed: int, subjects: int, images: int, correlation: float) -> np.ndarray:
    """Draw responses of 5 ROIs to images made for each and to natural ones: ROIs x (2 x 5 sets) x subjects x images, nothing real."""
    rng = np.random.default_rng([21, seed])

    def correlate(*shape: int) -> np.ndarray:
        return np.sqrt(correlation) * rng.standard_normal((1, *shape)) + np.sqrt(1 - correlation) * rng.standard_normal((5, *shape))

    residual = TRIAL_SD / 2  # 4 trials of an image
    return SUBJECT_SD * correlate(10, subjects, 1) + IMAGE_SD * correlate(10, 1, images) + residual * correlate(10, subjects, images)


def count_family(seeds: range, subjects: int, images: int, correlation: float) -> dict[str, float]:
    """Return in how many nulls anything was rejected: 10 primary tests, own against other and own against natural images of 5 ROIs."""
    counts = {"simulations": 0, "any p": 0, "Holm": 0, "gate and Holm": 0, "twin": 0}
    for seed in seeds:
        y = draw_family(seed, subjects, images, correlation)
        p, tests = [], []
        for roi in range(5):
            own, others, natural = y[roi, roi], [y[roi, other] for other in range(5) if other != roi], y[roi, 5 + roi]
            p.append(estimate_effect([own, *others], [1.0, *[-0.25] * 4]).p)
            p.append(estimate_effect([own, natural], [1.0, -1.0]).p)
            made = np.concatenate(y[roi, :5], axis=1)
            weights = np.where(np.arange(5) == roi, 1.0, -0.25)
            tests.append(
                PermutedTest("primary", tuple(f"t{i:03d}" for i in range(5 * images)), made, np.repeat(np.arange(5), images), weights)
            )
            names = tuple(f"n{roi}{i:03d}" for i in range(2 * images))
            pair = np.concatenate([own, natural], axis=1)
            tests.append(PermutedTest("primary", names, pair, np.repeat([0, 1], images), np.array([1.0, -1.0])))
        any_claim = bool((correct_holm(p) <= ALPHA).any())
        gate = relabel_sets(y[:, :5].mean(axis=-1).transpose(2, 0, 1)).p <= ALPHA
        counts["any p"] += min(p) <= ALPHA
        counts["Holm"] += any_claim
        counts["gate and Holm"] += any_claim and gate
        counts["twin"] += reject_by_twin(tests)
        counts["simulations"] += 1
    return counts


def _add(stored: dict[str, Any], key: str, counts: dict[str, float]) -> None:
    before = stored.get(key, {})
    stored[key] = {name: before.get(name, 0) + float(value) for name, value in counts.items()}


def print_counts(stored: dict[str, Any]) -> None:
    """Print the tables of all counts so far."""
    designs = [(str(one), stored[str(one)]) for one in DESIGNS if str(one) in stored]
    if designs:
        rows = [
            [name, int(c["simulations"]), *(c[f"null {test}"] / c["simulations"] for test in TESTS), c["covered"] / c["simulations"]]
            for name, c in designs
        ]
        print_table(f"no effect: false positives at {ALPHA}", ["subjects x images x trials", "simulations", *TESTS, "coverage"], rows)
        rows = []
        for name, c in designs:
            n = {test: c["powered"] if test == "permutation" else c["simulations"] for test in TESTS}
            rows.append([name, *(c[f"power {test}"] / n[test] if n[test] else float("nan") for test in TESTS)])
        title = f"an effect of {EFFECT} %: power; where false positives are above {ALPHA}, a test is invalid and its power means nothing"
        print_table(title, ["subjects x images x trials", *TESTS], rows)
    families = [(key, c) for key, c in stored.items() if key.startswith("family")]
    if families:
        names = ("any p", "Holm", "gate and Holm", "twin")
        rows = [[key.removeprefix("family "), int(c["simulations"]), *(c[one] / c["simulations"] for one in names)] for key, c in families]
        print_table(
            "any rejection in 10 tests over 5 ROIs, nothing real", ["subjects x images, correlation of ROIs", "nulls", *names], rows
        )


def main() -> None:
    """Count what was asked for, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=5000)
    parser.add_argument("--start", type=int, default=0, help="seed of the first simulation")
    parser.add_argument("--designs", type=int, nargs="*", default=list(range(1, len(DESIGNS) + 1)), help="which of the twelve, from 1")
    parser.add_argument("--powered", type=int, default=500, help="simulations with an effect for the permutation twin")
    parser.add_argument("--families", type=int, default=2000, help="nulls of a family of tests")
    parser.add_argument("--counts", type=Path, help="JSON file to add to")
    arguments = parser.parse_args()
    stored = json.loads(arguments.counts.read_text()) if arguments.counts and arguments.counts.is_file() else {}
    for number in arguments.designs:
        design = DESIGNS[number - 1]
        powered = max(0, min(arguments.powered - arguments.start, arguments.simulations))
        seeds = range(arguments.start, arguments.start + arguments.simulations)
        _add(stored, str(design), count_design(design, seeds, powered))
    for subjects, images, correlation in ((4, 5, 0.7), (8, 8, 0.7)):
        if arguments.families:
            seeds = range(arguments.start, arguments.start + arguments.families)
            _add(stored, f"family {subjects} x {images}, {correlation}", count_family(seeds, subjects, images, correlation))
    if arguments.counts:
        arguments.counts.write_text(json.dumps(stored, indent=1) + "\n")
    print_counts(stored)


if __name__ == "__main__":
    main()
