"""The verb `check`: is a set fit for a scanner? Files, drive, photometry by condition, and a picture to look through."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from rich.progress import track
from rich.table import Table

from protocols.errors import InputError
from protocols.stimulus_set import StimulusSet
from stimgen.console import progress_console, table_console

_MOST_PAIRS = 30


def check(
    set_folder: Annotated[Path, typer.Argument(metavar="SET", help="StimulusSet folder.")],
    out: Annotated[
        Path | None, typer.Option(help="PNG to write: images by condition with drives and statistics; SET-check.png otherwise.")
    ] = None,
    grid: Annotated[Path | None, typer.Option(help="PNG to write: the target images alone, a row per target.")] = None,
) -> None:
    """Check a stimulus set: every file against its hash, drive by the models and the judges, and that conditions look alike.

    Exit status 1 where a rule of the set is broken. Example: stimgen check stimuli/set
    """
    from stimgen.check_sheet import draw_sheet, write_sheet
    from stimgen.grid import write_grid
    from stimgen.set_check import compare_looks, find_broken_rules, list_missed_bounds, measure_set

    if out is not None and out.exists():
        raise InputError(f"{out}: is there already; name another file")
    stimulus_set = StimulusSet.read(set_folder)
    stimulus_set.verify()
    measured = measure_set(stimulus_set, lambda rows: track(rows, "images", console=progress_console()))
    _print_summary(stimulus_set, measured)
    for what, compared in compare_looks(stimulus_set, measured).items():
        _print_differences(what, compared, stimulus_set.description.get("photometry", {}).get("wanted", []))
    for line in list_missed_bounds(stimulus_set):
        typer.echo(line)
    sheet = out or set_folder.resolve().with_name(f"{set_folder.resolve().name}-check.png")
    write_sheet(draw_sheet(stimulus_set, measured), sheet)
    typer.echo(f"wrote {sheet}")
    if grid is not None:
        write_grid(stimulus_set, grid)
        typer.echo(f"wrote {grid}")
    broken = find_broken_rules(stimulus_set, measured)
    if broken:
        raise InputError("\n".join([f"{set_folder}: {len(broken)} rule(s) broken", *broken]))
    typer.echo(f"{set_folder}: {len(stimulus_set.table)} images, every file matches its hash, no rule broken")


def _print_summary(stimulus_set: StimulusSet, measured: pd.DataFrame) -> None:
    """Print what the images look like, and what they do for their own targets."""
    from stimgen.set_check import summarize_conditions, summarize_targets

    looks = ["mean_luminance", "rms_contrast", "slope", "saturation", "edge_density", "complexity", "high_frequency_share"]
    drive = ["drive_predicted", "drive_judged", "drive_ratio", "drive_percentile", "flagged", "diversity"]
    _print_columns(summarize_conditions(stimulus_set, measured), "means by condition", ["condition"], looks, 3)
    keys = ["condition", "target"]
    summary = summarize_targets(stimulus_set, measured)
    _print_columns(summary, "drive of the image's own target, z units of natural images (mean)", keys, drive, 2)


def _print_differences(what: str, compared: pd.DataFrame, wanted: list[str]) -> None:
    """Print the standardized differences of every pair, or of those that differ most where there are many."""
    from stimgen.look import LOOKS

    if compared.empty:
        return
    order = compared[list(LOOKS)].drop(columns=wanted).abs().max(axis=1).sort_values(ascending=False, kind="stable").index
    listed = compared.loc[order[:_MOST_PAIRS]]
    left = f"; {len(compared) - len(listed)} pairs that differ less are not shown" if len(compared) > len(listed) else ""
    table = Table(title=f"standardized differences between {what}{left}")
    for column in ("first", "second", *LOOKS):
        name = column.replace("_", " ") + (" (wanted)" if column in wanted else "")
        table.add_column(name, justify="left" if column in ("first", "second") else "right", overflow="fold")
    for record in listed.to_dict("records"):
        table.add_row(str(record["first"]), str(record["second"]), *(_mark(record[look], look in wanted) for look in LOOKS))
    table_console().print(table)


def _mark(difference: float, wanted: bool) -> str:
    """Return a difference, with an exclamation mark where it is too large."""
    from stimgen.differences import LARGEST

    return f"{difference:+.2f}" + (" !" if abs(difference) > LARGEST and not wanted else "")


def _print_columns(summary: pd.DataFrame, title: str, keys: list[str], columns: list[str], digits: int) -> None:
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
