"""Jobs in, their results out as workers of dask finish them, each once.

Scheduling and retries are dask's. What is added are refusals in words, a limit on the jobs that are on their way, and that a worker does
what the caller's process would have done: in the same folder, with the same code, one job at a time.
"""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from protocols.errors import InputError
from protocols.provenance import describe_code

if TYPE_CHECKING:
    from distributed import Client, Future

Job = TypeVar("Job")
Result = TypeVar("Result")

AGAIN = "give the command again: finished work that it keeps is taken up"
_LOOK_S = 5.0  # how often to look for workers that came or went while no job finishes
_PER_WORKER = 2  # jobs on their way to each worker: one in work, one ready


@dataclass
class DaskWorkers:
    """Workers of dask (`protocols.cluster.Workers`); `patience_s` is how long there may be none."""

    client: "Client"
    patience_s: float

    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Yield each job's result as it finishes.

        Raises
        ------
        InputError
            Which a job raised; where the scheduler went away, no worker is left, or workers die of a job or differ from this process.
        """
        call = _Call(function, os.getcwd(), describe_code())
        waiting = iter(enumerate(jobs))
        running: dict[Future[Any], int] = {}
        lonely_s = 0.0
        while True:
            with _tell_of_lost_scheduler(), self.client.as_current():
                workers = len(self.client.nthreads())
                for _, (index, job) in zip(range(_PER_WORKER * max(workers, 1) - len(running)), waiting, strict=False):
                    running[self.client.submit(call, job, pure=False)] = index
                if not running:
                    return
                done = _wait(running)
            lonely_s = 0.0 if workers or done else lonely_s + _LOOK_S
            if lonely_s > self.patience_s:
                raise InputError(f"the cluster has had no worker for {lonely_s:.0f} s; start some, and {AGAIN}")
            for future in done:
                index = running.pop(future)
                yield index, _fetch(future, index, len(jobs))


@dataclass(frozen=True)
class _Call:
    """A function, and what its caller's process is like; called in a worker, which refuses to do it differently."""

    function: Callable[[Any], Any]
    folder: str
    code: str

    def __call__(self, job: Any) -> Any:
        from distributed import get_worker

        worker = get_worker()
        if worker.state.nthreads > 1:
            raise InputError(f"worker {worker.address}: does {worker.state.nthreads} jobs at a time; start workers with --nthreads 1")
        if not Path(self.folder).is_dir():
            raise InputError(
                f"worker {worker.address}: does not see {self.folder}; give the command, with its data, in folders that all computers share"
            )
        if _own_code() != self.code:
            raise InputError(
                f"worker {worker.address}: has voxdrive {_own_code()}, this is {self.code}; install the same there, start its workers again"
            )
        os.chdir(self.folder)
        return self.function(job)


@functools.cache
def _own_code() -> str:
    return describe_code()


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
    from distributed import KilledWorker

    if future.status != "error":
        with _tell_of_lost_scheduler():
            return future.result()
    failure = future.exception()
    if isinstance(failure, KilledWorker):
        raise InputError(
            f"job {index + 1} of {jobs}: {failure.allowed_failures + 1} workers died of it, the last one at {failure.last_worker.address}; "
            f"mostly a job needs more memory or time than a worker has: give more, and {AGAIN}"
        )
    raise failure


@contextmanager
def _tell_of_lost_scheduler() -> Iterator[None]:
    try:
        yield
    except (CancelledError, OSError, TimeoutError) as failure:
        raise InputError(f"the cluster's scheduler does not answer any more; see that it runs, and {AGAIN}") from failure
