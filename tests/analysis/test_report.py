"""The report: says what is claimed and no more, in words, and needs nothing but itself."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from analysis.group import GroupResult, Question, analyze
from analysis.sentences import answer_question, describe_claims, describe_gate, describe_rest, find_reversed
from protocols.errors import InputError
from protocols.protocol import Contrast
from tests.analysis.planted import Study, make_protocol, make_set
from tests.analysis.program import run_analysis
from tests.analysis.tables import draw_table

NO_CLAIM = "no claim: the data do not show that images made for an ROI drive it more than the other images"


def answer(seed: int, question: Question | None = None, **table: object) -> GroupResult:
    planned = question or Question(make_protocol().contrasts, planned=True, alpha=0.05)
    return analyze(draw_table(np.random.default_rng(seed), **table), planned)


def test_answer_where_everything_holds() -> None:
    result = answer(1, effect=2.0)
    assert answer_question(result) == (
        "images made for 5 of 5 ROIs drive their own ROI more than the other images (4 subjects, 75 images; family-wise error at most 5 %)"
    )
    assert len(describe_claims(result)) == 15
    assert describe_claims(result)[0].startswith("V3: own images more than the other images, by ")
    assert describe_rest(result) == []
    assert describe_gate(result).endswith("(p = .0083, the smallest p attainable is .0083): passed.")


def test_answer_where_nothing_holds() -> None:
    result = answer(2)
    assert answer_question(result).startswith(NO_CLAIM + " (4 subjects, 75 images; specificity p = .")
    assert describe_claims(result) == []
    assert "not passed, so nothing is claimed" in describe_gate(result)
    assert describe_rest(result)[0].startswith("Own images more than the other images was not shown in V3 (corrected p = .")
    assert "was not tested in V3, LO, EBA, FFA, RSC: no primary effect there." in describe_rest(result)[1]


def test_an_effect_against_the_planned_direction_is_told_as_such_and_never_claimed() -> None:
    result = answer(3, effect=2.0)
    row = result.tests.index[(result.tests["expression"] == "target - natural") & (result.tests["roi"] == "RSC")][0]
    result.tests.loc[row, ["estimate_psc", "ci_low", "ci_high", "p_corrected", "claimed"]] = [-0.48, -0.74, -0.22, 0.028, False]
    assert list(result.tests.index[find_reversed(result)]) == [row]
    minus = "\N{MINUS SIGN}"
    effect = f"{minus}0.48 % signal change [{minus}0.74, {minus}0.22], corrected p = .0280"
    assert describe_rest(result) == [f"The reverse in RSC: own images less than natural images, {effect}."]
    result.tests.loc[row, "p_corrected"] = 0.06
    assert describe_rest(result) == ["Own images more than natural images was not shown in RSC (corrected p = .0600)."]


def test_answer_says_what_the_claimed_column_says_and_nothing_else() -> None:
    result = answer(3, effect=2.0)
    primary = result.tests["family"] == "primary"
    result.tests.loc[primary & result.tests["roi"].isin(["LO", "RSC"]), "claimed"] = False
    assert answer_question(result).startswith("images made for 3 of 5 ROIs drive")
    result.tests.loc[primary, "claimed"] = False
    assert answer_question(result).startswith(NO_CLAIM)


def test_answer_for_one_subject_is_about_that_person() -> None:
    assert answer_question(answer(4, subjects=1, effect=3.0)).endswith(
        "(1 subject, 75 images; family-wise error at most 5 %; this person only)"
    )


def test_exploratory_answers_claim_nothing() -> None:
    asked = Question((Contrast(name="x", expression="natural - scrambled"),), planned=False, alpha=0.05)
    assert answer_question(answer(5, asked, effect=3.0)) == (
        "exploratory, so nothing is claimed: these contrasts were not planned (4 subjects, 75 images)"
    )


def test_contrasts_of_plain_conditions_are_named_as_they_are() -> None:
    planned = Question((Contrast(name="x", expression="natural - scrambled"),), planned=True, alpha=0.05)
    result = answer(6, planned, effect=3.0)
    assert answer_question(result).startswith(
        "no claim: the data do not show that natural images drive an ROI more than phase-scrambled images"
    )


class Links(HTMLParser):
    """Collects everything that a page would load, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]


