"""Jobs in, their results out as they finish: in this process, or on a cluster through dask.

All three programs may have work for more than one computer, which is why this stands here; dask (extra `cluster`) is imported only where a
cluster was asked for, so that this package stays light. Scheduling, retries and dashboards are dask's. What is added are refusals in words,
a limit on the jobs that are on their way, and that a worker does what this process would have done: in the same folder, with the same
code, one job at a time.
"""

import functools
import importlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from protocols.errors import InputError
from protocols.job_queue import JobQueue
from protocols.provenance import describe_code

if TYPE_CHECKING:
    from distributed import Client, Future

Job = TypeVar("Job")
Result = TypeVar("Result")

_CONNECT_S = 10.0
_PATIENCE_S = 60.0  # how long a cluster may be without any worker
_LOOK_S = 5.0  # how often to look for workers that came or went while no job finishes
_PER_WORKER = 2  # jobs on their way to each: one in work, one ready
_AGAIN = "give the command again, what was finished is taken up where it keeps its results"


class Workers(Protocol):
    """Who does the jobs."""

    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Yield the index of each job and `function` of it, once each, as they finish.

        `function`, jobs and results travel to another computer and back (pickle): small ones, which name files, are best. A job may be
        started again where its worker died, and MUST then give the same result.

        Raises
        ------
        InputError
            Which a job raised; or because of the cluster: it went away, has no workers, or these die of a job or are not like this process.
        """
        ...


class InProcess:
    """This process does the jobs, one after the other."""

    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Yield each job's result in order."""
        for index, job in enumerate(jobs):
            yield index, function(job)


@contextmanager
def open_workers(cluster: str | None) -> Iterator[Workers]:
    """Yield who does the jobs, and let them go afterwards.

    `cluster` is None for this process, `local:N` for N processes of this computer, `tcp://host:port` for a dask scheduler that runs, or a
    TOML file of a batch system (`JobQueue`).

    Raises
    ------
    InputError
        Where `cluster` is none of these, dask is not installed, or the cluster cannot be reached in time.
    """
    if cluster is None:
        yield InProcess()
        return
    asked = parse_cluster(cluster)
    with ExitStack() as open_things:
        yield _connect(asked, open_things)


def parse_cluster(cluster: str) -> int | str | JobQueue:
    """Return the number of local processes, the address of a scheduler, or the settings of a batch system.

    Raises
    ------
    InputError
        Where it is none of these, or the settings cannot be used.
    """
    if local := re.fullmatch(r"local:0*([1-9]\d*)", cluster):
        return int(local[1])
    if re.fullmatch(r"(tcp|tls)://.+:\d+", cluster):
        return cluster
    if cluster.endswith(".toml"):
        return JobQueue.read(Path(cluster))
    raise InputError(
        f"--cluster {cluster!r}: give local:N (N processes here), tcp://host:port (a dask scheduler) or a file such as slurm.toml"
    )


@dataclass(frozen=True)
class _Call:
    """A function with what its caller's process is like; the worker refuses to be different."""

    function: Callable[[Any], Any]
    folder: str
    code: str

    def __call__(self, job: Any) -> Any:
        _refuse_other_process(self.folder, self.code)
        return self.function(job)


@dataclass
class _Cluster:
    """Workers of dask; `patience_s` is how long there may be none."""

    client: "Client"
    patience_s: float

    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        call = _Call(function, os.getcwd(), describe_code())
        waiting = iter(enumerate(jobs))
        running: dict[Future[Any], int] = {}
        idle_s = 0.0
        while True:
            with _told_in_words(), self.client.as_current():
                workers = len(self.client.nthreads())
                for _, (index, job) in zip(range(_PER_WORKER * max(workers, 1) - len(running)), waiting, strict=False):
                    running[self.client.submit(call, job, pure=False)] = index
                if not running:
                    return
                done = _wait(running)
            idle_s = 0.0 if workers or done else idle_s + _LOOK_S
            if idle_s > self.patience_s:
                raise InputError(f"the cluster has had no worker for {idle_s:.0f} s; start some and {_AGAIN}")
            for future in done:
                index = running.pop(future)
                yield index, _fetch(future, index, len(jobs))


