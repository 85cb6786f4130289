"""The verb `generate`: targets and models in, a StimulusSet with controls and scores out."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from protocols.config import config_values, read_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance, describe_code
from protocols.stimulus_set import StimulusSet
from stimgen.console import CacheOption, NoCacheOption, cache_folder, count_progress, open_cache, table_console

if TYPE_CHECKING:
    import pandas as pd

    from stimgen.assemble import Picture
    from stimgen.make import Made, Studio
    from stimgen.open_studio import OpenStudio
    from stimgen.order import TargetsFile
    from stimgen.sources import Sources

_MOST_LISTED = 10  # targets or warnings that are printed one by one


def generate(
    targets: Annotated[Path, typer.Argument(metavar="TARGETS.toml", help="What to make (TOML).")],
    model: Annotated[list[Path], typer.Option(help="Generating model; repeat for an ensemble.")],
    out: Annotated[Path, typer.Option(help="StimulusSet folder to write.")],
    judge: Annotated[list[Path] | None, typer.Option(help="Model on another backbone that scores the images; repeat for more.")] = None,
    validate: Annotated[
        list[Path] | None, typer.Option(help="Model that decides when to stop; neither makes nor judges; repeat for more.")
    ] = None,
    pool: Annotated[
        Path | None, typer.Option(help="Natural images for z units, starts and controls; crops of public photographs otherwise.")
    ] = None,
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

    An interrupted command, given again, continues where it stopped, to the same images.
    Example: stimgen generate targets.toml --model models/lite0 --judge models/lite1 --pool pool/ --out stimuli/set
    """
    from stimgen.default_pool import find_default_pool
    from stimgen.jobs import Workplace
    from stimgen.open_studio import open_studio
    from stimgen.order import TargetsFile
    from stimgen.sources import Sources

    refuse_non_empty(out, overwrite)
    order = read_config(targets, TargetsFile)
    if seed is not None:
        order = dataclasses.replace(order, seed=seed)
    found = pool or order.pool or find_default_pool(cache_folder(cache))
    sources = Sources(
        models=tuple(model), judges=tuple(judge or ()), validators=tuple(validate or ()), pool=found, weights=tuple(weights or ())
    )
    work = Workplace(out.parent / f".{out.name}.work", describe_code())
    opened = open_studio(order, sources, work, open_cache(cache, no_cache), device)
    made, diversity = _make(opened)
    with staged_folder(out, _describe(order, sources, targets, made, out), overwrite) as folder:
        stimulus_set = _assemble(opened, made, diversity, folder)
    work.clear()
    _print_drive(stimulus_set, diversity)
    typer.echo(f"wrote {out}: {len(stimulus_set.table)} images")


def _describe(order: "TargetsFile", sources: "Sources", targets: Path, made: "list[Made]", out: Path) -> Provenance:
    """Return the whole recipe: the resolved order, every seed, where the inputs lie, seen from OUT, and their sha256."""
    from stimgen.assemble import collect_targets
    from stimgen.sources import record_order, record_sources

    recipe = {**config_values(record_order(order, out)), "sources": config_values(record_sources(sources, out))}
    seeds = {"seed": order.seed, **{one.stim_id: one.seed for one in collect_targets(order, made) if one.seed is not None}}
    return Provenance.collect("stimgen generate", recipe, {"targets": targets, **sources.name_inputs(order)}, seeds)


def _make(opened: "OpenStudio") -> "tuple[list[Made], dict[str, float]]":
    """Make the target images with a progress bar; say which had to be started again."""
    from stimgen.make import keep_best, make_images, plan_jobs

    studio = opened.studio
    jobs = plan_jobs(studio, opened.wanted)
    with _count_steps(studio, f"{len(jobs)} images", len(jobs)) as on_step:
        made = make_images(studio, jobs, on_step)
    for one in [one for one in made if one.restarts][:_MOST_LISTED]:
        ended = "and stayed gray: its target's layers do not answer" if one.dead else "and went on"
        typer.echo(f"target {one.job.wanted.label}, seed {one.job.seed}: dead gradient, started again {one.restarts} times, {ended}")
    return keep_best(studio, made)


def _count_steps(studio: "Studio", what: str, images: int) -> AbstractContextManager[Callable[[int], None]]:
    """Return what counts the images that took a step, with a progress bar."""
    return count_progress(f"{what}, gradient steps", images * studio.order.ascent.steps)


