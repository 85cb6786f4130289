"""What stands beside the group's tests, measured: coverage of prevalence intervals, and bias of the ceiling-normalized correlation.

    python -m tests.benchmarks.bench_claims [--draws 500] [--design 0]

Prevalence needs no simulation: of 2 to 8 subjects all outcomes are counted. The normalized correlation of a model whose true correlation is
.5 is drawn over noise ceilings from .2 to .9; `told` is the share of draws in which a normalized value is given at all.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from analysis.prediction import measure_accuracy
from analysis.prevalence import PrevalenceSettings, compute_coverage
from tests.analysis.test_prediction import draw_panels
from tests.benchmarks.report import print_table

CEILINGS = (0.2, 0.3, 0.5, 0.7, 0.9)
DESIGNS = ((1, 200, 1), (8, 80, 5), (8, 200, 1), (8, 200, 5), (8, 1600, 5))  # subjects, images, ROIs together
TRUE_R = 0.5


def measure_coverage() -> None:
    """Print the lowest and mean coverage over prevalences from 0 to 1."""
    rows = []
    for subjects in range(2, 9):
        exact, densest = compute_coverage(np.linspace(0, 1, 1001), subjects, PrevalenceSettings())
        rows.append((subjects, exact.min(), exact.mean(), densest.min(), densest.mean()))
    print_table("Coverage of 95 % prevalence intervals", ("subjects", "exact: lowest", "mean", "densest: lowest", "mean"), rows)


def measure_bias(draws: int, designs: Sequence[tuple[int, int, int]]) -> None:
    """Print the mean normalized correlation, how often it is told, and its interval's coverage."""
    rows = []
    for subjects, images, rois in designs:
        for ceiling in CEILINGS:
            rng = np.random.default_rng([subjects, images, rois, int(100 * ceiling)])
            design = {"true_r": TRUE_R, "subjects": subjects, "images": images, "rois": rois}
            drawn = [measure_accuracy(draw_panels(rng, ceiling, **design)).normalized for _ in range(draws)]
            told = [one for one in drawn if np.isfinite(one.value)]
            values = np.array([one.value for one in told] or [np.nan])
            covers = np.mean([one.low <= TRUE_R <= one.high for one in told] or [np.nan])
            rows.append((f"{subjects} x {images} x {rois}", ceiling, len(told) / draws, values.mean(), values.std(), float(covers)))
    columns = ("subjects x images x ROIs", "ceiling", "told", "mean (true .5)", "SD", "interval covers")
    print_table(f"Normalized correlation within sets, {draws} draws", columns, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--design", type=int, choices=range(len(DESIGNS)), help="only this one")
    given = parser.parse_args()
    if given.design is None:
        measure_coverage()
    measure_bias(given.draws, DESIGNS if given.design is None else [DESIGNS[given.design]])
