"""Are ceilings unbiased, and do intervals of correlations cover? `python -m tests.benchmarks.bench_ceilings` prints tables.

Two parts: the mean error of reliability and noise ceiling over simulated voxels, for designs with equal and unequal repetitions; and the
coverage of bootstrap intervals of r, with responses of light and heavy tails and with crops of one photograph. The way that the
project uses is marked *, the others are what it was chosen from; the last column says whether a row keeps its bound.
"""

import argparse
import time
from functools import partial

import numpy as np
from scipy import stats

from stimgen.bootstrap import bootstrap_correlation
from stimgen.ceiling import (
    estimate_ncsnr,
    estimate_noise_ceiling,
    estimate_reliability,
    estimate_split_half,
    estimate_variance,
)

BIAS_BOUND = 0.02
COVERAGE_BOUNDS = (0.93, 0.97)
RELIABILITIES = np.arange(0.2, 0.91, 0.1)
DESIGNS = {
    "100 images x 3": np.full(100, 3),
    "200 images x 2": np.full(200, 2),
    "500 images x 1-6, mean 3": np.resize([1, 2, 2, 3, 4, 6], 500),
    "300 images, 100 x 3 and 200 x 1": np.repeat([3, 1], [100, 200]),
    "40 images x 4 (small)": np.full(40, 4),
    "20 images x 3 (too small, for the record)": np.full(20, 3),
}
WITHOUT_BOUND = "20 images x 3 (too small, for the record)"
METHODS = ("percentile", "basic", "z normal", "z t(n-1)", "BCa", "studentized z", "z t(G-2) *")


def draw_trials(rng, counts, reliability, voxels, tail=None):  # type: ignore[no-untyped-def]
    """Draw trials with unit noise variance whose mean over repetitions has the given reliability, and each trial's image."""
    signal_sd = np.sqrt(reliability / (1 - reliability) * (1 / counts).mean())
    image = np.repeat(np.arange(len(counts)), counts)
    draw = rng.standard_normal if tail is None else lambda shape: rng.standard_t(tail, shape) * np.sqrt((tail - 2) / tail)
    return signal_sd * draw((len(counts), voxels))[image] + draw((len(image), voxels)), image


def estimate_reliabilities(betas, image, rng):  # type: ignore[no-untyped-def]
    """Return every estimate of reliability, by name."""
    parts = estimate_variance(betas, image)
    plug_in = 1 - parts.noise * parts.inverse_count / parts.of_means
    corrected = estimate_reliability(betas, image)
    return {
        "plug-in, clipped": np.clip(plug_in, 0, 1),
        "plug-in": plug_in,
        "F-corrected, clipped": np.clip(corrected, 0, 1),
        "F-corrected *": corrected,
        "one split half": estimate_split_half(betas, image, rng, splits=1),
        "20 split halves *": estimate_split_half(betas, image, rng),
    }


def estimate_ceilings(betas, image, reliabilities, expected_error):  # type: ignore[no-untyped-def]
    """Return every estimate of the ceiling, by name."""
    parts = estimate_variance(betas, image)
    root = np.sqrt(reliabilities["F-corrected, clipped"])
    variance = 2 * (1 - root**2) ** 2 * (1 / (parts.images - 1) + 1 / parts.spare)
    term = variance / (8 * np.maximum(root, 1e-3) ** 4)
    return {
        "root of plug-in": np.sqrt(reliabilities["plug-in, clipped"]),
        "root of F-corrected": root,
        "root of 20 split halves": np.sqrt(np.clip(reliabilities["20 split halves *"], 0, 1)),
        "less the expected error at the estimate": np.clip(root - expected_error(root**2), 0, 1),
        "second order, limit 1": np.minimum(root * (1 + np.minimum(term, 1)), 1),
        "second order, limit 1/2 *": estimate_noise_ceiling(betas, image),
    }


def tabulate_expected_error(rng, counts):  # type: ignore[no-untyped-def]
    """Return a function from reliability to the expected error of its root, by simulated F ratios."""
    images, spare, grid = len(counts), counts.sum() - len(counts), np.linspace(0, 1, 101)
    ratio = rng.chisquare(spare, 5000) / spare / rng.chisquare(images - 1, 5000) * (images - 3)
    mean = np.array([np.sqrt(np.clip(1 - (1 - reliability) * ratio, 0, 1)).mean() for reliability in grid])
    return partial(np.interp, xp=grid, fp=mean - np.sqrt(grid))


