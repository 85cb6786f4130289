"""The verb `group`: a RoiTable and planned contrasts in, tests across subjects and images, and claims, out."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.options import OverwriteOption
from protocols.config import config_values
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.protocol import Contrast, Protocol, split_contrast
from protocols.provenance import Provenance, hash_file
from protocols.roi_table import FILE_NAME, RoiTable

if TYPE_CHECKING:
    from analysis.group import GroupResult, Question


def group(
    roi_table: Annotated[Path, typer.Argument(metavar="ROI_TABLE", help="roi_table.tsv, or the folder that holds it.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    protocol: Annotated[Path | None, typer.Option(help="Protocol with the planned contrasts and alpha.")] = None,
    contrast: Annotated[
        list[str] | None, typer.Option(help="Contrast that was not planned, e.g. 'target - natural'; repeat for more.")
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Test whether images drive their own ROI, with subjects and images both random, and decide what may be claimed.

    Claims follow a fixed sequence: specificity over all ROIs, then primary contrasts, then secondary ones where the primary hold.
    What --contrast asks is exploratory: estimated and tested, never claimed.

    Example: analysis group results/rois --protocol protocols/roi_validation.toml --out results/group
    """
    from analysis.group import analyze
    from analysis.group_files import write_group

    refuse_non_empty(out, overwrite)
    question = _ask(protocol, contrast or [])
    table = RoiTable.read(roi_table)
    file = roi_table / FILE_NAME if roi_table.is_dir() else roi_table
    result = analyze(table, question)
    inputs = {"roi_table": file, **({"protocol": protocol} if protocol else {})}
    values = {"contrasts": [config_values(one) for one in question.contrasts], "alpha": question.alpha, "planned": question.planned}
    provenance = Provenance.collect("analysis group", values, inputs)
    versions = {
        "code_version": provenance.code_version,
        "packages": {name: provenance.packages[name] for name in ("numpy", "pandas", "scipy")},
    }
    result = dataclasses.replace(result, summary={**result.summary, "roi_table_sha256": hash_file(file), **versions})
    with staged_folder(out, provenance, overwrite) as folder:
        write_group(result, table, folder)
    _print_tests(result)
    for note in result.summary["notes"]:
        typer.echo(f"note: {note}")
    exploratory = "" if result.summary["planned"] else " (exploratory)"
    typer.echo(f"wrote {out}: {len(result.tests)} tests, {int(result.tests['claimed'].sum())} claimed{exploratory}")


def _ask(protocol: Path | None, expressions: list[str]) -> "Question":
    from analysis.group import Question

    if (protocol is None) == (not expressions):
        raise InputError("give either --protocol, or --contrast for an exploratory test: what the protocol lacks was not planned")
    if protocol is None:
        for expression in expressions:
            try:
                split_contrast(expression)
            except ValueError as problem:
                raise InputError(f"--contrast: {problem}") from None
        asked = tuple(Contrast(name=expression, expression=expression) for expression in dict.fromkeys(expressions))
        return Question(asked, planned=False, alpha=0.05)
    fixed = Protocol.read(protocol)
    if not any(contrast.family == "primary" for contrast in fixed.contrasts):
        raise InputError(f"{protocol}: has no primary contrast, so nothing was planned to be tested; name one in [[contrasts]]")
    return Question(fixed.contrasts, planned=True, alpha=fixed.alpha, title=fixed.title or fixed.task)


def _print_tests(result: "GroupResult") -> None:
    from rich.console import Console
    from rich.table import Table

    from analysis.decision import GATE

    subjects = len(result.summary["subjects"])
    table = Table(
        title=f"{subjects} subject{'s' * (subjects != 1)}; effect in percent signal change, 95 % interval",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for column in ("contrast", "ROI", "effect", "interval", "p", "corrected", "claimed"):
        table.add_column(column, justify="left" if column in ("contrast", "ROI") else "right", no_wrap=True)
    for row in result.tests.to_dict("records"):
        claimed = "exploratory" if not row["planned"] else "yes" if row["claimed"] else "no"
        corrected = "-" if row["p_corrected"] != row["p_corrected"] else f"{row['p_corrected']:.4f}"
        interval = f"{row['ci_low']:.2f} to {row['ci_high']:.2f}"
        name = row["contrast"] if row["family"] == GATE else row["expression"]
        table.add_row(name, row["roi"], f"{row['estimate_psc']:.2f}", interval, f"{row['p']:.4f}", corrected, claimed)
    Console().print(table)
