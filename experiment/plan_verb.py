"""The verb `plan`: a protocol and a stimulus set (or folders of images) in, a self-contained plan folder out."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from protocols.config import config_values
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.protocol import Protocol
from protocols.provenance import Provenance
from protocols.trials import BLANK, TrialList


def plan(
    protocol: Annotated[Path, typer.Argument(metavar="PROTOCOL.toml", help="The study, fixed before scanning (TOML).")],
    subjects: Annotated[int, typer.Option(min=1, help="How many subjects to plan for: 01, 02, ...")],
    seed: Annotated[int, typer.Option(min=0, help="Draws the orders; the same seed gives the same bytes.")],
    out: Annotated[Path, typer.Option(help="Plan folder to write; all that the scanner PC needs.")],
    stimuli: Annotated[Path | None, typer.Option("--set", help="StimulusSet folder with the images.")] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Instead of --set: a folder with one folder of images per category.")
    ] = None,
    catch: Annotated[Path | None, typer.Option(metavar="FOLDER", help="A folder of catch images to add.")] = None,
    off_grid: Annotated[bool, typer.Option("--off-grid", help="Allow blocks that are no whole number of TRs.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace this command's files in OUT.")] = False,
) -> None:
    """Lay out every run of every subject: balanced, in time, reviewable, and never changed at the scanner.

    Example: experiment plan protocols/roi_validation.toml --set stimuli/set --subjects 4 --seed 1 --out plan/
    """
    from experiment.cells import resolve_conditions
    from experiment.image_folder import gather_stimuli
    from experiment.plan import describe_grid, plan_trials
    from experiment.plan_folder import write_plan

    refuse_non_empty(out, overwrite)
    study = Protocol.read(protocol)
    if off_grid:
        study = dataclasses.replace(study, timing=dataclasses.replace(study.timing, off_grid=True))
    grid = describe_grid(study)
    with gather_stimuli(stimuli, images, catch, study) as shown:
        study = resolve_conditions(study, shown.table)
        given = {"protocol": protocol, "set": stimuli, "images": images, "catch": catch}
        inputs = {name: path for name, path in given.items() if path}
        provenance = Provenance.collect("experiment plan", {**config_values(study), "subjects": subjects}, inputs, {"seed": seed})
        runs = list(plan_trials(study, shown.table, shown.sha256, subjects, seed))
        with staged_folder(out, provenance, overwrite) as folder:
            write_plan(folder, study, shown, runs)
    _print_runs(runs)
    if grid:
        typer.echo(grid)
    typer.echo(f"wrote {out}: {len(runs)} runs of {subjects} subject(s), {len(shown.table)} images, protocol {study.task!r}")


def _print_runs(runs: list[TrialList]) -> None:
    """Print what the first subject will see; the others have the same numbers."""
    first = [run for run in runs if run.name.subject == runs[0].name.subject]
    table = Table(title=f"subject {runs[0].name.subject} (every subject has the same numbers)")
    for column in ("session", "run", "minutes", "volumes", "trials", "images", "blanks", "probes"):
        table.add_column(column, justify="right")
    for run in first:
        blanks = int((run.trials["trial_type"] == BLANK).sum())
        cells = (run.plan.volumes, len(run.trials), len(run.trials) - blanks, blanks, int(run.trials["probe"].sum()))
        table.add_row(str(run.name.session), str(run.name.run), f"{run.plan.duration_s / 60:.2f}", *map(str, cells))
    Console().print(table)
    total_s = sum(run.plan.duration_s for run in first)
    typer.echo(f"{total_s / 60:.1f} minutes of scanning per subject")
    trials = [len(run.trials) for run in first]
    if min(trials) < max(trials):
        typer.echo(f"runs have {min(trials)} to {max(trials)} trials; shorter ones end with more background, so that all last equally long")
