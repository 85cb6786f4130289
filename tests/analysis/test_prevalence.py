"""Prevalence: published values, coverage for small samples, the subjects' own tests, refusals."""

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from analysis.image_responses import average_runs
from analysis.prevalence import PrevalenceSettings, compute_coverage, estimate_prevalence
from analysis.subject_results import describe_prevalence, tabulate_prevalence, tabulate_subjects
from protocols.errors import InputError
from protocols.protocol import Contrast
from protocols.roi_table import RoiTable
from tests.analysis.tables import draw_table

SETTINGS = PrevalenceSettings()
OWN = (Contrast(name="own", expression="target - natural"),)


@pytest.mark.parametrize(("positive", "subjects"), [(0, 3), (2, 5), (5, 5), (13, 20)])
def test_the_densest_interval_holds_its_share_of_the_posterior_and_no_shorter_one_does(positive: int, subjects: int) -> None:
    """Against the posterior written out: prior 1 on g, likelihood t^k (1 - t)^(n - k) with t = .05 + .95 g."""
    found = estimate_prevalence(positive, subjects, SETTINGS)
    g = np.linspace(0, 1, 20001)
    rate = 0.05 + 0.95 * g
    density = rate**positive * (1 - rate) ** (subjects - positive)
    density /= integrate.trapezoid(density, g)
    inside = (g >= found.hpd_low) & (g <= found.hpd_high)
    assert integrate.trapezoid(density[inside], g[inside]) == pytest.approx(0.95, abs=2e-3)
    assert density[inside].min() >= density[~inside].max() * (1 - 1e-3)
    assert found.mode == pytest.approx(g[density.argmax()], abs=1e-4)


def test_the_exact_interval_is_that_of_clopper_and_pearson() -> None:
    found = estimate_prevalence(3, 7, SETTINGS)
    low, high = stats.binomtest(3, 7).proportion_ci(0.95, method="exact")
    assert (found.exact_low, found.exact_high) == pytest.approx(((low - 0.05) / 0.95, (high - 0.05) / 0.95))


def test_the_ratio_is_that_of_binomial_probabilities() -> None:
    for positive, subjects in ((2, 2), (4, 5), (0, 3)):
        ratio = stats.binom.pmf(positive, subjects, 0.8) / stats.binom.pmf(positive, subjects, 0.05)
        assert estimate_prevalence(positive, subjects, SETTINGS).ratio == pytest.approx(ratio)


@pytest.mark.parametrize("subjects", range(2, 9))
@pytest.mark.parametrize("power", [1.0, 0.8])
def test_intervals_cover_for_two_to_eight_subjects(subjects: int, power: float) -> None:
    """The exact interval at every prevalence; the densest one on average over prevalences, which is what it promises."""
    exact, densest = compute_coverage(np.linspace(0, 1, 401), subjects, PrevalenceSettings(power=power))
    assert exact.min() >= 0.94
    assert densest.mean() == pytest.approx(0.95, abs=0.005)


def test_coverage_holds_in_simulated_studies_end_to_end() -> None:
    """Subjects with and without the effect, their own tests over images, the interval: no step assumed."""
    rng = np.random.default_rng(0)
    held, studies, prevalence = 0, 60, 0.6
    for _ in range(studies):
        has = rng.random(4) < prevalence
        values = rng.standard_normal((4, 40)) + np.where(np.arange(40) < 20, 3.0, 0.0) * has[:, None]
        condition = np.where(np.arange(40) < 20, "a", "b")
        rows = [
            (f"{s:02d}", "01", 1, "FFA", "LR", f"{condition[i]}{i}", condition[i], None, values[s, i], 0.1, 9)
            for s in range(4)
            for i in range(40)
        ]
        table = RoiTable(pd.DataFrame(rows, columns=list(draw_table(rng, rois=("A",), subjects=1, per_set=1).table.columns)))
        found = tabulate_subjects(average_runs(table), (Contrast(name="c", expression="a - b"),), 0.05)
        row = tabulate_prevalence(found, SETTINGS).iloc[0]
        held += row["exact_low"] <= prevalence <= row["exact_high"]
    assert held / studies >= stats.binom.ppf(0.001, studies, 0.95) / studies


def test_without_an_effect_a_subject_is_positive_at_alpha() -> None:
    rng = np.random.default_rng(1)
    positive, total = 0, 0
    for _ in range(12):
        found = tabulate_subjects(average_runs(draw_table(rng, subjects=6, per_set=10, subject_sd=0.0)), OWN, 0.05)
        positive += int(found["positive"].sum())
        total += len(found)
    assert total == 360
    assert stats.binom.ppf(0.001, total, 0.05) <= positive <= stats.binom.ppf(0.999, total, 0.05)


