"""A RoiTable in; for each ROI a complete table of subjects x images out, and which images a contrast's terms mean."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from analysis.map_contrasts import TARGET
from protocols.errors import InputError
from protocols.protocol import OTHER, split_contrast
from protocols.roi_table import BOTH, RoiTable


@dataclass(frozen=True)
class ImageResponses:
    """Responses averaged over runs: subjects x images for each ROI, without a gap.

    Attributes
    ----------
    by_roi
        For each ROI, psc with one row per subject and one column per row of `images`.
    images
        One row per image, indexed by stim_id: `condition target`.
    notes
        What was left out, in words.
    """

    by_roi: dict[str, pd.DataFrame]
    images: pd.DataFrame
    notes: tuple[str, ...]

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
        places = self.images.index.get_indexer(pd.Index(images))
        values: Float[np.ndarray, "subjects images"] = np.take(self.by_roi[roi].to_numpy(), places, axis=1)
        return values

    def matrix(self) -> Float[np.ndarray, "subjects rois sets"]:
        """Return the mean response of every targeted ROI to every set of images made for one, per subject."""
        sets = [self.images_of(TARGET, roi) for roi in self.targets]
        return np.stack([np.stack([self.select(roi, own).mean(axis=1) for own in sets], axis=1) for roi in self.targets], axis=1)

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


def average_runs(table: RoiTable) -> ImageResponses:
    """Average each image's responses over sessions and runs; images that a subject did not see are left out for all.

    Raises
    ------
    InputError
        When there are no rows of both hemispheres together, an ROI is missing in a subject, or no image is common to all.
    """
    rows = table.table[table.table["hemisphere"] == BOTH]
    if rows.empty:
        raise InputError(f"{table.where}: no rows with hemisphere {BOTH!r}; run analysis rois, which writes them")
    _refuse_inconsistent(rows, table.where)
    wide = {
        str(roi): part.pivot_table(index="subject", columns="stim_id", values="response_psc")
        for roi, part in rows.groupby("roi", sort=False)
    }
    subjects = sorted(set(rows["subject"]))
    for roi, values in wide.items():
        absent = [subject for subject in subjects if subject not in values.index]
        if absent:
            raise InputError(
                f"{table.where}: subject {absent[0]} has no responses of ROI {roi}; add its mask, or leave the ROI out for all"
            )
    images = rows.drop_duplicates("stim_id").set_index("stim_id")[["condition", "target"]]
    complete = [stim_id for stim_id in images.index if all(stim_id in values and values[stim_id].notna().all() for values in wide.values())]
    dropped = len(images) - len(complete)
    if not complete:
        raise InputError(f"{table.where}: no image was shown to all subjects; subjects of one analysis must share images")
    notes = (f"{dropped} of {len(images)} images are left out: not every subject saw them",) if dropped else ()
    return ImageResponses({roi: values.loc[subjects, complete] for roi, values in wide.items()}, images.loc[complete], notes)


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
