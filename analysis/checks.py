"""A RoiTable in, and where they are given its stimulus set, its quality and what was planned; named flags of what looks wrong out.

Each check asks for one kind of mistake that leaves valid files behind: events of another run, a swapped subject, a mask that is another
region's. Flags are for a person: nothing is left out, and no check looks at whether images drove their own region, so that what
they find cannot favor a claim.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.flags import DROPPED, FLAGS, FLAT, LABELS, MASK, MOTION, SHIFT, TIME, UNSEEN, Flag, Runs, name_run
from analysis.pattern_checks import check_duplicates, check_patterns, check_regions, check_scales
from protocols.roi_table import RoiTable

_VOXELS = 0.25  # share of an ROI's voxels by which runs of a subject may differ
_LAG = 0.6  # volumes
_FLAT = 0.02  # of the spread over images that the region has in the subject's other runs
_TIME = 0.001  # share of the repetition time
_MOTION = 2.0  # times what chance explains of the motion


@dataclass(frozen=True)
class Known:
    """What the table can be compared with; None where it is not known.

    Attributes
    ----------
    stimuli
        The set's table.
    quality
        `qc.tsv`.
    runs
        Runs that were planned for each subject, of all sessions.
    """

    stimuli: pd.DataFrame | None = None
    quality: pd.DataFrame | None = None
    runs: int | None = None


def check_table(table: RoiTable, known: Known) -> list[Flag]:
    """Return every flag, in the order of `FLAGS`."""
    runs = Runs.of(table)
    found = [
        *_check_flat(runs),
        *check_duplicates(runs),
        *check_patterns(runs),
        *check_regions(runs),
        *_check_counts(runs, known.runs),
        *_check_images(runs, known.stimuli),
        *check_scales(runs),
        *_check_voxels(runs),
        *(_check_labels(table, known.stimuli) if known.stimuli is not None else ()),
        *(_check_motion(known.quality) if known.quality is not None else ()),
        *(_check_timing(known.quality) if known.quality is not None else ()),
        *(_check_times(known.quality) if known.quality is not None else ()),
    ]
    order = list(FLAGS)
    return sorted(found, key=lambda flag: order.index(flag.name))


def _check_counts(runs: Runs, planned: int | None) -> Iterator[Flag]:
    counts = {subject: len(runs.of_subject(subject)) for subject in dict.fromkeys(runs.subjects)}
    expected = planned or max(counts.values(), default=0)
    for subject, count in counts.items():
        if count < expected:
            yield Flag(DROPPED, f"sub-{subject}", f"{count} runs, {expected} {'were planned' if planned else 'in others'}")


def _check_images(runs: Runs, stimuli: pd.DataFrame | None) -> Iterator[Flag]:
    """Compare each subject's images with all that were shown to anybody; own images of other subjects are not expected."""
    of = {} if stimuli is None or "subjects" not in stimuli else stimuli.set_index("stim_id")["subjects"].dropna().to_dict()
    for subject in dict.fromkeys(runs.subjects):
        shown = ~np.isnan(runs.responses[runs.of_subject(subject)]).all(axis=(0, 1))
        unseen = [image for image, seen in zip(runs.images, shown, strict=True) if not seen]
        absent = sorted(image for image in unseen if subject in str(of.get(image, subject)).split())
        if absent:
            yield Flag(UNSEEN, f"sub-{subject}", f"{len(absent)} images that others saw, such as {absent[0]}")
    if stimuli is not None:
        conditions = set(stimuli.loc[stimuli["stim_id"].isin(runs.images), "condition"])
        never = sorted(set(stimuli.loc[stimuli["condition"].isin(conditions), "stim_id"]) - set(runs.images))
        if never:
            yield Flag(UNSEEN, "all subjects", f"{len(never)} images of the set were shown to nobody, such as {never[0]}")