def measure_bias(voxels: int) -> bool:
    """Print the mean error of every estimate; say whether the starred ones keep the bound in every design that has one."""
    kept = True
    print(f"\nmean error over {voxels} voxels; bound {BIAS_BOUND} in absolute value\n")
    for title, counts in DESIGNS.items():
        for tail in (None, 5) if title.startswith("100") else (None,):
            rng, errors = np.random.default_rng(1), {}
            expected_error = tabulate_expected_error(rng, counts)
            for truth in RELIABILITIES:
                betas, image = draw_trials(rng, counts, truth, voxels, tail)
                reliability = estimate_reliabilities(betas, image, rng)
                ceiling = estimate_ceilings(betas, image, reliability, expected_error)
                ncsnr = {"ncsnr * (no bound)": estimate_ncsnr(betas, image)}
                roots = (truth, np.sqrt(truth), np.sqrt(truth / (1 - truth) * (1 / counts).mean()))
                for kind, found, true in zip(("rel.", "ceil.", ""), (reliability, ceiling, ncsnr), roots, strict=True):
                    for name, values in found.items():
                        errors.setdefault(f"{kind} {name}", []).append(values.mean() - true)
            kept &= _print_bias(title + (f", heavy tails (t{tail})" if tail else ""), errors, title != WITHOUT_BOUND)
    return kept


def _print_bias(title: str, errors: dict[str, list[float]], bound: bool) -> bool:
    print(f"{title:54}" + "".join(f"{truth:8.1f}" for truth in RELIABILITIES) + "  kept")
    worst = {name: np.abs(row).max() for name, row in errors.items()}
    for name, row in errors.items():
        verdict = "" if "no bound" in name else "yes" if worst[name] < BIAS_BOUND else "NO"
        print(f"  {name:52}" + "".join(f"{value:8.3f}" for value in row) + f"  {verdict}", flush=True)
    return not bound or all(worst[name] < BIAS_BOUND for name in worst if name.endswith("*"))


def correlate(weights, y, x):  # type: ignore[no-untyped-def]
    """Return the correlation under each row of weights (resamples x images), resamples x voxels."""
    total = weights.sum(axis=1, keepdims=True)
    my, mx, myx, myy, mxx = (weights @ product / total for product in (y, x, y * x, y * y, x * x))
    return (myx - my * mx) / np.sqrt((myy - my**2) * (mxx - mx**2))


def make_intervals(rng, y, x, resamples):  # type: ignore[no-untyped-def]
    """Return the interval of each method but the project's, by name."""
    n = len(y)
    y, x = ((values - values.mean(axis=0)) / values.std(axis=0) for values in (y, x))
    r, drawn = (y * x).mean(axis=0), rng.multinomial(n, np.full(n, 1 / n), resamples).astype(float)
    again = correlate(drawn, y, x)
    z, spread, (low, high) = np.arctanh(r), np.arctanh(again).std(axis=0, ddof=1), np.quantile(again, [0.025, 0.975], axis=0)
    left_out = np.arctanh(correlate(np.ones((n, n)) - np.eye(n), y, x))
    pull = left_out.mean(axis=0) - left_out
    shift, skew = stats.norm.ppf(np.clip((again < r).mean(axis=0), 1 / resamples, 1 - 1 / resamples)), (pull**3).sum(axis=0)
    skew = skew / (6 * (pull**2).sum(axis=0) ** 1.5)
    tilted = [stats.norm.cdf(shift + (shift + q) / (1 - skew * (shift + q))) for q in (-1.96, 1.96)]
    ordered = np.sort(again, axis=0)
    bca = [np.take_along_axis(ordered, np.minimum(share * resamples, resamples - 1).astype(int)[None], 0)[0] for share in tilted]
    error = np.sqrt(((y * x - r / 2 * (y**2 + x**2)) ** 2).sum(axis=0)) / n / (1 - r**2)
    fast, slow = np.quantile((np.arctanh(again) - z) / _resampled_error(drawn, y, x, again), [0.975, 0.025], axis=0)
    wide = stats.t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1))
    return {
        "percentile": (low, high),
        "basic": (2 * r - high, 2 * r - low),
        "z normal": (np.tanh(z - 1.96 * spread), np.tanh(z + 1.96 * spread)),
        "z t(n-1)": (np.tanh(z - wide * spread), np.tanh(z + wide * spread)),
        "BCa": tuple(bca),
        "studentized z": (np.tanh(z - fast * error), np.tanh(z - slow * error)),
    }