def _wait(running: "dict[Future[Any], int]") -> "list[Future[Any]]":
    """Return the jobs that are done, in order, as soon as there is one; none after a while."""
    from distributed import wait

    try:
        done = wait(list(running), timeout=_LOOK_S, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return []
    return sorted(done, key=lambda future: running[future])


def _fetch(future: "Future[Any]", index: int, jobs: int) -> Any:
    """Return a job's result, or raise what it raised."""
    from distributed.scheduler import KilledWorker

    if future.status == "error":
        failure = future.exception()
        if isinstance(failure, KilledWorker):
            raise InputError(
                f"job {index + 1} of {jobs}: {failure.allowed_failures + 1} workers died while they did it, the last one at "
                f"{failure.last_worker.address}; mostly a job needs more memory or time than a worker has: give more, and {_AGAIN}"
            )
        raise failure
    with _told_in_words():
        return future.result()


@contextmanager
def _told_in_words() -> Iterator[None]:
    """Say it where the scheduler is gone."""
    try:
        yield
    except (CancelledError, OSError, TimeoutError) as failure:
        raise InputError(f"the cluster's scheduler does not answer any more; see that it runs, and {_AGAIN}") from failure


def _refuse_other_process(folder: str, code: str) -> None:
    """Refuse to work in a process that would not do what the caller's does; called in the worker."""
    from distributed import get_worker

    where = f"worker {get_worker().address}"
    if get_worker().state.nthreads > 1:
        raise InputError(f"{where}: does {get_worker().state.nthreads} jobs at a time in one process; start workers with --nthreads 1")
    if not Path(folder).is_dir():
        raise InputError(
            f"{where}: does not see {folder}; give the command in a folder that all computers share, with data in shared folders"
        )
    if _own_code() != code:
        raise InputError(f"{where}: has voxdrive {_own_code()}, this is {code}; install the same there, and start its workers again")
    os.chdir(folder)


@functools.cache
def _own_code() -> str:
    return describe_code()


def _connect(asked: int | str | JobQueue, open_things: ExitStack) -> _Cluster:
    """Start a cluster, or find one, and wait for its first worker."""
    distributed, dask = _import("distributed"), _import("dask")
    open_things.enter_context(distributed.utils.silence_logging_cmgr(logging.CRITICAL))
    open_things.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GB"}))
    if isinstance(asked, str):
        client = _enter_client(asked, asked, open_things)
        return _wait_for_first(client, _PATIENCE_S, f"{asked}: has no workers; start some with dask worker {asked} --nthreads 1")
    if isinstance(asked, int):
        local = distributed.LocalCluster(
            n_workers=asked, threads_per_worker=1, memory_limit=None, dashboard_address=None, silence_logs=logging.CRITICAL
        )
        client = _enter_client(open_things.enter_context(local), f"local:{asked}", open_things)
        return _wait_for_first(client, _PATIENCE_S, f"local:{asked}: no process came up; try fewer, or none")
    queue = open_things.enter_context(_open_queue(asked))
    client = _enter_client(queue, asked.kind, open_things)
    return _wait_for_first(
        client, asked.wait_minutes * 60, f"{asked.kind}: no job came to work within {asked.wait_minutes:g} minutes; look at the queue"
    )


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f'--cluster: {name} is not installed; pip install "voxdrive[cluster]"') from None


def _enter_client(place: Any, called: str, open_things: ExitStack) -> "Client":
    from distributed import Client

    try:
        return open_things.enter_context(Client(place, timeout=_CONNECT_S, set_as_default=False))
    except (OSError, TimeoutError):
        raise InputError(f"{called}: no dask scheduler answers there within {_CONNECT_S:.0f} s; start one with dask scheduler") from None


def _wait_for_first(client: "Client", patience_s: float, refusal: str) -> _Cluster:
    try:
        client.wait_for_workers(1, timeout=patience_s)
    except TimeoutError:
        raise InputError(refusal) from None
    return _Cluster(client, patience_s)


def _open_queue(settings: JobQueue) -> Any:
    """Return a cluster of the batch system, whose jobs are submitted as they are needed, and again where one ends before the work does."""
    kinds = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster", "htcondor": "HTCondorCluster"}
    made = getattr(_import("dask_jobqueue"), kinds[settings.kind])
    if shutil.which(made.job_cls.submit_command) is None:
        raise InputError(f"{settings.kind}: there is no {made.job_cls.submit_command} here; give the command where jobs can be submitted")
    cluster = made(silence_logs=logging.CRITICAL, **settings.describe_jobs())
    cluster.adapt(minimum_jobs=settings.jobs, maximum_jobs=settings.jobs)
    return cluster
