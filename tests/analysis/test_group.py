"""The group analysis: estimates by hand, claims where effects are and nowhere else, files that never change, refusals."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.crossed import CROSSED
from analysis.group import GroupResult, Question, analyze
from analysis.group_files import read_group
from analysis.group_twin import note_twin
from analysis.unbalanced import REML
from protocols.errors import InputError
from protocols.protocol import Contrast
from protocols.roi_table import RoiTable
from tests.analysis.planted import make_protocol
from tests.analysis.program import run_analysis
from tests.analysis.tables import draw_table

PLANNED = Question(make_protocol().contrasts, planned=True, alpha=0.05)


def ask(expression: str) -> Question:
    return Question((Contrast(name="asked", expression=expression),), planned=False, alpha=0.05)


def get_row(result: GroupResult, contrast: str, roi: str) -> pd.Series:
    tests = result.tests
    return tests[(tests["contrast"] == contrast) & (tests["roi"] == roi)].iloc[0]


def test_estimates_are_differences_of_means() -> None:
    table = draw_table(np.random.default_rng(0), subjects=3, runs=2)
    rows = table.table[table.table["roi"] == "LO"]
    own = rows[(rows["condition"] == "target") & (rows["target"] == "LO")]["response_psc"].mean()
    other = rows[(rows["condition"] == "target") & (rows["target"] != "LO")]["response_psc"].mean()
    natural = rows[(rows["condition"] == "natural") & (rows["target"] == "LO")]["response_psc"].mean()
    result = analyze(table, PLANNED)
    assert get_row(result, "own_vs_other", "LO")["estimate_psc"] == pytest.approx(own - other)
    assert get_row(result, "own_vs_natural", "LO")["estimate_psc"] == pytest.approx(own - natural)
    assert get_row(result, "own_vs_other", "LO")["images"] == 25


def test_real_effects_are_claimed_with_the_floor_of_the_gate() -> None:
    result = analyze(draw_table(np.random.default_rng(1), effect=2.0), PLANNED)
    assert result.tests["claimed"].all()
    gate = result.tests.iloc[0]
    assert (gate["family"], gate["roi"]) == ("gate", "all")
    assert gate["p"] == gate["p_floor"] == pytest.approx(1 / 120)
    counts = {"rois": 5, "per_subject": dict.fromkeys(("01", "02", "03", "04"), 5), "mean": 5}
    assert result.summary["own_wins"] == {**counts, "p": pytest.approx(1 / 120), "p_floor": pytest.approx(1 / 120)}


@pytest.mark.parametrize(("subject_sd", "seed"), [(0.0, 2), (1.0, 3)])
def test_claims_are_rare_where_nothing_is(subject_sd: float, seed: int) -> None:
    """Pure noise, and participants whose tuning has nothing to do with the images (the demo's NULL)."""
    rng = np.random.default_rng(seed)
    tables = (draw_table(rng, subject_sd=subject_sd, image_sd=subject_sd / 2, per_set=5, conditions=("target",)) for _ in range(30))
    primary = dataclasses.replace(PLANNED, contrasts=PLANNED.contrasts[:1])
    claims = sum(analyze(table, primary).tests.iloc[1:]["claimed"].any() for table in tables)
    assert claims <= stats.binom.ppf(0.999, 30, 0.05)


def test_a_command_line_contrast_is_exploratory() -> None:
    result = analyze(draw_table(np.random.default_rng(4), effect=3.0), ask("target - natural"))
    assert not result.tests["claimed"].any()
    assert not result.tests["planned"].any()
    assert set(result.tests["family"]) == {"gate", "exploratory"}


def test_two_rois_are_gated_by_the_crossed_interaction() -> None:
    result = analyze(draw_table(np.random.default_rng(5), rois=("OFA", "FFA"), effect=2.0, subject_sd=0.1), PLANNED)
    gate = result.tests.iloc[0]
    assert np.isnan(gate["p_floor"])
    assert gate["method"].startswith("crossed")
    assert gate["claimed"]
    assert any("2 image sets can be relabeled in 2 ways only" in note for note in result.summary["notes"])


def test_one_subject_is_about_images_only() -> None:
    result = analyze(draw_table(np.random.default_rng(6), subjects=1, effect=2.0), PLANNED)
    assert all("does not generalize to people" in method for method in result.tests["method"])
    assert "one subject: intervals and claims hold for new images shown to this person, not for other people" in result.summary["notes"]


def test_images_that_a_subject_missed_are_kept_by_restricted_maximum_likelihood() -> None:
    table = draw_table(np.random.default_rng(7))
    missed = (table.table["subject"] == "02") & (table.table["stim_id"] == "naturalLO3")
    result = analyze(RoiTable(table.table[~missed]), PLANNED)
    assert "1 of 75 images were not seen by every subject: tests that use them allow for the gaps (see method)" in result.summary["notes"]
    assert get_row(result, "own_vs_natural", "LO")["images"] == 10
    assert get_row(result, "own_vs_natural", "LO")["method"] == REML
    assert get_row(result, "own_vs_natural", "V3")["method"] == CROSSED
    assert get_row(result, "own_vs_natural", "LO")["p_images"] > 1 / 252  # 126 ways without the image that one subject missed


def test_a_roi_that_a_subject_lacks_is_tested_in_the_others() -> None:
    table = draw_table(np.random.default_rng(7), effect=2.0, subjects=5)
    result = analyze(RoiTable(table.table[(table.table["roi"] != "LO") | (table.table["subject"] != "03")]), PLANNED)
    assert "subject 03 has no responses of ROI LO: tests there are of the other subjects" in result.summary["notes"]
    assert "specificity is of the subjects that have every targeted ROI and image set; 1 left out" in result.summary["notes"]
    counts = result.tests.groupby("roi")["subjects"].first()
    assert counts.to_dict() == {"V3": 5, "EBA": 5, "FFA": 5, "RSC": 5, "LO": 4, "all": 4}
    assert get_row(result, "own_vs_other", "LO")["claimed"]
    assert get_row(result, "own_vs_other", "LO")["p_permutation_floor"] == 2 / 16
    assert get_row(result, "own_vs_other", "V3")["p_permutation_floor"] == 2 / 32
    assert "03" not in result.summary["own_wins"]["per_subject"]
    missing = (result.matrix["subject"] == "03") & (result.matrix["roi"] == "LO")
    assert not missing.any()


def test_uneven_runs_are_weighed() -> None:
    table = draw_table(np.random.default_rng(8), runs=3).table
    dropped = (table["run"] == 3) & (table["subject"] == "02")
    result = analyze(RoiTable(table[~dropped]), PLANNED)
    assert set(result.tests["method"][1:]) == {REML}
    assert not any("images were not seen" in note for note in result.summary["notes"])


def test_images_of_one_subject_each_are_analyzed_without_permutation() -> None:
    table = draw_table(np.random.default_rng(10), subjects=3).table
    result = analyze(RoiTable(table.assign(stim_id=table["stim_id"] + "of" + table["subject"])), ask("target - natural"))
    row = get_row(result, "asked", "LO")
    assert (row["images"], row["method"]) == (30, REML)
    assert np.isnan(row["p_permutation"])


def test_the_twin_stands_beside_each_test() -> None:
    result = analyze(draw_table(np.random.default_rng(15), subjects=7, per_set=6, effect=2.0), PLANNED)
    gate, rows = result.tests.iloc[0], result.tests.iloc[1:]
    assert gate["p_permutation"] == gate["p"]
    assert (rows["p_permutation"] >= rows["p_permutation_floor"]).all()
    assert (rows["p_permutation_corrected"] >= rows["p_permutation"]).all()
    assert (rows["p_permutation"] == rows[["p_images", "p_subjects", "p_both"]].max(axis=1)).all()
    assert not any("permutation" in note for note in result.summary["notes"])
    few = analyze(draw_table(np.random.default_rng(15), subjects=3, effect=2.0), PLANNED)
    assert (
        "permutation cannot give a p below 0.25 with these subjects and images: it neither supports nor denies a claim"
        in few.summary["notes"]
    )


def test_a_claim_that_permutation_does_not_bear_out_is_named() -> None:
    table = draw_table(np.random.default_rng(16), subjects=7, per_set=6, effect=1.0).table
    result = analyze(RoiTable(table), PLANNED)
    tests = result.tests.assign(p_permutation_corrected=result.tests["p_permutation_corrected"].where(result.tests["roi"] != "LO", 0.2))
    notes = note_twin(tests.assign(claimed=True), 0.05)
    assert notes[0] == "permutation does not bear out the claim of own_vs_other in LO (corrected p 0.200)"


def test_intervals_of_the_matrix_and_of_comparisons() -> None:
    table = draw_table(np.random.default_rng(17), rois=("V3", "LO", "FFA"), effect=1.5)
    result = analyze(table, PLANNED)
    means = result.matrix[result.matrix["subject"] == "mean"]
    assert ((means["ci_low"] < means["response_psc"]) & (means["response_psc"] < means["ci_high"])).all()
    assert result.matrix.loc[result.matrix["subject"] != "mean", "ci_low"].isna().all()
    pairs = result.specificity[result.specificity["comparison"] == "pair dissociation"]
    assert list(zip(pairs["roi"], pairs["other"], strict=True)) == [("V3", "LO"), ("V3", "FFA"), ("LO", "FFA")]
    cell = means.set_index(["roi", "image_set"])["response_psc"]
    interaction = cell["V3", "target_LO"] * -1 + cell["V3", "target_V3"] - cell["LO", "target_V3"] + cell["LO", "target_LO"]
    assert pairs["estimate_psc"].iloc[0] == pytest.approx(interaction)
    own = result.specificity[result.specificity["comparison"] == "own against best other"].set_index("roi")
    other = max(cell["FFA", "target_V3"], cell["FFA", "target_LO"])
    assert own.loc["FFA", "estimate_psc"] == pytest.approx(cell["FFA", "target_FFA"] - other)


def test_conditions_without_targets_are_compared_in_every_roi() -> None:
    table = draw_table(np.random.default_rng(8), rois=("A", "B")).table
    table = table.assign(condition=table["condition"].map({"target": "faces", "natural": "houses", "scrambled": "x"}), target=None)
    result = analyze(RoiTable(table), ask("faces - houses"))
    assert list(result.tests["roi"]) == ["A", "B"]
    assert result.tests["images"].tolist() == [20, 20]


def test_matrix_holds_means_per_subject_and_overall() -> None:
    table = draw_table(np.random.default_rng(9), subjects=2)
    matrix = analyze(table, PLANNED).matrix
    rows = table.table
    mean = rows[(rows["roi"] == "V3") & (rows["condition"] == "target") & (rows["target"] == "FFA") & (rows["subject"] == "02")][
        "response_psc"
    ].mean()
    cell = matrix[(matrix["roi"] == "V3") & (matrix["image_set"] == "target_FFA")].set_index("subject")["response_psc"]
    assert cell["02"] == pytest.approx(mean)
    assert cell["mean"] == pytest.approx(cell[["01", "02"]].mean())


REFUSED = {
    "unknown condition": (
        lambda t: t,
        "target - houses",
        r"contrast 'target - houses', ROI V3: no condition 'houses' in the ROI table; conditions are target, natural",
    ),
    "only one hemisphere": (lambda t: t.assign(hemisphere="L"), "target - natural", "no rows with hemisphere 'LR'"),
    "every subject lacks an ROI": (
        lambda t: t[(t["roi"] != "LO") | ~t["subject"].isin(("03", "04"))][lambda t: (t["roi"] != "V3") | ~t["subject"].isin(("01", "02"))],
        "target - natural",
        "specificity: no subject has responses of every targeted ROI",
    ),
    "two sets": (
        lambda t: t.assign(target=t["target"].where((t["stim_id"] != "targetV30") | (t["subject"] != "01"), "LO")),
        "target - natural",
        "'targetV30' has two conditions or targets",
    ),
    "one image per set": (
        lambda t: t[t["stim_id"].str.endswith("0")],
        "target - natural",
        "specificity: an image set has 1 image; at least 2",
    ),
    "nothing to compare": (lambda t: t[(t["condition"] == "target") & (t["target"] == "V3")], "target - other", "applies to no ROI"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_refuses(fault: str) -> None:
    spoil, expression, message = REFUSED[fault]
    table = RoiTable(spoil(draw_table(np.random.default_rng(10)).table))
    with pytest.raises(InputError, match=message):
        analyze(table, ask(expression))


def test_files_are_identical_on_a_second_run(tmp_path: Path) -> None:
    table, protocol = tmp_path / "roi_table.tsv", tmp_path / "protocol.json"
    draw_table(np.random.default_rng(11), effect=1.0).write(table)
    make_protocol().write(protocol)
    for out in ("one", "two"):
        run_analysis("group", table, "--protocol", protocol, "--out", tmp_path / out)
    for name in ("group.tsv", "group.json", "matrix.tsv", "specificity.tsv", "roi_table.tsv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / "roi_table.tsv").read_bytes() == table.read_bytes()


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    table = tmp_path / "roi_table.tsv"
    draw_table(np.random.default_rng(12)).write(table)
    printed = run_analysis("group", table, "--contrast", "target - natural", "--contrast", "target - other", "--out", tmp_path / "out")
    result, read_table = read_group(tmp_path / "out")
    again = analyze(
        RoiTable.read(table), Question((Contrast(name="target - natural", expression="target - natural"),), planned=False, alpha=0.05)
    )
    assert result.tests["claimed"].dtype == bool
    assert get_row(result, "target - natural", "LO")["p"] == pytest.approx(get_row(again, "target - natural", "LO")["p"])
    assert json.loads((tmp_path / "out" / "group.json").read_text())["tests"][0]["contrast"] == "specificity"
    pd.testing.assert_frame_equal(read_table.table, RoiTable.read(table).table)
    assert printed.rstrip().endswith("0 claimed (exploratory)")


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    draw_table(np.random.default_rng(13)).write(tmp_path / "roi_table.tsv")
    run_analysis("group", tmp_path / "roi_table.tsv", "--contrast", "target - natural", "--out", tmp_path / "out")
    tsv = tmp_path / "out" / "group.tsv"
    tsv.write_text(tsv.read_text().replace("false", "true"))
    with pytest.raises(InputError, match=r"group.tsv: does not match its sha256"):
        read_group(tmp_path / "out")


def test_what_is_asked_must_be_said_and_parse(tmp_path: Path) -> None:
    draw_table(np.random.default_rng(14)).write(tmp_path / "roi_table.tsv")
    with pytest.raises(InputError, match="give --protocol or --lock, or --contrast"):
        run_analysis("group", tmp_path / "roi_table.tsv", "--out", tmp_path / "out")
    with pytest.raises(InputError, match="--contrast: contrast 'target' needs at least one term on each side"):
        run_analysis("group", tmp_path / "roi_table.tsv", "--contrast", "target", "--out", tmp_path / "out")
    make_protocol(contrasts=[]).write(tmp_path / "protocol.json")
    with pytest.raises(InputError, match="has no primary contrast"):
        run_analysis("group", tmp_path / "roi_table.tsv", "--protocol", tmp_path / "protocol.json", "--out", tmp_path / "out")
