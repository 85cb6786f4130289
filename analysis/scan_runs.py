"""Planned runs and planted brains in, their scans on disk out: a job for each run, which any computer can do that sees the same folders."""

import functools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.bold import Scan, Series, simulate_series
from analysis.scanner_files import write_preprocessed
from analysis.simulate import Head, look_up_responses
from protocols.cluster import Workers
from protocols.events import Events
from protocols.responses import Responses
from protocols.trials import TrialList


@dataclass(frozen=True)
class PlannedRun:
    """What one run will show, what happens in it, and whose brain answers."""

    trials: TrialList
    events: Events
    truth: Responses


def scan_runs(runs: Sequence[PlannedRun], scan: Scan, head: Head, folder: Path, workers: Workers) -> Iterator[tuple[int, None]]:
    """Write each run into `folder`, and yield its index once it is there."""
    return workers.run(functools.partial(_write_run, scan=scan, head=head, folder=folder), runs)


def _write_run(run: PlannedRun, scan: Scan, head: Head, folder: Path) -> None:
    write_preprocessed(run.trials.name, _scan_run(run, scan, head), head, run.trials.plan.tr_s, folder)


def _scan_run(run: PlannedRun, scan: Scan, head: Head) -> Series:
    """Simulate one run of all brain voxels; its noise depends on the seed and the run's name alone."""
    plan, events = run.trials.plan, run.events.table
    rng = np.random.default_rng([scan.seed, zlib.crc32(run.trials.name.stem.encode())])
    rank = np.full(head.grid.shape, -1)
    rank[head.brain] = np.arange(head.brain.sum())
    true_z = np.zeros((len(events), int(head.brain.sum())))
    true_z[:, rank[tuple(head.locate(run.truth.voxels).T)]] = look_up_responses(events, run.truth)
    return simulate_series(true_z, events, plan.volumes, plan.tr_s, scan, rng)