def test_a_subjects_result_is_welchs_test_over_images() -> None:
    table = draw_table(np.random.default_rng(2), subjects=2, runs=3)
    found = tabulate_subjects(average_runs(table), OWN, 0.05)
    rows = table.table[(table.table["roi"] == "LO") & (table.table["subject"] == "02") & (table.table["target"] == "LO")]
    means = rows.groupby(["condition", "stim_id"])["response_psc"].mean()
    oracle = stats.ttest_ind(means["target"], means["natural"], equal_var=False, alternative="greater")
    row = found[(found["roi"] == "LO") & (found["subject"] == "02")].iloc[0]
    assert (row["t"], row["p"]) == pytest.approx((oracle.statistic, oracle.pvalue))
    assert row["estimate_psc"] == pytest.approx(means["target"].mean() - means["natural"].mean())
    assert row["images"] == 10


def test_an_effect_in_some_subjects_is_counted_in_them() -> None:
    table = draw_table(np.random.default_rng(3), subjects=4, subject_sd=0.0, image_sd=0.1, residual_sd=0.1).table
    own = (table["condition"] == "target") & (table["target"] == table["roi"]) & table["subject"].isin(["01", "03", "04"])
    table.loc[own, "response_psc"] += 2.0
    responses = average_runs(RoiTable(table))
    found = tabulate_subjects(responses, OWN, 0.001)
    assert set(found.loc[found["positive"] == 1, "subject"]) == {"01", "03", "04"}
    prevalence = tabulate_prevalence(found, PrevalenceSettings(alpha=0.001))
    assert prevalence[["positive", "subjects"]].to_numpy().tolist() == [[3, 4]] * 5
    assert describe_prevalence(prevalence.iloc[0]) == (
        "V3, target - natural: 3 of 4 subjects show it alone; to be expected in 75% of people (95 % interval 19% to 99%)"
    )


def test_images_that_a_subject_did_not_see_are_left_out_for_this_subject_alone() -> None:
    responses = average_runs(draw_table(np.random.default_rng(4), subjects=3))
    whole = tabulate_subjects(responses, OWN, 0.05)
    gaps = {roi: values.copy() for roi, values in responses.by_roi.items()}
    gaps["V3"].loc["02", "targetV31"] = np.nan
    gaps["V3"].loc["03", [f"targetV3{n}" for n in range(4)]] = np.nan
    found = tabulate_subjects(type(responses)(gaps, responses.images, ()), OWN, 0.05)
    assert found.loc[(found["roi"] == "V3"), "subject"].tolist() == ["01", "02"]
    assert found.loc[(found["roi"] == "V3") & (found["subject"] == "02"), "images"].tolist() == [9]
    pd.testing.assert_frame_equal(found[found["roi"] != "V3"].reset_index(drop=True), whole[whole["roi"] != "V3"].reset_index(drop=True))


@pytest.mark.parametrize(
    ("positive", "subjects", "settings", "message"),
    [
        (3, 2, SETTINGS, "3 of 2 subjects is no count"),
        (0, 0, SETTINGS, "0 of 0 subjects"),
        (1, 2, PrevalenceSettings(power=0.05), "not above"),
    ],
)
def test_refuses(positive: int, subjects: int, settings: PrevalenceSettings, message: str) -> None:
    with pytest.raises(InputError, match=message):
        estimate_prevalence(positive, subjects, settings)


def test_each_side_is_a_mean_over_the_images_that_the_subject_saw() -> None:
    responses = average_runs(draw_table(np.random.default_rng(5), subjects=2))
    gaps = {roi: values.copy() for roi, values in responses.by_roi.items()}
    gaps["V3"].loc["02", ["targetLO0", "targetLO1", "targetFFA3"]] = np.nan
    asked = (Contrast(name="own", expression="target - other"),)
    found = tabulate_subjects(type(responses)(gaps, responses.images, ()), asked, 0.05).set_index(["roi", "subject"])
    seen, images = gaps["V3"].loc["02"], responses.images
    made = images["condition"] == "target"
    own, other = seen[(made & (images["target"] == "V3")).to_numpy()], seen[(made & (images["target"] != "V3")).to_numpy()]
    assert found.loc[("V3", "02"), "estimate_psc"] == pytest.approx(own.mean() - other.mean())