def _resampled_error(drawn, y, x, r):  # type: ignore[no-untyped-def]
    """Return the standard error of Fisher's z by its influence function in each resample; its means and sds are taken as 0 and 1."""
    n = len(y)
    a, b, c = (drawn @ product / n for product in ((y * x) ** 2, y * x * (y**2 + x**2), (y**2 + x**2) ** 2))
    return np.sqrt(np.maximum(a - r * b + r**2 / 4 * c, 1e-12) / n) / (1 - r**2)


def draw_responses(rng, shape, r, tail, crops=1):  # type: ignore[no-untyped-def]
    """Draw measured and predicted responses of correlation r; crops of one photograph share 70 % of the variance."""

    def draw():  # type: ignore[no-untyped-def]
        values = rng.standard_t(tail, shape) if tail else rng.standard_normal(shape)
        if crops == 1:
            return values
        return np.sqrt(0.7) * np.repeat(rng.standard_normal((shape[0] // crops, shape[1])), crops, axis=0) + np.sqrt(0.3) * values

    predicted = draw()
    return r * predicted + np.sqrt(1 - r**2) * draw(), predicted


def measure_coverage(voxels: int, resamples: int) -> bool:
    """Print the coverage of 95 % intervals; say whether the starred one keeps its bounds on Gaussian data."""
    kept, sizes, truths, batch = True, (40, 100, 200, 500), (0.0, 0.2, 0.5, 0.8), 200
    print(f"\ncoverage of 95 % intervals of r over {voxels} voxels, {resamples} resamples; bounds {COVERAGE_BOUNDS} on Gaussian data\n")
    print(f"{'images, r':26}" + "".join(f"{name:>15}" for name in METHODS) + "  * kept")
    for tail in (None, 5):
        for n, r in ((n, r) for n in sizes for r in truths):
            rng, hits = np.random.default_rng(2), dict.fromkeys(METHODS, 0.0)
            for _ in range(voxels // batch):
                y, x = draw_responses(rng, (n, batch), r, tail)
                found = make_intervals(rng, y, x, resamples)
                found[METHODS[-1]] = bootstrap_correlation(y, x, [str(image) for image in range(n)], rng, resamples)
                for name, (low, high) in found.items():
                    hits[name] += ((low <= r) & (r <= high)).mean() / (voxels // batch)
            good = COVERAGE_BOUNDS[0] <= hits[METHODS[-1]] <= COVERAGE_BOUNDS[1]
            kept &= good or tail is not None
            label = f"{n:4}, {r:.1f}" + (f", heavy tails (t{tail})" if tail else "")
            print(f"{label:26}" + "".join(f"{hits[name]:15.3f}" for name in METHODS) + f"  {'yes' if good else 'NO'}", flush=True)
    return kept


def measure_grouped_coverage(voxels: int) -> None:
    """Print the coverage with 5 crops a photograph, by resampling photographs and by resampling crops as if independent."""
    print(f"\ncoverage with 5 crops a photograph, {voxels} voxels (reported)\n")
    print(f"{'photographs, r':20}{'photographs *':>15}{'crops':>10}  * within bounds")
    for photographs, r in ((count, r) for count in (8, 16, 40, 100) for r in (0.0, 0.5, 0.8)):
        rng = np.random.default_rng(3)
        y, x = draw_responses(rng, (5 * photographs, voxels), r, None, crops=5)
        rates = []
        for groups in (np.repeat(np.arange(photographs), 5), np.arange(5 * photographs)):
            low, high = bootstrap_correlation(y, x, [str(group) for group in groups], rng, 500)
            rates.append(((low <= r) & (r <= high)).mean())
        good = COVERAGE_BOUNDS[0] <= rates[0] <= COVERAGE_BOUNDS[1]
        print(f"{photographs:4}, {r:.1f}{'':11}{rates[0]:15.3f}{rates[1]:10.3f}  {'yes' if good else 'NO'}", flush=True)


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bias", type=int, default=4000, help="simulated voxels per design and reliability")
    parser.add_argument("--coverage", type=int, default=2000, help="simulated voxels per number of images and r")
    parser.add_argument("--resamples", type=int, default=500, help="resamples of the bootstrap")
    arguments = parser.parse_args()
    start = time.monotonic()
    unbiased = measure_bias(arguments.bias)
    covered = measure_coverage(arguments.coverage, arguments.resamples)
    measure_grouped_coverage(arguments.coverage)
    print(f"\nstarred estimates within {BIAS_BOUND}: {'yes' if unbiased else 'NO'}; starred interval within bounds on Gaussian data: "
          f"{'yes' if covered else 'NO'}; {time.monotonic() - start:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
