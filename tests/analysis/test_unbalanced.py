"""Crossed inference with gaps: equal to other mixed models and to the likelihood written out, calibrated, and refused where it must be."""

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import block_diag

from analysis import unbalanced
from analysis.crossed import CROSSED, IMAGES_ONLY, estimate_effect
from analysis.mixed_model import _curve, _evaluate, _solve, fit_mixed
from analysis.unbalanced import REML, ImageSet, estimate_contrast
from protocols.errors import InputError
from tests.analysis.crossed_tables import DESIGNS, Table, draw_design

ORACLES = json.loads((Path(__file__).parent / "mixed_oracles.json").read_text())
PAIR = [1.0, -1.0]


def collect_sets(table: Table) -> list[ImageSet]:
    shape = table.subject.max() + 1, table.image.max() + 1
    runs, total, squares = (np.zeros(shape) for _ in range(3))
    for array, values in ((runs, 1), (total, table.response), (squares, table.response**2)):
        np.add.at(array, (table.subject, table.image), values)
    means = np.divide(total, runs, out=np.full(shape, np.nan), where=runs > 0)
    scatter = np.where(runs > 0, squares - runs * means**2, 0)
    sets = [np.unique(table.image[table.group == group]) for group in (0, 1)]
    return [ImageSet(means[:, images], runs[:, images].astype(int), scatter[:, images]) for images in sets]


def draw_gapped(
    rng: np.random.Generator, subjects: int, sizes: tuple[int, ...], sds: tuple[float, ...], missing: float, most_runs: int
) -> list[ImageSet]:
    by_set, by_image, by_cell, by_run = sds
    sets = []
    for size in sizes:
        runs = rng.integers(1, most_runs + 1, (subjects, size)) * (rng.uniform(size=(subjects, size)) >= missing)
        several = np.maximum(runs, 1)
        levels = by_set * rng.standard_normal((subjects, 1)) + by_image * rng.standard_normal((1, size))
        means = levels + by_cell * rng.standard_normal((subjects, size)) + by_run * rng.standard_normal((subjects, size)) / np.sqrt(several)
        scatter = np.where(several > 1, by_run**2 * rng.chisquare(np.maximum(several - 1, 1)), 0.0)
        sets.append(ImageSet(np.where(runs > 0, means, np.nan), runs, scatter))
    return sets


@pytest.mark.parametrize("name", DESIGNS)
def test_equals_mixedlm_in_estimate_standard_error_and_degrees_of_freedom(name: str) -> None:
    """And `interlace-lme` in the first two; its degrees of freedom are others than mixedlm's by up to a fifth on the same tables."""
    effect = estimate_contrast(collect_sets(draw_design(name)), PAIR, pooled=True)
    assert (effect.estimate, effect.se, effect.df) == pytest.approx(ORACLES[name]["mixedlm"], rel=1e-4)
    assert (effect.estimate, effect.se) == pytest.approx(ORACLES[name]["interlace"][:2], rel=1e-3)


@pytest.mark.parametrize("sizes", [(9, 9), (6, 6, 6), (5, 5, 5, 5, 5)])
def test_balanced_table_gives_the_closed_form(sizes: tuple[int, ...]) -> None:
    weights = [1.0, *[-1 / (len(sizes) - 1)] * (len(sizes) - 1)]
    sets = draw_gapped(np.random.default_rng(2), 6, sizes, (1.0, 0.9, 0.6, 0.0), 0.0, 1)
    closed = estimate_effect([one.means for one in sets], weights)
    fitted = unbalanced._estimate_by_reml(sets, weights, pooled=False)
    assert estimate_contrast(sets, weights) == closed
    assert (fitted.estimate, fitted.se) == pytest.approx((closed.estimate, closed.se), rel=0.01)  # variances by side, not by set
    assert fitted.df == pytest.approx(closed.df, rel=0.06)
    assert fitted.beside.min_f == pytest.approx(closed.beside.min_f)
    assert fitted.beside.d == pytest.approx(closed.beside.d, rel=0.12)  # subjects' variance is of the directions together
    assert (closed.method, fitted.method) == (CROSSED, REML)


def compose(seed: int) -> tuple[unbalanced.Mixed, list[ImageSet]]:
    sets = draw_gapped(np.random.default_rng(seed), 5, (4, 7, 3), (1.0, 0.9, 0.6, 0.5), 0.2, 3)
    weights = np.array([1.0, -0.7, -0.3])
    return unbalanced._compose(unbalanced._list_rows(sets, list(weights)), weights, sets, 1.3, False), sets


