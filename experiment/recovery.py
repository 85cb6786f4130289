"""A killed run's journal in, its events out: the same rows that the session would have written."""

import json
from pathlib import Path
from typing import Any

from experiment.pulse_tracker import PulseTracker
from experiment.recorder import FORMAT_VERSION, RunFiles
from experiment.scanner_events import convert_events
from experiment.scanner_time import ScannerTime
from experiment.task import ResponseBook, Score, ShownTrial
from experiment.trigger_recording import write_trigger_recording
from protocols.errors import InputError
from protocols.events import Event, Events
from protocols.probe import Probe
from protocols.protocol import Protocol
from protocols.run_name import RunName
from protocols.tables import read_json

_PARTIAL = "desc-partial_events.tsv"


def find_run(journal: Path) -> RunFiles:
    """Return the run that a journal in `ROOT/sourcedata/sub-*/ses-*/func/` belongs to.

    Raises
    ------
    InputError
        When it lies elsewhere.
    """
    name = RunName.parse(journal.name)
    place = journal.resolve()
    above = list(place.parents)[len(name.folder.parts) + 1 :]  # the run's folders, then sourcedata, then the root
    files = RunFiles(above[0] if above else place.parent, name)
    if files.journal != place:
        raise InputError(f"{journal}: is not in its place, ROOT/sourcedata/{name.folder}/{name.stem}_journal.jsonl; put it back there")
    return files


def has_begun(files: RunFiles) -> bool:
    """Say whether a run's journal holds anything: a kill in its very first moment leaves it empty, and nothing was shown."""
    return b"\n" in files.journal.read_bytes() if files.journal.exists() else True


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read a journal; a last line that the kill cut short is left out.

    Raises
    ------
    InputError
        When there is no such file, another line cannot be parsed, or it does not begin as a journal does.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a run's journal, ROOT/sourcedata/sub-*/ses-*/func/*_journal.jsonl") from None
    records = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line feed is empty, or torn
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as problem:
            raise InputError(f"{path} line {number}: cannot be parsed ({problem}); restore the journal as it was") from None
    if not records or records[0].get("what") != "start" or records[0].get("format_version") != FORMAT_VERSION:
        raise InputError(f"{path}: does not begin with a 'start' of format_version {FORMAT_VERSION}; is it a run's journal?")
    return records


def replay_journal(records: list[dict[str, Any]], probe: Probe) -> tuple[list[Event], Score]:
    """Return a run's event rows and task score, from what its journal says."""
    book = ResponseBook(probe)
    events: list[Event] = []
    for record in records:
        time_s = record["time_s"]
        if record["what"] == "onset":
            book.begin(ShownTrial(record["trial_type"], record["stim_id"], record["stim_file"], record["probe"]), time_s)
        elif record["what"] == "offset":
            book.end(time_s)
        elif record["what"] == "key" and record["key"] in probe.keys and time_s >= 0:
            book.press(record["key"], time_s)
        else:
            continue
        events.extend(book.close(time_s))
    events.extend(book.close_all(max(record["time_s"] for record in records)))
    return events, book.score()


def recover_run(files: RunFiles) -> tuple[Events, Path | None]:
    """Write a killed run's events from its journal; return them, and where the incomplete table was put.

    Raises
    ------
    InputError
        When the run ended by itself, so that nothing is to be recovered, or its journal or protocol cannot be read.
    """
    records = read_journal(files.journal)
    sidecar = _read_sidecar(files)
    if not str(sidecar.get("RunState", "unfinished")).startswith("unfinished"):
        raise InputError(f"{files.journal}: the run ended by itself and its events are complete; there is nothing to recover")
    protocol = Protocol.read(files.protocol)
    rows, score = replay_journal(records, protocol.probe)
    zero_ns = int(records[0]["time_ns"])
    scanner = _follow_triggers(records, protocol.timing.tr_s)
    ended = {"RunState": "recovered from the journal of a run that was stopped from outside", "TrialsShown": len(rows)}
    heard = {"TriggersSeen": scanner.volumes_seen, "ScannerTime": scanner.describe()}
    described = {**sidecar, **ended, **heard, "TaskScore": score.describe()}
    events = Events(files.name, convert_events(rows, scanner, zero_ns), described)
    partial = _put_aside(files)
    events.write(files.root)
    write_trigger_recording(files.root, files.name, [record["time_s"] for record in records if record["what"] == "trigger"])
    return events, partial


def _follow_triggers(records: list[dict[str, Any]], tr_s: float) -> ScannerTime:
    tracker = PulseTracker(tr_s)
    tracker.add(records[0]["time_ns"])  # the journal starts with the first kept trigger
    for record in records:
        if record["what"] == "trigger" and record["time_s"] > 0:
            tracker.add(record["time_ns"])
    return tracker.fit()


def _read_sidecar(files: RunFiles) -> dict[str, Any]:
    """Return the events' JSON, or what was written before the trigger; the table may be torn, so it is not read."""
    for path in (files.events.with_suffix(".json"), files.prepared):
        if path.exists():
            return read_json(path, "restore it as it was, or take it away")
    return {}


def put_run_aside(files: RunFiles) -> Path:
    """Move away what a kill left of a run in which nothing had been shown, so that it can be started again; return where to."""
    _put_aside(files)
    kept = files.name.path(files.root / "sourcedata", "desc-partial_journal.jsonl")
    files.journal.replace(kept)
    return kept


def _put_aside(files: RunFiles) -> Path | None:
    """Move the incomplete table to sourcedata: nothing is deleted."""
    if not files.events.exists():
        return None
    partial = files.name.path(files.root / "sourcedata", _PARTIAL)
    files.events.replace(partial)
    return partial
