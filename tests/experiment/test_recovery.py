import json

import pandas as pd
import pytest

from experiment.recorder import RunFiles
from protocols.events import Events
from protocols.run_name import RunName

NAME = RunName("01", "01", "short", 1)


@pytest.fixture
def finished(experiment, plan, tmp_path):
    """A rehearsed run's files and its events."""
    experiment("run", plan, "--subject", "01", "--bids", tmp_path / "bids", "--rehearse", "--seed", 2)
    files = RunFiles(tmp_path / "bids", NAME)
    return files, Events.read(files.events)


def kill_after(files, records, torn=""):
    """Leave the files as a kill after `records` journal lines leaves them."""
    lines = files.journal.read_text().splitlines(keepends=True)
    files.journal.write_text("".join(lines[:records]) + torn)
    table = files.events.read_text().splitlines(keepends=True)
    files.events.write_text("".join(table[:3]) + "12.0\t0.")
    sidecar = json.loads(files.events.with_suffix(".json").read_text())
    files.events.with_suffix(".json").write_text(json.dumps({**sidecar, "RunState": "unfinished: killed"}))


def test_whole_journal_gives_the_session_s_own_rows(finished, experiment):
    files, before = finished
    kill_after(files, 10**6)
    code, out, _ = experiment("recover", files.journal)
    assert code == 0
    recovered = Events.read(files.events)
    pd.testing.assert_frame_equal(recovered.table, before.table)
    assert recovered.sidecar["TaskScore"] == before.sidecar["TaskScore"]
    assert recovered.sidecar["TriggersSeen"] == before.sidecar["TriggersSeen"]
    assert recovered.sidecar["RunState"].startswith("recovered")
    assert f"wrote {files.events}: {len(before.table)} events" in out


@pytest.mark.parametrize("torn", ["", '{"what": "ons'])
def test_every_moment_of_a_kill_gives_valid_events_and_loses_at_most_the_one_in_flight(finished, experiment, torn):
    files, before = finished
    lines = files.journal.read_text().splitlines(keepends=True)
    whole = {path: path.read_bytes() for path in (files.journal, files.events, files.events.with_suffix(".json"))}
    for count in range(1, len(lines), 7):
        for path, content in whole.items():
            path.write_bytes(content)
        kill_after(files, count, torn)
        assert experiment("recover", files.journal)[0] == 0
        onsets = [json.loads(line)["time_s"] for line in lines[:count] if '"what": "onset"' in line]
        assert Events.read(files.events).table["onset"].tolist() == pytest.approx(before.table["onset"][: len(onsets)].tolist(), abs=1e-6)
        assert len(Events.read(files.events).table) == len(onsets)


def test_incomplete_table_is_kept(finished, experiment):
    files, _ = finished
    kill_after(files, 20)
    partial = files.events.read_bytes()
    _, out, _ = experiment("recover", files.journal)
    kept = NAME.path(files.root / "sourcedata", "desc-partial_events.tsv")
    assert kept.read_bytes() == partial
    assert f"moved the incomplete table to {kept}" in out


def test_refusals(finished, experiment, tmp_path):
    files, _ = finished
    code, _, err = experiment("recover", files.journal)
    assert (code, "the run ended by itself and its events are complete; there is nothing to recover" in err) == (1, True)
    elsewhere = tmp_path / files.journal.name
    elsewhere.write_bytes(files.journal.read_bytes())
    assert "is not in its place, ROOT/sourcedata/sub-01/ses-01/func/" in experiment("recover", elsewhere)[2]
    kill_after(files, 10)
    lines = files.journal.read_text().splitlines(keepends=True)
    files.journal.write_text("".join([*lines[:3], "garbage\n", *lines[3:]]))
    assert "line 4: cannot be parsed" in experiment("recover", files.journal)[2]
    files.journal.write_text("".join(lines[1:]))
    assert "does not begin with a 'start' of format_version 1" in experiment("recover", files.journal)[2]
    files.journal.unlink()
    assert "no such file; give a run's journal" in experiment("recover", files.journal)[2]
