"""What a data set lacks, collected while it is indexed, and refused as one table before any work."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from protocols.errors import InputError

CONFOUNDS = "confounds"


class Missing(NamedTuple):
    """One thing that a run lacks: what, and where it was looked for or what was found instead."""

    run: str
    what: str
    where: str


def refuse_missing(missing: Sequence[Missing], where: str, root: Path) -> None:
    """Refuse a data set that lacks anything; paths are shown relative to `root`.

    Raises
    ------
    InputError
        With one row for each missing thing.
    """
    if not missing:
        return
    header = Missing("run", "missing", "looked for")
    rows = [Missing(run, what, place.replace(f"{root}/", "")) for run, what, place in missing]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in (0, 1)]
    lines = [f"  {run:<{widths[0]}}  {what:<{widths[1]}}  {place}" for run, what, place in (header, *rows)]
    hint = " (or give --confounds none)" if any(row.what == CONFOUNDS for row in rows) else ""
    raise InputError(f"{where} is incomplete:\n" + "\n".join(lines) + f"\ncopy what is missing{hint}, or name the subjects to take")
