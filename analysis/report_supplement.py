"""What stands beside the group's tests in, as tables for the report; words and numbers only. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from analysis.curve import summarize_curve
from analysis.flags import FLAGS
from analysis.group import GroupResult
from analysis.sentences import format_p
from analysis.supplement import Supplement

_MINUS = "\N{MINUS SIGN}"
_SHOWN = 12  # digits of a hash


def lay_out_supplement(supplement: Supplement, result: GroupResult) -> dict[str, Any]:
    """Return what the page shows: the plan, each subject's results, the tables of `--set`, and what the checks found."""
    makers: dict[str, Callable[[pd.DataFrame], dict[str, Any]]] = {
        "prediction.tsv": _lay_out_prediction,
        "gain.tsv": _lay_out_gain,
        "transfer.tsv": _lay_out_transfer,
        "dose.tsv": _lay_out_dose,
        "curve.tsv": _lay_out_curve,
        "mixedlm.tsv": _lay_out_mixedlm,
    }
    tables = supplement.tables
    flags = tables.get("flags.tsv", pd.DataFrame(columns=["flag", "place", "found"]))
    return {
        "plan": describe_plan(result),
        "subjects": _lay_out_subjects(tables["subjects.tsv"]) if "subjects.tsv" in tables else None,
        "sentences": result.summary.get("subjects_alone", []),
        "tables": [make(tables[name]) for name, make in makers.items() if name in tables],
        "self_tests": [test["words"] for test in (result.summary.get("self_test"), result.summary.get("shift_test")) if test],
        "checked": "flags" in result.summary,
        "flags": [{**row, "means": FLAGS.get(row["flag"], "")} for row in flags.to_dict("records")],
    }


def describe_plan(result: GroupResult) -> list[str]:
    """Say what was planned, what was locked, and what was not planned."""
    lock, tests = result.summary.get("lock"), result.tests
    planned = list(dict.fromkeys(tests.loc[tests["planned"] & (tests["roi"] != "all"), "expression"]))
    rest = tests.loc[~tests["planned"] & (tests["roi"] != "all"), ["expression", "roi"]]
    lines = []
    if planned:
        rois = dict.fromkeys(tests.loc[tests["planned"] & (tests["roi"] != "all"), "roi"])
        lines.append(f"Planned: {'; '.join(planned)}, in {', '.join(rois)}; family-wise error at most {100 * result.summary['alpha']:g} %.")
    if lock:
        created = f" on {lock['created']}" if lock.get("created") else ""
        lines.append(f"Locked{created}, with the stimulus set: sha256 {lock['sha256'][:_SHOWN]}.")
    elif planned:
        lines.append("Not locked before scanning: that the plan was made without the data rests on the authors' word.")
    for expression, part in rest.groupby("expression", sort=False):
        lines.append(f"Not planned, so exploratory: {expression}, in {', '.join(part['roi'])}.")
    return lines


def _lay_out_subjects(rows: pd.DataFrame) -> dict[str, Any]:
    """Return a row for each contrast and ROI and a column for each subject."""
    subjects = list(dict.fromkeys(rows["subject"]))
    lines = []
    for (expression, roi), part in rows.groupby(["expression", "roi"], sort=False):
        own = {row["subject"]: row for row in part.to_dict("records")}
        cells = [_lay_out_cell(own[subject]) if subject in own else None for subject in subjects]
        lines.append({"expression": expression, "roi": roi, "cells": cells})
    return {"subjects": subjects, "rows": lines}