@pytest.fixture(scope="module")
def page(study: Study, bids: Path, group_folder: Path) -> str:
    model = study.folder / "lite0"
    model.mkdir()
    accuracy = {"subject": ["01"], "roi": ["V3"], "voxels": [20], "cv_r": [0.4812], "test_r": [0.5], "noise_ceiling": [np.nan]}
    pd.DataFrame(accuracy).to_csv(model / "accuracy.tsv", sep="\t", index=False, na_rep="n/a")
    Image.new("RGB", (30, 20)).save(model / "accuracy.png")
    out = study.folder / "report.html"
    printed = run_analysis("report", group_folder, "--set", study.stimuli, "--bids", bids, "--model", model, "--out", out)
    assert printed.splitlines()[-1].startswith(
        f"{out}: images made for 4 of 4 ROIs drive their own ROI more than the other images (3 subjects"
    )
    return out.read_text()


def test_page_needs_no_network_and_is_small(page: str) -> None:
    found = Links()
    found.feed(page)
    assert all(link.startswith(("data:image/", "#")) for link in found.links)
    assert sum(link.startswith("data:image/jpeg") for link in found.links) == 36
    assert not {"script", "link", "iframe"} & set(found.tags)
    assert "url(http" not in page
    assert "@import" not in page
    assert len(page) < 5_000_000


def test_page_ids_are_unique_and_references_resolve(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= set(ids)


def test_page_begins_with_the_answer_and_shows_every_part(page: str) -> None:
    body = page[page.index("<body>") :]
    assert 0 < body.index("Images made for 4 of 4 ROIs") < body.index("<h2>")
    headings = re.findall(r"<h2>(.*?)</h2>", body)
    assert headings == [
        "The images",
        "Which images drive which region",
        "Own images against controls, subject by subject",
        "Each subject alone",
        "Did the models foresee it?",
        "The same by a mixed model of statsmodels",
        "Encoding model lite0",
        "What was planned",
        "Does anything look wrong?",
        "Every test",
        "How it was tested",
        "Versions and hashes",
    ]
    assert "0.48" in body


def test_page_without_options_still_answers(group_folder: Path, tmp_path: Path) -> None:
    run_analysis("report", group_folder, "--out", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "Images made for 4 of 4 ROIs" in text
    assert "<img" not in text


def test_page_claims_nothing_where_nothing_is_claimed(tmp_path: Path) -> None:
    draw_table(np.random.default_rng(2)).write(tmp_path / "roi_table.tsv")
    make_protocol(title="a <b>bold</b> title").write(tmp_path / "protocol.json")
    run_analysis("group", tmp_path / "roi_table.tsv", "--protocol", tmp_path / "protocol.json", "--out", tmp_path / "group")
    printed = run_analysis("report", tmp_path / "group")
    text = (tmp_path / "group" / "report.html").read_text()
    assert NO_CLAIM in printed
    assert "N" + NO_CLAIM[1:] in text
    assert "&#10003;" not in text
    assert 'class="claimed"' not in text
    assert "a &lt;b&gt;bold&lt;/b&gt; title" in text


def test_task_and_timing_come_from_the_events(study: Study, bids: Path, group_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(bids, tmp_path / "bids")
    path = sorted((tmp_path / "bids").glob("sub-01/**/*_events.json"))[0]
    path.write_text(
        '{"RunState": "complete", "Rehearsal": true, "TaskScore": {"hits": 3, "probes": 4, "false_alarms": 1}, "LargestOnsetError": 0.004}'
    )
    run_analysis("report", group_folder, "--bids", tmp_path / "bids", "--out", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "3 of 4 hits, 1 false alarms" in text
    assert "complete (rehearsed: nobody in the scanner)" in text
    assert "4.0" in text


def test_refusals(study: Study, group_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("precious")
    with pytest.raises(InputError, match="exists already; name another file, or give --overwrite"):
        run_analysis("report", group_folder, "--out", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "precious"
    run_analysis("report", group_folder, "--out", tmp_path / "page.html", "--overwrite")
    other = make_set(tmp_path / "set", rois=("V3", "LO"))
    with pytest.raises(InputError, match="lacks 'targetEBA0', which the ROI table has"):
        run_analysis("report", group_folder, "--set", other.folder, "--out", tmp_path / "other.html")
    with pytest.raises(InputError, match="no such folder"):
        run_analysis("report", tmp_path / "absent")
    with pytest.raises(InputError, match=r"accuracy.tsv: no such file"):
        run_analysis("report", group_folder, "--model", tmp_path, "--out", tmp_path / "other.html")