def _check_flat(runs: Runs) -> Iterator[Flag]:
    """Compare the range of a region's responses with that in the subject's other runs: even noise alone spreads single responses alike."""
    shown = ~np.isnan(runs.responses)
    counts = shown.sum(axis=2)
    high, low = np.where(shown, runs.responses, -np.inf).max(axis=2), np.where(shown, runs.responses, np.inf).min(axis=2)
    ranges = np.where(counts > 1, high - low, np.nan)
    for run, place in np.argwhere(counts > 1):
        others = ranges[runs.others(int(run)), place]
        others = others[~np.isnan(others)]
        usual = float(np.median(others)) if len(others) else 0.0
        if ranges[run, place] <= _FLAT * usual:
            found = f"{counts[run, place]} images from {low[run, place]:.2f} to {high[run, place]:.2f} %"
            yield Flag(FLAT, f"{runs.names[run]} {runs.rois[place]}", found)


def _check_voxels(runs: Runs) -> Iterator[Flag]:
    for run, name in enumerate(runs.names):
        own = runs.voxels[runs.others(run)]
        for place, roi in enumerate(runs.rois):
            known, count = own[:, place][~np.isnan(own[:, place])], runs.voxels[run, place]
            usual = float(np.median(known)) if len(known) else count
            if abs(count - usual) > max(_VOXELS * usual, 2):
                yield Flag(MASK, f"{name} {roi}", f"{count:.0f} voxels, {usual:.0f} in the other runs")


def _check_labels(table: RoiTable, stimuli: pd.DataFrame) -> Iterator[Flag]:
    known = stimuli.set_index("stim_id")[["condition", "target"]].fillna("")
    shown = table.table.drop_duplicates(["stim_id", "condition", "target"])[["stim_id", "condition", "target"]].fillna("")
    for stim_id, condition, target in shown.itertuples(index=False, name=None):
        if stim_id not in known.index:
            yield Flag(LABELS, str(stim_id), "the stimulus set has no such image")
        elif tuple(known.loc[stim_id]) != (condition, target):
            then = " for ".join(filter(None, known.loc[stim_id]))
            yield Flag(LABELS, str(stim_id), f"{' for '.join(filter(None, (condition, target)))}, the set says {then}")


def _check_motion(quality: pd.DataFrame) -> Iterator[Flag]:
    """Flag what is well above chance: of twenty runs that are still, `analysis qc` names one."""
    for row in quality.to_dict("records"):
        explained, chance = float(row["task_motion_r2"]), float(row["task_motion_chance"])
        if explained > min(_MOTION * chance, (1 + chance) / 2):
            yield Flag(MOTION, name_run(row["subject"], row["session"], row["run"]), f"R2 {explained:.2f}, {chance:.2f} by chance")


def _check_timing(quality: pd.DataFrame) -> Iterator[Flag]:
    """Compare each run's lag with the median of the subject's other runs; a person's slow response is in all of them."""
    for _, rows in quality.groupby("subject", sort=False):
        lags = rows["lag_volumes"].to_numpy(dtype=np.float64)
        for place, row in enumerate(rows.to_dict("records")):
            others = np.delete(lags, place)
            others = others[~np.isnan(others)]
            usual = float(np.median(others)) if len(others) > 1 else np.nan
            if abs(lags[place] - usual) > _LAG:
                found = f"responses {lags[place]:.1f} volumes late, {usual:.1f} in the other runs"
                yield Flag(SHIFT, name_run(row["subject"], row["session"], row["run"]), found)


def _check_times(quality: pd.DataFrame) -> Iterator[Flag]:
    """Compare each run's repetition time with the median of all runs."""
    usual = float(quality["tr_s"].median())
    for row in quality.to_dict("records"):
        if abs(row["tr_s"] - usual) > _TIME * usual:
            yield Flag(TIME, name_run(row["subject"], row["session"], row["run"]), f"{row['tr_s']:g} s, mostly {usual:g} s")
