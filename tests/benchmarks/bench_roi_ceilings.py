"""Do intervals of an ROI's reliability and noise ceiling cover? `python -m tests.benchmarks.bench_roi_ceilings` prints a table.

Responses of images x runs with a known reliability: complete designs with offsets of runs, designs in which a run shows some images, and
heavy tails. The project's intervals (analysis/reliability.py) stand beside a plain percentile bootstrap. Gaussian rows have bounds, heavy
tails are told.
"""

import argparse
import time

import numpy as np

from analysis.reliability import Estimate, ReliabilitySettings, estimate_reliability, estimate_split_half, to_ceiling
from tests.benchmarks.report import print_table

BOUNDS = (0.93, 0.97)
BIAS_BOUND = 0.02
SETTINGS = (  # images, runs, reliability, share of images in a run, degrees of freedom of t
    (40, 4, 0.5, 1.0, None),
    (40, 10, 0.9, 1.0, None),
    (60, 2, 0.4, 1.0, None),
    (100, 3, 0.7, 1.0, None),
    (150, 6, 0.3, 1.0, None),
    (20, 6, 0.6, 1.0, None),
    (100, 6, 0.8, 0.6, None),
    (300, 8, 0.5, 0.4, None),
    (100, 4, 0.7, 1.0, 5),
)


def draw_responses(rng, images, runs, reliability, shown, tail):  # type: ignore[no-untyped-def]
    """Draw responses with unit noise variance whose mean over runs has the given reliability."""
    there = rng.random((images, runs)) < shown
    there[np.arange(images), rng.integers(runs, size=images)] = True
    signal_sd = np.sqrt(reliability / (1 - reliability) * (1 / there.sum(axis=1)).mean())
    draw = rng.standard_normal if tail is None else lambda shape: rng.standard_t(tail, shape) * np.sqrt((tail - 2) / tail)
    offsets = rng.standard_normal(runs) if shown == 1.0 else 0.0
    responses = signal_sd * draw((images, 1)) + draw((images, runs)) + offsets
    responses[~there] = np.nan
    return responses


def bootstrap_percentile(responses, rng, settings):  # type: ignore[no-untyped-def]
    """Return the interval of quantiles over resampled images, which the project does not use."""
    quick = ReliabilitySettings(resamples=2, splits=1)
    places = rng.integers(len(responses), size=(settings.resamples, len(responses)))
    values = [estimate_reliability(responses[chosen], rng, quick).value for chosen in places]
    return Estimate(np.nan, *np.nanquantile(values, [0.025, 0.975]))


def measure(setting, simulations, resamples, percentile):  # type: ignore[no-untyped-def]
    """Return a setting's row: mean errors and coverages of reliability, split half, ceiling and, in some simulations, percentiles."""
    truth, rng, settings = setting[2], np.random.default_rng(1), ReliabilitySettings(resamples=resamples)
    values, hits, plain = [], [], []
    for number in range(simulations):
        responses = draw_responses(rng, *setting)
        found = [estimate(responses, rng, settings) for estimate in (estimate_reliability, estimate_split_half)]
        found.append(to_ceiling(found[0]))
        truths = (truth, truth, np.sqrt(truth))
        values.append([one.value - true for one, true in zip(found, truths, strict=True)])
        hits.append([one.low <= true <= one.high for one, true in zip(found, truths, strict=True)])
        if number < percentile:
            interval = bootstrap_percentile(responses, rng, settings)
            plain.append(interval.low <= truth <= interval.high)
    return *np.mean(values, axis=0), *np.mean(hits, axis=0), float(np.mean(plain)) if plain else np.nan


def main() -> None:
    """Print the table and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--percentile", type=int, default=0, help="simulations that the percentile bootstrap gets too; it is slow")
    arguments = parser.parse_args()
    start, rows = time.monotonic(), []
    for setting in SETTINGS:
        row = measure(setting, arguments.simulations, arguments.resamples, arguments.percentile)
        good = abs(row[0]) < BIAS_BOUND and abs(row[1]) < BIAS_BOUND and all(BOUNDS[0] <= share <= BOUNDS[1] for share in row[3:6])
        images, runs, truth, shown, tail = setting
        label = (
            f"{images} images x {runs}" + (f", {shown:.0%} in a run" if shown < 1 else "") + (f", heavy tails (t{tail})" if tail else "")
        )
        rows.append((label, truth, *row, good if tail is None else "(told)"))
    columns = (
        "design",
        "truth",
        "rel. error",
        "split error",
        "ceil. error",
        "rel. cover",
        "split cover",
        "ceil. cover",
        "percentile",
        "kept",
    )
    print_table(f"reliability over {arguments.simulations} simulations; 95 % intervals, bounds {BOUNDS}", columns, rows)
    kept = all(row[-1] for row in rows)
    print(f"\nGaussian rows within bounds: {'yes' if kept else 'NO'}; {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
