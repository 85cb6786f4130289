"""What `--cluster` asked for in, workers of dask that are ready out; they are let go afterwards.

Dask writes no logs here: what a person can mend is told by an `InputError`, the rest is in the logs of the workers.
"""

import importlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from protocols.cluster_jobs import DaskWorkers
from protocols.errors import InputError
from protocols.job_queue import NO_DASHBOARD, JobQueue

if TYPE_CHECKING:
    from distributed import Client

_CONNECT_S = 10.0
_PATIENCE_S = 60.0  # how long a cluster that is no batch system may be without any worker
_LOOK_S = 2.0
_SETTINGS = {
    "distributed.admin.large-graph-warning-threshold": "1 GB",
    # Dask has workers give freed memory back at once; networks then take it anew at every step, which doubled a sweep's processor time
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None,
}
_KINDS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster", "htcondor": "HTCondorCluster"}


@contextmanager
def start_workers(asked: int | str | JobQueue) -> Iterator[DaskWorkers]:
    """Yield N local processes, the workers of the scheduler at an address, or jobs of a batch system, once the first of them is there.

    Raises
    ------
    InputError
        Where dask is not installed, nothing answers in time, or jobs cannot be submitted.
    """
    distributed, dask = import_dask("distributed"), import_dask("dask")
    with ExitStack() as opened:
        opened.enter_context(distributed.utils.silence_logging_cmgr(logging.CRITICAL))
        opened.enter_context(dask.config.set(_SETTINGS))
        if isinstance(asked, JobQueue):
            yield _start_queue(asked, opened)
        elif isinstance(asked, int):
            yield _start_local(asked, opened)
        else:
            yield _find_scheduler(asked, opened)


def import_dask(name: str) -> ModuleType:
    """Import a module of the extra `cluster`.

    Raises
    ------
    InputError
        Saying what to install, where it is not there.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise InputError(f'--cluster: {name} is not installed; pip install "voxdrive[cluster]"') from None


def make_queue(settings: JobQueue) -> Any:
    """Return dask-jobqueue's cluster of a batch system, which has submitted nothing yet.

    Raises
    ------
    InputError
        Where dask-jobqueue is not installed, or this computer has no command that submits jobs.
    """
    made = getattr(import_dask("dask_jobqueue"), _KINDS[settings.kind])
    if shutil.which(made.job_cls.submit_command) is None:
        raise InputError(f"{settings.kind}: there is no {made.job_cls.submit_command} here; give the command where jobs can be submitted")
    return made(job_cls=_say_when_closed(made.job_cls), silence_logs=logging.CRITICAL, **settings.describe_jobs())


def _say_when_closed(job: Any) -> Any:
    """Return a job that says when it is closed: dask asserts it at the end, dask-jobqueue's own say nothing."""
    from distributed import Status

    async def close(self: Any) -> None:
        await job.close(self)
        self.status = Status.closed

    return type(job.__name__, (job,), {"close": close})


def _start_local(count: int, opened: ExitStack) -> DaskWorkers:
    from distributed import LocalCluster

    workers = {"n_workers": count, "threads_per_worker": 1, "memory_limit": None}
    cluster = opened.enter_context(LocalCluster(**workers, scheduler_kwargs=NO_DASHBOARD, silence_logs=logging.CRITICAL))
    client = _enter_client(cluster, f"local:{count}", opened)
    return _wait_for_first(client, _PATIENCE_S, f"local:{count}: no process came up; give fewer")


def _find_scheduler(address: str, opened: ExitStack) -> DaskWorkers:
    client = _enter_client(address, address, opened)
    return _wait_for_first(client, _PATIENCE_S, f"{address}: has no workers; start some with dask worker {address} --nthreads 1")


def _start_queue(settings: JobQueue, opened: ExitStack) -> DaskWorkers:
    """Submit jobs; where one ends before the work does, another is submitted."""
    failures = opened.enter_context(_hear_failures())
    cluster = opened.enter_context(make_queue(settings))
    cluster.adapt(minimum_jobs=settings.jobs, maximum_jobs=settings.jobs)
    client = _enter_client(cluster, settings.kind, opened)
    refusal = f"{settings.kind}: no job came to work within {settings.wait_minutes:g} minutes; see whether the queue is full"
    return _wait_for_first(client, settings.wait_minutes * 60, refusal, failures)


def _enter_client(place: Any, called: str, opened: ExitStack) -> "Client":
    from distributed import Client

    try:
        return opened.enter_context(Client(place, timeout=_CONNECT_S, set_as_default=False))
    except (OSError, TimeoutError):
        raise InputError(f"{called}: no dask scheduler answers within {_CONNECT_S:.0f} s; start one with dask scheduler") from None


def _wait_for_first(client: "Client", patience_s: float, refusal: str, failures: "_Failures | None" = None) -> DaskWorkers:
    until = time.monotonic() + patience_s
    while True:
        try:
            client.wait_for_workers(1, timeout=min(_LOOK_S, patience_s))
        except TimeoutError:
            if failures and failures.told:
                raise InputError(f"a job could not be submitted: {failures.told[-1]}") from None
            if time.monotonic() > until:
                raise InputError(refusal) from None
        else:
            return DaskWorkers(client, patience_s)


class _Failures(logging.Handler):
    """What commands that submit jobs said when they failed: dask-jobqueue raises it where nobody but tornado's log hears it."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        failure = record.exc_info[1] if record.exc_info else None
        self.told.append(" ".join(str(failure or record.getMessage()).split()))


@contextmanager
def _hear_failures() -> Iterator[_Failures]:
    logger, heard = logging.getLogger("tornado.application"), _Failures()
    logger.addHandler(heard)
    try:
        yield heard
    finally:
        logger.removeHandler(heard)
