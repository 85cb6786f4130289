"""The run itself: a trial list, a screen and inputs in; triggers, onsets, keys and event rows out, as they happen.

One global clock: what a flip shows follows from the time at which it will appear, counted from the first kept
trigger. Nothing waits for anything else, so a late frame never shifts what follows. The same code runs in front of a
real window and in a rehearsal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol as Interface

from experiment.recorder import Recorder
from experiment.stage import ABORT_KEY, NS_PER_S, Frame, Inputs, Press, Screen
from experiment.task import ResponseBook, Score, ShownTrial
from experiment.trigger import TriggerSource
from protocols.errors import InputError
from protocols.protocol import Protocol
from protocols.trials import TrialList

_LATE_FRAME = 1.5  # periods; a longer interval means that a refresh was missed
_QUIET_S = 0.25  # the operator's view is drawn only where nothing is due this long
_NAMED_IN_MESSAGE = 8


@dataclass(frozen=True)
class Showing:
    """A trial with its time in seconds from the first kept trigger."""

    onset_s: float
    offset_s: float
    trial: ShownTrial
    changes_dot: bool


@dataclass(frozen=True)
class Status:
    """What the operator sees while a run goes on. Times in seconds, `trial` from 1."""

    phase: str
    triggers: int
    volumes: int
    trial: int
    trials: int
    hits: int
    probes: int
    left_s: float


class Observer(Interface):
    """The operator's view."""

    def is_due(self) -> bool:
        """Say whether a new status is wanted."""

    def show(self, status: Status) -> None:
        """Show it, within a few milliseconds."""


@dataclass(frozen=True)
class Outcome:
    """How a run went. `state` is completed, shortened or aborted; times in seconds; `notes` are failures of inputs."""

    state: str
    trials_shown: int
    trials_skipped: int
    triggers: int
    duration_s: float
    flips: int
    late_flips: int
    largest_onset_error_s: float
    score: Score
    notes: tuple[str, ...]


def compile_showings(trials: TrialList, protocol: Protocol, limit: int | None = None) -> list[Showing]:
    """Turn the first `limit` trials (all by default) into showings."""
    colored = protocol.probe.kind == "fixation"
    showings = []
    for row in trials.trials.to_dict("records")[:limit]:
        trial = ShownTrial(row["trial_type"], row["stim_id"], row["stim_file"], bool(row["probe"]))
        showings.append(Showing(row["onset"], row["onset"] + row["duration"], trial, colored and trial.probe))
    return showings


