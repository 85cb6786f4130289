"""A RoiTable in; for each ROI a table of subjects x images out, complete or with its gaps, and which images a contrast's terms mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis.map_contrasts import TARGET
from analysis.unbalanced import ImageSet
from protocols.errors import InputError
from protocols.protocol import OTHER, split_contrast
from protocols.roi_table import BOTH, RoiTable


@dataclass(frozen=True)
class ImageResponses:
    """Responses averaged over runs: subjects x images for each ROI.

    Attributes
    ----------
    by_roi
        For each ROI, psc with one row per subject and one column per row of `images`; NaN where gaps were kept.
    images
        One row per image, indexed by stim_id: `condition target`.
    notes
        What was left out or is missing, in words.
    runs, scatter
        Shaped as `by_roi`: in how many runs a response was measured, and the sum of squares of these about their mean.
    """

    by_roi: dict[str, pd.DataFrame]
    images: pd.DataFrame
    notes: tuple[str, ...]
    runs: dict[str, pd.DataFrame] = field(default_factory=dict)
    scatter: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def subjects(self) -> list[str]:
        """Subject labels, in the rows' order."""
        return list(next(iter(self.by_roi.values())).index)

    @property
    def targets(self) -> list[str]:
        """Measured ROIs that images were made for, in order of the ROIs."""
        made = set(self.images.loc[self.images["condition"] == TARGET, "target"])
        return [roi for roi in self.by_roi if roi in made]

    def select(self, roi: str, images: Sequence[str]) -> Float[np.ndarray, "subjects images"]:
        """Return one ROI's responses to some images."""
        values: Float[np.ndarray, "subjects images"] = self._take(self.by_roi[roi], images)
        return values

    def select_set(self, roi: str, images: Sequence[str]) -> ImageSet:
        """Return the same with the number of runs and their scatter."""
        return ImageSet(self.select(roi, images), self._take(self.runs[roi], images), self._take(self.scatter[roi], images))

    def average(self, roi: str, images: Sequence[str]) -> Float[np.ndarray, " subjects"]:
        """Return each subject's mean over those of some images that it saw; NaN where it saw none."""
        values = self.select(roi, images)
        seen = np.isfinite(values)
        count = seen.sum(axis=1)
        means: Float[np.ndarray, " subjects"] = np.divide(
            np.where(seen, values, 0).sum(axis=1), count, out=np.full(len(values), np.nan), where=count > 0
        )
        return means

    def matrix(self) -> Float[np.ndarray, "subjects rois sets"]:
        """Return the mean response of every targeted ROI to every set of images made for one, per subject."""
        sets = [self.images_of(TARGET, roi) for roi in self.targets]
        return np.stack([np.stack([self.average(roi, own) for own in sets], axis=1) for roi in self.targets], axis=1)

    def _take(self, values: pd.DataFrame, images: Sequence[str]) -> Any:
        return np.take(values.to_numpy(), self.images.index.get_indexer(pd.Index(images)), axis=1)

    def images_of(self, condition: str, target: str | None) -> list[str]:
        """Return the images of a condition made (or chosen) for a target; those without any target where `target` is None."""
        same = self.images["target"].isna() if target is None else self.images["target"] == target
        return list(self.images.index[(self.images["condition"] == condition) & same])

    def image_sets(self, term: str, roi: str) -> list[list[str]]:
        """Return the images that a contrast's term means in an ROI, set by set.

        `other` are target images made for other ROIs, a set for each. A condition means its images for this ROI or, where
        none of its images has a target, all of them.

        Raises
        ------
        InputError
            When the table has no such condition.
        """
        if term == OTHER:
            made = self.images.loc[self.images["condition"] == TARGET, "target"].dropna()
            return [self.images_of(TARGET, other) for other in dict.fromkeys(made) if other != roi]
        known = list(dict.fromkeys(self.images["condition"]))
        if term not in known:
            raise InputError(f"no condition {term!r} in the ROI table; conditions are {', '.join(known)} (and {OTHER!r})")
        own = self.images_of(term, roi)
        has_targets = self.images.loc[self.images["condition"] == term, "target"].notna().any()
        return [own] if own else [] if has_targets else [self.images_of(term, None)]


