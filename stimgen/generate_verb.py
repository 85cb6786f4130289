"""The verb `generate`: targets and models in, a StimulusSet with controls and scores out."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from protocols.config import config_values, read_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.stimulus_set import JUDGED, PREDICTED, StimulusSet
from stimgen.console import CacheOption, NoCacheOption, open_cache, progress_console

if TYPE_CHECKING:
    from stimgen.assemble import Picture, TargetsFile
    from stimgen.encoding_model import EncodingModel
    from stimgen.judge import Scorer
    from stimgen.pool import NaturalPool


def generate(
    targets: Annotated[Path, typer.Argument(metavar="TARGETS.toml", help="What to make (TOML).")],
    model: Annotated[list[Path], typer.Option(help="Generating model; repeat for an ensemble.")],
    out: Annotated[Path, typer.Option(help="StimulusSet folder to write.")],
    judge: Annotated[list[Path] | None, typer.Option(help="Model on another backbone that scores the images; repeat for more.")] = None,
    pool: Annotated[Path | None, typer.Option(help="Natural images for z units and controls; overrides the file's 'pool'.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the file's 'seed'.")] = None,
    weights: Annotated[
        list[Path] | None, typer.Option(help="Weights file of a model that was fitted with --weights; repeat for more.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Make images that drive chosen voxels, ROIs or contrasts of ROIs, with their controls, and score every saved PNG.

    Example: stimgen generate targets.toml --model models/lite0 --judge models/lite1 --pool pool/ --out stimuli/set
    """
    from stimgen.assemble import TargetsFile, build_set, check_order, check_targets, describe_set
    from stimgen.judge import check_judges, make_scorer
    from stimgen.pool import NaturalPool

    refuse_non_empty(out, overwrite)
    order = read_config(targets, TargetsFile)
    if seed is not None:
        order = dataclasses.replace(order, seed=seed)
    check_order(order)
    source = pool or order.pool
    if source is None:
        raise InputError(f"{targets}: no natural image pool; give --pool FOLDER, or set 'pool' ('stimgen pool --out FOLDER' makes one)")
    natural = NaturalPool.read(source)
    loaded = [_load_models(folders or [], weights or [], device) for folders in (model, judge)]
    check_judges(*([one for _, one in models] for models in loaded))
    check_targets(order, [one for _, one in loaded[0]])
    kept = open_cache(cache, no_cache)
    makers, judges = ([make_scorer(name, one, natural.image_paths(), kept) for name, one in models] for models in loaded)
    pictures = _make_pictures(order, makers, natural)
    inputs = {"targets": targets, "pool": source, **{f"model {path}": path for path in [*model, *(judge or [])]}}
    provenance = Provenance.collect("stimgen generate", config_values(order), inputs, {"seed": order.seed})
    with staged_folder(out, provenance, overwrite) as folder:
        made = build_set(pictures, folder, makers, judges, describe_set(order, makers, judges, len(natural.table)))
    _print_drive(made)
    typer.echo(f"wrote {out}: {len(pictures)} images")


def _load_models(folders: list[Path], weights: list[Path], device: str) -> "list[tuple[str, EncodingModel]]":
    from stimgen.backbone import choose_device
    from stimgen.encoding_model import EncodingModel, find_weights

    chosen = choose_device(device)
    return [(folder.name, EncodingModel.read(folder, find_weights(folder, weights), chosen)) for folder in folders]


def _make_pictures(order: "TargetsFile", makers: "list[Scorer]", natural: "NaturalPool") -> "list[Picture]":
    """Make target images with a progress bar, then their controls."""
    from stimgen.assemble import NATURAL, SCRAMBLED, choose_natural, count_images, make_targets, scramble_targets

    controls = choose_natural(order, makers, natural) if NATURAL in order.controls else []
    count = sum(count_images(order, target) for target in order.targets)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=progress_console()) as progress:
        task = progress.add_task(f"{count} images, gradient steps", total=count * order.ascent.steps)
        pictures = make_targets(order, makers, lambda images: progress.advance(task, images))
    scrambled = scramble_targets(pictures) if SCRAMBLED in order.controls else []
    return [*pictures, *controls, *scrambled]


def _print_drive(made: StimulusSet) -> None:
    """Print mean predicted and judged drive of each condition in its own ROI."""
    table = Table(title="drive of the image's own ROI, z units of natural images (mean)")
    for column in ("condition", "target", "images", "predicted", "judged"):
        table.add_column(column, justify="left" if column in ("condition", "target") else "right")
    for (condition, target), rows in made.table.groupby(["condition", "target"], sort=False):
        means = [rows[name].mean() if (name := f"{prefix}{target}") in rows else np.nan for prefix in (PREDICTED, JUDGED)]
        table.add_row(str(condition), str(target), str(len(rows)), *("n/a" if np.isnan(mean) else f"{mean:.2f}" for mean in means))
    Console().print(table)