def _control(opened: "OpenStudio", made: "list[Made]") -> "list[Picture]":
    """Return the target images with their controls."""
    from stimgen.assemble import collect_targets
    from stimgen.made_controls import CLIMBED, make_controls

    order = opened.studio.order
    pictures = collect_targets(order, made)
    climbed = [kind for kind in order.controls if kind in CLIMBED]
    with _count_steps(opened.studio, f"controls: {', '.join(order.controls)}", len(made) * len(climbed)) as on_step:
        return [*pictures, *make_controls(opened.studio, opened.wanted, made, pictures, opened.judges, on_step)]


def _assemble(opened: "OpenStudio", made: "list[Made]", diversity: dict[str, float], folder: Path) -> StimulusSet:
    """Save, control, score and judge; refuse or tell what does not pass."""
    from stimgen.assemble import collect_ascent, save_pictures
    from stimgen.look import read_viewing
    from stimgen.loss import measure_loss
    from stimgen.matching import describe_matching
    from stimgen.score_set import describe_set, score_set
    from stimgen.set_tables import write_ascent, write_scores

    studio, judges = opened.studio, opened.judges
    order = studio.order
    pictures = _control(opened, made)
    photometry = describe_matching(order.photometry, studio.matching)
    saved = save_pictures(pictures, folder, studio.pool, read_viewing({"photometry": photometry}, order.size_px))
    scored = score_set(saved, folder, opened.wanted, studio.makers, judges, order.gate)
    _tell_missed(scored.missed)
    _tell_flagged(scored.table, order)
    description = describe_set(order, studio.makers, judges, len(studio.pool.table), diversity, scored.missed)
    lost = measure_loss(studio, judges, made)
    _tell_loss(lost)
    description["photometry"] = photometry | {"drive_before_matching": lost}
    write_scores(scored.scores, folder)
    write_ascent(collect_ascent(pictures, made), folder)
    stimulus_set = StimulusSet(folder, scored.table, description)
    stimulus_set.write(folder)
    return stimulus_set


def _tell_loss(lost: "dict[str, dict[str, float]]") -> None:
    """Say what matching afterwards cost the targets' images."""
    for target, drive in list(lost.items())[:_MOST_LISTED]:
        told = ", ".join(
            f"{role} {drive[f'{role}_before']:.2f} -> {drive[f'{role}_after']:.2f}"
            for role in ("predicted", "judged")
            if f"{role}_after" in drive
        )
        typer.echo(f"target {target}: drive lost by matching afterwards: {told} z")


def _tell_missed(missed: dict[str, list[str]]) -> None:
    """Say which bounds a target's images do not keep, and how near they came."""
    for label, bounds in list(missed.items())[:_MOST_LISTED]:
        typer.echo(f"target {label}: not all it asks for can be had at once; mean of its images: {'; '.join(bounds)}")


def _tell_flagged(table: "pd.DataFrame", order: "TargetsFile") -> None:
    """Say whose images the judges do not confirm; refuse the set where the order asks for it."""
    from stimgen.score_set import count_flagged

    flagged = count_flagged(table)
    if not flagged:
        return
    listed = ", ".join(f"{label} {count}" for label, count in list(flagged.items())[:_MOST_LISTED])
    told = f"{sum(flagged.values())} images do not pass the gate ({listed})"
    if order.gate.action == "refuse":
        raise InputError(f"{told}; make them with more models or steps, or set gate.action to flag")
    typer.echo(f"{told}: column 'gate' marks them")


def _print_drive(made: StimulusSet, diversity: dict[str, float]) -> None:
    """Print what each condition's images do for their own target, mean over images."""
    table = Table(title="what images do for their own target, z units of natural images (mean)")
    for column in ("condition", "target", "images", "predicted", "judged", "ratio", "percentile", "diversity"):
        table.add_column(column, justify="left" if column in ("condition", "target") else "right", no_wrap=True)
    for (condition, target), rows in made.table.groupby(["condition", "target"], sort=False):
        columns = ("drive_predicted", "drive_judged", "drive_ratio", "drive_percentile")
        means = [rows[name].astype(float).mean() for name in columns]
        means.append(diversity.get(str(target), np.nan) if condition == "target" else np.nan)
        table.add_row(str(condition), str(target), str(len(rows)), *("n/a" if np.isnan(mean) else f"{mean:.2f}" for mean in means))
    table_console().print(table)
