"""Reliability and noise ceilings of regions: the planted ones come back, intervals cover, and too few data give none."""

import numpy as np
import pytest

from analysis.reliability import (
    COLUMNS,
    Estimate,
    ReliabilitySettings,
    estimate_reliability,
    estimate_split_half,
    tabulate_reliability,
    to_ceiling,
)
from protocols.roi_table import RoiTable
from protocols.tables import check_columns
from tests.analysis.tables import draw_table

QUICK = ReliabilitySettings(resamples=200, splits=20)


def draw_responses(rng: np.random.Generator, images: int, runs: int, reliability: float, shown: float = 1.0) -> np.ndarray:
    """Draw responses with unit noise whose mean over runs has the given reliability; runs have offsets where all images are in all."""
    there = rng.random((images, runs)) < shown
    there[np.arange(images), rng.integers(runs, size=images)] = True
    signal = reliability / (1 - reliability) * (1 / there.sum(axis=1)).mean()
    offsets = rng.standard_normal(runs) if shown == 1.0 else 0.0
    responses = np.sqrt(signal) * rng.standard_normal((images, 1)) + rng.standard_normal((images, runs)) + offsets
    responses[~there] = np.nan
    return responses


@pytest.mark.parametrize(("runs", "shown", "truth"), [(4, 1.0, 0.3), (5, 1.0, 0.8), (6, 0.6, 0.6)])
def test_planted_reliability_comes_back_without_bias(runs: int, shown: float, truth: float) -> None:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(150):
        responses = draw_responses(rng, 50, runs, truth, shown)
        found.append([estimate(responses, rng, QUICK).value for estimate in (estimate_reliability, estimate_split_half)])
    error = np.std(found, axis=0) / np.sqrt(150)
    assert (np.abs(np.mean(found, axis=0) - truth) < 3 * error + 0.005).all()


def test_intervals_cover() -> None:
    rng = np.random.default_rng(2)
    hits = []
    for _ in range(300):
        responses = draw_responses(rng, 40, 4, 0.6)
        ends = (estimate_reliability(responses, rng, QUICK), estimate_split_half(responses, rng, QUICK))
        hits.append([one.low <= 0.6 <= one.high for one in ends])
    assert (np.abs(np.mean(hits, axis=0) - 0.95) < 0.035).all()


def test_reliability_is_that_of_an_analysis_of_variance() -> None:
    """One minus the mean square of the interaction over that of images, by hand, less its bias."""
    rng = np.random.default_rng(3)
    images, runs = 12, 3
    responses = rng.standard_normal((images, 1)) + rng.standard_normal((images, runs))
    residual = responses - responses.mean(axis=1, keepdims=True) - responses.mean(axis=0) + responses.mean()
    noise = (residual**2).sum() / ((images - 1) * (runs - 1))
    between = runs * responses.mean(axis=1).var(ddof=1)
    expected = 1 - noise / between * (images - 3) / (images - 1)
    assert estimate_reliability(responses, rng, QUICK).value == pytest.approx(expected)


def test_two_runs_are_spearman_browns_two_halves() -> None:
    rng = np.random.default_rng(4)
    responses = rng.standard_normal((9, 1)) + 0.5 * rng.standard_normal((9, 2))
    first, second = responses.T
    r = 2 * np.cov(first, second)[0, 1] / (first.var(ddof=1) + second.var(ddof=1))
    assert estimate_split_half(responses, rng, QUICK).value == pytest.approx(1 - (1 - 2 * r / (1 + r)) * 6 / 8)


def test_a_runs_offset_does_not_count_where_all_images_are_in_it() -> None:
    responses = draw_responses(np.random.default_rng(5), 20, 4, 0.7)
    for estimate in (estimate_reliability, estimate_split_half):
        plain, shifted = (estimate(one, np.random.default_rng(0), QUICK) for one in (responses, responses + np.array([0.0, 5, -3, 100])))
        assert plain.value == pytest.approx(shifted.value, abs=1e-9)
        assert plain.low == pytest.approx(shifted.low, abs=1e-9)


def test_noise_alone_has_no_ceiling_and_an_interval_from_zero() -> None:
    rng = np.random.default_rng(6)
    found = [estimate_reliability(rng.standard_normal((40, 4)), rng, QUICK) for _ in range(40)]
    assert abs(np.mean([one.value for one in found])) < 0.1
    assert np.mean([one.low <= 0 <= one.high for one in found]) > 0.85
    assert to_ceiling(Estimate(-0.2, -0.9, 0.25)) == Estimate(0.0, 0.0, 0.5)


@pytest.mark.parametrize(
    "responses",
    [
        np.random.default_rng(0).standard_normal((4, 4)),
        np.random.default_rng(0).standard_normal((20, 1)),
        np.where(np.arange(20)[:, None] == np.arange(2) + 3, np.nan, 1.0),
        np.ones((20, 4)),
        np.full((20, 4), np.nan),
    ],
    ids=["four images", "one run", "constant with gaps", "constant", "nothing"],
)
def test_too_few_data_give_nothing(responses: np.ndarray) -> None:
    for estimate in (estimate_reliability, estimate_split_half):
        found = estimate(responses, np.random.default_rng(0), QUICK)
        assert np.isnan([found.value, found.low, found.high]).all()


def test_a_row_for_each_subject_and_region_the_same_every_time() -> None:
    table = draw_table(np.random.default_rng(7), rois=("V3", "LO"), subjects=3, runs=4, residual_sd=0.2)
    both = table.table.assign(session=np.where(table.table["run"] > 2, "b", None), run=(table.table["run"] - 1) % 2 + 1)
    found = tabulate_reliability(RoiTable(both), QUICK)
    assert found[["subject", "roi"]].to_numpy().tolist() == [[f"0{subject}", roi] for subject in (1, 2, 3) for roi in ("V3", "LO")]
    assert set(found["runs"]) == {4}
    assert set(found["images"]) == {30}
    check_columns(found, COLUMNS, "reliability.tsv")
    assert (found["reliability_low"] < found["reliability"]).all()
    assert (found["noise_ceiling"] < found["noise_ceiling_high"]).all()
    np.testing.assert_allclose(found["noise_ceiling"] ** 2, found["reliability"])
    assert found["reliability"].between(0.7, 1).all()
    again = tabulate_reliability(RoiTable(both), QUICK)
    assert found.equals(again)
