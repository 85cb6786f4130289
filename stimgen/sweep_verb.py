"""The verb `sweep`: a model in, a store with one or more images for every voxel that it predicts well out."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from protocols.cluster import check_cluster, open_workers
from protocols.config import config_values, read_config
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance, describe_code, hash_input
from stimgen.console import CacheOption, cache_folder, count_progress, progress_console, table_console

if TYPE_CHECKING:
    from stimgen.sources import Sources
    from stimgen.sweep import Plan, Wish
    from stimgen.sweep_settings import SweepSettings
    from stimgen.sweep_store import SweepStore
    from stimgen.sweep_work import Place


def sweep(
    model: Annotated[Path, typer.Option(help="Generating model.")],
    out: Annotated[Path, typer.Option(help="Sweep folder to write.")],
    judge: Annotated[list[Path] | None, typer.Option(help="Model on another backbone that scores the images; repeat for more.")] = None,
    pool: Annotated[Path | None, typer.Option(help="Natural images for z units and starts; crops of public photographs otherwise.")] = None,
    settings: Annotated[Path | None, typer.Option(help="How images are made (TOML); defaults for thousands of targets otherwise.")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Only this subject's voxels; repeat for more.")] = None,
    roi: Annotated[list[str] | None, typer.Option(help="Only this ROI's voxels; repeat for more.")] = None,
    min_r: Annotated[float, typer.Option(max=1, help="Least cross-validated r of a target.")] = 0.1,
    max_voxels: Annotated[
        int | None, typer.Option(min=1, help="Most targets; subjects' ROIs take turns, the most accurate voxels first.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Images of each target.")] = 1,
    parcels: Annotated[bool, typer.Option("--parcels", help="A target per subject and ROI, its voxels together.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed that every image's own comes from.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(help="local:N, tcp://HOST:PORT or a TOML file such as slurm.toml; this process otherwise.")
    ] = None,
    weights: Annotated[
        list[Path] | None, typer.Option(help="Weights file of a model that was fitted with --weights; repeat for more.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: CacheOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Make images for every voxel (or vertex, or parcel) of a model above an accuracy, and score every saved PNG.

    An interrupted command, given again, continues where it stopped, to the same images.
    Example: stimgen sweep --model models/lite0 --judge models/lite1 --pool pool/ --max-voxels 500 --out sweeps/lite0
    """
    from stimgen.default_pool import find_default_pool
    from stimgen.jobs import Workplace
    from stimgen.sources import Sources
    from stimgen.sweep import Wish, describe_sweep, plan_sweep, write_sweep
    from stimgen.sweep_settings import SweepSettings, resolve_paths

    refuse_non_empty(out, overwrite)
    check_cluster(cluster)
    how = resolve_paths(read_config(settings, SweepSettings) if settings else SweepSettings())
    wish = Wish(min_r, max_voxels, tuple(subject or ()), tuple(roi or ()), parcels, images, seed)
    natural = (pool or find_default_pool(cache_folder(cache))).resolve()
    models, judges, files = ([path.resolve() for path in paths or ()] for paths in ([model], judge, weights))
    sources = Sources(models=tuple(models), judges=tuple(judges), pool=natural, weights=tuple(files))
    place = _find_place(sources, how, out, cache, device)
    plan = plan_sweep(place, wish, how)
    if plan.constant:
        typer.echo(f"left out {plan.constant} targets: the model predicts the same response to every natural image")
    _make(plan, cluster)
    with staged_folder(out, _describe(place, wish, how, settings), overwrite) as folder:
        store = write_sweep(plan, describe_sweep(plan, place, wish, how, out), folder)
    Workplace(place.work).clear()
    _print_drive(store)
    typer.echo(f"wrote {out}: {len(store.images)} images of {len(store.targets)} targets in {len(plan.batches)} shards")


def _find_place(sources: "Sources", how: "SweepSettings", out: Path, cache: Path | None, device: str) -> "Place":
    """Return where inputs and work lie, by absolute paths."""
    from stimgen.sweep_work import Place

    inputs = {name: hash_input(path) for name, path in _name_inputs(sources, how).items()}
    work = out.resolve().parent / f".{out.name}.work"
    named = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return Place(sources, named, work, cache_folder(cache).resolve(), describe_code(), device)


def _name_inputs(sources: "Sources", how: "SweepSettings") -> dict[str, Path]:
    """Return every input that images depend on by its name in `provenance.json`."""
    judges = {f"judge {number + 1} {folder.name}": folder for number, folder in enumerate(sources.judges)}
    own = {"photographs": how.image.photographs, "mask": how.image.mask}
    inputs = {"model": sources.models[0], "pool": sources.pool, **judges}
    return inputs | {name: path for name, path in own.items() if path is not None}


def _make(plan: "Plan", cluster: str | None) -> None:
    """Make all batches, on a cluster where one is given, with a progress bar."""
    import torch

    from stimgen.sweep_work import make_batch

    if cluster is None and not torch.cuda.is_available() and (cores := os.cpu_count() or 1) > 1:
        progress_console().print(f"on one core; --cluster local:{cores} uses {cores}, with the same images")
    images = sum(len(batch.images) for batch in plan.batches)
    with open_workers(cluster) as workers, count_progress("images", images) as on_images:
        for _, made in workers.run(make_batch, plan.batches):
            on_images(made)


def _describe(place: "Place", wish: "Wish", how: "SweepSettings", settings: Path | None) -> Provenance:
    """Return the whole recipe."""
    recipe = {**dataclasses.asdict(wish), "settings": config_values(how)}
    inputs = _name_inputs(place.sources, how) | ({"settings": settings} if settings else {})
    return Provenance.collect("stimgen sweep", recipe, inputs, {"seed": wish.seed})


def _print_drive(store: "SweepStore") -> None:
    """Print what the images of each ROI do for their own targets."""
    table = Table(title="what images do for their own target, z units of natural images (mean)")
    for column in ("subject", "roi", "targets", "images", "cv r", "predicted", "judged"):
        table.add_column(column, justify="left" if column in ("subject", "roi") else "right", no_wrap=True)
    joined = store.images.merge(store.targets[["target_id", "subject", "roi", "cv_r"]], on="target_id")
    for (subject, roi), rows in joined.groupby(["subject", "roi"], sort=False):
        means = [rows[name].mean() for name in ("cv_r", "predicted", "judged")]
        shown = ["n/a" if np.isnan(mean) else f"{mean:.2f}" for mean in means]
        table.add_row(str(subject), str(roi), str(rows["target_id"].nunique()), str(len(rows)), *shown)
    table_console().print(table)
