"""A group folder, and where they are given its stimulus set, data set and models, in; one self-contained HTML page out."""

import base64
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.curve import PLANNED
from analysis.decision import EXPLORATORY, PRIMARY, SECONDARY
from analysis.figures import choose_color, draw_conditions, draw_curve, draw_matrix, draw_prediction
from analysis.group import MEAN, GroupResult
from analysis.image_responses import ImageResponses, average_runs
from analysis.map_contrasts import TARGET
from analysis.report_supplement import lay_out_supplement
from analysis.sentences import answer_question, describe_claims, describe_comparison, describe_gate, describe_rest, find_reversed, format_p
from analysis.supplement import Supplement
from protocols.errors import InputError
from protocols.protocol import OTHER, split_contrast
from protocols.roi_table import RoiTable
from protocols.stimulus_set import JUDGED, PREDICTED, StimulusSet
from protocols.tables import Columns, read_json, read_tsv

TEMPLATE = "report.html"
_THUMBNAIL_PX = 112
_THUMBNAILS_PER_CELL = 10
_PNG_LIMIT = 1_500_000  # bytes; the whole page stays below 5 MB
NOT_REACHED = "not reached"
_ACCURACY: Columns = {"subject": "text", "roi": "text"}
_ACCURACY_SHOWN = ("subject", "roi", "voxels", "predictable_voxels", "cv_r", "test_r", "noise_ceiling", "roi_test_r", "test_images")


@dataclass(frozen=True)
class Sources:
    """What the report may show beside the group result; None or empty where it was not given."""

    stimuli: StimulusSet | None = None
    bids: Path | None = None
    models: tuple[Path, ...] = ()
    supplement: Supplement = field(default_factory=lambda: Supplement({}))


def render_report(result: GroupResult, table: RoiTable, sources: Sources, provenance: dict[str, Any]) -> str:
    """Return the page.

    Raises
    ------
    InputError
        When the stimulus set is not the one that was shown, or a model's tables cannot be read.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    responses = average_runs(table, keep_gaps=True)
    if sources.stimuli is not None:
        _refuse_other_set(sources.stimuli, responses)
    environment = Environment(
        loader=PackageLoader("analysis", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    context = {
        "title": result.summary["title"] or "ROI validation",
        "answer": answer_question(result),
        "claims": describe_claims(result),
        "overview": _lay_out_overview(result),
        "rest": describe_rest(result),
        "gate": describe_gate(result),
        "summary": result.summary,
        "tests": _format_tests(result.tests),
        "sheet": _lay_out_images(sources.stimuli, responses.images) if sources.stimuli else None,
        "figures": _draw_all(result, responses, sources),
        "wins": result.summary["own_wins"],
        "wins_p": _format_p_cell(result.summary["own_wins"].get("p")),
        "wins_floor": _format_p_cell(result.summary["own_wins"].get("p_floor")),
        "comparisons": _format_tests(result.specificity),
        "models": [_read_model(folder) for folder in sources.models],
        "runs": _read_sessions(sources.bids) if sources.bids else [],
        "provenance": provenance,
        "beside": lay_out_supplement(sources.supplement, result),
    }
    return environment.get_template(TEMPLATE).render(context)


def _draw_all(result: GroupResult, responses: ImageResponses, sources: Sources) -> dict[str, str]:
    figures, stimuli = {}, sources.stimuli
    means = result.matrix[result.matrix["subject"] == MEAN]
    targets = responses.targets
    if targets:
        made = means[(means["condition"] == TARGET) & means["roi"].isin(targets) & means["target"].isin(targets)]
        square = made.pivot_table(index="roi", columns="target", values="response_psc").loc[targets, targets]
        own = means[(means["condition"] != TARGET) & (means["target"] == means["roi"]) & means["roi"].isin(targets)]
        controls = own.pivot_table(index="roi", columns="condition", values="response_psc")
        wide = pd.concat([square, controls.reindex(targets)[list(dict.fromkeys(own["condition"]))].add_prefix("own ")], axis=1)
        figures["matrix"] = draw_matrix(wide, [(place, place) for place in range(len(targets))])
    else:
        wide = means.pivot_table(index="roi", columns="image_set", values="response_psc", sort=False)
        figures["matrix"] = draw_matrix(wide, [], title="images shown")
    shown = result.tests[result.tests["family"].isin((PRIMARY, SECONDARY, EXPLORATORY))]
    figures["conditions"] = draw_conditions({roi: _tabulate_conditions(responses, roi) for roi in targets or responses.by_roi}, shown)
    for prefix, name in ((JUDGED, "judged"), (PREDICTED, "predicted")):
        points = _pair_scores(responses, stimuli, prefix) if stimuli else {}
        if points:
            figures[name] = draw_prediction(points, name)
    if "curve.tsv" in sources.supplement.tables:
        figures["curve"] = draw_curve(sources.supplement.tables["curve.tsv"], PLANNED)
    return figures


def _tabulate_conditions(responses: ImageResponses, roi: str) -> pd.DataFrame:
    """Return each subject's mean response to the ROI's own images, the other target images, and each control condition."""
    conditions = list(dict.fromkeys(responses.images["condition"]))
    terms = [TARGET, OTHER, *(name for name in conditions if name != TARGET)] if roi in responses.targets else conditions
    columns = {}
    for term in terms:
        images = [stim_id for images in responses.image_sets(term, roi) for stim_id in images]
        if images:
            columns[term] = responses.average(roi, images)
    return pd.DataFrame(columns, index=responses.subjects)


def _pair_scores(responses: ImageResponses, stimuli: StimulusSet, prefix: str) -> dict[str, pd.DataFrame]:
    """Return, for each ROI that models scored, each image's score, measured response (mean over subjects) and condition."""
    scores = stimuli.table.set_index("stim_id").loc[responses.images.index]
    points = {}
    for roi, values in responses.by_roi.items():
        if f"{prefix}{roi}" in scores:
            score = pd.to_numeric(scores[f"{prefix}{roi}"], errors="coerce").to_numpy()
            points[roi] = pd.DataFrame(
                {"score": score, "response": values.mean(axis=0).to_numpy(), "condition": responses.images["condition"].to_numpy()}
            )
    return {roi: table.dropna() for roi, table in points.items() if table["score"].notna().any()}


