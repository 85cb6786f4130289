"""The edge of a command: what a person can mend becomes one message and status 1; a full disk loses nothing."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from protocols.errors import InputError
from protocols.events import Event, EventLog
from protocols.output_folder import staged_folder
from protocols.program import EXIT_REFUSED, run_program
from protocols.provenance import Provenance
from protocols.responses import IMAGE_COLUMNS, TRIAL_COLUMNS, VOXEL_COLUMNS, Responses
from protocols.tables import read_tsv, write_tsv
from tests.protocols.strategies import make_table

FULL = Path("/dev/full")  # every write to it fails as on a full disk
needs_full_device = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


def run_refused(program, capsys):
    """Run `program`, expect a refusal, and return what it printed."""
    with pytest.raises(SystemExit) as stop:
        run_program(program)
    assert stop.value.code == EXIT_REFUSED == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    return printed.err


def test_a_refused_input_is_one_message_and_status_1(capsys):
    def program():
        raise InputError("a.tsv row 3: mend it")

    assert run_refused(program, capsys) == "error: a.tsv row 3: mend it\n"


def test_a_program_that_ends_well_prints_nothing_of_ours(capsys):
    run_program(lambda: print("done"))
    assert capsys.readouterr() == ("done\n", "")


@pytest.mark.parametrize(
    "failure", [ValueError("a defect of ours"), FileNotFoundError(errno.ENOENT, "no such file", "a.txt"), SystemExit(2)]
)
def test_anything_else_escapes(failure):
    def program():
        raise failure

    with pytest.raises(type(failure)) as escaped:
        run_program(program)
    assert escaped.value is failure


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "no space left on the disk; what was written stays; free some space and run the command again"),
        (errno.EDQUOT, "no space left on the disk"),
        (errno.EACCES, "permission denied; choose a place you may write to, or change its permissions"),
        (errno.EPERM, "permission denied"),
        (errno.EROFS, "permission denied"),
    ],
)
def test_a_disk_that_cannot_be_written_is_named(number, expected, capsys):
    def program():
        raise OSError(number, os.strerror(number), "out/a.npy")

    assert run_refused(program, capsys).startswith(f"error: out/a.npy: {expected}")


@needs_full_device
def test_a_full_disk_keeps_the_table_that_was_there(tmp_path, capsys):
    path = tmp_path / "a.tsv"
    write_tsv(pd.DataFrame({"x": [1]}), path)
    (tmp_path / ".a.tsv.partial").symlink_to(FULL)
    printed = run_refused(lambda: write_tsv(pd.DataFrame({"x": [2]}), path), capsys)
    assert printed == f"error: {path}: no space left on the disk; what was written stays; free some space and run the command again\n"
    assert read_tsv(path, {"x": "integer"})["x"].tolist() == [1]


@needs_full_device
def test_a_disk_that_fills_up_in_a_folder_keeps_the_old_one_and_names_the_staged(tmp_path, capsys):
    out = tmp_path / "out"
    with staged_folder(out, Provenance("earlier")) as folder:
        write_tsv(pd.DataFrame({"x": [1]}), folder / "a.tsv")
        write_tsv(pd.DataFrame({"x": [1]}), folder / "b.tsv")

    def program():
        with staged_folder(out, Provenance("later"), overwrite=True) as folder:
            write_tsv(pd.DataFrame({"x": [2]}), folder / "a.tsv")
            (folder / ".b.tsv.partial").symlink_to(FULL)
            write_tsv(pd.DataFrame({"x": [2]}), folder / "b.tsv")

    printed = run_refused(program, capsys)
    (staging,) = [path for path in tmp_path.iterdir() if path != out]
    assert "b.tsv: no space left on the disk; what was written stays" in printed
    assert printed.endswith(f"; what was written so far stays in {staging}\n")
    assert read_tsv(staging / "a.tsv", {"x": "integer"})["x"].tolist() == [2]
    assert read_tsv(out / "b.tsv", {"x": "integer"})["x"].tolist() == [1]
    assert Provenance.read(out).command == "earlier"
    Provenance.read(out).verify_outputs(out)


@needs_full_device
def test_a_full_disk_at_the_very_end_leaves_no_folder_that_counts_as_complete(tmp_path, capsys):
    def program():
        with staged_folder(tmp_path / "out", Provenance("test")) as folder:
            (folder / "a.txt").write_text("a")
            (folder / ".provenance.json.partial").symlink_to(FULL)

    printed = run_refused(program, capsys)
    assert "provenance.json: no space left on the disk" in printed
    assert "; what was written so far stays in " in printed
    assert not (tmp_path / "out").exists()


@needs_full_device
@pytest.mark.parametrize("voxels", [1, 100_000])
def test_a_full_disk_under_an_array_is_told_as_one(voxels, tmp_path, capsys):
    responses = Responses(
        tmp_path,
        make_table(TRIAL_COLUMNS, [("a", "01", 1)]),
        np.zeros((1, voxels), dtype=np.float32),
        make_table(VOXEL_COLUMNS, [(f"v{number}", "FFA", "L", number, 0, 0) for number in range(voxels)]),
        make_table(IMAGE_COLUMNS, [("a", "a.png")]),
    )
    (tmp_path / "betas.npy").symlink_to(FULL)
    printed = run_refused(lambda: responses.write(tmp_path), capsys)
    assert printed.startswith(f"error: {tmp_path / 'betas.npy'}: no space left on the disk")


SHORT_WRITE = """
import resource, sys
from pathlib import Path
import numpy as np
from protocols.program import run_program
from protocols.responses import _save_array
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
run_program(lambda: _save_array(np.zeros(100_000, dtype=np.float32), Path(sys.argv[1])))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_an_array_that_is_written_in_part_is_told_as_a_full_disk(tmp_path):
    """NumPy reports a short write without an error number; a limit on the size of files makes one without filling a disk."""
    path = tmp_path / "betas.npy"
    process = subprocess.run([sys.executable, "-c", SHORT_WRITE, str(path)], capture_output=True, text=True, check=False)
    assert process.returncode == EXIT_REFUSED
    assert process.stderr.startswith(f"error: {path}: no space left on the disk; what was written stays")


def test_a_full_disk_in_the_middle_of_a_run_keeps_its_events(tmp_path, capsys, monkeypatch):
    path = tmp_path / "events.tsv"
    synchronize = os.fsync
    calls = []

    def fill_up(descriptor):
        calls.append(descriptor)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronize(descriptor)

    monkeypatch.setattr(os, "fsync", fill_up)

    def program():
        with EventLog(path) as log:
            for number in range(5):
                log.append(Event(number * 4.0, 2.0, "target"))

    assert run_refused(program, capsys).startswith(f"error: {path}: no space left on the disk; what was written stays")
    assert [line.split("\t")[0] for line in path.read_text().splitlines()[:3]] == ["onset", "0.000000", "4.000000"]