def average_runs(table: RoiTable, keep_gaps: bool = False) -> ImageResponses:
    """Average each image's responses over sessions and runs.

    Images that a subject did not see are left out for all; with `keep_gaps` they stay, and so do ROIs that a subject lacks.

    Raises
    ------
    InputError
        When there are no rows of both hemispheres together, or, without `keep_gaps`, an ROI is missing in a subject or no image is
        common to all.
    """
    rows = table.table[table.table["hemisphere"] == BOTH]
    if rows.empty:
        raise InputError(f"{table.where}: no rows with hemisphere {BOTH!r}; run analysis rois, which writes them")
    _refuse_inconsistent(rows, table.where)
    subjects = sorted(set(rows["subject"]))
    images = rows.drop_duplicates("stim_id").set_index("stim_id")[["condition", "target"]]
    absent = _list_absent(rows, subjects)
    if absent and not keep_gaps:
        subject, roi = absent[0]
        raise InputError(f"{table.where}: subject {subject} has no responses of ROI {roi}; add its mask, or leave the ROI out for all")
    seen = rows.groupby(["roi", "subject"], sort=False)["stim_id"].agg(set)
    complete = [str(stim_id) for stim_id in images.index if all(stim_id in one for one in seen)]
    kept = [str(stim_id) for stim_id in images.index] if keep_gaps else complete
    if not kept:
        raise InputError(f"{table.where}: no image was shown to all subjects; subjects of one analysis must share images")
    cells = {str(roi): part.groupby(["subject", "stim_id"])["response_psc"] for roi, part in rows.groupby("roi", sort=False)}
    means = {roi: _widen(part.mean(), subjects, kept) for roi, part in cells.items()}
    runs = {roi: _widen(part.count(), subjects, kept).fillna(0).astype(int) for roi, part in cells.items()}
    scatter = {roi: (_widen(part.var(), subjects, kept) * (runs[roi] - 1)).fillna(0) for roi, part in cells.items()}
    notes = _note_gaps(absent, len(images) - len(complete), len(images), keep_gaps)
    return ImageResponses(means, images.loc[kept], notes, runs, scatter)


def _widen(cells: pd.Series, subjects: Sequence[str], images: Sequence[str]) -> pd.DataFrame:
    wide: pd.DataFrame = cells.unstack("stim_id").reindex(index=pd.Index(subjects), columns=pd.Index(images))
    return wide


def _list_absent(rows: pd.DataFrame, subjects: Sequence[str]) -> list[tuple[str, str]]:
    """Return the subjects and ROIs that have no row together."""
    present = set(zip(rows["subject"], rows["roi"], strict=True))
    return [(subject, str(roi)) for roi in dict.fromkeys(rows["roi"]) for subject in subjects if (subject, roi) not in present]


def _note_gaps(absent: Sequence[tuple[str, str]], gaps: int, images: int, kept: bool) -> tuple[str, ...]:
    """Say what is missing; `gaps` counts images that some ROI of some subject lacks."""
    notes = [f"subject {subject} has no responses of ROI {roi}: tests there are of the other subjects" for subject, roi in absent]
    if gaps and not kept:
        notes.append(f"{gaps} of {images} images are left out: not every subject saw them")
    elif gaps:
        notes.append(f"{gaps} of {images} images were not seen by every subject: tests that use them allow for the gaps (see method)")
    return tuple(notes)


def split_sets(responses: ImageResponses, expression: str, roi: str) -> tuple[list[list[str]], list[float]] | None:
    """Return the image sets of a contrast in an ROI and their weights, so that each side is a mean over its images.

    None where the ROI has no images on one side (no images were made for it).

    Raises
    ------
    InputError
        When the expression does not parse or names an unknown condition.
    """
    try:
        plus, minus = split_contrast(expression)
    except ValueError as problem:
        raise InputError(str(problem)) from None
    sides = [[images for term in terms for images in responses.image_sets(term, roi)] for terms in (plus, minus)]
    if not all(sides):
        return None
    weights = [sign * len(images) / sum(map(len, side)) for sign, side in zip((1, -1), sides, strict=True) for images in side]
    return [images for side in sides for images in side], weights


def _refuse_inconsistent(rows: pd.DataFrame, where: str) -> None:
    labels = rows.fillna({"target": ""}).drop_duplicates(["stim_id", "condition", "target"])
    twice = labels["stim_id"][labels["stim_id"].duplicated()]
    if len(twice):
        raise InputError(f"{where}: {twice.iloc[0]!r} has two conditions or targets; the rows are of two stimulus sets, analyze them apart")
