"""What `stimgen check` measures on a stimulus set, and the rules that a set must keep."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from protocols.stimulus_set import JUDGED, PREDICTED, TABLE, StimulusSet
from protocols.tables import Columns, check_columns
from stimgen.differences import compare_conditions, compare_targets, find_unbalanced
from stimgen.gate import FLAG
from stimgen.look import measure_looks
from stimgen.order import TARGET

_TOLERANCE = 1e-4
_STRIPES_MARGIN = 1.05
_LEAST_CONTRAST = 0.02  # below it an image is a gray field: the gradient was dead
_SCORE_OF_DRIVE = {"drive_predicted": PREDICTED, "drive_judged": JUDGED, "drive_ratio": "", "drive_percentile": ""}
_MEDIAN = 50.0  # percentile of natural images that a target's images must exceed


def measure_set(stimulus_set: StimulusSet, track: Callable[[Sequence[Any]], Iterable[Any]] = iter) -> pd.DataFrame:
    """Return the looks (see `measure_looks`), the drives and `flagged` of every image, in the table's order."""
    return pd.concat([measure_looks(stimulus_set, track), read_drives(stimulus_set)], axis=1)


def read_drives(stimulus_set: StimulusSet) -> pd.DataFrame:
    """Return `drive_predicted drive_judged drive_ratio drive_percentile flagged` of every image; NaN where the table does not tell.

    A set without these columns (of an earlier version, or made by hand) has the scores of the ROI that is an image's target.

    Raises
    ------
    InputError
        When a cell of such a column is not a number.
    """
    table = stimulus_set.table
    given: Columns = {name: "optional number" for name in _SCORE_OF_DRIVE if name in table.columns}
    checked = check_columns(table, given, str(stimulus_set.folder / TABLE))
    drives = {name: checked[name] if name in given else _find_own(table, prefix) for name, prefix in _SCORE_OF_DRIVE.items()}
    flagged = np.where(table["gate"].isna(), np.nan, table["gate"] == FLAG) if "gate" in table.columns else np.nan
    return pd.DataFrame(drives, index=table.index).assign(flagged=flagged)


def _find_own(table: pd.DataFrame, prefix: str) -> list[float]:
    """Return every image's score for the ROI that is its target; NaN without one."""
    return [float(record.get(f"{prefix}{record['target']}", np.nan)) if prefix else np.nan for record in table.to_dict("records")]


def summarize_conditions(stimulus_set: StimulusSet, measured: pd.DataFrame) -> pd.DataFrame:
    """Return the means of `measured` per condition, with the numbers of images."""
    grouped = pd.concat([stimulus_set.table["condition"], measured], axis=1).groupby("condition", sort=False)
    return grouped.mean().assign(images=grouped.size()).reset_index()


def summarize_targets(stimulus_set: StimulusSet, measured: pd.DataFrame) -> pd.DataFrame:
    """Return the means of `measured` per condition and target, with the numbers of images and of flagged ones.

    `diversity` is what the sidecar tells of a target's images.
    """
    keys = stimulus_set.table[["condition", "target"]].fillna("n/a")
    grouped = pd.concat([keys, measured], axis=1).groupby(["condition", "target"], sort=False)
    summary = grouped.mean().assign(images=grouped.size(), flagged=grouped["flagged"].sum(min_count=1).astype("Int64")).reset_index()
    known = stimulus_set.description.get("diversity", {})
    is_made = summary["condition"] == TARGET
    summary["diversity"] = pd.to_numeric(summary["target"].map(known).where(is_made))
    return summary


def compare_looks(stimulus_set: StimulusSet, measured: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the standardized differences between `conditions`, and between the `targets` of the images that were made for them."""
    natural_sd = stimulus_set.description.get("photometry", {}).get("natural_sd", {})
    compare = {"conditions": compare_conditions, "targets": compare_targets}
    return {what: function(stimulus_set.table, measured, natural_sd) for what, function in compare.items()}


def list_missed_bounds(stimulus_set: StimulusSet) -> list[str]:
    """Return a sentence for every target whose images do not keep all its bounds, as the sidecar tells."""
    missed = stimulus_set.description.get("missed_bounds", {})
    return [f"target {target}: mean of its images: {'; '.join(bounds)}" for target, bounds in missed.items()]


def find_broken_rules(stimulus_set: StimulusSet, measured: pd.DataFrame) -> list[str]:
    """Return one sentence per broken rule; none for a set that may be shown.

    Rules: all images are of one size; the table's luminance and contrast are those of the files; no image is a gray field; conditions,
    and targets, look alike in all that the sidecar does not call wanted; the judges agree that a target's images do what they were made
    for more than the average natural image does.
    """
    table = stimulus_set.table
    broken = []
    sizes = set(zip(table["width_px"], table["height_px"], strict=True))
    if len(sizes) > 1:
        broken.append(f"images of {len(sizes)} sizes ({', '.join(f'{w} x {h}' for w, h in sorted(sizes))}); make all of one size")
    for column in ("mean_luminance", "rms_contrast"):
        wrong = np.flatnonzero(np.abs(table[column] - measured[column]) > _TOLERANCE)
        broken += [f"row {row + 2}: {column} is {measured[column][row]:.4f}, the table says {table[column][row]:.4f}" for row in wrong]
    flat = np.flatnonzero(measured["rms_contrast"] < _LEAST_CONTRAST)
    broken += [
        f"row {row + 2}: {table['stim_id'][row]} is a uniform field (contrast {measured['rms_contrast'][row]:.4f}); make it again"
        for row in flat
    ]
    if photometry := stimulus_set.description.get("photometry"):
        most = photometry.get("most_striped", np.inf)
        broken += [
            f"row {row + 2}: {table['stim_id'][row]} has stripes of contrast {measured['stripes'][row]:.2f} near 3 cycles per degree, "
            f"more than {most:g}; make it again, or raise photometry.most_striped"
            for row in np.flatnonzero(measured["stripes"] > _STRIPES_MARGIN * most)
        ]
        for what, compared in compare_looks(stimulus_set, measured).items():
            broken += find_unbalanced(compared, photometry.get("wanted", []), what)
    made = measured.assign(target=table["target"])[table["condition"] == TARGET]
    return broken + [line for target, rows in made.groupby("target", sort=False) for line in _find_undriven(str(target), rows)]


def _find_undriven(target: str, made: pd.DataFrame) -> list[str]:
    """Return what is wrong with the judged drive of a target's images.

    A distance from a response has no ratio and is never above 0: there the percentile of natural images counts.
    """
    drive, percentile = made["drive_judged"].mean(), made["drive_percentile"].mean()
    if made["drive_ratio"].isna().all() and not np.isnan(percentile):
        if percentile > _MEDIAN:
            return []
        return [f"target {target}: by the judges its images do better than {percentile:.0f} % of natural images; use more steps or models"]
    if drive <= 0:
        return [f"target {target}: mean judged drive {drive:.2f}, no more than the average natural image's; use more steps or models"]
    return []
