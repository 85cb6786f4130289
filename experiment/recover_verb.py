"""The verb `recover`: a killed run's journal in, valid BIDS events out."""

from pathlib import Path
from typing import Annotated

import typer


def recover(
    journal: Annotated[Path, typer.Argument(metavar="RUN_JOURNAL", help="The run's journal in ROOT/sourcedata/.")],
) -> None:
    """Complete the events of a run whose program was stopped from outside; the incomplete table is kept in sourcedata.

    Example: experiment recover bids/sourcedata/sub-01/ses-01/func/sub-01_ses-01_task-demo_run-01_journal.jsonl
    """
    from experiment.bids_root import add_participant
    from experiment.recovery import find_run, has_begun, put_run_aside, recover_run

    files = find_run(journal)
    if not has_begun(files):
        typer.echo(f"nothing had been shown: moved the empty journal to {put_run_aside(files)}; the run can be started again")
        return
    events, partial = recover_run(files)
    add_participant(files.root, files.name.subject)
    if partial:
        typer.echo(f"moved the incomplete table to {partial}")
    typer.echo(f"wrote {files.events}: {len(events.table)} events")
