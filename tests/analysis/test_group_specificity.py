"""Comparisons of targeted ROIs: uniform where nothing is, found where something is, unmoved by what drives everything."""

import numpy as np
import pytest
from scipy import stats

from analysis.group_specificity import OWN, PAIR, tabulate_specificity
from analysis.image_responses import average_runs
from protocols.roi_table import RoiTable
from tests.analysis.tables import draw_table


def compare(table: RoiTable, kind: str):
    found = tabulate_specificity(average_runs(table, keep_gaps=True))
    return found[found["comparison"] == kind]


def test_pair_dissociation_is_the_interaction_and_nominal_without_one() -> None:
    rng = np.random.default_rng(0)
    p = [compare(draw_table(rng, rois=("OFA", "FFA"), per_set=6, conditions=("target",)), PAIR)["p"].iloc[0] for _ in range(150)]
    assert stats.binom.ppf(0.001, 150, 0.02) <= sum(one <= 0.05 for one in p) <= stats.binom.ppf(0.999, 150, 0.06)


def test_pair_dissociation_is_found_with_the_power_that_it_has() -> None:
    """An interaction of 1.0: variance 4 x .09 / 6 over subjects, 4 x .09 / 10 over images, 4 x .09 / 60 of residuals; power .80."""
    a, b, c = 0.06 + 0.006, 0.036 + 0.006, 0.006
    df = (a + b - c) ** 2 / (a**2 / 5 + b**2 / 18 + c**2 / 90)
    power = float(stats.nct.sf(stats.t.ppf(0.975, df), df, 1.0 / np.sqrt(a + b - c)))
    assert power == pytest.approx(0.80, abs=0.02)
    rng = np.random.default_rng(1)
    tables = [draw_table(rng, rois=("OFA", "FFA"), per_set=10, subjects=6, effect=0.5, conditions=("target",)) for _ in range(40)]
    assert sum(compare(table, PAIR)["p"].iloc[0] <= 0.05 for table in tables) >= stats.binom.ppf(0.001, 40, power)


def test_a_set_that_drives_every_roi_is_no_dissociation_and_no_win() -> None:
    table = draw_table(np.random.default_rng(2), rois=("OFA", "FFA"), per_set=8, conditions=("target",)).table
    stronger = table.assign(response_psc=table["response_psc"] + 5 * (table["target"] == "OFA"))
    before, after = (compare(RoiTable(one), PAIR).iloc[0] for one in (table, stronger))
    assert (after["estimate_psc"], after["p"]) == pytest.approx((before["estimate_psc"], before["p"]))
    own = compare(RoiTable(stronger), OWN).set_index("roi")
    assert own.loc["FFA", "p"] == 1
    assert own.loc["FFA", "estimate_psc"] < -4


def test_best_other_is_chosen_without_a_price() -> None:
    """No own advantage over any other set: p of own against the best of four is small less often than .05."""
    rng = np.random.default_rng(3)
    rows = [compare(draw_table(rng, per_set=4, subjects=3, conditions=("target",)), OWN)["p"] for _ in range(30)]
    assert sum((p <= 0.05).sum() for p in rows) <= stats.binom.ppf(0.999, 150, 0.02)


def test_corrected_within_the_kind_of_comparison() -> None:
    found = tabulate_specificity(average_runs(draw_table(np.random.default_rng(4), effect=1.0)))
    assert found["comparison"].value_counts().to_dict() == {PAIR: 10, OWN: 5}
    for kind, count in ((OWN, 5), (PAIR, 10)):
        rows = found[found["comparison"] == kind]
        assert rows["p_corrected"].min() == pytest.approx(count * rows["p"].min())


def test_one_targeted_roi_has_no_comparisons() -> None:
    table = draw_table(np.random.default_rng(5), rois=("FFA",))
    found = tabulate_specificity(average_runs(table))
    assert found.empty
    assert list(found)[:3] == ["comparison", "roi", "other"]
