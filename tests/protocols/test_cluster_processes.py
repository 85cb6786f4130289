"""Real processes: workers, schedulers and jobs of a queue that come, do the same as this process, and are killed."""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from protocols import cluster_jobs
from protocols.cluster import Workers, open_workers
from protocols.cluster_start import import_dask
from protocols.errors import InputError
from tests.protocols.cluster_jobs import die, die_once, nap, refuse_three, say_where, square

pytestmark = pytest.mark.slow
SLURM = 'kind = "slurm"\njobs = 2\nmemory = "1 GB"\nqueue = "short"\nwait_minutes = 2\n'
SBATCH = """#!/bin/sh
cp "$1" "{folder}/script.$$"
setsid sh "{folder}/script.$$" > "{folder}/log.$$" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo "$1" >> "{folder}/cancelled"
kill -- "-$1"
"""


@contextmanager
def start_dask(kind: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run `dask scheduler` or `dask worker` beside this process."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def start_cluster(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """Yield a scheduler's address, the scheduler, and its one worker."""
    file = folder / "scheduler.json"
    with start_dask("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file) as scheduler:
        while not file.is_file():
            time.sleep(0.1)
        options = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--scheduler-file", file)
        with start_dask("worker", *options) as worker:
            time.sleep(0.2)
            yield json.loads(file.read_text())["address"], scheduler, worker


@pytest.fixture(scope="module")
def two() -> Iterator[Workers]:
    import_dask("distributed")  # brings its settings: what is set before would take them along when it is unset
    dask = import_dask("dask")
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), open_workers("local:2") as workers:
        yield workers


def test_two_processes_give_what_one_gives_and_work_in_its_folder(two: Workers) -> None:
    with open_workers(None) as here:
        assert sorted(two.run(square, range(40))) == list(here.run(square, range(40)))
    seen = {where for _, where in two.run(say_where, range(40))}
    assert len({process for process, _ in seen}) == 2
    assert {folder for _, folder in seen} == {os.getcwd()}
    assert os.getpid() not in {process for process, _ in seen}
    with pytest.raises(InputError, match=r"^three\.tsv row 3: is three; give another number$"):
        list(two.run(refuse_three, range(6)))


def test_a_worker_that_is_killed_costs_nothing_and_doubles_nothing(two: Workers, tmp_path: Path) -> None:
    marks = [tmp_path / str(number) for number in range(6)]
    for mark in marks[1:]:
        mark.write_text("")
    assert sorted(two.run(die_once, marks)) == [(0, 2), *((number, 1) for number in range(1, 6))]


def test_a_job_that_kills_every_worker_is_named(two: Workers) -> None:
    with pytest.raises(
        InputError, match=r"job 1 of 1: 2 workers died of it, the last one at tcp://127\.0\.0\.1:\d+; mostly a job needs more"
    ):
        list(two.run(die, [0]))
    assert dict(two.run(square, [7])) == {0: 49}


def test_a_scheduler_that_is_killed_is_told_and_the_next_one_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with start_cluster(tmp_path) as (address, scheduler, _), open_workers(address) as workers:
        results = workers.run(nap, [0.2] * 50)
        next(results)
        scheduler.kill()
        with pytest.raises(InputError, match="scheduler does not answer any more; see that it runs, and give the command again"):
            list(results)
        with pytest.raises(InputError, match="scheduler does not answer any more"):
            list(workers.run(square, [1]))
    (tmp_path / "scheduler.json").unlink()
    with start_cluster(tmp_path) as (address, _, _), open_workers(address) as workers:
        assert dict(workers.run(square, [2])) == {0: 4}
        (tmp_path / "only_here.py").write_text("def work(job): return job")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(InputError, match=r"scheduler or workers lack something \(.*\); install the same voxdrive there"):
            list(workers.run(importlib.import_module("only_here").work, [1]))


def test_workers_that_are_all_gone_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_jobs, "_LOOK_S", 0.5)
    with start_cluster(tmp_path) as (address, _, worker), open_workers(address) as workers:
        workers.patience_s = 1.0
        results = workers.run(nap, [0.2] * 50)
        next(results)
        worker.kill()
        with pytest.raises(InputError, match=r"the cluster has had no worker for 2 s; start some"):
            list(results)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A queue that starts every job at once: sbatch and scancel as shell scripts."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder / name).write_text(text.format(folder=tmp_path))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "slurm.toml").write_text(SLURM)
    yield tmp_path
    for script in tmp_path.glob("cancelled"):
        for job in script.read_text().split():
            with suppress(ProcessLookupError):
                os.killpg(int(job), 9)


def test_jobs_of_a_queue_do_the_work_and_are_cancelled_afterwards(slurm: Path) -> None:
    with open_workers(str(slurm / "slurm.toml")) as workers:
        assert sorted(workers.run(square, range(20))) == [(number, number * number) for number in range(20)]
    assert len((slurm / "cancelled").read_text().split()) == 2
    script = next(slurm.glob("script.*")).read_text()
    assert "#SBATCH -p short" in script


def test_what_the_queue_answers_is_told(slurm: Path) -> None:
    (slurm / "bin" / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: short' >&2\nexit 1\n")
    with (
        pytest.raises(InputError, match=r"could not be submitted: .*invalid partition specified: short"),
        open_workers(str(slurm / "slurm.toml")),
    ):
        pass
