"""How fast is a sweep of 2,000 planted voxels? `python -m tests.benchmarks.bench_sweep` prints three tables; alone on the machine.

The voxels are planted on EfficientNet-Lite2 and fitted on Lite0 at 96 px. One target at a time is what `stimgen generate` does for each:
its goal, its start, its ascent, its PNG and its score, with the model and the pool's features open already, as for the sweep. Every ratio
is from one run; seconds of processors are told beside those of the clock, since only they mean something where other programs run.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from protocols.cluster import open_workers
from protocols.config import parse_config
from protocols.provenance import Provenance, hash_input
from stimgen.encoding_model import EncodingModel
from stimgen.goal import Goal
from stimgen.image_files import write_png
from stimgen.jobs import Workplace
from stimgen.judge import Scorer, predict_files, rate_goal
from stimgen.make import Studio, make_images, plan_jobs
from stimgen.optimize import Ascent
from stimgen.order import TargetsFile, plan_order
from stimgen.pool import NaturalPool
from stimgen.sources import Sources
from stimgen.sweep import Plan, Wish, plan_sweep
from stimgen.sweep_settings import SweepSettings
from stimgen.sweep_work import Place, make_batch, open_bench
from stimgen.target import Target
from tests.benchmarks.planted_drive import DATA, run_once
from tests.benchmarks.report import print_table

HERE = Path(__file__).resolve().parent
LEAST_SPEEDUP = 3
SIZES = (100, 500, 2000)


@dataclass(frozen=True)
class Spent:
    """What some images took: seconds of the clock, and of processors in this process and its children."""

    images: int
    wall_s: float
    cpu_s: float

    @property
    def per_minute(self) -> float:
        """Images per minute of the clock."""
        return 60 * self.images / self.wall_s


@contextmanager
def time_images(images: int, into: list[Spent]) -> Iterator[None]:
    """Measure what is done inside."""
    wall, cpu = time.perf_counter(), measure_cpu()
    yield
    into.append(Spent(images, time.perf_counter() - wall, measure_cpu() - cpu))


def measure_cpu() -> float:
    """Return the processor seconds of this process and of those it started."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def plant_model(folder: Path) -> None:
    """Build pool, planted responses and the model of 2,000 voxels by the public commands, unless they are there."""
    run_once(folder / "pool", "pool", "--images", str(DATA / "photos"), "--count", "400", "--size-px", "96", "--seed", "1")
    planting = ("--config", str(HERE / "cortex_sweep.toml"), "--subject", "01", "--tuning-seed", "1")
    run_once(folder / "responses", "cortex", str(folder / "pool"), *planting)
    fitting = ("--responses", str(folder / "responses"), "--cache", str(folder / "cache"))
    run_once(folder / "lite0", "fit", str(HERE / "fit_sweep.toml"), *fitting)
    model = EncodingModel.read(folder / "lite0")
    for size in SIZES:
        some = folder / f"lite0-{size}"
        if not (some / "provenance.json").exists():
            some.mkdir(exist_ok=True)
            rows = np.linspace(0, len(model.voxels) - 1, size).astype(int)
            readout = replace(model.readout, coefficients=model.readout.coefficients[:, rows], intercept=model.readout.intercept[rows])
            EncodingModel(model.space, readout, model.voxels.iloc[rows].assign(cv_r=0.5), model.card).write(some)
            Provenance.collect("benchmark", {}, {}).write(some)


def find_place(folder: Path, model: str, work: str) -> Place:
    """Return where a sweep's inputs and its work lie."""
    sources = Sources(models=((folder / model).resolve(),), pool=(folder / "pool").resolve())
    named = hash_input(folder / model) + hash_input(folder / "pool")
    return Place(sources, named, (folder / work).resolve(), (folder / "cache").resolve(), str(time.time()), "cpu")


