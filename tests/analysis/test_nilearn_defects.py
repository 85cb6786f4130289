"""Defects of nilearn 0.14.1 that would hit this use, each shown on nilearn and shown not to be ours.

Those of masks, confounds and repetition times are in `test_nilearn_reader.py`.
"""

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import FirstLevelModel, run_glm
from scipy import stats

from analysis.bold import draw_ar1
from analysis.glm import fit_run, weigh_columns
from tests.benchmarks.bench_noise import DESIGNS, count_nilearns, count_positives, draw_design, draw_noise

VOLUMES, TR_S, SHAPE = 200, 2.0, (5, 4, 3)


@pytest.fixture(scope="module")
def series() -> np.ndarray:
    """Volumes x voxels whose means differ tenfold."""
    rng = np.random.default_rng(1)
    noise = draw_ar1((VOLUMES, int(np.prod(SHAPE))), 0.5, rng)
    return np.linspace(200, 2000, noise.shape[1]) * (1 + noise / 100)


def fit_nilearn(series: np.ndarray, **options: object) -> FirstLevelModel:
    image = nibabel.Nifti1Image(series.T.reshape(*SHAPE, VOLUMES), np.diag([3.0, 3, 3, 1]))
    mask = nibabel.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), np.diag([3.0, 3, 3, 1]))
    events = pd.DataFrame({"onset": np.arange(10.0, 380, 16), "duration": 4.0, "trial_type": "a"})
    model = FirstLevelModel(t_r=TR_S, mask_img=mask, high_pass=1 / 128, minimize_memory=False, **options)
    return model.fit(image, events=events)


@pytest.mark.filterwarnings("ignore")  # nilearn warns of its own mask
def test_scaling_is_done_when_it_is_asked(series: np.ndarray) -> None:
    """Defect 3: `standardize` of FirstLevelModel changes nothing."""
    plain, asked = (fit_nilearn(series, signal_scaling=False, standardize=value) for value in (False, True))
    maps = [model.compute_contrast("a", output_type="effect_size").get_fdata() for model in (plain, asked)]
    np.testing.assert_array_equal(maps[0], maps[1])

    design = draw_design(*DESIGNS["images every 4 s"], 0, np.random.default_rng(2))
    raw, percent = (fit_run(series, design, design.loadings, "ar1", percent=asked) for asked in (False, True))
    np.testing.assert_allclose(percent.effect, 100 * raw.effect / series.mean(axis=0), rtol=1e-6)


@pytest.mark.filterwarnings("ignore")  # nilearn warns of its own mask
def test_r2_is_of_the_series_that_were_measured(series: np.ndarray) -> None:
    """Defect 4: with AR(1), nilearn's R2 is of the whitened series."""
    model = fit_nilearn(series, noise_model="ar1", signal_scaling=False)
    predicted, measured = model.predicted[0].get_fdata(), series.T.reshape(*SHAPE, VOLUMES)
    true = 1 - (measured - predicted).var(axis=-1) / measured.var(axis=-1)
    assert np.abs(model.r_square[0].get_fdata()[..., 0] - true).max() > 0.02

    design = draw_design(*DESIGNS["images every 4 s"], 6, np.random.default_rng(3))
    found = fit_run(series, design, np.eye(design.matrix.shape[1]), "ar1")
    residual = series - design.values @ found.effect
    np.testing.assert_allclose(found.r2, 1 - (residual**2).sum(axis=0) / ((series - series.mean(axis=0)) ** 2).sum(axis=0), atol=1e-9)


def test_ar1_does_not_find_what_is_not_there() -> None:
    """Defect 5: nilearn's AR(1) is anti-conservative, most with many confounds."""
    rng = np.random.default_rng(4)
    rates = []
    for _ in range(6):
        design = draw_design(*DESIGNS["images every 4 s"], 36, rng)
        noise = draw_noise("AR(.4)", VOLUMES, 500, rng)
        rates.append((count_positives(design, noise, "ar1"), count_nilearns(design, noise)))
    ours, theirs = np.mean(rates, axis=0)
    assert ours < 0.065
    assert theirs > 0.085


def test_t_is_the_same_where_nilearn_is_right() -> None:
    """Without noise correlation and confounds both agree."""
    rng = np.random.default_rng(5)
    design = draw_design(*DESIGNS["images every 4 s"], 0, rng)
    noise = rng.standard_normal((VOLUMES, 300))
    weights = weigh_columns(design, ["c0"], ["c1"])
    assert weights is not None
    found = fit_run(noise, design, weights[None], "ar1")
    labels, results = run_glm(noise, design.values, noise_model="ols")
    theirs = results[labels[0]].Tcontrast(weights).t.ravel()
    assert stats.pearsonr(found.effect[0] / np.sqrt(found.variance[0]), theirs).statistic > 0.99
