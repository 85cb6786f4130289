"""The verb `check`: a plan folder (and a display) in, a go / no-go table out."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from experiment.console import progress_console
from protocols.program import EXIT_REFUSED
from protocols.tables import write_text

if TYPE_CHECKING:
    from experiment.finding import Finding


def check(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="Plan folder made by 'experiment plan'.")],
    display: Annotated[
        bool, typer.Option("--display", help="Also open the window and the keyboard, and compare every image's pixels.")
    ] = False,
    windowed: Annotated[bool, typer.Option(help="With --display: a window instead of the full screen.")] = False,
    screen: Annotated[int, typer.Option(min=0, help="With --display: which screen, from 0.")] = 0,
    bids: Annotated[Path | None, typer.Option(metavar="ROOT", help="The data set to record in: is there room for these runs?")] = None,
    subject: Annotated[str | None, typer.Option(help="With --bids: this subject's runs only.")] = None,
    session: Annotated[str | None, typer.Option(help="With --bids: this session's runs only.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the findings as JSON.")] = None,
) -> None:
    """Say go or no-go, item by item, before a participant lies down; exit status 0 only when every item is go.

    Example: experiment check plan/ --display
    """
    from experiment.check import check_plan

    findings = list(check_plan(plan, bids, subject, session))
    if display and findings[0].go:
        findings.extend(_check_display(plan, windowed, screen))
    _print_findings(findings)
    ready = all(finding.go for finding in findings)
    if json_file:
        write_text(json.dumps({"go": ready, "findings": [asdict(finding) for finding in findings]}, indent=2) + "\n", json_file)
        typer.echo(f"wrote {json_file}")
    typer.echo("go" if ready else "no-go: " + ", ".join(finding.item for finding in findings if not finding.go))
    if not ready:
        raise typer.Exit(EXIT_REFUSED)


def _check_display(folder: Path, windowed: bool, index: int) -> "Iterator[Finding]":
    from experiment.display_check import check_display_items
    from experiment.plan_folder import PlanFolder

    plan = PlanFolder.read(folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=progress_console()) as progress:
        task = progress.add_task("images compared", total=len(plan.stimuli.table))
        yield from check_display_items(plan, windowed, index, lambda number: progress.update(task, completed=number))


def _mark(finding: "Finding") -> str:
    if not finding.go:
        return "[bold red]NO-GO[/]"
    return "[yellow]note[/]" if finding.note else "[green]go[/]"


def _print_findings(findings: "list[Finding]") -> None:
    table = Table(show_lines=False)
    for column in ("item", "", "found"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(finding.item, _mark(finding), finding.found)
    Console().print(table)
