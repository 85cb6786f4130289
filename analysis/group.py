"""A RoiTable and contrasts in, a GroupResult out: estimates that hold for new people and new images, and what may be claimed."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.crossed import Effect, estimate_effect
from analysis.decision import EXPLORATORY, GATE, decide_claims
from analysis.image_responses import ImageResponses, average_runs, split_sets
from analysis.map_contrasts import TARGET
from analysis.specificity import Specificity, count_own_wins, estimate_specificity, relabel_sets
from protocols.errors import InputError
from protocols.protocol import Contrast
from protocols.roi_table import RoiTable

SPECIFICITY = "specificity"
ALL_ROIS = "all"
MEAN = "mean"
_RELABELED = "exact relabeling of image sets, jointly over subjects"
_MIN_SETS_TO_RELABEL = 4  # 1 / 3! is above any usual alpha
COLUMNS = (
    *("contrast", "expression", "family", "roi", "estimate_psc", "ci_low", "ci_high", "t", "df", "p", "p_corrected", "p_floor", "claimed"),
    *("method", "subjects", "images", "planned"),
)


@dataclass(frozen=True)
class Question:
    """What is asked of the data: contrasts, whether they were planned before scanning, and the error allowed."""

    contrasts: tuple[Contrast, ...]
    planned: bool
    alpha: float
    title: str = ""


@dataclass(frozen=True)
class GroupResult:
    """The answer.

    Attributes
    ----------
    tests
        One row per test (`COLUMNS`): the specificity gate first, then contrast by contrast and ROI by ROI.
    matrix
        Mean response per subject (and `mean`), ROI and image set: `subject roi image_set condition target response_psc images`.
    summary
        Everything else as JSON values: alpha, planned, subjects, ROIs, own_wins, notes, inputs and versions.
    """

    tests: pd.DataFrame
    matrix: pd.DataFrame
    summary: dict[str, Any]


def analyze(table: RoiTable, question: Question) -> GroupResult:
    """Test every contrast in every ROI that has its images, and decide what may be claimed: nothing from a circular table.

    Raises
    ------
    InputError
        When a contrast names a condition that the table lacks, applies to no ROI, or a set has a single image.
    """
    if table.circular:
        question = dataclasses.replace(question, planned=False)
    responses = average_runs(table)
    gate, wins, notes = _test_specificity(responses, question)
    rows = gate + [row for contrast in question.contrasts for row in _test_contrast(responses, contrast, question.planned, table.where)]
    tests = decide_claims(pd.DataFrame(rows), question.alpha)
    if not question.planned:
        tests["claimed"] = False
    summary = {
        "format_version": 1,
        "title": question.title,
        "alpha": question.alpha,
        "planned": question.planned,
        "circular": table.circular,
        "subjects": responses.subjects,
        "rois": list(responses.by_roi),
        "targeted_rois": responses.targets,
        "images": {str(condition): int(count) for condition, count in responses.images["condition"].value_counts(sort=False).items()},
        "own_wins": wins,
        "notes": [*responses.notes, *notes, *_note_circular(table), *_note_small(len(responses.subjects))],
    }
    return GroupResult(tests[list(COLUMNS)], tabulate_matrix(responses), summary)


def tabulate_matrix(responses: ImageResponses) -> pd.DataFrame:
    """Return the mean response of each ROI to each image set (condition and target), for each subject and for their mean."""
    targets = responses.images["target"].astype(object).where(responses.images["target"].notna(), None)
    pairs = list(dict.fromkeys(zip(responses.images["condition"], targets, strict=True)))
    rows = []
    for roi in responses.by_roi:
        for condition, target in pairs:
            images = responses.images_of(condition, target)
            means = responses.select(roi, images).mean(axis=1)
            name = condition if target is None else f"{condition}_{target}"
            for subject, value in [*zip(responses.subjects, means, strict=True), (MEAN, means.mean())]:
                rows.append((subject, roi, name, condition, target, float(value), len(images)))
    return pd.DataFrame(rows, columns=["subject", "roi", "image_set", "condition", "target", "response_psc", "images"])


def _test_specificity(responses: ImageResponses, question: Question) -> tuple[list[dict[str, Any]], dict[str, Any], list[str]]:
    """Return the gate's row, the counts of ROIs that their own images drive most, and notes."""
    k = len(responses.targets)
    if k < 2:
        note = f"specificity needs images made for at least 2 measured ROIs, the table has {k}; contrasts are tested without it"
        return [], {}, [note]
    per_subject, overall = count_own_wins(responses.matrix())
    wins = {"rois": k, "per_subject": dict(zip(responses.subjects, per_subject, strict=True)), MEAN: overall}
    sets = [np.stack([responses.select(roi, responses.images_of(TARGET, made)) for roi in responses.targets]) for made in responses.targets]
    try:
        effect = estimate_specificity(sets)
    except InputError as problem:
        raise InputError(f"specificity: {problem}") from None
    relabeled = relabel_sets(responses.matrix())
    exact = k >= _MIN_SETS_TO_RELABEL
    notes = (
        []
        if exact
        else [f"{k} image sets can be relabeled in {relabeled.relabelings} ways only, so the gate is the crossed test of the interaction"]
    )
    return [_gate_row(effect, relabeled if exact else None, question.planned)], wins, notes


