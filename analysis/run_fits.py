"""Runs' models in, their results in the store out: a job for each run, which any computer can do that sees the same folders."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.extract import extract_run
from analysis.first_level import RunModel, model_run
from analysis.map_contrasts import MapContrast
from analysis.noise import NoiseModel
from analysis.run_store import RunStore
from protocols.cluster import Workers
from protocols.provenance import hash_file


@dataclass(frozen=True)
class Fitted:
    """A run whose result is in the store: the sha256 of its BOLD, and whether an earlier command had left it there."""

    sha256: str
    taken_up: bool


@dataclass(frozen=True)
class Fitting:
    """What is done with every run: contrasts, noise, where results are kept, and series, where there is a cache."""

    contrasts: Sequence[MapContrast]
    noise: NoiseModel
    store: RunStore
    cache: Path | None


def fit_runs(models: Sequence[RunModel], fitting: Fitting, workers: Workers) -> Iterator[tuple[int, Fitted]]:
    """Yield each run's index as soon as its result is in the store.

    Raises
    ------
    InputError
        When a run's files cannot be used, or its worker is lost.
    """
    return workers.run(functools.partial(_find_or_fit, fitting=fitting), models)


def _find_or_fit(model: RunModel, fitting: Fitting) -> Fitted:
    if fitting.store.resumes:
        sha256 = hash_file(model.run.bold)
        if fitting.store.holds(model, sha256):
            return Fitted(sha256, taken_up=True)
    result = model_run(model, extract_run(model.run, fitting.cache), fitting.contrasts, fitting.noise)
    fitting.store.keep(model, result)
    return Fitted(result.sha256, taken_up=False)