def test_likelihood_is_the_dense_one() -> None:
    """-2 log L = log|V| + log|X'V^-1 X| + y'Py over rows, and the scatter of runs: up to a constant."""
    model, sets = compose(3)
    rows = unbalanced._list_rows(sets, [1.0, -0.7, -0.3])
    who, image = np.equal.outer(rows.subject, rows.subject), np.equal.outer(rows.image, rows.image)
    w = np.array([1.0, -0.7, -0.3])
    w /= np.linalg.norm(w)
    one = np.ones(3) / np.sqrt(3)
    parts = [np.outer(w, w), np.outer(one, one), np.eye(3) - np.outer(w, w) - np.outer(one, one)]
    X, y = np.eye(3)[rows.group], rows.y / 1.3
    differences = []
    for seed in range(3):
        theta = np.random.default_rng(seed).uniform(0.2, 2, 8)
        V = sum(t * part[np.ix_(rows.group, rows.group)] * who for t, part in zip(theta[:3], parts, strict=True))
        V = V + image * (theta[3] * (rows.side == 0) + theta[4] * (rows.side == 1))
        V += np.diag(np.where(rows.side == 0, theta[5], theta[6]) + theta[7] / rows.runs)
        inverse = np.linalg.inv(V)
        XVX = X.T @ inverse @ X
        P = inverse - inverse @ X @ np.linalg.inv(XVX) @ X.T @ inverse
        df = sum(int((one.runs - 1)[one.runs > 0].sum()) for one in sets)
        scatter = sum(float(one.scatter.sum()) for one in sets) / 1.3**2
        dense = np.linalg.slogdet(V)[1] + np.linalg.slogdet(XVX)[1] + y @ P @ y + df * np.log(theta[7]) + scatter / theta[7]
        differences.append(dense - _evaluate(model, theta)[0])
    np.testing.assert_allclose(differences, 0, atol=1e-8)


