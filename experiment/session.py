"""The run itself: a frame plan, a screen and inputs in; triggers, onsets, keys and event rows out, as they happen.

One global clock: what a flip shows follows from the time at which it will appear, counted from the first kept
trigger. Nothing waits for anything else, so a late frame never shifts what follows. The same code runs in front of a
real window and in a rehearsal.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

from experiment.frame_plan import FramePlan, Showing
from experiment.pulse_tracker import PulseTracker
from experiment.recorder import Recorder
from experiment.scanner_time import ScannerTime
from experiment.stage import ABORT_KEY, NS_PER_S, Frame, Inputs, Press, Screen, poll_all
from experiment.task import ResponseBook, Score
from experiment.trigger import TriggerSource
from protocols.events import Event
from protocols.protocol import Protocol

_LATE_FRAME = 1.5  # periods; a longer interval means that a refresh was missed
_QUIET_NS = 250_000_000  # the operator's view is drawn only where nothing is due this long


@dataclass(frozen=True)
class Status:
    """What the operator sees while a run goes on. Times in seconds, drift in parts per million, `trial` from 1."""

    volumes_seen: int
    volumes: int
    volumes_lost: int
    tr_s: float
    drift_ppm: float
    trial: int
    trials: int
    hits: int
    probes: int
    late_flips: int
    left_s: float


class Observer(Interface):
    """The operator's view."""

    def is_due(self) -> bool:
        """Say whether a new status is wanted."""

    def show(self, status: Status) -> None:
        """Show it, within a few milliseconds."""


@dataclass(frozen=True)
class Outcome:
    """How a run went. `state` is completed, shortened or aborted; times in seconds; `notes` are failures of inputs.

    `events` are the rows as written, their onsets on the program's clock from the first kept trigger; `triggers_ns` are all
    triggers on that clock, and `scanner` is the fit of the volumes.
    """

    state: str
    trials_shown: int
    trials_skipped: int
    duration_s: float
    flips: int
    late_flips: int
    largest_onset_error_s: float
    score: Score
    notes: tuple[str, ...]
    events: tuple[Event, ...]
    triggers_ns: tuple[int, ...]
    scanner: ScannerTime


