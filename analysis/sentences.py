"""A GroupResult in, the answer in words out: what is claimed, with its uncertainty, and what was not shown. Pure."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.decision import GATE, PRIMARY, SECONDARY
from analysis.group import GroupResult
from protocols.protocol import OTHER, split_contrast

_MINUS = "\N{MINUS SIGN}"


def answer_question(result: GroupResult) -> str:
    """Return the answer in one sentence: how many ROIs their own images drive more, or that nothing is claimed.

    It says no more than the `claimed` column does.
    """
    if result.summary.get("circular"):
        return f"circular, so nothing is claimed: data that chose a region also test it ({_count_data(result)})"
    if not result.summary["planned"]:
        return f"exploratory, so nothing is claimed: these contrasts were not planned ({_count_data(result)})"
    primary = result.tests[result.tests["family"] == PRIMARY]
    expression = str(primary["expression"].iloc[0])
    rois = list(dict.fromkeys(primary["roi"]))
    held = list_claimed_rois(result)
    against = " and ".join(dict.fromkeys(describe_comparison(str(one)) for one in primary["expression"]))
    if not held:
        subject = "images made for an ROI drive it" if _starts_with_target(expression) else f"{_name(expression)} drive an ROI"
        return f"no claim: the data do not show that {subject} more than {against} ({_count_data(result)}{_say_gate(result)})"
    alpha = f"family-wise error at most {100 * result.summary['alpha']:g} %"
    where = f"{len(held)} of {len(rois)} ROIs"
    if _starts_with_target(expression):
        return f"images made for {where} drive their own ROI more than {against} ({_count_data(result)}; {alpha}{_say_scope(result)})"
    return f"{_name(expression)} drive {where} more than {against} ({_count_data(result)}; {alpha}{_say_scope(result)})"


def list_claimed_rois(result: GroupResult) -> list[str]:
    """Return the ROIs in which every primary contrast is claimed."""
    primary = result.tests[result.tests["family"] == PRIMARY]
    by_roi = primary.groupby("roi", sort=False)["claimed"].all()
    return [str(roi) for roi in by_roi.index[by_roi]]


def describe_claims(result: GroupResult) -> list[str]:
    """Return a sentence for each claim, primary ones first, with estimate and interval."""
    claimed = result.tests[result.tests["claimed"] & result.tests["family"].isin((PRIMARY, SECONDARY))]
    return [_describe_test(row) for row in claimed.to_dict("records")]


def describe_rest(result: GroupResult) -> list[str]:
    """Return a sentence for each planned contrast about the ROIs in which it was not shown."""
    sentences = []
    planned = result.tests[result.tests["family"].isin((PRIMARY, SECONDARY))].assign(reversed=find_reversed(result))
    for (_, expression), rows in planned.groupby(["contrast", "expression"], sort=False):
        reached = rows[~rows["claimed"] & ~rows["reversed"] & rows["p_corrected"].notna()]
        unreached = rows[rows["p_corrected"].isna()]
        if len(reached):
            parts = [f"{row['roi']} (corrected p {format_p(row['p_corrected'])})" for row in reached.to_dict("records")]
            why = "" if _gate_passed(result) else " (the specificity test did not allow a claim)"
            sentences.append(
                f"{_own(str(expression))} more than {describe_comparison(str(expression))} was not shown in {', '.join(parts)}{why}."
            )
        sentences += [_describe_reversal(row) for row in rows[rows["reversed"]].to_dict("records")]
        if len(unreached):
            rois = ", ".join(unreached["roi"])
            sentences.append(
                f"{_own(str(expression))} against {describe_comparison(str(expression))} was not tested in {rois}: no primary effect there."
            )
    return sentences


def find_reversed(result: GroupResult) -> "pd.Series[bool]":
    """Mark the planned tests whose effect is significant against the planned direction; never claimed, and never to be hidden."""
    tests = result.tests
    planned = tests["family"].isin((PRIMARY, SECONDARY)) & _gate_passed(result)
    against: pd.Series[bool] = planned & (tests["p_corrected"] <= result.summary["alpha"]) & (tests["estimate_psc"] < 0)
    return against


def describe_gate(result: GroupResult) -> str:
    """Return a sentence about the specificity test."""
    gate = result.tests[result.tests["family"] == GATE]
    if gate.empty:
        return "Specificity over ROIs could not be tested."
    row = gate.iloc[0]
    floor = f", the smallest p attainable is {format_p(row['p_floor']).removeprefix('= ')}" if pd.notna(row["p_floor"]) else ""
    estimate = f"own images exceed what ROI and image set explain by {row['estimate_psc']:.2f} % on average".replace("-", _MINUS)
    verdict = "passed" if row["claimed"] else "exploratory" if not row["planned"] else "not passed, so nothing is claimed"
    return f"Specificity, all ROIs together: {estimate} (p {format_p(row['p'])}{floor}): {verdict}."


def describe_comparison(expression: str) -> str:
    """Say in words what a contrast compares with."""
    _, minus = split_contrast(expression)
    words = {OTHER: "the other images", "natural": "natural images", "scrambled": "phase-scrambled images"}
    return " and ".join(words.get(term, f"{term} images") for term in minus)


def format_p(p: float) -> str:
    """Return `< .0001` or `= .0123`."""
    return "< .0001" if p < 1e-4 else f"= {p:.4f}".replace("0.", ".", 1)


def _describe_test(row: Mapping[Hashable, Any]) -> str:
    comparison, p = describe_comparison(row["expression"]), format_p(row["p_corrected"])
    return f"{row['roi']}: {_own(row['expression']).lower()} more than {comparison}, by {_say_estimate(row)}, corrected p {p}."


def _describe_reversal(row: Mapping[Hashable, Any]) -> str:
    comparison, p = describe_comparison(row["expression"]), format_p(row["p_corrected"])
    return f"The reverse in {row['roi']}: {_own(row['expression']).lower()} less than {comparison}, {_say_estimate(row)}, corrected p {p}."


def _say_estimate(row: Mapping[Hashable, Any]) -> str:
    low, high = (f"{row[name]:.2f}".replace("-", _MINUS) for name in ("ci_low", "ci_high"))
    return f"{row['estimate_psc']:.2f} % signal change [{low}, {high}]".replace("-", _MINUS)


def _own(expression: str) -> str:
    return "Own images" if _starts_with_target(expression) else _name(expression).capitalize()


def _name(expression: str) -> str:
    plus, _ = split_contrast(expression)
    return " and ".join(plus) + " images"


def _starts_with_target(expression: str) -> bool:
    return split_contrast(expression)[0] == ["target"]


def _count_data(result: GroupResult) -> str:
    subjects = len(result.summary["subjects"])
    images = sum(result.summary["images"].values())
    return f"{subjects} subject{'s' * (subjects != 1)}, {images} images"


def _say_gate(result: GroupResult) -> str:
    gate = result.tests[result.tests["family"] == GATE]
    return f"; specificity p {format_p(float(gate['p'].iloc[0]))}" if len(gate) else ""


def _say_scope(result: GroupResult) -> str:
    """Say what limits a claim: one person, or a plan that was not locked before scanning."""
    person = "; this person only" if len(result.summary["subjects"]) == 1 else ""
    return person + ("; the plan was not locked before scanning" if result.summary.get("lock", "not asked") is None else "")


def _gate_passed(result: GroupResult) -> bool:
    gate: Sequence[bool] = list(result.tests.loc[result.tests["family"] == GATE, "claimed"])
    return all(gate)
