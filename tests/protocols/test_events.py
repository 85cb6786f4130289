"""Events: a finished table survives a round trip; a log being written survives a killed process and a full disk."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import astuple, fields

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError
from protocols.events import CLOCK, COLUMNS, DESCRIPTIONS, Event, EventLog, Events
from protocols.run_name import RunName
from protocols.tables import read_tsv
from tests.protocols.strategies import json_objects, make_table, tables, text_cells
from tests.protocols.test_run_name import run_names

NAME = RunName("01", "02", "t", 1)
ROWS = [(0.0, 2.0, "target", "face01", "a.png", None, None), (4.0, 2.0, "blank", None, None, "1", 0.4)]


@given(name=run_names, table=tables(COLUMNS), sidecar=json_objects)
def test_write_then_read_is_identity(name, table, sidecar, tmp_path):
    events = Events(name, table.sort_values("onset", ignore_index=True), sidecar)
    read = Events.read(events.write(tmp_path))
    pd.testing.assert_frame_equal(read.table, events.table)
    assert read.name == name
    assert read.sidecar == {**DESCRIPTIONS, **sidecar}


def test_every_column_is_described_in_the_sidecar():
    assert list(DESCRIPTIONS) == [*COLUMNS, *CLOCK]
    assert all("Description" in description for description in DESCRIPTIONS.values())


def test_events_without_a_sidecar_are_read(tmp_path):
    path = Events(NAME, make_table(COLUMNS, ROWS), {}).write(tmp_path)
    path.with_suffix(".json").unlink()
    assert Events.read(path).sidecar == {}


def test_a_broken_sidecar_is_refused(tmp_path):
    path = Events(NAME, make_table(COLUMNS, ROWS), {}).write(tmp_path)
    path.with_suffix(".json").write_text("[]")
    with pytest.raises(InputError, match=r"_events\.json: holds list, expected a JSON object; copy the run again"):
        Events.read(path)


def test_events_out_of_order_are_refused():
    with pytest.raises(InputError) as refusal:
        Events(NAME, make_table(COLUMNS, [ROWS[1], ROWS[0]]), {})
    assert (
        str(refusal.value) == "sub-01_ses-02_task-t_run-01_events.tsv row 3: onset 0 s is before the row above it; sort the events by onset"
    )


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_is_needed(column):
    with pytest.raises(InputError, match=rf"_events\.tsv: missing column {column}; found "):
        Events(NAME, make_table(COLUMNS, ROWS).drop(columns=column), {})


@pytest.mark.parametrize(("column", "cell"), [("onset", "n/a"), ("duration", "long"), ("response_time", "slow"), ("trial_type", "n/a")])
def test_a_cell_of_another_kind_is_refused(column, cell):
    table = make_table(COLUMNS, ROWS).astype(object)
    table.loc[1, column] = cell
    with pytest.raises(InputError, match=rf"_events\.tsv row 3: {column} is '{cell}', expected"):
        Events(NAME, table, {})


microseconds = st.integers(0, 10**10).map(lambda count: count / 1e6)
any_events = st.builds(
    Event,
    onset=microseconds,
    duration=microseconds,
    trial_type=text_cells.filter(str.strip),
    stim_id=st.none() | text_cells,
    stim_file=st.none() | text_cells,
    response=st.none() | text_cells,
    response_time=st.none() | microseconds,
)


@given(logged=st.lists(any_events, max_size=4))
def test_a_log_holds_every_event_to_the_microsecond(logged, tmp_path):
    path = NAME.path(tmp_path, "events.tsv")
    path.unlink(missing_ok=True)
    with EventLog(path) as log:
        for event in logged:
            log.append(event)
    rows = [tuple(None if isinstance(cell, str) and not cell.split() else cell for cell in astuple(event)) for event in logged]
    rows = [tuple(" ".join(cell.split()) if isinstance(cell, str) else cell for cell in row) for row in rows]
    columns = {**COLUMNS, **CLOCK}
    pd.testing.assert_frame_equal(read_tsv(path, columns), make_table(columns, rows), rtol=0, atol=1e-6)


def test_a_log_has_the_columns_of_the_format():
    assert [field.name for field in fields(Event)] == [*COLUMNS, *CLOCK]


def test_whatever_was_pressed_leaves_the_log_readable(tmp_path):
    with EventLog(tmp_path / "events.tsv") as log:
        log.append(Event(0, 2.0, "a\tb", response="\t\n", response_time=float("nan")))
        log.append(Event(4, 2.0, "a", response="", stim_id="x\ry"))
    table = read_tsv(tmp_path / "events.tsv", COLUMNS)
    assert table["trial_type"].tolist() == ["a b", "a"]
    assert table["response"].tolist() == [None, None]
    assert table["stim_id"].tolist() == [None, "x y"]
    assert table["response_time"].isna().all()


def test_each_row_is_on_disk_as_soon_as_it_is_appended(tmp_path):
    with EventLog(tmp_path / "events.tsv") as log:
        for count in range(3):
            assert len((tmp_path / "events.tsv").read_bytes().splitlines()) == 1 + count
            log.append(Event(float(count), 1.0, "target"))


def test_a_run_is_never_overwritten(tmp_path):
    (tmp_path / "events.tsv").write_text("precious")
    with pytest.raises(InputError, match=r"events\.tsv: exists already, and a run is never overwritten; give the next run number"):
        EventLog(tmp_path / "events.tsv")
    assert (tmp_path / "events.tsv").read_text() == "precious"


KILLED = """
import sys
from pathlib import Path
from protocols.events import Event, EventLog
log = EventLog(Path(sys.argv[1]))
for number in range(20):
    log.append(Event(number * 4.0, 2.0, "target", f"face{number:02d}", response="1", response_time=0.5))
print("appended", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_every_row_that_was_appended(tmp_path):
    path = NAME.path(tmp_path, "events.tsv")
    command = [sys.executable, "-c", KILLED, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "appended\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL
    events = Events.read(path)
    assert events.table["stim_id"].tolist() == [f"face{number:02d}" for number in range(20)]
    assert events.name == NAME


def test_a_full_disk_names_the_log_and_keeps_the_rows_before(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "events.tsv"
    with EventLog(path) as log:
        log.append(Event(0.0, 2.0, "target"))
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left") as failure:
            log.append(Event(4.0, 2.0, "target"))
        monkeypatch.undo()
    assert failure.value.filename == str(path)
    assert read_tsv(path, COLUMNS)["onset"].tolist()[0] == 0.0


def test_a_row_that_a_full_disk_cut_short_is_refused_by_number(tmp_path):
    with EventLog(tmp_path / "events.tsv") as log:
        log.append(Event(0.0, 2.0, "target"))
        log.append(Event(4.0, 2.0, "target"))
    whole = (tmp_path / "events.tsv").read_bytes()
    (tmp_path / "events.tsv").write_bytes(whole.rsplit(b"\t", 3)[0])
    with pytest.raises(InputError, match=r"events\.tsv row 3: 5 cells, the header has 8"):
        read_tsv(tmp_path / "events.tsv", COLUMNS)


def test_the_sidecar_is_json(tmp_path):
    path = Events(NAME, make_table(COLUMNS, ROWS), {"StimulusPresentation": {"SoftwareName": "voxdrive"}}).write(tmp_path)
    assert json.loads(path.with_suffix(".json").read_text())["StimulusPresentation"]["SoftwareName"] == "voxdrive"
