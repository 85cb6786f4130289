"""The verbs `pool` and `check`: natural crops out of photographs, and the report on a stimulus set."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.progress import track
from rich.table import Table

from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet
from stimgen.console import progress_console, table_console


def pool(
    out: Annotated[Path, typer.Option(help="Pool folder to write.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of photographs; those in scikit-image's and scikit-learn's wheels otherwise.")
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Crops to cut.")] = 420,
    size_px: Annotated[int, typer.Option(min=32, help="Side of a crop in pixels.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the crops' places and sizes.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Cut a pool of natural images out of photographs: what models are fitted on and controls are chosen from.

    Example: stimgen pool --images photos/ --count 500 --out pool/
    """
    from stimgen.pool import find_photographs, find_public_photographs, write_crops

    refuse_non_empty(out, overwrite)
    photographs = find_photographs(images) if images else find_public_photographs()
    settings = {"images": str(images) if images else "scikit-image and scikit-learn", "count": count, "size_px": size_px}
    provenance = Provenance.collect("stimgen pool", settings, {"images": images} if images else {}, {"seed": seed})
    with staged_folder(out, provenance, overwrite) as folder:
        rng = np.random.default_rng(seed)
        write_crops(photographs, count, size_px, rng, folder, lambda crops: track(crops, "crops", count, console=progress_console()))
    typer.echo(f"wrote {out}: {count} crops of {len(photographs)} photographs")


def check(
    set_folder: Annotated[Path, typer.Argument(metavar="SET", help="StimulusSet folder.")],
    grid: Annotated[Path | None, typer.Option(help="PNG to write: the target images, a row per target, to look through.")] = None,
) -> None:
    """Check a stimulus set: every file against its hash, photometry by condition, drive by the models and the judges.

    Exit status 1 where a rule of the set is broken. Example: stimgen check stimuli/set
    """
    from stimgen.grid import write_grid
    from stimgen.set_check import find_broken_rules, list_missed_bounds, measure_set, summarize_conditions

    stimulus_set = StimulusSet.read(set_folder)
    stimulus_set.verify()
    measured = measure_set(stimulus_set)
    _print_summary(summarize_conditions(stimulus_set, measured))
    for line in list_missed_bounds(stimulus_set):
        typer.echo(line)
    if grid is not None:
        write_grid(stimulus_set, grid)
        typer.echo(f"wrote {grid}")
    broken = find_broken_rules(stimulus_set, measured)
    if broken:
        raise InputError("\n".join([f"{set_folder}: {len(broken)} rule(s) broken", *broken]))
    typer.echo(f"{set_folder}: {len(stimulus_set.table)} images, every file matches its hash, no rule broken")


def _print_summary(summary: pd.DataFrame) -> None:
    """Print what the images look like, and what they do for their own targets."""
    photometry = ["mean_luminance", "rms_contrast", "high_frequency_share"]
    drive = ["drive_predicted", "drive_judged", "drive_ratio", "drive_percentile", "flagged", "diversity"]
    _print_columns(summary, "means by condition", photometry, 3)
    _print_columns(summary, "drive of the image's own target, z units of natural images (mean)", drive, 2)


def _print_columns(summary: pd.DataFrame, title: str, columns: list[str], digits: int) -> None:
    keys = ["condition", "target"]
    table = Table(title=title)
    for column in [*keys, "images", *columns]:
        table.add_column(
            column.removeprefix("drive_").replace("_", " "),
            justify="left" if column in keys else "right",
            no_wrap=column in keys,
            overflow="fold",
        )
    for row in summary[[*keys, "images", *columns]].itertuples(index=False):
        table.add_row(*("n/a" if pd.isna(value) else f"{value:.{digits}f}" if isinstance(value, float) else str(value) for value in row))
    table_console().print(table)