def plan(place: Place, most: int, settings: SweepSettings, seed: int = 1) -> Plan:
    """Return the batches of a sweep of some voxels."""
    return plan_sweep(place, Wish(0.1, most, (), (), False, 1, seed), settings)


def make_alone(place: Place, settings: SweepSettings, seed: int, out: Path) -> Callable[[str], float]:
    """Return a function that makes one voxel's image by the machinery of `stimgen generate`, and returns its saved PNG's drive."""
    bench = open_bench(place)
    model, features = bench.maker.model, bench.maker.features
    scorer = Scorer("lite0", model, model.readout.predict(features), features)
    pool = NaturalPool.read(place.sources.pool)
    out.mkdir(parents=True, exist_ok=True)

    def make(voxel: str) -> float:
        ascent: dict[str, Any] = {**vars(settings.ascent), "batch": 1}
        order = TargetsFile(
            targets=(Target(voxel=voxel, name="one"),), count=1, size_px=settings.size_px, seed=seed, ascent=Ascent(**ascent)
        )
        studio = Studio(order, [scorer], (), pool, Workplace(place.work / "alone", str(time.time())))
        (made,) = make_images(studio, plan_jobs(studio, plan_order(order, [scorer])), lambda images: None)
        write_png(made.image, out / "one.png")
        goal = Goal("one", factors={voxel: 1.0}, own={voxel: 1.0})
        return float(rate_goal(goal, [scorer], [predict_files(model, [out / "one.png"])])[0])

    return make


def print_rates(folder: Path, settings: SweepSettings, targets: int, alone: int) -> None:
    """Print images per minute of a sweep on one core and on two, and of one target at a time with the same settings."""
    place = find_place(folder, "lite0-2000", "rates")
    planned = plan(place, targets, settings)
    voxels = [str(voxel) for voxel in planned.targets["target_id"]]
    chosen = [voxels[number] for number in np.linspace(0, len(voxels) - 1, alone).astype(int)]
    make = make_alone(place, settings, 1, folder / "alone")
    rows: list[tuple[str, list[Spent], list[float]]] = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        make(chosen[0])  # what is done for the first time alone
        spent: list[Spent] = []
        with time_images(alone, spent):
            drives = [make(voxel) for voxel in chosen]
        rows.append((f"one target at a time, {threads} threads", spent, drives))
    torch.set_num_threads(1)
    hashes = []
    for name, cluster in (("sweep, this process (one core)", None), ("sweep, local:2", "local:2")):
        place = find_place(folder, "lite0-2000", f"rates {cluster}")
        planned, spent = plan(place, targets, settings), []
        warm = [plan(place, 1, settings, seed).batches[0] for seed in (2, 3)]
        with open_workers(cluster) as workers:
            list(workers.run(make_batch, warm))  # each worker opens the model
            with time_images(targets, spent):
                list(workers.run(make_batch, planned.batches))
        tables = [batch.read_scores() for batch in planned.batches]
        hashes.append([sha256 for table in tables for sha256 in table["sha256"]])
        rows.append((name, spent, [drive for table in tables for drive in table["predicted"]]))
        Workplace(place.work).clear()
    _print_rates(rows, f"{targets} of 2,000 voxels, {settings.size_px} px, {settings.ascent.steps} steps", hashes[0] == hashes[1])


def _print_rates(rows: Sequence[tuple[str, list[Spent], list[float]]], what: str, same: bool) -> None:
    best = max(spent[0].per_minute for _, spent, _ in rows[:2])
    least = min(spent[0].cpu_s / spent[0].images for _, spent, _ in rows[:2])
    shown = []
    for name, (spent,), drives in rows:
        ratio = spent.per_minute / best
        cores = 2 if "local:2" in name else 1
        each = spent.cpu_s / spent.images
        shown.append(
            (name, spent.images, spent.per_minute, ratio, each, least / each * cores, float(np.mean(drives)), ratio >= LEAST_SPEEDUP)
        )
    columns = ("", "images", "images / min", "ratio", "processor s / image", "x cores", "predicted z", f"at least {LEAST_SPEEDUP} times")
    print_table(f"{what}; local:2 gives the same hashes: {'yes' if same else 'no'}", columns, shown)


