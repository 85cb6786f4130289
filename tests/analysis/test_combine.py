"""Runs combined: nilearn's fixed effects for the mean, calibrated precision weights, and z that means what it says."""

import numpy as np
import pytest
from nilearn.glm.contrasts import Contrast
from scipy import stats

from analysis.combine import Maps, RunEffect, combine_runs, convert_to_z


def draw_runs(rng: np.random.Generator, sds: list[float], dfs: list[int], voxels: int) -> list[RunEffect]:
    return [
        RunEffect(sd * rng.standard_normal(voxels), sd**2 * rng.chisquare(df, voxels) / df, df) for sd, df in zip(sds, dfs, strict=True)
    ]


def test_the_mean_is_nilearns_fixed_effect() -> None:
    runs = draw_runs(np.random.default_rng(1), [1.0, 2.0, 0.5], [30, 40, 50], 20)
    first, second, third = (Contrast(run.effect, run.variance, dof=run.df, stat_type="t") for run in runs)
    theirs = (first + second + third) * (1 / 3)
    ours = combine_runs(runs, "mean")
    np.testing.assert_allclose(ours.effect, theirs.effect.ravel())
    np.testing.assert_allclose(ours.t, theirs.stat())
    np.testing.assert_allclose(ours.z, theirs.z_score(), rtol=1e-9)


def test_one_run_alone_is_itself() -> None:
    (run,) = draw_runs(np.random.default_rng(2), [1.0], [30], 5)
    maps = combine_runs([run])
    np.testing.assert_allclose(maps.t, run.effect / np.sqrt(run.variance))


def false_positives(maps: Maps) -> float:
    return float(np.mean(2 * stats.norm.sf(np.abs(maps.z)) < 0.05))


@pytest.mark.parametrize("sds", [[1.0] * 8, [1.0, 1.0, 1.0, 5.0], [0.3, 3.0]])
@pytest.mark.parametrize("df", [20, 150])
def test_precision_weights_are_calibrated(sds: list[float], df: int) -> None:
    maps = combine_runs(draw_runs(np.random.default_rng(3), sds, [df] * len(sds), 40_000))
    assert 0.045 < false_positives(maps) < 0.056


def test_precision_weights_are_worth_it_where_a_run_is_noisy() -> None:
    runs = draw_runs(np.random.default_rng(4), [1.0, 1.0, 1.0, 5.0], [100] * 4, 40_000)
    weighted, mean = combine_runs(runs), combine_runs(runs, "mean")
    assert weighted.effect.std() == pytest.approx(np.sqrt(1 / (3 + 1 / 25)), rel=0.02)
    assert mean.effect.std() > 2 * weighted.effect.std()


def test_z_is_as_improbable_as_t() -> None:
    t, df = np.array([-3.0, 0.0, 2.5, 60.0]), np.array([5.0, 5.0, 1e9, 400.0])
    z = convert_to_z(t, df)
    np.testing.assert_allclose(stats.norm.sf(z[:3]), stats.t.sf(t[:3], df[:3]), rtol=1e-9)
    assert np.isfinite(z).all()
    assert z[0] == -convert_to_z(-t[:1], df[:1])[0]