def _lay_out_images(stimuli: StimulusSet, shown: pd.DataFrame) -> dict[str, Any]:
    """Return the contact sheet: a row for each target, a column for each condition, thumbnails and mean drive in each cell."""
    table = stimuli.table[stimuli.table["stim_id"].isin(shown.index)]
    conditions = list(dict.fromkeys(table["condition"]))
    rows = []
    for target in dict.fromkeys(table["target"]):
        same = table["target"].isna() if target is None else table["target"] == target
        cells = [_lay_out_cell(stimuli, table[same & (table["condition"] == condition)], target) for condition in conditions]
        rows.append({"target": target or "no target", "cells": cells})
    return {"conditions": [{"name": name, "color": choose_color(name)} for name in conditions], "rows": rows}


def _lay_out_cell(stimuli: StimulusSet, images: pd.DataFrame, target: str | None) -> dict[str, Any]:
    first = images.head(_THUMBNAILS_PER_CELL)
    thumbnails = [{"name": stim_id, "data": _shrink(stimuli.image_path(stim_id))} for stim_id in first["stim_id"]]
    drives = []
    for prefix, name in ((JUDGED, "judged"), (PREDICTED, "predicted")):
        column = f"{prefix}{target}"
        if column in images and len(images):
            mean = pd.to_numeric(images[column], errors="coerce").mean()
            drives += [f"{name} {mean:.1f} z".replace("-", "\N{MINUS SIGN}")] if np.isfinite(mean) else []
    return {"thumbnails": thumbnails, "count": len(images), "hidden": len(images) - len(first), "drive": ", ".join(drives)}


def _shrink(path: Path) -> str:
    """Return an image, reduced, as a JPEG data URI."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except OSError as problem:
        raise InputError(f"{path}: cannot be shown ({problem}); copy the stimulus set again") from None
    small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    stream = io.BytesIO()
    small.save(stream, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _read_model(folder: Path) -> dict[str, Any]:
    """Return an encoding model's held-out accuracy, as its folder tells it."""
    table = read_tsv(folder / "accuracy.tsv", _ACCURACY)
    columns = [name for name in _ACCURACY_SHOWN if name in table]
    rows = [[_format_cell(value) for value in row] for row in table[columns].itertuples(index=False)]
    picture = folder / "accuracy.png"
    data = picture.read_bytes() if picture.is_file() and picture.stat().st_size <= _PNG_LIMIT else b""
    png = "data:image/png;base64," + base64.b64encode(data).decode("ascii") if data else ""
    return {"name": folder.name, "columns": columns, "rows": rows, "png": png}