def print_flatness(folder: Path, settings: SweepSettings) -> None:
    """Print what an image costs in sweeps of all voxels of models of 100, 500 and 2,000, planning included."""
    rows: list[tuple[object, ...]] = []
    for size in SIZES:
        place = find_place(folder, f"lite0-{size}", f"flat{size}")
        open_bench(place)
        planning: list[Spent] = []
        making: list[Spent] = []
        with time_images(size, planning):
            planned = plan(place, size, settings)
        with time_images(size, making):
            for batch in planned.batches:
                make_batch(batch)
        images = sum(len(batch.images) for batch in planned.batches)
        stored = sum(batch.shard.stat().st_size for batch in planned.batches)
        rows.append(
            (size, images, len(planned.batches), planning[0].cpu_s / size, making[0].cpu_s / size, making[0].wall_s / size, stored / 1e6)
        )
        Workplace(place.work).clear()
    columns = ("voxels", "images", "batches", "planning s / image", "processor s / image", "s / image", "shards MB")
    print_table(f"cost of an image, {settings.size_px} px, {settings.ascent.steps} steps, one core", columns, rows)


def print_batches(folder: Path, settings: SweepSettings, targets: int) -> None:
    """Print what batches of other sizes, another depth and other sizes of a forward pass cost."""
    from stimgen import optimize

    rows: list[tuple[object, ...]] = []
    usual = optimize._CPU_IMAGES
    for batch, at_once, depth in ((1, 8, 0.95), (8, 8, 0.95), (32, 8, 0.95), (32, 16, 0.95), (64, 32, 0.95), (32, 8, 1.0), (32, 8, 0.9)):
        optimize._CPU_IMAGES = at_once  # type: ignore[misc]
        given = replace(settings, ascent=replace(settings.ascent, batch=batch, depth_share=depth))
        place = find_place(folder, "lite0-2000", f"batches {batch} {at_once} {depth}")
        planned, spent = plan(place, targets, given), list[Spent]()
        with time_images(targets, spent):
            for one in planned.batches:
                make_batch(one)
        drives = [drive for one in planned.batches for drive in one.read_scores()["predicted"]]
        rows.append((batch, at_once, depth, spent[0].cpu_s / targets, float(np.mean(drives))))
        Workplace(place.work).clear()
    optimize._CPU_IMAGES = usual  # type: ignore[misc]
    columns = ("batch", "images in a pass", "depth_share", "processor s / image", "predicted z")
    print_table(f"other ways, {targets} voxels, {settings.size_px} px, {settings.ascent.steps} steps, one core", columns, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/bench_sweep"))
    parser.add_argument("--targets", type=int, default=320, help="voxels of the first table")
    parser.add_argument("--alone", type=int, default=16, help="of which one at a time")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--flat-steps", type=int, default=8, help="steps of the second table, whose 2,600 images are all made")
    parser.add_argument("--only", choices=("rates", "flat", "batches"), help="one table alone")
    asked = parser.parse_args()
    plant_model(asked.folder)
    torch.set_num_threads(1)
    settings = parse_config({"size_px": 96, "ascent": {"steps": asked.steps}}, SweepSettings, "benchmark")
    few = parse_config({"size_px": 96, "ascent": {"steps": asked.flat_steps}}, SweepSettings, "benchmark")
    if asked.only in (None, "rates"):
        print_rates(asked.folder, settings, asked.targets, asked.alone)
    if asked.only in (None, "flat"):
        print_flatness(asked.folder, few)
    if asked.only in (None, "batches"):
        print_batches(asked.folder, few, min(asked.targets, 96))


if __name__ == "__main__":
    main()
