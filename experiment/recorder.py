"""What a run leaves on disk as it happens: journal, event rows and frame times, written by a thread so that no flip waits.

Every journal line and event row is flushed and fsynced within milliseconds; what is on disk after a crash is what
happened until then.
"""

import json
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from experiment.stage import NS_PER_S
from protocols.errors import InputError
from protocols.events import SUFFIX, Event, EventLog
from protocols.program import describe_os_error
from protocols.run_name import RunName

FORMAT_VERSION = 1
Hook = Callable[[str, int, dict[str, Any]], object]
"""Told of every journal line: what happened, `time.monotonic_ns` of it, and the line's other values. Runs beside the session."""
_HOOK_LIMIT_S = 2.0  # a hook that hangs must not hold up the end of a run
_FRAMES_HEADER = "flip\ttime_s\tinterval_ms\n"


@dataclass(frozen=True)
class RunFiles:
    """Where a run's files lie below a BIDS root."""

    root: Path
    name: RunName

    @property
    def events(self) -> Path:
        """The BIDS events table."""
        return self.name.path(self.root, SUFFIX)

    @property
    def journal(self) -> Path:
        """One JSON line per occurrence: triggers, keys, onsets, offsets."""
        return self.name.path(self.root / "sourcedata", "journal.jsonl")

    @property
    def frames(self) -> Path:
        """Every flip's time and the interval before it."""
        return self.name.path(self.root / "sourcedata", "frames.tsv")

    @property
    def protocol(self) -> Path:
        """The resolved protocol."""
        return self.name.path(self.root / "sourcedata", "protocol.json")

    @property
    def prepared(self) -> Path:
        """What is known of the run before its first trigger: the events' sidecar, should the program be killed."""
        return self.name.path(self.root / "sourcedata", "prepared.json")

    def exist(self) -> bool:
        """Say whether anything of the run is on disk."""
        return self.events.exists() or self.journal.exists()


class Recorder:
    """Open files of a run in progress. Methods return at once; the writing is done in order, in a thread.

    Raises
    ------
    InputError
        When the run exists already (on opening), or the disk refused to take a row (from `check`).
    """

    def __init__(self, files: RunFiles, zero_ns: int, hook: Hook | None = None) -> None:
        self._zero_ns, self._hook = zero_ns, hook
        self.hook_failure: str | None = None
        self._told: queue.SimpleQueue[tuple[str, int, dict[str, Any]] | None] = queue.SimpleQueue()
        self._teller = threading.Thread(target=self._tell, name="message hook", daemon=True)
        self._failure: BaseException | None = None
        self._frame = 0
        self._last_flip_ns: int | None = None
        files.journal.parent.mkdir(parents=True, exist_ok=True)
        self._events = EventLog(files.events)
        self._journal: TextIO = files.journal.open("x", encoding="utf-8", newline="\n")
        self._frames: TextIO = files.frames.open("w", encoding="utf-8", newline="\n")
        self._frames.write(_FRAMES_HEADER)
        self._work: queue.SimpleQueue[tuple[Callable[[Any], object], Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._thread.start()
        self._teller.start()

    def note(self, what: str, time_ns: int, **values: Any) -> None:
        """Journal one occurrence: its time in s from the first kept trigger, the raw clock, and whatever describes it."""
        line = {"what": what, "time_s": (time_ns - self._zero_ns) / NS_PER_S, "time_ns": time_ns, **values}
        self._work.put((self._write_line, json.dumps(line) + "\n"))
        if self._hook:
            self._told.put((what, time_ns, values))

    def append(self, event: Event) -> None:
        """Append one row to the events table."""
        self._work.put((self._events.append, event))

    def flip(self, time_ns: int) -> None:
        """Log one flip."""
        interval = "n/a" if self._last_flip_ns is None else f"{(time_ns - self._last_flip_ns) / 1e6:.3f}"
        self._frame, self._last_flip_ns = self._frame + 1, time_ns
        self._work.put((self._frames.write, f"{self._frame}\t{(time_ns - self._zero_ns) / NS_PER_S:.6f}\t{interval}\n"))

    def check(self) -> None:
        """Raise what went wrong while writing, if anything did."""
        if self._failure is None:
            return
        known = describe_os_error(self._failure) if isinstance(self._failure, OSError) else None
        raise InputError(known or f"the run's files cannot be written ({self._failure}); what was written stays") from self._failure

    def close(self) -> None:
        """Write what is pending and close the files; call `check` afterwards."""
        self._work.put(None)
        self._told.put(None)
        self._thread.join()
        self._teller.join(_HOOK_LIMIT_S)
        closers: list[Callable[[], None]] = [lambda: self._events.__exit__(None, None, None), self._journal.close, self._frames.close]
        for close in closers:
            try:
                close()
            except OSError as problem:  # a full disk also refuses the last buffer
                self._failure = self._failure or problem

    def _write_line(self, line: str) -> None:
        self._journal.write(line)
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def _tell(self) -> None:
        while self._hook and (told := self._told.get()) is not None:
            try:
                self._hook(*told)
            except Exception as problem:  # a user's function may raise anything; the run goes on without it
                self.hook_failure = f"the message hook stopped at {told[0]!r}: {type(problem).__name__}: {problem}"
                return

    def _write(self) -> None:
        while (task := self._work.get()) is not None:
            write, what = task
            try:
                if self._failure is None:  # nothing may follow half a line
                    write(what)
            except OSError as problem:
                self._failure = self._failure or problem