def _read_sessions(bids: Path) -> list[dict[str, Any]]:
    """Return what the events' sidecars say of each run: how it ended, the task's score, the timing."""
    rows = []
    for path in sorted(bids.glob("sub-*/**/*_events.json")):
        values = read_json(path, "copy the run again")
        if "RunState" in values or "TaskScore" in values:
            score = values.get("TaskScore") or {}
            rows.append(
                {
                    "run": path.name.removesuffix("_events.json"),
                    "state": values.get("RunState", "") + (" (rehearsed: nobody in the scanner)" if values.get("Rehearsal") else ""),
                    "task": f"{score['hits']} of {score['probes']} hits, {score['false_alarms']} false alarms"
                    if "hits" in score
                    else "n/a",
                    "late": f"{values['LateFlips']} of {values.get('Flips', 'n/a')}" if "LateFlips" in values else "n/a",
                    "onset_ms": f"{1000 * values['LargestOnsetError']:.1f}" if "LargestOnsetError" in values else "n/a",
                }
            )
    return rows


def _lay_out_overview(result: GroupResult) -> dict[str, Any]:
    """Return ROIs by contrasts with estimate, interval and verdict, for the head of the page."""
    tests = result.tests
    rows = tests[tests["family"].isin((PRIMARY, SECONDARY, EXPLORATORY))]
    contrasts = list(dict.fromkeys(rows["expression"]))
    against = find_reversed(result)[rows.index]
    cells = {
        (row["roi"], row["expression"]): _lay_out_verdict(row, bool(is_reversed))
        for row, is_reversed in zip(_format_tests(rows), against, strict=True)
    }
    rois = [{"name": roi, "cells": [cells.get((roi, one)) for one in contrasts]} for roi in dict.fromkeys(rows["roi"])]
    return {
        "contrasts": [describe_comparison(one) for one in contrasts] if _all_own(contrasts) else contrasts,
        "own": _all_own(contrasts),
        "rois": rois,
    }


def _lay_out_verdict(row: dict[str, Any], is_reversed: bool) -> dict[str, Any]:
    verdict = (
        "exploratory"
        if not row["planned"]
        else "claimed"
        if row["claimed"]
        else "the reverse"
        if is_reversed
        else "not reached"
        if row["p_corrected"] == NOT_REACHED
        else "not shown"
    )
    return {"estimate": row["estimate_psc"], "interval": f"{row['ci_low']} to {row['ci_high']}", "verdict": verdict}


def _all_own(contrasts: list[str]) -> bool:
    return all(split_contrast(one)[0] == [TARGET] for one in contrasts)


def _format_tests(tests: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{str(name): value for name, value in row.items()} for row in tests.to_dict("records")]
    for row in rows:
        for name, digits in (("estimate_psc", 2), ("ci_low", 2), ("ci_high", 2), ("d", 2), ("t", 2), ("df", 1)):
            if name in row:
                row[name] = f"{row[name]:.{digits}f}".replace("-", "\N{MINUS SIGN}")
        for name in ("p", "p_corrected", "p_floor", "p_permutation_corrected", "p_permutation_floor"):
            row[name] = _format_p_cell(row.get(name))
        row["p_corrected"] = row["p_corrected"] or NOT_REACHED
    return rows


def _format_p_cell(p: float | None) -> str:
    return "" if p is None or pd.isna(p) else format_p(p).removeprefix("= ")


def _format_cell(value: Any) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    is_label = isinstance(value, str) and not ("." in value or value == "nan")
    return "n/a" if np.isnan(number) else str(value) if is_label or number.is_integer() else f"{number:.2f}"


def _refuse_other_set(stimuli: StimulusSet, responses: ImageResponses) -> None:
    known = set(stimuli.table["stim_id"])
    absent = [stim_id for stim_id in responses.images.index if stim_id not in known]
    if absent:
        raise InputError(f"{stimuli.folder}: lacks {absent[0]!r}, which the ROI table has; name the set that was shown")


def list_provenance(provenance: Any, result: GroupResult) -> dict[str, Any]:
    """Return versions and hashes for the page's last section."""
    return {
        "code_version": provenance.code_version,
        "created": provenance.created,
        "packages": provenance.packages,
        "inputs": provenance.inputs,
        "roi_table_sha256": result.summary.get("roi_table_sha256", ""),
        "config": json.dumps(provenance.config, indent=1),
    }