def _lay_out_cell(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {"text": f"{_show(row['estimate_psc'])} [{_show(row['ci_low'])}, {_show(row['ci_high'])}]", "positive": bool(row["positive"])}


def _lay_out_prediction(rows: pd.DataFrame) -> dict[str, Any]:
    cells = [
        (
            *(row["score"], f"{row['scope']} sets", row["roi"], f"{row['images']}"),
            _show_interval(row["r"], row["r_low"], row["r_high"]),
            _show(row["noise_ceiling"]),
            _show_interval(row["normalized_r"], row["normalized_r_low"], row["normalized_r_high"]),
        )
        for row in rows.to_dict("records")
    ]
    return {
        "title": "How well the models foresaw it",
        "columns": ("score", "correlation", "ROI", "images or sets", "r", "noise ceiling", "r over ceiling"),
        "rows": cells,
        "note": "Between sets: did the models know which kind of image drives the region; within: more than that. The noise ceiling is the "
        "r of a perfect model; r over it is told where its square is four standard errors above 0. Intervals hold for new images.",
    }


def _lay_out_gain(rows: pd.DataFrame) -> dict[str, Any]:
    cells = [
        (
            row["roi"],
            _show_interval(row["gain_psc"], row["ci_low"], row["ci_high"]),
            format_p(row["p"]).removeprefix("= "),
            f"{row['above_best_natural']:.0%}",
            *(_show(row["judged_gain"]), _show(row["predicted_gain"])),
        )
        for row in rows.to_dict("records")
    ]
    return {
        "title": "What made images gained over natural ones",
        "columns": ("ROI", "gain, %", "p", "above the best natural", "judged gain, z", "predicted gain, z"),
        "rows": cells,
        "note": "Subjects and images random; not corrected for the number of regions.",
    }


def _lay_out_transfer(rows: pd.DataFrame) -> dict[str, Any]:
    cells = [
        (*(str(row[name]) for name in ("roi", "made_for", "measured_in", "relation")), _show(row["effect_psc"]), str(row["images"]))
        for row in rows.to_dict("records")
    ]
    return {
        "title": "Made for one, measured in another",
        "columns": ("ROI", "made for", "measured in", "relation", "own minus other, %", "images"),
        "rows": cells,
        "note": "Images made for the region (and these subjects' voxels) minus images made for other regions.",
    }


def _lay_out_dose(rows: pd.DataFrame) -> dict[str, Any]:
    cells = [
        (
            *(row["roi"], str(row["levels"])),
            _show_interval(row["slope_psc"], row["ci_low"], row["ci_high"]),
            format_p(row["p"]).removeprefix("= "),
        )
        for row in rows.to_dict("records")
    ]
    return {
        "title": "Dose and response",
        "columns": ("ROI", "doses", "slope, % per z", "p"),
        "rows": cells,
        "note": "Percent signal change for each standard deviation of natural images that was asked for.",
    }


def _lay_out_curve(rows: pd.DataFrame) -> dict[str, Any]:
    cells = [
        (
            *(row["expression"], row["roi"], _show(row["planned"])),
            f"{_show(row['smallest'])} to {_show(row['largest'])}",
            f"{row['above']} of {row['variants']}",
        )
        for row in summarize_curve(rows).to_dict("records")
    ]
    variants = ", ".join(dict.fromkeys(rows["variant"]))
    return {
        "title": "Does it hang on a choice?",
        "figure": "curve",
        "columns": ("contrast", "ROI", "as planned, %", "over all choices", "interval above 0"),
        "rows": cells,
        "note": f"The same plan asked of the same data analyzed otherwise: {variants}. Only what was planned is claimed from.",
    }


def _lay_out_mixedlm(rows: pd.DataFrame) -> dict[str, Any]:
    cells = [
        (
            *(row["expression"], row["roi"], _show_interval(row["estimate_psc"], row["ci_low"], row["ci_high"])),
            *(_show(row["z"]), format_p(row["p"]).removeprefix("= "), "yes" if row["converged"] else "no"),
        )
        for row in rows.to_dict("records")
    ]
    return {
        "title": "The same by a mixed model of statsmodels",
        "columns": ("contrast", "ROI", "effect, %", "z", "p", "optimum found"),
        "rows": cells,
        "note": "For comparison alone, where a contrast has two sets: subjects, their differences and images crossed. It tests by z, as if "
        "variances were known, so that with few subjects or images its p is too small.",
    }


def _show(value: float) -> str:
    return "n/a" if pd.isna(value) else f"{value:.2f}".replace("-", _MINUS)


def _show_interval(value: float, low: float, high: float) -> str:
    return "n/a" if pd.isna(value) else f"{_show(value)} [{_show(low)}, {_show(high)}]"
