"""The page about what stands beside the tests: it says what the tables say, and what was planned, locked, or neither."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.flags import EVENTS, FLAGS
from analysis.report_supplement import lay_out_supplement
from analysis.supplement import Supplement
from protocols.roi_table import RoiTable
from tests.analysis.planted import ROIS, make_protocol, make_set
from tests.analysis.program import run_analysis
from tests.analysis.tables import draw_table
from tests.analysis.test_report import answer


def read_text(page: Path) -> str:
    """Return the page's words without tags, spaces made one."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.read_text())).split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A locked study whose second subject's third run has the events of another run."""
    place = tmp_path_factory.mktemp("told")
    stimuli = make_set(place / "set", per_cell=4)
    make_protocol().write(place / "plan.json")
    run_analysis("lock", place / "plan.json", "--set", stimuli.folder)
    rng = np.random.default_rng(0)
    rows = draw_table(rng, rois=ROIS, per_set=4, runs=4, subjects=3, effect=1.5, residual_sd=0.4, image_sd=0.6).table
    chosen = (rows["subject"] == "02") & (rows["run"] == 3)
    order = dict(zip(stimuli.table["stim_id"], rng.permutation(stimuli.table["stim_id"]), strict=True))
    rows["place"] = rows["stim_id"].where(~chosen, rows["stim_id"].map(order))
    values = rows.set_index(["subject", "run", "roi", "stim_id"])["response_psc"]
    rows["response_psc"] = values.loc[pd.MultiIndex.from_frame(rows[["subject", "run", "roi", "place"]])].to_numpy()
    RoiTable(rows.drop(columns="place")).write(place / "roi_table.tsv")
    run_analysis(
        *("group", place / "roi_table.tsv", "--protocol", place / "plan.json", "--set", stimuli.folder),
        *("--contrast", "natural - scrambled", "--out", place / "group"),
    )
    run_analysis("report", place / "group", "--set", stimuli.folder)
    return place / "group"


def test_the_page_says_what_was_planned_locked_and_neither(folder: Path) -> None:
    text = read_text(folder / "report.html")
    assert "Planned: target - other; target - natural; target - scrambled, in V3, LO, EBA, FFA; family-wise error at most 5 %." in text
    assert re.search(r"Locked on 20\d\d-.*, with the stimulus set: sha256 [0-9a-f]{12}\.", text)
    assert "Not planned, so exploratory: natural - scrambled, in V3, LO, EBA, FFA." in text
    assert "Not locked" not in text


def test_the_page_names_what_looks_wrong_and_what_it_may_mean(folder: Path) -> None:
    text = read_text(folder / "report.html")
    assert f"{EVENTS} sub-02_ses-01_run-03 slope on the other runs" in text
    assert FLAGS[EVENTS] in text
    assert "No check raised a flag" not in text


def test_the_page_has_each_subject_and_the_prediction(folder: Path) -> None:
    text = read_text(folder / "report.html")
    told = json.loads((folder / "group.json").read_text())["subjects_alone"]
    assert len(told) == 4
    assert all(sentence in text for sentence in told)
    for row in Supplement.read(folder).tables["subjects.tsv"].to_dict("records"):
        assert f"{row['estimate_psc']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}]".replace("-", "\N{MINUS SIGN}") in text
    for title in ("Each subject alone", "How well the models foresaw it", "What made images gained over natural ones"):
        assert title in text
    assert "Dose and response" not in text


def test_without_a_lock_the_page_says_so() -> None:
    plan = lay_out_supplement(Supplement({}), answer(1, effect=2.0))["plan"]
    assert plan[1] == "Not locked before scanning: that the plan was made without the data rests on the authors' word."


def test_transfer_and_dose_are_shown_where_they_are_there() -> None:
    transfer = pd.DataFrame(
        [("FFA", "01", "02", "other", -0.5, 4)], columns=["roi", "made_for", "measured_in", "relation", "effect_psc", "images"]
    )
    dose = pd.DataFrame([("FFA", 3, 0.7, 0.5, 0.9, 1e-6, 12)], columns=["roi", "levels", "slope_psc", "ci_low", "ci_high", "p", "images"])
    tables = lay_out_supplement(Supplement({"transfer.tsv": transfer, "dose.tsv": dose}), answer(1, effect=2.0))["tables"]
    assert tables[0]["rows"] == [("FFA", "01", "02", "other", "\N{MINUS SIGN}0.50", "4")]
    assert tables[1]["rows"] == [("FFA", "3", "0.70 [0.50, 0.90]", "< .0001")]