def wait_for_trigger(screen: Screen, inputs: Sequence[Inputs], source: TriggerSource, protocol: Protocol) -> tuple[int | None, list[Press]]:
    """Show the instructions until the first kept trigger; return its time (None: the abort key) and all that was heard.

    Raises
    ------
    InputError
        When no trigger comes within the protocol's time limit, or the source fails: what was listened to, what came instead.
    """
    frame = Frame(message=f"{protocol.instructions}\n\nWaiting for the scanner")
    for one in inputs:
        one.poll()  # what came before the screen was ready belongs to nothing
    deadline_ns = screen.now_ns() + round(protocol.trigger.timeout_s * NS_PER_S)
    heard: list[Press] = []
    while screen.now_ns() < deadline_ns:
        screen.flip(frame)
        for press in _poll(inputs):
            heard.append(press)
            if press.key == ABORT_KEY:
                return None, heard
        triggers = [press for press in heard if source.matches(press)]
        if len(triggers) > protocol.trigger.dummy_volumes:
            return triggers[protocol.trigger.dummy_volumes].time_ns, heard
        failures = [one.failure for one in inputs if one.failure]
        if failures:
            raise InputError(f"trigger: {'; '.join(failures)}; mend it and start the run again (nothing was recorded)")
    raise InputError(_describe_silence(inputs, source, protocol, heard))


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
    _current: int | None = None
    _next: int = 0
    _shown: int = 0
    _skipped: int = 0
    _triggers: int = 0
    _flips: int = 0
    _late: int = 0
    _error_s: float = 0.0
    _aborted: bool = False
    _notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._book = ResponseBook(self.protocol.probe)

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
        index = self._find_showing(self._seconds(self.screen.predict_ns() + self.screen.period_ns // 2))
        flip_ns = self.screen.flip(self._make_frame(index))
        self._log_flip(flip_ns, previous_ns)
        self._change(index, flip_ns)
        for press in _poll(self.inputs):
            self._take(press)
        self._close_trials(flip_ns)
        self._observe(flip_ns)
        return flip_ns

    def _find_showing(self, due_s: float) -> int | None:
        """Return the showing of a flip that appears within half a refresh of `due_s`, or None between showings."""
        while self._next < len(self.showings) and self.showings[self._next].offset_s <= due_s:
            if self._next != self._current:
                self._skip(self._next)
            self._next += 1
        if self._next < len(self.showings) and self.showings[self._next].onset_s <= due_s:
            return self._next
        return None

    def _make_frame(self, index: int | None) -> Frame:
        showing = self.showings[index] if index is not None else None
        return Frame(showing.trial.stim_id, showing.changes_dot) if showing else Frame()

    def _log_flip(self, flip_ns: int, previous_ns: int) -> None:
        self.recorder.flip(flip_ns)
        self._flips += 1
        self._late += self._flips > 1 and flip_ns - previous_ns > _LATE_FRAME * self.screen.period_ns

    def _change(self, index: int | None, flip_ns: int) -> None:
        """Note what disappeared and what appeared on this flip."""
        if index == self._current:
            return
        now_s = self._seconds(flip_ns)
        if self._current is not None:
            self._book.end(now_s)
            self.recorder.note("offset", flip_ns, row=self._current)
        if index is not None:
            showing = self.showings[index]
            self._book.begin(showing.trial, now_s)
            self._shown += 1
            self._error_s = max(self._error_s, abs(now_s - showing.onset_s))
            self.recorder.note("onset", flip_ns, row=index, planned_s=showing.onset_s, **vars(showing.trial))
        self._current = index

    def _skip(self, index: int) -> None:
        self._skipped += 1
        self.recorder.note("skipped", self.screen.now_ns(), row=index, planned_s=self.showings[index].onset_s)

    def _take(self, press: Press) -> None:
        if self.source.matches(press):
            self._triggers += press.time_ns >= self.zero_ns
            self.recorder.note("trigger", press.time_ns, source=press.source, key=press.key)
            return
        self.recorder.note("key", press.time_ns, source=press.source, key=press.key)
        if press.key == ABORT_KEY:
            self._aborted = True
        elif press.key in self.protocol.probe.keys and press.time_ns >= self.zero_ns:
            self._book.press(press.key, self._seconds(press.time_ns))

    def _close_trials(self, flip_ns: int) -> None:
        for event in self._book.close(self._seconds(flip_ns)):
            self.recorder.append(event)
        for one in self.inputs:
            if one.failure and one.failure not in self._notes:
                self._notes.append(one.failure)
                self.recorder.note("failure", flip_ns, message=one.failure)
        self.recorder.check()

    def _observe(self, flip_ns: int) -> None:
        now_s = self._seconds(flip_ns)
        changes = [at for one in self.showings[self._next : self._next + 2] for at in (one.onset_s, one.offset_s)]
        if self.observer.is_due() and all(not 0 <= at - now_s < _QUIET_S for at in changes):
            score = self._book.score()
            left_s = max(0.0, self.end_s - now_s)
            volumes = round(self.end_s / self.protocol.timing.tr_s)
            self.observer.show(
                Status("running", self._triggers, volumes, self._shown, len(self.showings), score.hits, score.probes, left_s)
            )

    def _finish(self, flip_ns: int) -> Outcome:
        now_s = self._seconds(flip_ns)
        for event in self._book.close_all(now_s):
            self.recorder.append(event)
        state = "aborted" if self._aborted else "completed"
        self.recorder.note("end", flip_ns, state=state)
        return Outcome(
            state,
            self._shown,
            self._skipped,
            self._triggers,
            now_s,
            self._flips,
            self._late,
            self._error_s,
            self._book.score(),
            tuple(self._notes),
        )

    def _seconds(self, time_ns: int) -> float:
        return (time_ns - self.zero_ns) / NS_PER_S


def _poll(inputs: Sequence[Inputs]) -> list[Press]:
    return sorted((press for one in inputs for press in one.poll()), key=lambda press: press.time_ns)


def _describe_silence(inputs: Sequence[Inputs], source: TriggerSource, protocol: Protocol, heard: Sequence[Press]) -> str:
    """Say what was listened to and what came instead of the trigger."""
    wanted = source.describe()
    dummies = protocol.trigger.dummy_volumes
    came = sum(source.matches(press) for press in heard)
    others = [f"{press.source} {press.key!r}" for press in heard if not source.matches(press)]
    instead = ", ".join(dict.fromkeys(others[:_NAMED_IN_MESSAGE])) or "nothing else"
    count = f"only {came} of the {dummies + 1} triggers needed (dummy_volumes is {dummies})" if came else "no trigger"
    return (
        f"{count} within {protocol.trigger.timeout_s:g} s; listened for {wanted} on {'; '.join(one.describe() for one in inputs)}; "
        f"heard instead: {instead}; check the cable and --trigger, then start the run again (nothing was recorded)"
    )
