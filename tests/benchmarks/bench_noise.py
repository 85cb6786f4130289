"""How often is a contrast significant where nothing is? `python -m tests.benchmarks.bench_noise` prints tables.

False positives at a nominal 5 % of a difference of two conditions, over noises, designs and numbers of random-walk confounds (as motion
parameters are), of our two noise models beside nilearn's AR(1) on the same series and design.
"""

import argparse

import numpy as np
import pandas as pd
from nilearn.glm.contrasts import compute_contrast
from nilearn.glm.first_level import run_glm
from scipy import stats

from analysis.bold import draw_ar1
from analysis.design import Design, DesignSettings, build_design, compute_frame_times
from analysis.glm import fit_run, weigh_columns
from analysis.noise import NoiseModel
from tests.benchmarks.report import print_table

CONFOUNDS = (0, 12, 24, 36)
NOISES = ("white", "AR(.2)", "AR(.4)", "AR(.85) + white")
VOLUMES, TR_S = 200, 2.0
MODELS: tuple[NoiseModel, ...] = ("ar1", "ar1-white")
DESIGNS = {  # seconds from onset to onset, seconds shown, conditions
    "images every 8 s": (8.0, 2.0, 4),
    "images every 4 s": (4.0, 2.0, 4),
    "blocks of 12 s": (16.0, 12.0, 4),
}


def draw_noise(kind: str, volumes: int, voxels: int, rng: np.random.Generator) -> np.ndarray:
    """Draw noise of variance 1, or of 2 where there are two parts."""
    if kind == "AR(.85) + white":
        return draw_ar1((volumes, voxels), 0.85, rng) + rng.standard_normal((volumes, voxels))
    return draw_ar1((volumes, voxels), {"white": 0.0, "AR(.2)": 0.2, "AR(.4)": 0.4}[kind], rng)


def draw_design(between_s: float, duration_s: float, conditions: int, confounds: int, rng: np.random.Generator) -> Design:
    """Draw an order of the conditions' events and random walks as confounds."""
    onsets = np.arange(8.0, VOLUMES * TR_S - 16 - duration_s, between_s)
    names = rng.permutation([f"c{number % conditions}" for number in range(len(onsets))])
    events = pd.DataFrame({"onset": onsets, "duration": duration_s, "name": names})
    walks = rng.standard_normal((VOLUMES, confounds)).cumsum(axis=0)
    table = pd.DataFrame(walks - walks.mean(axis=0), columns=[f"motion{number}" for number in range(confounds)])
    return build_design(events, "name", compute_frame_times(VOLUMES, TR_S, 0.5), table, DesignSettings(), "run")


def count_positives(design: Design, series: np.ndarray, noise: NoiseModel) -> float:
    """Return the part of voxels that are significant at 5 %."""
    weights = weigh_columns(design, ["c0"], ["c1"])
    assert weights is not None
    found = fit_run(series, design, weights[None], noise)
    t = found.effect[0] / np.sqrt(found.variance[0])
    return float(np.mean(2 * stats.t.sf(np.abs(t), found.df) < 0.05))


def count_nilearns(design: Design, series: np.ndarray) -> float:
    """Return the same of nilearn's AR(1)."""
    weights = weigh_columns(design, ["c0"], ["c1"])
    p = compute_contrast(*run_glm(series, design.values, noise_model="ar1"), weights, stat_type="t").p_value()
    return float(np.mean((p < 0.025) | (p > 0.975)))


def measure(noise: str, design: tuple[float, float, int], confounds: int, designs: int, voxels: int) -> list[float]:
    """Return false positives of ar1, ar1-white and nilearn's AR(1), over several draws of the design."""
    rng = np.random.default_rng([confounds, NOISES.index(noise)])
    rates = []
    for _ in range(designs):
        made = draw_design(*design, confounds, rng)
        series = draw_noise(noise, VOLUMES, voxels, rng)
        ours = [count_positives(made, series, model) for model in MODELS]
        rates.append((*ours, count_nilearns(made, series)))
    return [float(rate) for rate in np.mean(rates, axis=0)]


def main() -> None:
    """Print a table per design."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--designs", type=int, default=20, help="draws of the design in each cell")
    parser.add_argument("--voxels", type=int, default=1000)
    arguments = parser.parse_args()
    for title, design in DESIGNS.items():
        rows = []
        for noise in NOISES:
            cells = [measure(noise, design, confounds, arguments.designs, arguments.voxels) for confounds in CONFOUNDS]
            rows.append([noise, *(" / ".join(f"{rate:.3f}" for rate in cell) for cell in cells)])
        count = arguments.designs * arguments.voxels
        print_table(
            f"false positives at 5 %, {title}, {VOLUMES} volumes of {TR_S:g} s, {count} series a cell: ar1 / ar1-white / nilearn's AR(1)",
            ["noise", *(f"{confounds} confounds" for confounds in CONFOUNDS)],
            rows,
        )


if __name__ == "__main__":
    main()
