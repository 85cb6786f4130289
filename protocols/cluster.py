"""Who does the jobs: this process, or a cluster through dask; jobs in, their results out as they finish.

All three programs may have work for more than one computer, which is why this stands here; dask (extra `cluster`) is imported only where a
cluster was asked for, so that this package stays light.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from protocols.errors import InputError
from protocols.job_queue import JobQueue

Job = TypeVar("Job")
Result = TypeVar("Result")


@runtime_checkable
class Workers(Protocol):
    """Who does the jobs."""

    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Yield the index of each job and `function` of it, once each, as they finish.

        `function`, jobs and results travel to another computer and back (pickle): small ones, which name files, are best. A job is started
        again where its worker died, and must then give the same result.

        Raises
        ------
        InputError
            Which a job raised; or because of the cluster: it went away, has no workers, or these die of a job or differ from this process.
        """
        ...


class InProcess:
    """This process does the jobs, one after the other."""

    def run(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result]]:
        """Yield each job's result, in order."""
        for index, job in enumerate(jobs):
            yield index, function(job)


@contextmanager
def open_workers(cluster: str | None) -> Iterator[Workers]:
    """Yield who does the jobs, and let them go afterwards.

    `cluster` is None for this process, `local:N` for N processes of this computer, `tcp://host:port` for a dask scheduler that runs, or the
    TOML file of a batch system (`JobQueue`).

    Raises
    ------
    InputError
        Where `cluster` is none of these, dask is not installed, or the cluster cannot be reached in time.
    """
    if cluster is None:
        yield InProcess()
        return
    from protocols.cluster_start import start_workers

    with start_workers(parse_cluster(cluster)) as workers:
        yield workers


def check_cluster(cluster: str | None) -> None:
    """Refuse what `open_workers` would refuse without having asked any other computer; call it before any work.

    Raises
    ------
    InputError
        Where `cluster` is nothing that is known, or dask is not installed.
    """
    if cluster is not None:
        from protocols.cluster_start import import_dask

        queue = isinstance(parse_cluster(cluster), JobQueue)
        for name in ("distributed", "dask_jobqueue")[: 1 + queue]:
            import_dask(name)


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
        f"--cluster {cluster!r}: is neither local:N (N processes of this computer), nor tcp://host:port (a dask scheduler), "
        "nor a file such as slurm.toml; give one of them"
    )
