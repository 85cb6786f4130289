"""Responses to images and their set in; what made images gain over natural ones, whom they work in, and whether doses matter, out."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis.crossed import estimate_effect
from analysis.image_responses import ImageResponses
from analysis.map_contrasts import TARGET
from protocols.errors import InputError
from protocols.roi_table import BOTH, RoiTable
from protocols.stimulus_set import JUDGED, PREDICTED
from protocols.tables import Columns

NATURAL = "natural"
DOSE, DOSE_ROI, SUBJECTS = "dose", "dose_roi", "subjects"
SAME, OTHER_SUBJECT, GROUP, GROUP_WITHOUT = "same", "other", "group", "group, new subject"
GAIN_COLUMNS: Columns = {
    "roi": "text",
    "gain_psc": "number",
    "ci_low": "number",
    "ci_high": "number",
    "p": "number",
    "above_best_natural": "number",
    "judged_gain": "optional number",
    "predicted_gain": "optional number",
    "images": "integer",
}
TRANSFER_COLUMNS: Columns = {
    "roi": "text",
    "made_for": "text",
    "measured_in": "text",
    "relation": "text",
    "effect_psc": "number",
    "images": "integer",
}
DOSE_COLUMNS: Columns = {
    "roi": "text",
    "levels": "integer",
    "slope_psc": "number",
    "ci_low": "number",
    "ci_high": "number",
    "p": "number",
    "images": "integer",
}


def tabulate_gain(responses: ImageResponses, stimuli: pd.DataFrame) -> pd.DataFrame:
    """Return, for each ROI with images made for it and natural ones chosen for it, how much more the made ones drive it (`GAIN_COLUMNS`).

    `above_best_natural` is the share of made images whose mean response is above that of the best natural image, whose luck of being
    the best of many helps the natural images. Predicted and judged gains are in z of natural images.
    """
    known = stimuli.set_index("stim_id")
    rows = []
    for roi in responses.targets:
        sets = [responses.images_of(TARGET, roi), responses.images_of(NATURAL, roi) or responses.images_of(NATURAL, None)]
        values = _drop_gaps([responses.select(roi, images) for images in sets])
        if min(one.shape[1] for one in values) < 2:
            continue
        effect = estimate_effect(values, [1.0, -1.0])
        above = float((values[0].mean(axis=0) > values[1].mean(axis=0).max()).mean())
        scores = [_compare_scores(known, f"{prefix}{roi}", sets) for prefix in (JUDGED, PREDICTED)]
        rows.append((roi, effect.estimate, effect.ci_low, effect.ci_high, effect.p, above, *scores, effect.images))
    return pd.DataFrame(rows, columns=list(GAIN_COLUMNS))


def tabulate_transfer(table: RoiTable, stimuli: pd.DataFrame) -> pd.DataFrame:
    """Return the effect of images made for some subjects' voxels in each subject who saw them (`TRANSFER_COLUMNS`).

    The effect is the mean response of an ROI to images made for it (and these subjects) minus that to images made for other ROIs. Needs the
    set's column `subjects`; empty without.
    """
    if SUBJECTS not in stimuli:
        return pd.DataFrame(columns=list(TRANSFER_COLUMNS))
    made_for = stimuli.set_index("stim_id")[SUBJECTS]
    rows = table.table[(table.table["hemisphere"] == BOTH) & (table.table["condition"] == TARGET)]
    means = rows.groupby(["subject", "roi", "stim_id", "target"], sort=False)["response_psc"].mean().reset_index()
    means["made_for"] = means["stim_id"].map(made_for).fillna("")
    found = []
    for (subject, roi), part in means.groupby(["subject", "roi"], sort=False):
        own, rest = part[part["target"] == roi], part[part["target"] != roi]
        for label, images in own.groupby("made_for", sort=False) if len(rest) else []:
            effect = float(images["response_psc"].mean() - rest["response_psc"].mean())
            found.append((roi, str(label) or "all", subject, _relate(str(label), str(subject)), effect, len(images)))
    return pd.DataFrame(found, columns=list(TRANSFER_COLUMNS))


def tabulate_dose(responses: ImageResponses, stimuli: pd.DataFrame) -> pd.DataFrame:
    """Return the slope of the response on the dose asked for, in each ROI with at least two doses (`DOSE_COLUMNS`).

    A dose is a percentile of natural images (columns `dose` and `dose_roi` of the set) and enters as its normal quantile; images of a
    dose are a set, subjects and images both random. The slope is in percent signal change per z of natural images. Empty where no dose was
    planned.
    """
    from scipy.special import ndtri

    if DOSE not in stimuli or DOSE_ROI not in stimuli:
        return pd.DataFrame(columns=list(DOSE_COLUMNS))
    planned = stimuli.assign(**{DOSE: pd.to_numeric(stimuli[DOSE], errors="coerce")}).dropna(subset=[DOSE])
    planned = planned[planned["stim_id"].isin(responses.images.index)]
    _refuse_impossible(planned)
    rows = []
    for roi, part in planned.groupby(DOSE_ROI, sort=False):
        levels = [
            (float(ndtri(images[DOSE].iloc[0] / 100)), list(images["stim_id"])) for _, images in part.groupby(DOSE) if len(images) > 1
        ]
        if str(roi) not in responses.by_roi or len(levels) < 2:
            continue
        z = np.array([level for level, _ in levels])
        weights = (z - z.mean()) / ((z - z.mean()) ** 2).sum()
        values = _drop_gaps([responses.select(str(roi), images) for _, images in levels])
        if min(one.shape[1] for one in values) < 2:
            continue
        effect = estimate_effect(values, weights.tolist())
        rows.append((roi, len(levels), effect.estimate, effect.ci_low, effect.ci_high, effect.p, effect.images))
    return pd.DataFrame(rows, columns=list(DOSE_COLUMNS))


def _drop_gaps(sets: Sequence[Float[np.ndarray, "subjects _"]]) -> list[Float[np.ndarray, "kept _"]]:
    """Leave out subjects who saw nothing of a set, then images that a subject did not see."""
    kept = np.all([~np.isnan(values).all(axis=1) for values in sets], axis=0)
    return [values[kept][:, ~np.isnan(values[kept]).any(axis=0)] for values in sets]


def _compare_scores(known: pd.DataFrame, column: str, sets: Sequence[Sequence[str]]) -> float:
    """Return the mean score of the first set minus that of the second; NaN where images have none."""
    if column not in known:
        return float("nan")
    scores: pd.Series[float] = pd.to_numeric(known[column], errors="coerce")
    made, natural = (scores[scores.index.isin(images)].mean() for images in sets)
    return float(made - natural)


def _relate(made_for: str, subject: str) -> str:
    """Say what the subject is to those whose voxels an image was made for; an empty label is a model of all."""
    people = made_for.split()
    if len(people) == 1:
        return SAME if people == [subject] else OTHER_SUBJECT
    return GROUP if not people or subject in people else GROUP_WITHOUT


def _refuse_impossible(planned: pd.DataFrame) -> None:
    wrong = planned[(planned[DOSE] <= 0) | (planned[DOSE] >= 100)]
    if len(wrong):
        row = wrong.iloc[0]
        raise InputError(f"stimuli.tsv: {row['stim_id']!r} has dose {row[DOSE]:g}, a percentile is between 0 and 100; mend the set")
