"""Responses to images and what models predicted of them in; how well the models foresaw them, as a share of what is possible, out.

For one ROI let x be an image's score and y its response, a mean over a subject's runs. Within image sets (condition and target), sums of
squares over images give the covariance c of x and y, their variances v and w, and from the runs' disagreement the part s of w that
is signal, each summed over subjects. Then

    r = c / sqrt(v w),    noise ceiling = sqrt(s / w),    normalized r = c / sqrt(v s) = r / noise ceiling.

The ceiling is that of `analysis/reliability.py`: a perfect model's normalized r is 1. r over sets tells that sets made for a region were
expected to drive it; r within sets, that the models know more than that. Images are left out one at a time to correct the normalized r
for its bias, of the order of one over the number of images, and for intervals: they hold for new images, not for new people. Where s / w is
not four standard errors above 0, a share of s is not told: it would be told where s came out too large, and be too small.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from analysis.reliability import FEWEST_IMAGES, Estimate
from protocols.roi_table import BOTH, RoiTable
from protocols.stimulus_set import JUDGED, PREDICTED
from protocols.tables import Columns

WITHIN, BETWEEN, ALL_ROIS = "within", "between", "all"
COLUMNS: Columns = {
    "score": "text",
    "scope": "text",
    "roi": "text",
    "subjects": "integer",
    "images": "integer",
    "r": "number",
    "r_low": "number",
    "r_high": "number",
    "noise_ceiling": "optional number",
    "normalized_r": "optional number",
    "normalized_r_low": "optional number",
    "normalized_r_high": "optional number",
}
_CLEAR = 4.0  # standard errors
_LARGEST_R = 1 - 1e-9  # Fisher's z of 1 is infinite


@dataclass(frozen=True)
class Panel:
    """One subject's responses of one ROI: images x runs, NaN where a run did not show the image; each image's score and its set."""

    scores: Float[np.ndarray, " images"]
    responses: Float[np.ndarray, "images runs"]
    sets: Int[np.ndarray, " images"]


@dataclass(frozen=True)
class Accuracy:
    """Correlation, noise ceiling and normalized correlation; NaN where images or runs are too few."""

    r: Estimate
    ceiling: float
    normalized: Estimate
    images: int


def measure_accuracy(panels: Sequence[Panel]) -> Accuracy:
    """Return the correlation within sets, sums of squares pooled over panels whose images are in the same rows."""
    shown = np.any([_find_usable(panel) for panel in panels], axis=0)
    groups = [len(np.unique(panel.sets[_find_usable(panel)])) for panel in panels]
    images, free = int(shown.sum()), int(shown.sum()) - max(groups, default=0)
    if images < FEWEST_IMAGES or free < 3:
        return Accuracy(Estimate(), np.nan, Estimate(), images)
    c, v, w, s = np.sum([_sum_squares(panel) for panel in panels], axis=0)[:, np.concatenate([[True], shown])]
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.arctanh(np.clip(c / np.sqrt(v * w), -_LARGEST_R, _LARGEST_R))
        ceiling = np.sqrt(s[0] / w[0])
        normalized = _jackknife(c / np.sqrt(v * s), free) if s[0] / w[0] > _CLEAR * _spread(s / w) else Estimate()
    of_z = _jackknife(z, free)
    half = (of_z.high - of_z.low) / 2  # around r as it is: Fisher's z needs no correction that matters
    r = Estimate(*(float(np.tanh(end)) for end in (z[0], z[0] - half, z[0] + half)))
    return Accuracy(r, float(ceiling), normalized, images)


def tabulate_prediction(table: RoiTable, stimuli: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each kind of score, scope and ROI that models scored, and for all ROIs together (`COLUMNS`).

    `stimuli` is the set's table with its `judged_<roi>` and `predicted_<roi>`. In the rows of all ROIs scores and responses are
    first brought to one scale in each ROI.
    """
    rows = []
    for prefix, name in ((JUDGED, "judged"), (PREDICTED, "predicted")):
        scored = [roi for roi in dict.fromkeys(table.table["roi"]) if f"{prefix}{roi}" in stimuli]
        panels = {roi: list_panels(table, stimuli, roi, f"{prefix}{roi}") for roi in scored}
        panels = {roi: found for roi, found in panels.items() if found}
        for scope, arrange in ((BETWEEN, average_sets), (WITHIN, lambda panel: panel)):
            arranged = {roi: [arrange(panel) for panel in found] for roi, found in panels.items()}
            together = [_standardize(panel) for found in arranged.values() for panel in found]
            for roi, found in [*arranged.items(), *([(ALL_ROIS, together)] if len(arranged) > 1 else [])]:
                measured = measure_accuracy(found)
                if np.isfinite(measured.r.value):
                    rows.append((name, scope, roi, len(panels[roi] if roi in panels else next(iter(panels.values()))), *_flatten(measured)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def list_panels(table: RoiTable, stimuli: pd.DataFrame, roi: str, column: str) -> list[Panel]:
    """Return a panel for each subject, all with the same images in the same rows: those that have a score and were shown to anybody."""
    rows = table.table[(table.table["hemisphere"] == BOTH) & (table.table["roi"] == roi)]
    known = stimuli.set_index("stim_id")
    scores = pd.to_numeric(known[column], errors="coerce").dropna()
    images = pd.Index([stim_id for stim_id in dict.fromkeys(rows["stim_id"]) if stim_id in scores.index])
    if images.empty:
        return []
    labels = known.loc[images, "condition"].astype(str) + " " + known.loc[images, "target"].fillna("").astype(str)
    sets = pd.factorize(labels)[0].astype(np.int64)
    panels = []
    for _, part in rows.groupby("subject"):
        wide = part.assign(session=part["session"].fillna("")).pivot(index="stim_id", columns=["session", "run"], values="response_psc")
        panels.append(Panel(scores.loc[images].to_numpy(dtype=np.float64), wide.reindex(images).to_numpy(dtype=np.float64), sets))
    return panels


def average_sets(panel: Panel) -> Panel:
    """Return the panel of set means: a row for each set, all of one group."""
    labels = np.unique(panel.sets)
    scores = np.array([panel.scores[panel.sets == label].mean() for label in labels])
    responses = np.stack([_average_rows(panel.responses[panel.sets == label]) for label in labels])
    return Panel(scores, responses, np.zeros(len(labels), dtype=np.int64))


def _average_rows(values: Float[np.ndarray, "images runs"]) -> Float[np.ndarray, " runs"]:
    shown = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Float[np.ndarray, " runs"] = np.where(shown, values, 0).sum(axis=0) / np.where(shown.any(axis=0), shown.sum(axis=0), np.nan)
    return mean


def _standardize(panel: Panel) -> Panel:
    """Divide scores and responses by their spread within sets, so that no ROI or subject counts more than another."""
    _, v, w, _ = _sum_squares(panel)[:, 0]
    return Panel(panel.scores / np.sqrt(v or 1.0), panel.responses / np.sqrt(w or 1.0), panel.sets)


def _find_usable(panel: Panel) -> Bool[np.ndarray, " images"]:
    """Mark images that were shown and whose set has another one that was."""
    shown = ~np.isnan(panel.responses).all(axis=1)
    usable: Bool[np.ndarray, " images"] = shown & (np.bincount(panel.sets, weights=shown)[panel.sets] > 1)
    return usable


def _sum_squares(panel: Panel) -> Float[np.ndarray, "4 estimates"]:
    """Return c, v, w and s of a panel: of all images, then without each in turn.

    Without image i of a set of n, a sum of products of deviations from set means is less by n / (n - 1) times the image's own product.
    Where every run showed every image, runs' set means are removed first, as they cancel; elsewhere they are noise like any other.
    """
    usable = _find_usable(panel)
    sets = np.unique(panel.sets[usable], return_inverse=True)[1]
    values, x = panel.responses[usable], panel.scores[usable]
    complete = not np.isnan(values).any()
    runs = (~np.isnan(values)).sum(axis=1)
    y = np.nanmean(values, axis=1) if len(values) else np.empty(0)
    size = np.bincount(sets)
    deviations = (_center(values, sets) - _center(y[:, None], sets)) if complete else values - y[:, None]
    dx, dy = _center(x[:, None], sets)[:, 0], _center(y[:, None], sets)[:, 0]
    grown = (size / np.maximum(size - 1, 1))[sets]
    free = len(x) - len(size)
    left = np.concatenate([[free], np.full(len(x), free - 1)])
    c, v, w = (_leave_out(product, grown) / left for product in (dx * dy, dx**2, dy**2))
    noise = _leave_out(np.nansum(deviations**2, axis=1), grown if complete else np.ones(len(x)))
    spare = left * (runs.max(initial=0) - 1) if complete else _leave_out(runs - 1.0, np.ones(len(x)))
    inverse = _leave_out(1 / runs, np.ones(len(x))) / np.concatenate([[len(x)], np.full(len(x), max(len(x) - 1, 1))])
    with np.errstate(invalid="ignore", divide="ignore"):
        s = w - (left - 2) / left * noise / spare * inverse
    found = np.empty((4, 1 + len(usable)))
    found[:] = np.stack([c, v, w, s])[:, :1]  # an image that this subject did not see leaves all as it was
    found[:, 1:][:, usable] = np.stack([c, v, w, s])[:, 1:]
    return found


def _center(values: Float[np.ndarray, "images columns"], sets: Int[np.ndarray, " images"]) -> Float[np.ndarray, "images columns"]:
    """Remove each set's mean from each column."""
    totals = np.zeros((int(sets.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(totals, sets, values)
    centered: Float[np.ndarray, "images columns"] = values - (totals / np.bincount(sets)[:, None])[sets]
    return centered


def _leave_out(own: Float[np.ndarray, " images"], grown: Float[np.ndarray, " images"]) -> Float[np.ndarray, " estimates"]:
    """Return the sum, and the sum without each image."""
    total = own.sum()
    return np.concatenate([[total], total - grown * own])


def _jackknife(values: Float[np.ndarray, " estimates"], free: int) -> Estimate:
    """Return Quenouille's bias-corrected estimate and Tukey's interval from the estimate and those without each image."""
    from scipy.special import stdtrit

    whole, without = values[0], values[1:]
    if not np.isfinite(values).all():
        return Estimate()
    images = len(without)
    value = images * whole - (images - 1) * without.mean()
    reach = float(stdtrit(free - 1, 0.975)) * _spread(values)
    return Estimate(float(value), float(value - reach), float(value + reach))


def _spread(values: Float[np.ndarray, " estimates"]) -> float:
    """Return the jackknife's standard error."""
    without = values[1:]
    return float(np.sqrt((len(without) - 1) / len(without) * ((without - without.mean()) ** 2).sum()))


def _flatten(measured: Accuracy) -> tuple[float | int, ...]:
    r, normalized = measured.r, measured.normalized
    numbers = (r.value, r.low, r.high, measured.ceiling, normalized.value, normalized.low, normalized.high)
    return measured.images, *numbers
