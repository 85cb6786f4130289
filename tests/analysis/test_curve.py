"""The specification curve: the plan's own tests in every variant, summed up, refused of other data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.curve import PLANNED, summarize_curve, trace_curve
from analysis.group import Question, analyze
from analysis.supplement import Supplement
from protocols.errors import InputError
from protocols.roi_table import RoiTable
from tests.analysis.planted import make_protocol
from tests.analysis.program import run_analysis
from tests.analysis.tables import draw_table

QUESTION = Question(make_protocol().contrasts[:1], planned=True, alpha=0.05)


def scale(table: RoiTable, factor: float) -> RoiTable:
    return RoiTable(table.table.assign(response_psc=factor * table.table["response_psc"]))


@pytest.fixture(scope="module")
def table() -> RoiTable:
    return draw_table(np.random.default_rng(0), rois=("V3", "LO"), subjects=3, effect=2.0, subject_sd=0.1)


def test_every_variant_is_tested_as_the_plan_is(table: RoiTable) -> None:
    curve = trace_curve(table, {"half": scale(table, 0.5), "double": scale(table, 2.0)}, QUESTION)
    assert list(curve["variant"]) == ["half", PLANNED, "double"] * 2
    tests = analyze(table, QUESTION).tests.set_index("roi")
    for row in curve[curve["variant"] == PLANNED].to_dict("records"):
        assert row["ci_low"] == pytest.approx(tests.loc[row["roi"], "ci_low"])
    np.testing.assert_allclose(
        curve["estimate_psc"].to_numpy().reshape(2, 3) @ np.diag([2, 1, 0.5]),
        curve["estimate_psc"][[1, 1, 1, 4, 4, 4]].to_numpy().reshape(2, 3),
    )


def test_the_summary_counts_intervals_above_nothing(table: RoiTable) -> None:
    curve = trace_curve(table, {"reversed": scale(table, -1.0), "double": scale(table, 2.0)}, QUESTION)
    found = summarize_curve(curve).set_index("roi")
    planned = curve[(curve["variant"] == PLANNED) & (curve["roi"] == "V3")]["estimate_psc"].iloc[0]
    assert found.loc["V3", ["above", "variants"]].tolist() == [2, 3]
    assert found.loc["V3", ["planned", "smallest", "largest"]].tolist() == pytest.approx([planned, -planned, 2 * planned])


def test_a_region_that_only_a_variant_has_is_left_out(table: RoiTable) -> None:
    few = RoiTable(table.table[table.table["roi"] == "LO"])
    contrasts = Question(make_protocol().contrasts[1:2], planned=True, alpha=0.05)
    curve = trace_curve(few, {"more": table}, contrasts)
    assert curve[["variant", "roi"]].to_numpy().tolist() == [[PLANNED, "LO"], ["more", "LO"]]
    assert summarize_curve(curve)["variants"].tolist() == [2]


def test_other_data_are_refused(table: RoiTable) -> None:
    fewer = RoiTable(table.table[table.table["subject"] != "02"])
    with pytest.raises(InputError, match=r"variant 'spm': .* differs in subject '02' from the planned table"):
        trace_curve(table, {"spm": fewer}, QUESTION)


def test_the_verb_and_the_page_tell_it(table: RoiTable, tmp_path: Path) -> None:
    table.write(tmp_path / "roi_table.tsv")
    scale(table, 0.5).write(tmp_path / "half.tsv")
    make_protocol().write(tmp_path / "plan.json")
    run = ("group", tmp_path / "roi_table.tsv", "--protocol", tmp_path / "plan.json", "--out", tmp_path / "group")
    with pytest.raises(InputError, match=r"--variant: 'half.tsv' is not of the form NAME=ROI_TABLE"):
        run_analysis(*run, "--variant", "half.tsv")
    run_analysis(*run, "--variant", f"half={tmp_path / 'half.tsv'}")
    curve = Supplement.read(tmp_path / "group").tables["curve.tsv"]
    assert set(curve["variant"]) == {PLANNED, "half"}
    assert pd.read_csv(tmp_path / "group" / "group.tsv", sep="\t")["claimed"].all()
    run_analysis("report", tmp_path / "group")
    text = (tmp_path / "group" / "report.html").read_text()
    assert "Does it hang on a choice?" in text
    assert "half, as planned. Only what was planned is claimed from." in text
