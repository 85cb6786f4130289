"""Quality measures against their definitions, on series, motion and noise that were planted."""

import numpy as np
import pandas as pd
import pytest

from analysis.design import Design, DesignSettings, build_design, compute_frame_times
from analysis.qc import compute_displacement, compute_tsnr, expect_white, measure_autocorrelation, measure_task_motion

VOLUMES = 200


def make_design(kept: np.ndarray | None = None, hrf: str = "glover", confounds: int = 0, seed: int = 0) -> Design:
    rng = np.random.default_rng(seed)
    onsets = np.sort(rng.uniform(0, 360, 24))
    events = pd.DataFrame({"onset": onsets, "duration": 2.0, "name": rng.permutation(["a", "b", "c"] * 8)})
    table = pd.DataFrame(np.cumsum(rng.standard_normal((VOLUMES, confounds)), axis=0), columns=[f"x{n}" for n in range(confounds)])
    times = compute_frame_times(VOLUMES, 2.0, 0.5)
    return build_design(events, "name", times, table.reindex(range(VOLUMES)), DesignSettings(hrf=hrf), "run", kept)


def draw_noise(rho: float, voxels: int, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal((VOLUMES + 50, voxels))
    for volume in range(1, len(noise)):
        noise[volume] += rho * noise[volume - 1]
    return noise[50:]


def test_displacement_adds_millimeters_and_arcs() -> None:
    motion = np.zeros((4, 6))
    motion[1, 0] = 0.3  # there, and back
    motion[3, 4] = -0.02  # radians: 1 mm on a sphere of 50 mm
    np.testing.assert_allclose(compute_displacement(motion), [np.nan, 0.3, 0.3, 1.0])


def test_tsnr_is_mean_over_noise_whatever_the_drift() -> None:
    rng = np.random.default_rng(1)
    drifts = make_design().select("drift")
    series = 1000 + drifts @ (40 * rng.standard_normal((drifts.shape[1], 300))) + 20 * rng.standard_normal((VOLUMES, 300))
    expected = series.mean(axis=0) / 20
    tsnr = compute_tsnr(series.astype(np.float32), drifts)
    assert np.mean(tsnr / expected) == pytest.approx(1.0, abs=0.015)


@pytest.mark.parametrize("hrf", ["glover", "glover+derivative"])
def test_motion_that_follows_the_task_is_told_from_motion_that_does_not(hrf: str) -> None:
    design = make_design(hrf=hrf)
    rng = np.random.default_rng(2)
    free = np.cumsum(rng.standard_normal((VOLUMES, 6)), axis=0) * 0.02
    task = design.values[:, 0] + design.values[:, 1]
    locked = free.copy()
    locked[:, 4] = 3e-3 * task + 5e-4 * rng.standard_normal(VOLUMES)
    found = measure_task_motion(locked, design)
    assert found.largest == found.r2[4] > 0.6 > found.chance
    assert measure_task_motion(np.zeros((VOLUMES, 6)), design).largest == 0


def test_motion_without_the_task_exceeds_chance_one_time_in_twenty() -> None:
    design = make_design()
    rng = np.random.default_rng(3)
    beyond = [
        (found := measure_task_motion(np.cumsum(rng.standard_normal((VOLUMES, 6)), axis=0), design)).largest > found.chance
        for _ in range(200)
    ]
    assert 0.01 < np.mean(beyond) < 0.11


@pytest.mark.parametrize("noise", ["ar1", "ar1-white"])
@pytest.mark.parametrize("confounds", [0, 24])
def test_whitening_leaves_what_white_noise_leaves(noise: str, confounds: int) -> None:
    kept = np.ones(VOLUMES, dtype=bool)
    kept[[0, 1, 60, 61, 62, 150]] = False
    design = make_design(kept, confounds=confounds)
    series = draw_noise(0.5, 300, np.random.default_rng(4))[design.volumes]
    before, after = measure_autocorrelation(series, design, noise)
    assert before.mean() > 0.2 + expect_white(design)
    assert after.mean() == pytest.approx(expect_white(design), abs=0.08)  # rho is estimated, and the design is whitened too
    white, _ = measure_autocorrelation(draw_noise(0.0, 300, np.random.default_rng(5))[design.volumes], design, noise)
    assert white.mean() == pytest.approx(expect_white(design), abs=0.02)
    assert expect_white(design) < 0


def test_without_a_noise_model_nothing_is_whitened() -> None:
    design = make_design()
    before, after = measure_autocorrelation(draw_noise(0.5, 10, np.random.default_rng(6)), design, "ols")
    np.testing.assert_array_equal(before, after)


def test_gaps_are_not_successive_volumes() -> None:
    kept = np.arange(VOLUMES) % 2 == 0
    kept[:4] = True
    design = make_design(kept)
    before, _ = measure_autocorrelation(draw_noise(0.9, 50, np.random.default_rng(7))[kept], design, "ols")
    assert before.max() < 0.1  # three pairs of successive volumes in a hundred
