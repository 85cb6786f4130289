"""A plan, a stimulus set and true responses in; who is scanned when, on which grid, with which events, out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from analysis.bold import Participant
from analysis.images import Grid
from protocols.errors import InputError
from protocols.events import SUFFIX as EVENTS
from protocols.events import Events
from protocols.provenance import Provenance
from protocols.responses import Responses
from protocols.run_name import RunName
from protocols.stimulus_set import StimulusSet
from protocols.trials import SUFFIX as TRIALS
from protocols.trials import TrialList

LATTICE_MM = 4.0
SPACE = "MNI152NLin2009cAsym"
_MARGIN = 2
_LATTICE = ["i", "j", "k"]


@dataclass(frozen=True)
class Head:
    """The grid that all participants share: a box of the 4 mm MNI lattice around all ROI voxels, and its brain mask."""

    grid: Grid
    corner: Int[np.ndarray, " 3"]
    brain: Bool[np.ndarray, "x y z"]

    def locate(self, voxels: pd.DataFrame) -> Int[np.ndarray, "voxels 3"]:
        """Return the grid indices of voxels given by their lattice coordinates `i j k`."""
        indices: Int[np.ndarray, "voxels 3"] = voxels[_LATTICE].to_numpy(dtype=np.int64) - self.corner
        return indices


def read_responses(participants: Sequence[Participant], stimulus_set: StimulusSet) -> dict[str, Responses]:
    """Read each participant's true responses, one row per image of the set.

    Raises
    ------
    InputError
        When a subject is listed twice, an image of the set has no or several responses.
    """
    repeated = [label for label, count in Counter(person.subject for person in participants).items() if count > 1]
    if repeated:
        raise InputError(f"participants: subject {repeated[0]!r} is listed twice; list each once")
    responses = {person.subject: Responses.read(person.responses) for person in participants}
    for subject, truth in responses.items():
        counts = Counter(truth.trials["stim_id"])
        wrong = [stim_id for stim_id in stimulus_set.table["stim_id"] if counts[stim_id] != 1]
        if wrong:
            raise InputError(
                f"{truth.folder}: {counts[wrong[0]]} responses to {wrong[0]!r}, expected one true response to each image shown to "
                f"subject {subject}; make them with 'stimgen cortex {stimulus_set.folder} --subject {subject} --noise-free'"
            )
    return responses


def read_plan(plan: Path, subjects: Sequence[str], set_sha256: str) -> list[TrialList]:
    """Read the trial lists of `subjects`.

    Raises
    ------
    InputError
        When a subject has none, or they were planned for another stimulus set.
    """
    names = sorted(name for name in Provenance.read(plan).outputs if name.endswith(f"_{TRIALS}"))
    by_subject = {subject: [name for name in names if RunName.parse(name).subject == subject] for subject in subjects}
    absent = [subject for subject, own in by_subject.items() if not own]
    if absent:
        planned = ", ".join(sorted({RunName.parse(name).subject for name in names})) or "none"
        raise InputError(f"{plan}: has no trial lists of subject {absent[0]!r}; planned are {planned}")
    lists = [TrialList.read(plan / name) for own in by_subject.values() for name in own]
    for trials in lists:
        if trials.plan.set_sha256 != set_sha256:
            raise InputError(f"{plan}: {trials.name.stem} was planned for another stimulus set; name the set that the plan was made with")
    return lists


def shape_head(voxel_tables: Sequence[pd.DataFrame], background_voxels: int) -> Head:
    """Return a grid that holds all ROI voxels, and a brain of these and their `background_voxels` nearest neighbors."""
    from scipy.spatial import cKDTree

    cells = np.unique(np.concatenate([table[_LATTICE].to_numpy(dtype=np.int64) for table in voxel_tables]), axis=0)
    corner = cells.min(axis=0) - _MARGIN
    shape = tuple(int(size) for size in cells.max(axis=0) + _MARGIN + 1 - corner)
    brain = np.zeros(shape, dtype=bool)
    brain[tuple((cells - corner).T)] = True
    free = np.argwhere(~brain)
    distance, _ = cKDTree(cells - corner).query(free)
    brain[tuple(free[np.argsort(distance, kind="stable")[:background_voxels]].T)] = True
    affine = np.diag([LATTICE_MM, LATTICE_MM, LATTICE_MM, 1.0])
    affine[:3, 3] = LATTICE_MM * corner
    return Head(Grid(shape, affine), corner, brain)


def find_events(bids: Path, trials: TrialList) -> Events:
    """Return a run's events: those that `experiment run` wrote into the BIDS folder, or else what was planned.

    Raises
    ------
    InputError
        When events are there that do not show the planned images.
    """
    path = trials.name.path(bids, EVENTS)
    if not path.is_file():
        return plan_events(trials)
    events = Events.read(path)
    shown, planned = (Counter(table["stim_id"].dropna()) for table in (events.table, trials.trials))
    if shown != planned:
        differing = sorted(((planned - shown) | (shown - planned)).items())[0][0]
        raise InputError(
            f"{path}: shows {differing!r} {shown[differing]} times, the plan {planned[differing]} times; "
            "these are events of another run, or of a run that was stopped early"
        )
    return events


def plan_events(trials: TrialList) -> Events:
    """Return the events of a run in which everything went as planned and nobody pressed a key."""
    table = trials.trials[["onset", "duration", "trial_type", "stim_id", "stim_file"]].assign(response=None, response_time=np.nan)
    return Events(trials.name, table, {})


def look_up_responses(events: pd.DataFrame, truth: Responses) -> Float[np.ndarray, "events voxels"]:
    """Return the true response of every event; 0 for a blank."""
    rows = {stim_id: row for row, stim_id in enumerate(truth.trials["stim_id"])}
    true_z = np.zeros((len(events), truth.betas.shape[1]))
    for event, stim_id in enumerate(events["stim_id"]):
        if stim_id is not None:
            true_z[event] = truth.betas[rows[stim_id]]
    return true_z
