"""Names of what may look wrong in a data set with what they mean, a flag, and a RoiTable laid out run by run. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from protocols.roi_table import BOTH, RoiTable
from protocols.tables import Columns

EVENTS, SUBJECT, REGION, UNLIKE = "run_disagrees", "subject_swapped", "region_swapped", "region_unlike"
DUPLICATE, TIME = "run_duplicated", "repetition_time_differs"
DROPPED, UNSEEN, SCALE, MASK = "run_missing", "images_missing", "scale_differs", "voxels_differ"
LABELS, MOTION, FLAT, SHIFT = "labels_differ", "motion_follows_task", "response_flat", "timing_shifted"
FLAGS: Mapping[str, str] = {
    EVENTS: "a run's responses have nothing to do with the subject's other runs: events of another run, or another run's BOLD",
    SUBJECT: "a run fits another subject's runs better than its own subject's: files of two people were swapped",
    REGION: "a region responds like another region of all other subjects: masks were swapped, or one has another's name",
    UNLIKE: "one person's region has nothing in common with the same region of all others: a mask in the wrong place, or lost signal",
    DUPLICATE: "two runs have the same responses: one is a copy of the other",
    DROPPED: "a subject has fewer runs than the others, or than were planned",
    UNSEEN: "images of the set were not shown, or not to everybody",
    SCALE: "a run's responses are on another scale than the subject's other runs",
    MASK: "a region has another number of voxels in some runs of a subject: another mask, or a brain that is cut off",
    LABELS: "an image has another condition or target in the ROI table than in the stimulus set",
    MOTION: "the head moved with the task",
    FLAT: "a region responds to nothing, or equally to everything, in a run: an empty or constant BOLD",
    TIME: "a run has another repetition time than the others: a wrong header or sidecar, or another sequence",
    SHIFT: "a run responds earlier or later than the subject's other runs: events or volumes are off by a volume",
}


@dataclass(frozen=True)
class Flag:
    """What looks wrong (`FLAGS` says what it means), where, and what was found."""

    name: str
    where: str
    found: str


COLUMNS: Columns = {"flag": "text", "place": "text", "found": "text"}


def tabulate_flags(flags: Sequence[Flag]) -> pd.DataFrame:
    """Return a row for each flag (`COLUMNS`)."""
    return pd.DataFrame([(flag.name, flag.where, flag.found) for flag in flags], columns=list(COLUMNS))


def describe_flag(flag: Flag) -> str:
    """Say a flag in words."""
    return f"{flag.name}, {flag.where}: {flag.found} ({FLAGS[flag.name]})"


@dataclass(frozen=True)
class Runs:
    """A RoiTable's rows of both hemispheres together, run by run.

    Attributes
    ----------
    names, subjects
        Of each run.
    rois, images
        Labels of the other two axes.
    responses
        psc; NaN where a run did not show an image, or has no such ROI.
    voxels
        Voxels of each ROI in each run; NaN where there are none.
    """

    names: list[str]
    subjects: list[str]
    rois: list[str]
    images: list[str]
    responses: Float[np.ndarray, "runs rois images"]
    voxels: Float[np.ndarray, "runs rois"]

    @classmethod
    def of(cls, table: RoiTable) -> "Runs":
        """Lay out a table."""
        rows = table.table[table.table["hemisphere"] == BOTH]
        rows = rows.assign(session=rows["session"].fillna(""))
        keys = rows[["subject", "session", "run"]].drop_duplicates().sort_values(["subject", "session", "run"])
        rois, images = list(dict.fromkeys(rows["roi"])), list(dict.fromkeys(rows["stim_id"]))
        places = [
            pd.MultiIndex.from_frame(keys).get_indexer(pd.MultiIndex.from_frame(rows[["subject", "session", "run"]])),
            pd.Index(rois).get_indexer(pd.Index(rows["roi"])),
            pd.Index(images).get_indexer(pd.Index(rows["stim_id"])),
        ]
        responses = np.full((len(keys), len(rois), len(images)), np.nan)
        responses[tuple(places)] = rows["response_psc"]
        voxels = np.full(responses.shape[:2], np.nan)
        voxels[places[0], places[1]] = rows["n_voxels"]
        names = [name_run(*key) for key in keys.itertuples(index=False, name=None)]
        return cls(names, [str(one) for one in keys["subject"]], rois, images, responses, voxels)

    def others(self, run: int) -> list[int]:
        """Return the other runs of a run's subject."""
        return [other for other, subject in enumerate(self.subjects) if subject == self.subjects[run] and other != run]

    def of_subject(self, subject: str) -> list[int]:
        """Return a subject's runs."""
        return [run for run, label in enumerate(self.subjects) if label == subject]


def name_run(subject: str, session: str | None, run: int) -> str:
    """Return a run's BIDS name without its task."""
    return f"sub-{subject}" + (f"_ses-{session}" if session else "") + f"_run-{run:02d}"


def average(responses: Float[np.ndarray, "runs rois images"]) -> Float[np.ndarray, "rois images"]:
    """Return the mean over runs, NaN where none has a value."""
    shown = ~np.isnan(responses)
    mean: Float[np.ndarray, "rois images"] = np.where(shown, responses, 0).sum(axis=0) / np.where(
        shown.any(axis=0), shown.sum(axis=0), np.nan
    )
    return mean