@dataclass
class Run:
    """One run from its first kept trigger to its end; `play` it once."""

    screen: Screen
    inputs: Sequence[Inputs]
    source: TriggerSource
    protocol: Protocol
    showings: Sequence[Showing]
    end_s: float
    zero_ns: int
    recorder: Recorder
    observer: Observer
    _book: ResponseBook = field(init=False)
    _plan: FramePlan = field(init=False)
    _tracker: PulseTracker = field(init=False)
    _row: int | None = None
    _shown: int = 0
    _skipped: int = 0
    _flips: int = 0
    _late: int = 0
    _error_s: float = 0.0
    _aborted: bool = False
    _notes: list[str] = field(default_factory=list)
    _events: list[Event] = field(default_factory=list)
    _triggers_ns: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._book = ResponseBook(self.protocol.probe)
        self._plan = FramePlan(self.showings)
        self._tracker = PulseTracker(self.protocol.timing.tr_s)
        self._tracker.add(self.zero_ns)

    def play(self, heard: Sequence[Press] = ()) -> Outcome:
        """Show the trials and record everything; `heard` is what the inputs gave while waiting for the trigger.

        Raises
        ------
        InputError
            When the disk takes no more; what was written stays.
        """
        for press in heard:
            self._take(press)
        flip_ns = self.screen.now_ns()
        try:
            while not self._aborted and self._seconds(self.screen.predict_ns()) < self.end_s:
                flip_ns = self._advance(flip_ns)
        except KeyboardInterrupt:  # Ctrl-C in the terminal ends a run as the abort key does
            self._aborted = True
        return self._finish(flip_ns)

    def _advance(self, previous_ns: int) -> int:
        """Show what belongs on the next flip, note what happened meanwhile, and return the flip's time."""
        step = self._plan.step(self.screen.predict_ns() - self.zero_ns, self.screen.period_ns)
        for row in step.passed:
            self._skip(row)
        flip_ns = self.screen.flip(step.change.frame if step.change else Frame())
        self._log_flip(flip_ns, previous_ns)
        self._change(step.change.row if step.change else None, flip_ns)
        for press in poll_all(self.inputs):
            self._take(press)
        self._close_trials(flip_ns)
        self._observe(flip_ns)
        return flip_ns

    def _log_flip(self, flip_ns: int, previous_ns: int) -> None:
        self.recorder.flip(flip_ns)
        self._flips += 1
        interval_ns = flip_ns - previous_ns
        if self._flips > 1 and interval_ns > _LATE_FRAME * self.screen.period_ns:
            self._late += 1
            self.recorder.note("late", flip_ns, missed_frames=round(interval_ns / self.screen.period_ns) - 1)

    def _change(self, row: int | None, flip_ns: int) -> None:
        """Note what disappeared and what appeared on this flip."""
        if row == self._row:
            return
        now_s = self._seconds(flip_ns)
        if self._row is not None:
            self._book.end(now_s)
            self.recorder.note("offset", flip_ns, row=self._row)
        if row is not None:
            showing = self.showings[row]
            self._book.begin(showing.trial, now_s)
            self._shown += 1
            if showing.trial.stim_id is not None:  # nobody sees when a blank begins
                self._error_s = max(self._error_s, abs(now_s - showing.onset_s))
            self.recorder.note("onset", flip_ns, row=row, planned_s=showing.onset_s, **vars(showing.trial))
        self._row = row

    def _skip(self, row: int) -> None:
        self._skipped += 1
        self.recorder.note("skipped", self.screen.now_ns(), row=row, planned_s=self.showings[row].onset_s)

    def _take(self, press: Press) -> None:
        if self.source.matches(press):
            self._triggers_ns.append(press.time_ns)
            if press.time_ns > self.zero_ns:
                self._tracker.add(press.time_ns)
            self.recorder.note("trigger", press.time_ns, source=press.source, key=press.key)
            return
        self.recorder.note("key", press.time_ns, source=press.source, key=press.key)
        if press.key == ABORT_KEY:
            self._aborted = True
        elif press.key in self.protocol.probe.keys and press.time_ns >= self.zero_ns:
            self._book.press(press.key, self._seconds(press.time_ns))

    def _close_trials(self, flip_ns: int) -> None:
        self._append(self._book.close(self._seconds(flip_ns)))
        for one in self.inputs:
            if one.failure and one.failure not in self._notes:
                self._notes.append(one.failure)
                self.recorder.note("failure", flip_ns, message=one.failure)
        self.recorder.check()

    def _append(self, rows: Sequence[Event]) -> None:
        for event in rows:
            self.recorder.append(event)
            self._events.append(event)

    def _observe(self, flip_ns: int) -> None:
        if not self.observer.is_due() or not self._plan.is_quiet(flip_ns - self.zero_ns, _QUIET_NS):
            return
        score, fit = self._book.score(), self._tracker.fit()
        volumes = math.ceil(self.end_s / self.protocol.timing.tr_s - 1e-9)
        left_s = max(0.0, self.end_s - self._seconds(flip_ns))
        timing = (fit.volumes_seen, volumes, len(fit.lost), fit.tr_s, fit.drift_ppm)
        self.observer.show(Status(*timing, self._shown, len(self.showings), score.hits, score.probes, self._late, left_s))

    def _finish(self, flip_ns: int) -> Outcome:
        now_s = self._seconds(flip_ns)
        self._append(self._book.close_all(now_s))
        state = "aborted" if self._aborted else "completed"
        self.recorder.note("end", flip_ns, state=state)
        return Outcome(
            state,
            self._shown,
            self._skipped,
            now_s,
            self._flips,
            self._late,
            self._error_s,
            self._book.score(),
            tuple(self._notes),
            tuple(self._events),
            tuple(self._triggers_ns),
            self._tracker.fit(),
        )

    def _seconds(self, time_ns: int) -> float:
        return (time_ns - self.zero_ns) / NS_PER_S