def test_derivatives_are_those_of_the_likelihood() -> None:
    model, _ = compose(4)
    theta = np.random.default_rng(5).uniform(0.2, 1.5, 8)
    step = 1e-5
    shifted = [(theta + step * unit, theta - step * unit) for unit in np.eye(8)]
    slopes = [(_evaluate(model, up)[0] - _evaluate(model, down)[0]) / (2 * step) for up, down in shifted]
    curves = [(_evaluate(model, up)[1] - _evaluate(model, down)[1]) / (2 * step) for up, down in shifted]
    np.testing.assert_allclose(_evaluate(model, theta)[1], slopes, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(_curve(model, _solve(model, theta), theta)[0], curves, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("most_runs", [1, 8])
def test_no_other_start_climbs_higher(most_runs: int) -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(15)
    for _ in range(10):
        sets = draw_gapped(rng, 4, (5, 5), (0.3, 0.5, 0.0, 1.8), 0.1, most_runs)
        model = unbalanced._compose(unbalanced._list_rows(sets, PAIR), np.array(PAIR), sets, 1.0, False)
        reached, _ = _evaluate(model, fit_mixed(model, PAIR).theta)
        for _ in range(3):
            start = rng.dirichlet(np.ones(6 + (most_runs > 1)))
            bounds = [(0.0 if free else 1e-6, None) for free in [True] * 4 + [not one for one in model.needed]]
            other = minimize(lambda theta: _evaluate(model, theta), start, jac=True, method="L-BFGS-B", bounds=bounds)  # noqa: B023
            assert reached <= other.fun + 1e-4


GAPPED = {
    "2 subjects, uneven runs": (2, (10, 10), (0.3, 0.5, 0.4, 0.8), 0.1, 4),
    "4 subjects, a fifth missing": (4, (10, 10), (0.3, 0.5, 0.57, 0.0), 0.2, 1),
    "8 subjects, few images, uneven runs": (8, (5, 5), (0.5, 0.4, 0.4, 0.8), 0.1, 4),
    "4 subjects, 5 images against 4 sets of 5": (4, (5, 5, 5, 5, 5), (0.5, 0.5, 0.5, 0.0), 0.15, 1),
}


@pytest.mark.parametrize("design", GAPPED)
def test_false_positives_are_nominal(design: str) -> None:
    subjects, sizes, sds, missing, most_runs = GAPPED[design]
    rng = np.random.default_rng(6)
    weights = [1.0, *[-1 / (len(sizes) - 1)] * (len(sizes) - 1)]
    tables = (draw_gapped(rng, subjects, sizes, sds, missing, most_runs) for _ in range(60))
    rejected = sum(estimate_contrast(table, weights).p < 0.05 for table in tables)
    low, high = stats.binom.ppf([0.001, 0.999], 60, [0.02, 0.06])
    assert low <= rejected <= high


def test_one_variance_for_both_sides_would_test_too_often() -> None:
    rng = np.random.default_rng(7)
    rejected = np.zeros(2)
    for _ in range(60):
        strong, weak = (draw_gapped(rng, 6, (size,), (0.0, sd, 0.4, 0.0), 0.1, 1)[0] for size, sd in ((5, 1.0), (20, 0.3)))
        rejected += [estimate_contrast([strong, weak], PAIR, pooled).p < 0.05 for pooled in (False, True)]
    assert rejected[0] <= stats.binom.ppf(0.999, 60, 0.07)
    assert rejected[1] > stats.binom.ppf(0.999, 60, 0.07)


def test_images_of_one_subject_each_are_fitted() -> None:
    runs = block_diag(*[np.ones((1, 4), int)] * 3)
    rng = np.random.default_rng(8)
    sets = [ImageSet(np.where(runs > 0, rng.standard_normal(runs.shape) + 2 * plus, np.nan), runs, np.zeros(runs.shape)) for plus in (1, 0)]
    effect = estimate_contrast(sets, PAIR)
    assert (effect.subjects, effect.images, effect.method) == (3, 24, REML)
    assert effect.ci_low < 2 < effect.ci_high


def test_what_nobody_saw_counts_for_nothing() -> None:
    whole = draw_gapped(np.random.default_rng(9), 4, (6, 6), (0.5, 0.5, 0.5, 0.0), 0.0, 1)
    padded = [ImageSet(*(np.pad(array, ((0, 1), (0, 2))) for array in (one.means, one.runs, one.scatter))) for one in whole]
    assert estimate_contrast(padded, PAIR) == estimate_contrast(whole, PAIR)


def test_one_subject_with_gaps_is_about_images() -> None:
    sets = draw_gapped(np.random.default_rng(10), 1, (8, 8), (0.5, 0.5, 0.5, 0.2), 0.3, 3)
    assert estimate_contrast(sets, PAIR).method == IMAGES_ONLY


def test_units_change_nothing_else() -> None:
    sets = draw_gapped(np.random.default_rng(11), 5, (6, 8), (0.5, 0.5, 0.5, 0.5), 0.2, 3)
    larger = [dataclasses.replace(one, means=1e4 * one.means, scatter=1e8 * one.scatter) for one in sets]
    one, other = estimate_contrast(sets, PAIR), estimate_contrast(larger, PAIR)
    assert (other.estimate, other.se) == pytest.approx((1e4 * one.estimate, 1e4 * one.se), rel=1e-6)
    assert (other.df, other.p, other.beside.d_low) == pytest.approx((one.df, one.p, one.beside.d_low), rel=1e-5)


@pytest.mark.parametrize("name", ["images missing", "no subject differences"])
def test_agrees_with_statsmodels_where_that_applies(name: str) -> None:
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    drawn = draw_design(name)
    rows = pd.DataFrame({"subject": drawn.subject, "image": drawn.image, "code": 0.5 - drawn.group, "y": drawn.response})
    parts = {"subject": "0 + C(subject)", "slope": "0 + C(subject):code", "image": "0 + C(image)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels warns of a boundary
        fitted = MixedLM.from_formula("y ~ code", groups=np.ones(len(rows)), vc_formula=parts, re_formula="0", data=rows).fit(reml=True)
    effect = estimate_contrast(collect_sets(drawn), PAIR, pooled=True)
    assert effect.estimate == pytest.approx(fitted.params["code"], rel=1e-3)
    assert effect.se == pytest.approx(fitted.bse["code"], rel=5e-3)


def test_whatever_is_drawn_gives_numbers_or_a_refusal() -> None:
    """Few subjects and images, half of the responses missing, components of 0, no noise at all."""
    rng = np.random.default_rng(13)
    answered = 0
    for _ in range(120):
        sizes = tuple(int(size) for size in rng.integers(2, 6, rng.integers(1, 5)))
        sds = (*rng.choice([0.0, 0.3, 1.0, 5.0], 3), rng.choice([0.0, 0.5]))
        sets = draw_gapped(rng, int(rng.integers(2, 6)), sizes, sds, rng.choice([0.0, 0.2, 0.5]), int(rng.choice([1, 3])))
        try:
            effect = estimate_contrast(sets, [1.0, *[-1 / max(len(sizes) - 1, 1)] * (len(sizes) - 1)])
        except InputError:
            continue
        answered += 1
        assert effect.df < 1e5
        assert np.isfinite([effect.se, effect.df, effect.p, effect.ci_low, effect.ci_high, effect.beside.d_low, effect.beside.d_high]).all()
    assert answered > 80


def test_refuses_what_cannot_be_compared() -> None:
    a, b = draw_gapped(np.random.default_rng(12), 4, (5, 5), (0.5, 0.5, 0.5, 0.0), 0.0, 1)
    empty = np.zeros_like(a.runs)
    half = np.arange(4)[:, None] < 2
    with pytest.raises(InputError, match="no subject saw images of every set"):
        estimate_contrast([dataclasses.replace(a, runs=a.runs * half), dataclasses.replace(b, runs=b.runs * ~half)], PAIR)
    with pytest.raises(InputError, match="has 1 image; at least 2"):
        estimate_contrast([dataclasses.replace(a, runs=empty + (np.arange(5) == 1)), b], PAIR)
    flat = dataclasses.replace(a, means=np.ones((4, 5)), runs=a.runs * (np.arange(5) != np.arange(4)[:, None]))
    with pytest.raises(InputError, match="all responses are equal"):
        estimate_contrast([flat, flat], PAIR)
