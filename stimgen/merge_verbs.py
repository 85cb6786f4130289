"""The verbs `merge` and `select`: sets put together, and the images of a scan chosen from a set."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table

from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet
from stimgen.console import table_console

if TYPE_CHECKING:
    from stimgen.select_images import Candidates

SetArgument = Annotated[Path, typer.Argument(metavar="SET", help="StimulusSet folder.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")]


def merge(
    sets: Annotated[list[Path], typer.Argument(metavar="SET...", help="Two or more StimulusSet folders.")],
    out: Annotated[Path, typer.Option(help="StimulusSet folder to write.")],
    overwrite: Overwrite = False,
) -> None:
    """Put sets together into one; the recipe of each is kept, so that its images can still be made again.

    Example: stimgen merge stimuli/early stimuli/late --out stimuli/all
    """
    from stimgen.merge import check_mergeable, merge_descriptions
    from stimgen.take_images import Taken, write_taken

    refuse_non_empty(out, overwrite)
    if len(sets) < 2:
        raise InputError("merge needs two sets or more")
    read = [_read_sound(folder) for folder in sets]
    check_mergeable(read)
    inputs = {f"set {number + 1} {folder.name}": folder for number, folder in enumerate(sets)}
    with staged_folder(out, Provenance.collect("stimgen merge", {}, inputs), overwrite) as folder:
        taken = [Taken(one, tuple(one.table["stim_id"])) for one in read]
        made = write_taken(taken, merge_descriptions(read), folder)
    typer.echo(f"wrote {out}: {len(made.table)} images of {len(sets)} sets")


def select(
    set_folder: SetArgument,
    per_target: Annotated[int, typer.Option(min=1, help="Target images to keep of each target.")],
    out: Annotated[Path, typer.Option(help="StimulusSet folder to write.")],
    diversity: Annotated[float, typer.Option(min=0, help="z of drive that images of a target wholly unlike one another are worth.")] = 1.0,
    balance: Annotated[float, typer.Option(min=0, help="z of drive that one standard deviation of light between targets costs.")] = 1.0,
    overwrite: Overwrite = False,
) -> None:
    """Choose the images of a scan by drive, diversity and balance of light between targets, with every control tied to them.

    Example: stimgen select stimuli/all --per-target 8 --out stimuli/scan
    """
    from stimgen.select_images import Weights, find_companions, read_candidates, select_images
    from stimgen.take_images import Taken, write_taken

    refuse_non_empty(out, overwrite)
    stimulus_set = _read_sound(set_folder)
    candidates = read_candidates(stimulus_set)
    chosen = select_images(candidates, per_target, Weights(diversity, balance))
    ids = [str(candidates.table["stim_id"][index]) for indices in chosen.values() for index in indices]
    described = {key: told for key, told in stimulus_set.description.items() if key != "diversity"}  # that was of all images
    settings = {"per_target": per_target, "diversity": diversity, "balance": balance}
    with staged_folder(out, Provenance.collect("stimgen select", settings, {"set": set_folder}), overwrite) as folder:
        made = write_taken([Taken(stimulus_set, tuple(find_companions(stimulus_set, ids)))], described, folder)
    _print_choice(candidates, chosen)
    typer.echo(f"wrote {out}: {len(made.table)} of {len(stimulus_set.table)} images")


def _read_sound(folder: Path) -> StimulusSet:
    stimulus_set = StimulusSet.read(folder)
    stimulus_set.verify()
    return stimulus_set


def _print_choice(candidates: "Candidates", chosen: dict[str, list[int]]) -> None:
    """Print what each target's images were and are: drive and diversity; and the balance of all."""
    from stimgen.diversity import measure_diversity

    every = {str(target): list(rows.index) for target, rows in candidates.table.groupby("target", sort=False)}
    before, after = (candidates.measure_imbalance(one) for one in (every, chosen))
    table = Table(title=f"images chosen; largest difference of light between targets {before:.2f} -> {after:.2f} standard deviations")
    for column in ("target", "kept", "drive", "diversity", "flagged by the gate"):
        table.add_column(column, justify="left" if column == "target" else "right", no_wrap=True)
    for target, indices in chosen.items():
        drives = [float(candidates.drive[some].mean()) for some in (every[target], indices)]
        diversities = [measure_diversity(candidates.thumbnails[some]) for some in (every[target], indices)]
        gate = candidates.table["gate"].iloc[indices].eq("flag").sum() if "gate" in candidates.table.columns else 0
        shown = [" -> ".join("n/a" if np.isnan(value) else f"{value:.2f}" for value in pair) for pair in (drives, diversities)]
        table.add_row(target, f"{len(indices)} of {len(every[target])}", *shown, str(gate))
    table_console().print(table)
