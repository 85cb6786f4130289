"""The verb `group`: a RoiTable and planned contrasts in, tests across subjects and images, and claims, out."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.options import ClusterOption, OverwriteOption
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance, hash_file
from protocols.roi_table import FILE_NAME, RoiTable
from protocols.stimulus_set import StimulusSet

if TYPE_CHECKING:
    from analysis.group import GroupResult


def group(
    roi_table: Annotated[Path, typer.Argument(metavar="ROI_TABLE", help="roi_table.tsv, or the folder that holds it.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    protocol: Annotated[Path | None, typer.Option(help="Protocol with the planned contrasts and alpha.")] = None,
    lock: Annotated[
        Path | None,
        typer.Option(
            help="Lock of the plan (default: PROTOCOL.lock.json, if there); a plan that was changed is refused.", show_default=False
        ),
    ] = None,
    contrast: Annotated[
        list[str] | None, typer.Option(help="Contrast that was not planned, e.g. 'target - natural'; repeat for more.")
    ] = None,
    quality: Annotated[
        Path | None, typer.Option("--qc", help="Folder that `analysis qc` wrote, for the plan's exclusions.", show_default=False)
    ] = None,
    set_folder: Annotated[
        Path | None,
        typer.Option("--set", help="Stimulus set that was shown: prediction, gain, transfer and dose.", show_default=False),
    ] = None,
    self_test: Annotated[
        int, typer.Option(min=0, help="How often to repeat the analysis with image labels drawn at random: does it claim anything then?")
    ] = 0,
    shifted: Annotated[
        Path | None,
        typer.Option(
            help="Folder that `analysis shift` wrote: does it claim anything where BOLD was slid against events?", show_default=False
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=ROI_TABLE of the same data, made with another HRF, noise model ..: a specification curve; repeat for more."
        ),
    ] = None,
    cluster: ClusterOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Test whether images drive their own ROI, with subjects and images both random, and decide what may be claimed.

    Claims follow a fixed sequence: specificity over all ROIs, then primary contrasts, then secondary ones where the primary hold.
    What --contrast asks, and what a lock does not hold, is exploratory: estimated and tested, never claimed.

    Example: analysis group results/rois --protocol protocols/roi_validation.toml --out results/group
    """
    from analysis.asked import ask, describe_asked
    from analysis.exclusions import read_quality
    from analysis.group_answer import Further, answer_all
    from analysis.group_files import write_group
    from analysis.shift_files import Shifted
    from protocols.cluster import open_workers

    refuse_non_empty(out, overwrite)
    if cluster and not self_test:
        raise InputError("--cluster: sends the draws of --self-test elsewhere, and nothing else; give both, or neither")
    asked = ask(protocol, lock, contrast or [])
    table, file = RoiTable.read(roi_table), roi_table / FILE_NAME if roi_table.is_dir() else roi_table
    measured = read_quality(quality) if quality else None
    variants = _find_variants(variant or [])
    tables = {name: RoiTable.read(path) for name, path in variants.items()}
    shown, slid = StimulusSet.read(set_folder) if set_folder else None, Shifted.read(shifted) if shifted else None
    with open_workers(cluster) as workers:
        result, beside, kept = answer_all(table, asked, measured, shown, Further(self_test, tables, slid, workers))
    named = {"protocol": protocol, "lock": lock, "qc": quality, "set": set_folder, "shifted": shifted}
    inputs = {"roi_table": file, **{name: path for name, path in named.items() if path}}
    inputs |= {f"variant {name}": path / FILE_NAME if path.is_dir() else path for name, path in variants.items()}
    values = describe_asked(asked)
    provenance = Provenance.collect("analysis group", values, inputs)
    versions = {
        "code_version": provenance.code_version,
        "packages": {name: provenance.packages[name] for name in ("numpy", "pandas", "scipy")},
    }
    result = dataclasses.replace(result, summary={**result.summary, "roi_table_sha256": hash_file(file), **versions})
    with staged_folder(out, provenance, overwrite) as folder:
        write_group(result, kept, folder)
        beside.write(folder)
    _print_tests(result)
    _print_sentences(result)
    exploratory = "" if result.summary["planned"] else " (exploratory)"
    typer.echo(f"wrote {out}: {len(result.tests)} tests, {int(result.tests['claimed'].sum())} claimed{exploratory}")


def _print_sentences(result: "GroupResult") -> None:
    for opening, key in (("", "subjects_alone"), ("look at ", "flags"), ("note: ", "notes")):
        for sentence in result.summary[key]:
            typer.echo(opening + sentence)
    for test in filter(None, (result.summary["self_test"], result.summary["shift_test"])):
        typer.echo(test["words"])


def _find_variants(given: list[str]) -> dict[str, Path]:
    """Return each variant's table by its name."""
    pairs = [one.partition("=") for one in given]
    wrong = [one for one, (name, _, path) in zip(given, pairs, strict=True) if not name or not path]
    if wrong:
        raise InputError(f"--variant: {wrong[0]!r} is not of the form NAME=ROI_TABLE, e.g. spm=rois_spm/")
    return {name: Path(path) for name, _, path in pairs}


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
