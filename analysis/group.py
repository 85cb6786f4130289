"""A RoiTable and contrasts in, a GroupResult out: estimates that hold for new people and new images, and what may be claimed."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from analysis.crossed import Effect
from analysis.decision import EXPLORATORY, GATE, decide_claims
from analysis.group_specificity import gate_specificity, tabulate_specificity
from analysis.group_twin import COLUMNS as TWIN_COLUMNS
from analysis.group_twin import add_twin, arrange_test, note_twin
from analysis.image_responses import ImageResponses, average_runs, split_sets
from analysis.permutation import PermutedTest
from analysis.specificity import Specificity
from analysis.unbalanced import estimate_contrast
from protocols.errors import InputError
from protocols.protocol import Contrast
from protocols.roi_table import RoiTable

SPECIFICITY = "specificity"
ALL_ROIS = "all"
MEAN = "mean"
_RELABELED = "exact relabeling of image sets, jointly over subjects"
COLUMNS = (
    *("contrast", "expression", "family", "roi", "estimate_psc", "ci_low", "ci_high", "t", "df", "p", "p_corrected", "p_floor", "claimed"),
    *("d", "d_low", "d_high", *TWIN_COLUMNS, "min_f", "min_f_df", "min_f_p", "method", "subjects", "images", "planned"),
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
        Mean response per subject (and `mean`, with its interval), ROI and image set (see `tabulate_matrix`).
    specificity
        Own images against every other set, and dissociations of pairs (`group_specificity.COLUMNS`).
    summary
        Everything else as JSON values: alpha, planned, subjects, ROIs, own_wins, notes, inputs and versions.
    """

    tests: pd.DataFrame
    matrix: pd.DataFrame
    summary: dict[str, Any]
    specificity: pd.DataFrame = field(default_factory=pd.DataFrame)


def analyze(table: RoiTable, question: Question) -> GroupResult:
    """Test every contrast in every ROI that has its images, and decide what may be claimed: nothing from a circular table.

    Raises
    ------
    InputError
        When a contrast names a condition that the table lacks, applies to no ROI, or a set has a single image.
    """
    if table.circular:
        question = dataclasses.replace(question, planned=False)
    responses = average_runs(table, keep_gaps=True)
    gate, wins, notes = gate_specificity(responses)
    rows = [] if gate is None else [_gate_row(*gate, question.planned)]
    tested = [pair for contrast in question.contrasts for pair in _test_contrast(responses, contrast, question.planned, table.where)]
    tests = add_twin(pd.DataFrame([*rows, *(row for row, _ in tested)]), [arranged for _, arranged in tested])
    tests = decide_claims(tests, question.alpha)
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
        "notes": [
            *(*responses.notes, *notes, *_note_circular(table), *_note_small(len(responses.subjects))),
            *note_twin(tests, question.alpha),
        ],
    }
    return GroupResult(tests[list(COLUMNS)], tabulate_matrix(responses), summary, tabulate_specificity(responses))


def tabulate_matrix(responses: ImageResponses) -> pd.DataFrame:
    """Return the mean response of each ROI to each image set (condition and target), for each subject and for their mean.

    The mean has an interval for new subjects and new images, where the set has the images for one.
    """
    targets = responses.images["target"].astype(object).where(responses.images["target"].notna(), None)
    pairs = list(dict.fromkeys(zip(responses.images["condition"], targets, strict=True)))
    rows = []
    for roi in responses.by_roi:
        for condition, target in pairs:
            images = responses.images_of(condition, target)
            means = responses.average(roi, images)
            name = condition if target is None else f"{condition}_{target}"
            mean, low, high = _estimate_mean(responses, roi, images)
            for subject, value in zip(responses.subjects, means, strict=True):
                rows.append((subject, roi, name, condition, target, float(value), np.nan, np.nan, len(images)))
            rows.append((MEAN, roi, name, condition, target, mean, low, high, len(images)))
    names = ["subject", "roi", "image_set", "condition", "target", "response_psc", "ci_low", "ci_high", "images"]
    return pd.DataFrame(rows, columns=names).dropna(subset="response_psc").reset_index(drop=True)


def _estimate_mean(responses: ImageResponses, roi: str, images: Sequence[str]) -> tuple[float, float, float]:
    try:
        effect = estimate_contrast([responses.select_set(roi, images)], [1.0])
    except InputError:  # one image, or no variance: a mean without an interval
        return float(np.nanmean(responses.average(roi, images))), np.nan, np.nan
    return effect.estimate, effect.ci_low, effect.ci_high


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


def _test_contrast(
    responses: ImageResponses, contrast: Contrast, planned: bool, where: str
) -> list[tuple[dict[str, Any], PermutedTest | None]]:
    rows = []
    family = contrast.family if planned else EXPLORATORY
    for roi in responses.by_roi:
        try:
            found = split_sets(responses, contrast.expression, roi)
            if found is None:
                continue
            sets, weights = found
            effect = estimate_contrast([responses.select_set(roi, images) for images in sets], weights)
        except InputError as problem:
            raise InputError(f"{where}: contrast {contrast.expression!r}, ROI {roi}: {problem}") from None
        row = _row(contrast.name, contrast.expression, family, roi, effect, planned)
        rows.append((row, arrange_test(responses, roi, sets, weights, family)))
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
        **vars(effect.beside),
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
        return ["two subjects: where they differ more than images do, the crossed test's false positives are up to 8 %, not 5 %"]
    return []
