"""The verb `report`: a group folder in, one self-contained HTML page out."""

from pathlib import Path
from typing import Annotated

import typer

from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet
from protocols.tables import write_text


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `analysis group` wrote.")],
    set_folder: Annotated[Path | None, typer.Option("--set", help="Stimulus set that was shown: its images and predicted drive.")] = None,
    bids: Annotated[Path | None, typer.Option(help="BIDS folder: task performance and timing from its events.")] = None,
    model: Annotated[list[Path] | None, typer.Option(help="Encoding model folder: its held-out accuracy; repeat for more.")] = None,
    out: Annotated[Path | None, typer.Option(help="HTML file to write (default: DIR/report.html).", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the HTML file.")] = False,
) -> None:
    """Write the answer, in words and figures, as one HTML file that needs no network.

    Example: analysis report results/group --set stimuli/set --bids bids/ --model models/lite0
    """
    from analysis.group_files import read_group
    from analysis.report import Sources, list_provenance, render_report
    from analysis.sentences import answer_question
    from analysis.supplement import Supplement

    target = out or folder / "report.html"
    if target.is_dir():
        raise InputError(f"{target}: is a folder; name an HTML file")
    if target.exists() and not overwrite:
        raise InputError(f"{target}: exists already; name another file, or give --overwrite to replace it")
    result, table = read_group(folder)
    stimuli = StimulusSet.read(set_folder) if set_folder else None
    if bids is not None and not bids.is_dir():
        raise InputError(f"{bids}: no such folder")
    sources = Sources(stimuli, bids, tuple(model or ()), Supplement.read(folder))
    page = render_report(result, table, sources, list_provenance(Provenance.read(folder), result))
    write_text(page, target)
    typer.echo(f"{target}: {answer_question(result)}")