def _gate_row(effect: Effect, relabeled: Specificity | None, planned: bool) -> dict[str, Any]:
    row = _row(SPECIFICITY, "mean double-centered diagonal of ROI x image set", GATE, ALL_ROIS, effect, planned)
    if relabeled is None:
        one_sided = effect.p / 2 if effect.estimate > 0 else 1 - effect.p / 2
        return {**row, "p": one_sided, "method": f"{effect.method} (one-sided)"}
    return {
        **row,
        "p": relabeled.p,
        "p_floor": relabeled.p_floor,
        "method": f"{_RELABELED} ({relabeled.relabelings} ways); interval: {effect.method}",
    }


def _test_contrast(responses: ImageResponses, contrast: Contrast, planned: bool, where: str) -> list[dict[str, Any]]:
    rows = []
    for roi in responses.by_roi:
        try:
            found = split_sets(responses, contrast.expression, roi)
            if found is None:
                continue
            sets, weights = found
            effect = estimate_effect([responses.select(roi, images) for images in sets], weights)
        except InputError as problem:
            raise InputError(f"{where}: contrast {contrast.expression!r}, ROI {roi}: {problem}") from None
        rows.append(_row(contrast.name, contrast.expression, contrast.family if planned else EXPLORATORY, roi, effect, planned))
    if not rows:
        rois = ", ".join(responses.by_roi)
        raise InputError(f"{where}: contrast {contrast.expression!r} applies to no ROI: none of {rois} has images on both sides")
    return rows


def _row(name: str, expression: str, family: str, roi: str, effect: Effect, planned: bool) -> dict[str, Any]:
    return {
        "contrast": name,
        "expression": expression,
        "family": family,
        "roi": roi,
        "estimate_psc": effect.estimate,
        "ci_low": effect.ci_low,
        "ci_high": effect.ci_high,
        "t": effect.t,
        "df": effect.df,
        "p": effect.p,
        "p_floor": np.nan,
        "method": effect.method,
        "subjects": effect.subjects,
        "images": effect.images,
        "planned": planned,
    }


def _note_circular(table: RoiTable) -> Sequence[str]:
    if not table.circular:
        return []
    return ["circular: data that chose a region, a model or a ceiling also test it (roi_table.json says which); effects are too large"]


def _note_small(subjects: int) -> Sequence[str]:
    if subjects == 1:
        return ["one subject: intervals and claims hold for new images shown to this person, not for other people"]
    if subjects == 2:
        return ["two subjects: where they differ more than images do, the crossed test's false positives are up to 11 %, not 5 %"]
    return []
