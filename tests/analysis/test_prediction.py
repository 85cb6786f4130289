"""Prediction: normalized correlation recovers the truth, its ceiling is that of reliability.py; gain, transfer and dose by hand."""

import numpy as np
import pandas as pd
import pytest

from analysis.gain import tabulate_dose, tabulate_gain, tabulate_transfer
from analysis.image_responses import average_runs
from analysis.prediction import Panel, average_sets, measure_accuracy, tabulate_prediction
from analysis.reliability import ReliabilitySettings, estimate_reliability
from protocols.errors import InputError
from protocols.roi_table import RoiTable
from tests.analysis.tables import draw_table


def draw_panels(
    rng: np.random.Generator, ceiling: float, *, true_r: float = 0.5, subjects: int = 8, images: int = 200, runs: int = 4, rois: int = 1
) -> list[Panel]:
    """Draw scores and responses whose correlation without noise is `true_r` and whose noise ceiling is `ceiling`; sets of 20 images."""
    sets = np.arange(images) % (images // 20)
    noise = np.sqrt(runs * (1 - ceiling**2)) / ceiling
    panels = []
    for _ in range(rois):
        x = rng.standard_normal(images)
        for _ in range(subjects):
            signal = true_r * x + np.sqrt(1 - true_r**2) * rng.standard_normal(images) + 3 * sets
            panels.append(Panel(x + 5 * sets, signal[:, None] + noise * rng.standard_normal((images, runs)), sets))
    return panels


@pytest.mark.parametrize(("ceiling", "draws", "images"), [(0.2, 30, 1600), (0.5, 40, 200), (0.9, 20, 200)])
def test_the_normalized_correlation_is_unbiased_over_ceilings(ceiling: float, draws: int, images: int) -> None:
    """8 subjects, 5 ROIs together; tests/benchmarks/bench_claims.py has more designs and draws."""
    rng = np.random.default_rng(int(100 * ceiling))
    found = [measure_accuracy(draw_panels(rng, ceiling, images=images, rois=5)) for _ in range(draws)]
    values = np.array([one.normalized.value for one in found])
    told = values[np.isfinite(values)]
    assert len(told) >= 0.9 * draws
    assert told.mean() == pytest.approx(0.5, abs=0.02 + 2 * told.std() / np.sqrt(len(told)))
    assert np.mean([one.ceiling for one in found]) == pytest.approx(ceiling, abs=0.03)
    assert np.mean([one.r.value for one in found]) == pytest.approx(0.5 * ceiling, abs=0.01)


def test_intervals_cover() -> None:
    rng = np.random.default_rng(0)
    found = [measure_accuracy(draw_panels(rng, 0.8, subjects=3, images=100)) for _ in range(100)]
    assert np.mean([one.normalized.low <= 0.5 <= one.normalized.high for one in found]) >= 0.88
    assert np.mean([one.r.low <= 0.4 <= one.r.high for one in found]) >= 0.88


@pytest.mark.parametrize("gaps", [False, True])
def test_the_ceiling_is_that_of_reliability(gaps: bool) -> None:
    rng = np.random.default_rng(1)
    panel = draw_panels(rng, 0.8, subjects=1, images=40)[0]
    responses = panel.responses.copy()
    if gaps:
        responses[rng.random(responses.shape) < 0.2] = np.nan
    one_set = Panel(panel.scores, responses, np.zeros(40, dtype=np.int64))
    oracle = estimate_reliability(responses, rng, ReliabilitySettings(resamples=2)).value
    assert measure_accuracy([one_set]).ceiling == pytest.approx(np.sqrt(oracle), abs=0.02 if gaps else 1e-9)


def test_leaving_an_image_out_is_as_if_it_had_not_been_there() -> None:
    rng = np.random.default_rng(2)
    panels = draw_panels(rng, 0.97, subjects=2, images=40)
    one = measure_accuracy(panels)
    without = [
        measure_accuracy([Panel(p.scores[kept], p.responses[kept], p.sets[kept]) for p in panels])
        for kept in (np.delete(np.arange(40), image) for image in range(40))
    ]
    whole = one.r.value / one.ceiling
    jackknifed = 40 * whole - 39 * np.mean([other.r.value / other.ceiling for other in without])
    assert one.normalized.value == pytest.approx(jackknifed)


def test_few_images_with_little_noise_are_enough_for_a_share() -> None:
    panels = draw_panels(np.random.default_rng(11), 0.97, subjects=2, images=20)
    assert np.isfinite(measure_accuracy(panels).normalized.value)


def test_r_within_sets_is_blind_to_differences_between_sets() -> None:
    rng = np.random.default_rng(3)
    panels = [Panel(rng.standard_normal(60) + 9 * (s := np.arange(60) % 6), rng.standard_normal((60, 3)) + 9 * s[:, None], s)]
    assert abs(measure_accuracy(panels).r.value) < 0.4
    assert measure_accuracy([average_sets(panel) for panel in panels]).r.value > 0.98


def test_no_share_is_told_of_a_signal_that_is_not_there() -> None:
    rng = np.random.default_rng(4)
    panels = [Panel(rng.standard_normal(60), rng.standard_normal((60, 3)), np.zeros(60, dtype=np.int64))]
    found = measure_accuracy(panels)
    assert np.isnan(found.normalized.value)
    assert np.isfinite(found.r.value)
    assert np.isnan(measure_accuracy([Panel(np.arange(4.0), rng.standard_normal((4, 3)), np.zeros(4, dtype=np.int64))]).r.value)
    once = [Panel(rng.standard_normal(60), rng.standard_normal((60, 1)), np.zeros(60, dtype=np.int64))]
    assert np.isnan(measure_accuracy(once).normalized.value)


def score(table: RoiTable, noise: float, rng: np.random.Generator) -> pd.DataFrame:
    """Return a set's table with judged and predicted columns: the mean response, noise added."""
    stimuli = table.table.drop_duplicates("stim_id")[["stim_id", "condition", "target"]].reset_index(drop=True)
    for roi, part in table.table.groupby("roi"):
        means = part.groupby("stim_id")["response_psc"].mean().loc[stimuli["stim_id"]].to_numpy()
        for prefix, factor in (("judged_", 1.0), ("predicted_", 3.0)):
            stimuli[f"{prefix}{roi}"] = means + factor * noise * rng.standard_normal(len(means))
    return stimuli


def test_every_score_scope_and_region_has_a_row() -> None:
    rng = np.random.default_rng(5)
    table = draw_table(rng, rois=("V3", "LO", "EBA"), subjects=3, runs=3, effect=1.0)
    found = tabulate_prediction(table, score(table, 0.1, rng).drop(columns="judged_LO"))
    assert list(found.groupby(["score", "scope"], sort=False)["roi"].agg(list)) == [
        ["V3", "EBA", "all"], ["V3", "EBA", "all"], ["V3", "LO", "EBA", "all"], ["V3", "LO", "EBA", "all"],
    ]  # fmt: skip
    assert set(found["subjects"]) == {3}
    rows = found.set_index(["score", "scope", "roi"])
    assert rows.loc[("judged", "within", "V3"), "r"] > rows.loc[("predicted", "within", "V3"), "r"]
    assert rows.loc[("judged", "within", "V3"), "images"] == 45
    assert rows.loc[("judged", "between", "V3"), "images"] == 9
    assert tabulate_prediction(table, score(table, 0.1, rng)[["stim_id", "condition", "target"]]).empty


def test_images_that_only_some_subjects_saw_count_in_those() -> None:
    rng = np.random.default_rng(6)
    table = draw_table(rng, rois=("V3",), subjects=3, runs=3, per_set=10)
    stimuli = score(table, 0.1, rng)
    seen = table.table[(table.table["subject"] != "02") | ~table.table["stim_id"].isin(["targetV30", "naturalV33"])]
    found = tabulate_prediction(RoiTable(seen), stimuli).set_index(["score", "scope"]).loc[("judged", "within")]
    assert found["images"] == 30
    assert 0.5 < found["r"] < 1


def test_gain_is_the_difference_of_means_with_both_random() -> None:
    rng = np.random.default_rng(7)
    table = draw_table(rng, subjects=3, effect=1.0)
    stimuli = score(table, 0.0, rng)
    row = tabulate_gain(average_runs(table), stimuli).set_index("roi").loc["LO"]
    own = table.table[(table.table["roi"] == "LO") & (table.table["target"] == "LO")]
    means = own.groupby("condition")["response_psc"].mean()
    by_image = own.groupby(["condition", "stim_id"])["response_psc"].mean()
    assert row["gain_psc"] == pytest.approx(means["target"] - means["natural"])
    assert row["judged_gain"] == pytest.approx(row["gain_psc"])
    assert row["above_best_natural"] == pytest.approx((by_image["target"] > by_image["natural"].max()).mean())
    assert row["ci_low"] < row["gain_psc"] < row["ci_high"]
    assert tabulate_gain(average_runs(draw_table(rng, conditions=("target",))), stimuli).empty


def test_gain_is_of_what_all_who_have_the_region_saw() -> None:
    rng = np.random.default_rng(10)
    table = draw_table(rng, subjects=4, effect=1.0)
    responses, stimuli = average_runs(table), score(table, 0.1, rng)
    gaps = {roi: values.copy() for roi, values in responses.by_roi.items()}
    gaps["LO"].loc["03"] = np.nan
    gaps["LO"].loc["02", ["targetLO1", "naturalLO0"]] = np.nan
    found = tabulate_gain(type(responses)(gaps, responses.images, ()), stimuli).set_index("roi")
    seen = gaps["LO"].loc[["01", "02", "04"]]
    made, natural = ([f"{kind}LO{n}" for n in range(5) if n != gap] for kind, gap in (("target", 1), ("natural", 0)))
    assert found.loc["LO", "gain_psc"] == pytest.approx(seen[made].to_numpy().mean() - seen[natural].to_numpy().mean())
    assert found.loc["LO", "images"] == 8
    assert found.loc["V3", "images"] == 10


def test_transfer_tells_same_other_and_group() -> None:
    table = draw_table(np.random.default_rng(8), rois=("V3", "LO"), subjects=3, subject_sd=0, image_sd=0, residual_sd=1e-6, per_set=6)
    stimuli = score(table, 0.0, np.random.default_rng(0))
    number = stimuli["stim_id"].str[-1].astype(int)
    stimuli["subjects"] = np.select([number < 2, number < 4], ["01", "01 02"], default=None)
    people = stimuli.set_index("stim_id")["subjects"]
    rows = table.table
    own = (rows["target"] == rows["roi"]) & (rows["condition"] == "target")
    rows.loc[own & (rows["stim_id"].map(people) == "01") & (rows["subject"] == "01"), "response_psc"] += 3.0
    rows.loc[own & (rows["stim_id"].map(people) == "01 02"), "response_psc"] += 1.0
    found = tabulate_transfer(RoiTable(rows), stimuli)
    effects = found[found["roi"] == "LO"].set_index(["made_for", "measured_in"])
    assert effects.loc[("01", "01"), ["relation", "images"]].tolist() == ["same", 2]
    assert effects.loc[("01", "01"), "effect_psc"] == pytest.approx(3, abs=1e-3)
    assert effects.loc[("01", "03"), "relation"] == "other"
    assert effects.loc[("01 02", "02"), "relation"] == "group"
    assert effects.loc[("01 02", "03"), "relation"] == "group, new subject"
    assert effects.loc[("01 02", "03"), "effect_psc"] == pytest.approx(1, abs=1e-3)
    assert effects.loc[("all", "03"), "effect_psc"] == pytest.approx(0, abs=1e-3)
    assert tabulate_transfer(RoiTable(rows), stimuli.drop(columns="subjects")).empty


def test_dose_response_recovers_its_slope() -> None:
    table = draw_table(np.random.default_rng(9), rois=("V3", "LO"), subjects=4, per_set=12, subject_sd=0.1, image_sd=0.1, residual_sd=0.1)
    rows, stimuli = table.table, score(table, 0.0, np.random.default_rng(0))
    chosen = (stimuli["condition"] == "target") & (stimuli["target"] == "V3")
    stimuli["dose"] = np.where(chosen, np.array([50.0, 84.1345, 97.725])[np.arange(len(stimuli)) % 3], np.nan)
    stimuli["dose_roi"] = np.where(chosen, "V3", None)
    z = stimuli.set_index("stim_id")["dose"].map({50.0: 0.0, 84.1345: 1.0, 97.725: 2.0})
    rows["response_psc"] += np.where(rows["roi"] == "V3", 0.7 * rows["stim_id"].map(z).fillna(0), 0)
    found = tabulate_dose(average_runs(RoiTable(rows)), stimuli)
    assert found[["roi", "levels", "images"]].to_numpy().tolist() == [["V3", 3, 12]]
    assert found["ci_low"][0] < 0.7 < found["ci_high"][0]
    assert found["slope_psc"][0] == pytest.approx(0.7, abs=0.2)
    stimuli.loc[chosen, "dose"] = 100.0
    with pytest.raises(InputError, match="has dose 100, a percentile is between 0 and 100"):
        tabulate_dose(average_runs(RoiTable(rows)), stimuli)
    assert tabulate_dose(average_runs(RoiTable(rows)), stimuli.drop(columns="dose")).empty
