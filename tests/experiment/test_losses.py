"""What survives a kill, a full disk and a disk that was pulled out: everything written until then, and one clear message."""

import errno
import json
import os
import resource
import subprocess
import sys

import pytest

from experiment.recorder import Recorder, RunFiles
from experiment.recovery import find_run, recover_run
from protocols.errors import InputError
from protocols.events import Event, Events
from protocols.run_name import RunName
from tests.benchmarks.bench_kill import run_kills
from tests.experiment.conftest import find_bids_errors

NAME = RunName("01", "01", "short", 1)


def test_kills_at_random_moments_lose_at_most_the_event_in_flight(tmp_path):
    killed = run_kills(6, 3, seed=5, folder=tmp_path)
    assert all(one.valid for one in killed)
    assert max(one.lost for one in killed) <= 1
    assert sum(one.rows for one in killed) > 6
    assert find_bids_errors(tmp_path / "kill0" / "bids") == []


def test_killed_before_anything_was_written_leaves_a_run_that_can_be_started_again(experiment, plan, tmp_path):
    files = RunFiles(tmp_path / "bids", NAME)
    files.journal.parent.mkdir(parents=True)
    files.events.parent.mkdir(parents=True)
    files.journal.write_text('{"what": "sta')
    files.events.write_text("onset\tdur")
    command = ("run", plan, "--subject", "01", "--bids", files.root, "--rehearse")
    assert experiment(*command)[0] == 1
    code, out, _ = experiment("recover", files.journal)
    assert (code, "nothing had been shown" in out, "the run can be started again" in out) == (0, True, True)
    assert experiment(*command)[0] == 0
    assert NAME.path(files.root / "sourcedata", "desc-partial_journal.jsonl").read_text() == '{"what": "sta'


@pytest.fixture
def small_disk(tmp_path):
    """A real disk of 600 kB where this user may mount one; else a limit of 60 kB on every file. Returns its place and the limit."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place], capture_output=True, check=False)
    yield place, None if mounted.returncode == 0 else 60_000
    if mounted.returncode == 0:
        subprocess.run(["umount", place], check=True)


def test_full_disk_ends_the_run_with_what_was_written(experiment, plan, small_disk):
    place, limit = small_disk
    bids = place / "bids"
    assert experiment("run", plan, "--subject", "02", "--bids", bids, "--rehearse")[0] == 0
    if limit is None:
        (place / "filler").write_bytes(b"x" * (os.statvfs(place).f_bavail * os.statvfs(place).f_frsize - 20_000))

    def cap():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit or 10**9, 10**9))

    command = [sys.executable, "-m", "experiment", "run", str(plan), "--subject", "01", "--bids", str(bids), "--rehearse"]
    ended = subprocess.run(command, preexec_fn=cap, capture_output=True, text=True, check=False)
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)
    assert "no space left on the disk; what was written stays" in ended.stderr
    (place / "filler").unlink(missing_ok=True)
    files = RunFiles(bids, NAME)
    if files.journal.exists():
        assert f"experiment recover {files.journal}" in ended.stderr
        shown = files.journal.read_text().count('"what": "onset"')
        recover_run(find_run(files.journal))
        assert abs(len(Events.read(files.events).table) - shown) <= 1


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODEV])
def test_pulled_disk_is_one_message_and_what_was_written_stays(tmp_path, monkeypatch, number):
    files = RunFiles(tmp_path, NAME)
    recorder = Recorder(files, 0)
    recorder.note("start", 0)
    recorder.append(Event(0.0, 1.0, "natural"))
    recorder._work.put((lambda _: monkeypatch.setattr(os, "fsync", fail), None))

    def fail(_):
        raise OSError(number, os.strerror(number), "events.tsv")

    recorder.append(Event(2.0, 1.0, "natural"))
    recorder.note("onset", 2)
    recorder.close()
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"events.tsv: the disk does not answer any more; what was written stays there"):
        recorder.check()
    assert json.loads(files.journal.read_text().splitlines()[0])["what"] == "start"
    assert Events.read(files.events).table["onset"].tolist()[0] == 0.0
