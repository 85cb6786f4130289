"""BIDS events of one run, appended row by row: what is on disk after a crash is what happened until then."""

import json
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import pandas as pd

from protocols.errors import InputError
from protocols.run_name import RunName
from protocols.tables import MISSING, Columns, check_columns, name_failed_file, read_json, read_tsv, write_text, write_tsv

SUFFIX = "events.tsv"
COLUMNS: Columns = {
    "onset": "number",
    "duration": "number",
    "trial_type": "text",
    "stim_id": "optional text",
    "stim_file": "optional text",
    "response": "optional text",
    "response_time": "optional number",
}
CLOCK: Columns = {"onset_clock": "optional number"}  # what our own session adds; other programs' events lack it
DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "onset": {
        "LongName": "Onset",
        "Description": "Flip on which the event appeared, in scanner time: from the begin of the first kept volume, counted in its TRs",
        "Units": "s",
    },
    "duration": {"LongName": "Duration", "Description": "How long the image (or the blank) was shown", "Units": "s"},
    "trial_type": {"LongName": "Trial type", "Description": "Condition and, where the image was made for one, its target ROI"},
    "stim_id": {"LongName": "Stimulus", "Description": "Row of stimuli/stimuli.tsv"},
    "stim_file": {"LongName": "Stimulus file", "Description": "Image shown, relative to the data set's stimuli folder"},
    "response": {"LongName": "Response", "Description": "Key pressed, n/a for none"},
    "response_time": {"LongName": "Response time", "Description": "From the event's onset to the key press", "Units": "s"},
    "onset_clock": {
        "LongName": "Onset on the clock",
        "Description": "The same flip on the presenting computer's monotonic clock, from the first kept trigger as it was heard",
        "Units": "s",
    },
}


@dataclass(frozen=True)
class Event:
    """One row of an events file; onset, duration, response_time and onset_clock (the raw clock beside scanner time) in seconds."""

    onset: float
    duration: float
    trial_type: str
    stim_id: str | None = None
    stim_file: str | None = None
    response: str | None = None
    response_time: float | None = None
    onset_clock: float | None = None


@dataclass(frozen=True)
class Events:
    """The events of one run. `sidecar` is the BIDS JSON beside the table: column descriptions, software, geometry.

    Raises
    ------
    InputError
        When a column is missing or a cell is not of its kind, or the events are not in order of onset.
    """

    name: RunName
    table: pd.DataFrame
    sidecar: dict[str, Any]

    def __post_init__(self) -> None:
        where = f"{self.name.stem}_{SUFFIX}"
        present = {name: kind for name, kind in CLOCK.items() if name in self.table.columns}
        table = check_columns(self.table, {**COLUMNS, **present}, where).reset_index(drop=True)
        object.__setattr__(self, "table", table)
        if not table["onset"].is_monotonic_increasing:
            row = int((table["onset"].diff() < 0).to_numpy().argmax())
            raise InputError(f"{where} row {row + 2}: onset {table['onset'][row]:g} s is before the row above it; sort the events by onset")

    @classmethod
    def read(cls, path: Path) -> "Events":
        """Read `..._events.tsv` and, where it is there, its sidecar `..._events.json`."""
        sidecar_path = path.with_suffix(".json")
        sidecar = read_json(sidecar_path, "copy the run again") if sidecar_path.is_file() else {}
        return cls(RunName.parse(path.name), read_tsv(path, COLUMNS), sidecar)

    def write(self, root: Path) -> Path:
        """Write a finished table and its sidecar below `root` under the run's BIDS name; return the table's path."""
        path = self.name.path(root, SUFFIX)
        write_tsv(self.table, path)
        write_sidecar(path, self.sidecar)
        return path


class EventLog:
    """An events file being written: each row is flushed and fsynced before `append` returns. Use it in a `with`.

    Raises
    ------
    InputError
        When the file exists: a run is never overwritten.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._stream: TextIO = path.open("x", encoding="utf-8", newline="\n")
        except FileExistsError:
            raise InputError(f"{path}: exists already, and a run is never overwritten; give the next run number") from None
        self._write_line([field.name for field in fields(Event)])

    def append(self, event: Event) -> None:
        """Write one event durably."""
        self._write_line([_format_cell(getattr(event, field.name)) for field in fields(Event)])

    def _write_line(self, cells: list[str]) -> None:
        with name_failed_file(self._path):
            self._stream.write("\t".join(cells) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        with name_failed_file(self._path):
            self._stream.close()


def write_sidecar(events_path: Path, sidecar: dict[str, Any]) -> None:
    """Write the BIDS JSON beside an events table: the columns' descriptions, then what `sidecar` adds."""
    write_text(json.dumps({**DESCRIPTIONS, **sidecar}, indent=2) + "\n", events_path.with_suffix(".json"))


def _format_cell(value: object) -> str:
    """Format a cell so that the log stays readable whatever was pressed: nothing, an empty text and NaN become n/a."""
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.6f}" if math.isfinite(value) else MISSING
    return " ".join(str(value).split()) or MISSING
