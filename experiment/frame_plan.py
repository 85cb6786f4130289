"""What every flip of a run shows, laid down before the run: trials in, the changes of the screen in order of time out."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiment.stage import NS_PER_S, Frame
from experiment.task import ShownTrial
from protocols.protocol import Protocol
from protocols.trials import TrialList

_TOUCHING_S = 1e-6


@dataclass(frozen=True)
class Showing:
    """A trial with its time in seconds from the first kept trigger."""

    onset_s: float
    offset_s: float
    trial: ShownTrial
    changes_dot: bool


@dataclass(frozen=True)
class Change:
    """From `due_ns` (from the first kept trigger) on `frame` is shown; `row` is the trial that begins, None where one ends."""

    due_ns: int
    row: int | None
    frame: Frame


@dataclass(frozen=True)
class Step:
    """What the next flip shows: the change in force (None before the first), and the rows that were passed over for want of time."""

    change: Change | None
    passed: tuple[int, ...]


def compile_showings(trials: TrialList, protocol: Protocol, limit: int | None = None, stimuli_folder: str = "") -> list[Showing]:
    """Turn the first `limit` trials (all by default) into showings; `stimuli_folder` goes before every stim_file."""
    colored = protocol.probe.kind == "fixation"
    showings = []
    for row in trials.trials.to_dict("records")[:limit]:
        file = row["stim_file"] and f"{stimuli_folder}{row['stim_file']}"
        trial = ShownTrial(row["trial_type"], row["stim_id"], file, bool(row["probe"]))
        showings.append(Showing(row["onset"], row["onset"] + row["duration"], trial, colored and trial.probe))
    return showings


class FramePlan:
    """The changes of one run, stepped through once. Each is due on the flip nearest to its time, whatever happened before."""

    def __init__(self, showings: Sequence[Showing]) -> None:
        self.changes = compile_changes(showings)
        self._place = -1

    def step(self, flip_ns: int, period_ns: int) -> Step:
        """Return what a flip expected at `flip_ns` (from the first kept trigger) shows; times must not go back."""
        passed: list[int] = []
        horizon_ns = flip_ns + period_ns // 2
        first = self._place + 1
        while self._place + 1 < len(self.changes) and self.changes[self._place + 1].due_ns <= horizon_ns:
            self._place += 1
        for place in range(first, self._place):
            row = self.changes[place].row
            if row is not None:
                passed.append(row)
        return Step(self.changes[self._place] if self._place >= 0 else None, tuple(passed))

    def is_quiet(self, now_ns: int, quiet_ns: int) -> bool:
        """Say whether nothing is due within `quiet_ns`."""
        following = self.changes[self._place + 1 : self._place + 2]
        return all(change.due_ns - now_ns >= quiet_ns for change in following)


def compile_changes(showings: Sequence[Showing]) -> tuple[Change, ...]:
    """Return the changes of the screen in order: trials that touch change on one flip, others go back to the background."""
    changes = []
    for row, showing in enumerate(showings):
        changes.append(Change(round(showing.onset_s * NS_PER_S), row, Frame(showing.trial.stim_id, showing.changes_dot)))
        following = showings[row + 1] if row + 1 < len(showings) else None
        if following is None or following.onset_s - showing.offset_s > _TOUCHING_S:
            changes.append(Change(round(showing.offset_s * NS_PER_S), None, Frame()))
    return tuple(changes)
