"""How often does the group analysis claim what is not there? `python -m tests.benchmarks.bench_calibration` prints tables.

Three parts: false positives of the crossed test beside others on the same data, over designs and over ratios of variance; the chance of any
claim by the whole decision rule, in pure noise and with participants whose tuning has nothing to do with the images; and false claims
where some effects are real.
"""

import argparse
import dataclasses

import numpy as np
from scipy import stats

from analysis.crossed import estimate_effect
from analysis.group import Question, analyze
from tests.analysis.planted import make_protocol
from tests.analysis.tables import draw_table

DESIGNS = ((2, 10, 10), (4, 10, 10), (6, 25, 6), (8, 5, 20), (4, 5, 4), (3, 8, 6), (12, 20, 4))  # subjects, images a set, repetitions
SDS = {"noise only": (0.0, 0.0), "subject .3, image .5": (0.3, 0.5), "subjects differ most": (1.0, 0.3), "images differ most": (0.1, 1.0)}
TRIAL_SD = 1.8


def draw_pair(rng: np.random.Generator, subjects: int, images: int, repetitions: int, sds: tuple[float, float]) -> list[np.ndarray]:
    """Draw two image sets without a difference between them."""
    residual = TRIAL_SD / np.sqrt(repetitions)
    return [
        sds[0] * rng.standard_normal((subjects, 1))
        + sds[1] * rng.standard_normal((1, images))
        + residual * rng.standard_normal((subjects, images))
        for _ in range(2)
    ]


def compare_tests(count: int) -> None:
    """Print false positives at 5 % of the crossed test, the t test over subjects and the t test over images."""
    print(f"\nfalse positives at 5 %, {count} simulations a row\n")
    print(f"{'subjects x images x repetitions':34}{'variance':24}{'crossed':>9}{'subjects t':>12}{'images t':>10}{'coverage':>10}")
    for design in DESIGNS:
        for name, sds in SDS.items():
            rng = np.random.default_rng(1)
            hits = np.zeros(4)
            for _ in range(count):
                a, b = draw_pair(rng, *design, sds)
                effect = estimate_effect([a, b], [1.0, -1.0])
                over_subjects = stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)).pvalue
                over_images = stats.ttest_ind(a.mean(axis=0), b.mean(axis=0)).pvalue
                hits += (effect.p < 0.05, over_subjects < 0.05, over_images < 0.05, effect.ci_low <= 0 <= effect.ci_high)
            rates = hits / count
            print(f"{' x '.join(map(str, design)):34}{name:24}{rates[0]:9.3f}{rates[1]:12.3f}{rates[2]:10.3f}{rates[3]:10.3f}", flush=True)


def count_claims(count: int) -> None:
    """Print how often the whole rule claims anything where nothing is, or claims a null where other effects are real."""
    question = Question(make_protocol().contrasts, planned=True, alpha=0.05)
    print(f"\nany false claim, 5 ROIs x 5 images a set, {count} simulations a row\n")
    for subjects in (2, 4, 8):
        for name, sd in (("pure noise", 0.0), ("own random ROI x set effects, sd 1 %", 1.0)):
            rng = np.random.default_rng(2)
            claims = gates = 0
            for _ in range(count):
                tests = analyze(draw_table(rng, subjects=subjects, subject_sd=sd, image_sd=sd / 2), question).tests
                gates += bool(tests["claimed"].iloc[0])
                claims += bool(tests["claimed"].iloc[1:].any())
            print(f"{subjects} subjects, {name:40} gate passed {gates / count:.3f}   anything claimed {claims / count:.3f}", flush=True)
    real = ("V3", "LO", "EBA")
    rng = np.random.default_rng(3)
    false = dict.fromkeys(("primary", "secondary"), 0)
    for _ in range(count):
        tests = analyze(_draw_partly_real(rng, real), question).tests
        wrong = tests[tests["claimed"] & ~tests["roi"].isin((*real, "all"))]
        for family in false:
            false[family] += bool((wrong["family"] == family).any())
    rates = ", ".join(f"{family} {claims / count:.3f}" for family, claims in false.items())
    print(f"4 subjects, effects real in 3 of 5 ROIs: false claims {rates}")


def _draw_partly_real(rng: np.random.Generator, real: tuple[str, ...]):  # type: ignore[no-untyped-def]
    table = draw_table(rng)
    own = (table.table["condition"] == "target") & (table.table["target"] == table.table["roi"]) & table.table["roi"].isin(real)
    changed = table.table.assign(response_psc=table.table["response_psc"] + 1.0 * own)
    return dataclasses.replace(table, table=changed)


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=2000, help="simulations per design of the single test")
    parser.add_argument("--claims", type=int, default=1000, help="simulations of the whole decision rule")
    arguments = parser.parse_args()
    compare_tests(arguments.tests)
    count_claims(arguments.claims)


if __name__ == "__main__":
    main()
