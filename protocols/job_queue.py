"""A TOML file in (slurm.toml), the settings of a queue's jobs out, as dask-jobqueue names them; dask itself is not needed for that."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from protocols.config import config, read_config

_OWN = {  # what each kind of queue knows beside the settings that all have, and what dask-jobqueue calls it there
    "slurm": {"queue": "queue", "account": "account", "walltime": "walltime"},
    "pbs": {"queue": "queue", "account": "account", "walltime": "walltime", "resource_spec": "resource_spec"},
    "sge": {"queue": "queue", "account": "project", "walltime": "walltime", "resource_spec": "resource_spec"},
    "lsf": {"queue": "queue", "account": "project", "walltime": "walltime"},
    "htcondor": {"disk": "disk"},
}
_SHARED = ("cores", "memory", "interface", "local_directory", "log_directory", "python", "job_script_prologue", "job_directives_skip")
_ONE_BY_ONE = ["--nthreads", "1"]  # the last one given counts: a process does one job at a time, as on one machine

NO_DASHBOARD = {
    "dashboard": False,
    "dashboard_address": ":0",
}  # any free port for the little that is left, or dask warns where 8787 is taken


@config
class JobQueue:
    """What each job of a batch system asks for, and how many of them there are; data/README.md describes every key."""

    kind: Literal["slurm", "pbs", "sge", "lsf", "htcondor"]
    jobs: int = Field(ge=1)
    memory: str = Field(pattern=r"^\d+(\.\d+)? ?[kKMGT]i?B$")
    cores: int = Field(default=1, ge=1)
    processes: int | None = Field(default=None, ge=1)
    queue: str | None = None
    account: str | None = None
    walltime: str | None = None
    resource_spec: str | None = None
    disk: str | None = Field(default=None, pattern=r"^\d+(\.\d+)? ?[kKMGT]i?B$")
    interface: str | None = None
    local_directory: str | None = None
    log_directory: str | None = None
    python: str | None = None
    job_script_prologue: tuple[str, ...] = ()
    job_extra_directives: tuple[str, ...] = ()
    job_directives_skip: tuple[str, ...] = ()
    worker_extra_args: tuple[str, ...] = ()
    dashboard: str | None = None
    wait_minutes: float = Field(default=1440, gt=0)

    @model_validator(mode="after")
    def _fit_the_kind(self) -> "JobQueue":
        foreign = {name for own in _OWN.values() for name in own} - set(_OWN[self.kind])
        given = sorted(name for name in foreign if getattr(self, name) is not None)
        if given:
            raise ValueError(f"{given[0]!r} is nothing that {self.kind} knows; take it out, or say it in job_extra_directives")
        if self.kind == "htcondor" and self.disk is None:
            raise ValueError('htcondor needs disk, for example disk = "4 GB"')
        wrong = [one for one in self.job_extra_directives if self.kind == "htcondor" and "=" not in one]
        if wrong:
            raise ValueError(f"job_extra_directives: {wrong[0]!r} is not of the form 'key = value', which htcondor wants")
        if self.processes is not None and self.processes > self.cores:
            raise ValueError(f"{self.processes} processes on {self.cores} cores; ask for as many cores, or leave processes out")
        return self

    @classmethod
    def read(cls, path: Path) -> "JobQueue":
        """Read the file at `path`.

        Raises
        ------
        InputError
            Naming the key that is wrong, unknown, missing, or nothing that this kind of queue knows.
        """
        return read_config(path, cls)

    def describe_jobs(self) -> dict[str, Any]:
        """Return the arguments of dask-jobqueue's cluster; what is not set is left to its own configuration."""
        given = {name: getattr(self, name) for name in _SHARED}
        given |= {dask_name: getattr(self, name) for name, dask_name in _OWN[self.kind].items()}
        known = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value not in (None, ())}
        known["processes"] = self.processes or self.cores
        known["worker_extra_args"] = [*self.worker_extra_args, *_ONE_BY_ONE]
        if self.job_extra_directives:
            known["job_extra_directives"] = self._list_directives()
        return {**known, "scheduler_options": {"dashboard_address": self.dashboard} if self.dashboard else NO_DASHBOARD}

    def _list_directives(self) -> list[str] | dict[str, str]:
        if self.kind != "htcondor":
            return list(self.job_extra_directives)
        parts = (one.partition("=") for one in self.job_extra_directives)
        return {key.strip(): value.strip() for key, _, value in parts}
