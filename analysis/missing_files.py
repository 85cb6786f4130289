"""What a data set lacks, collected while it is indexed, and refused as one table before any work."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from protocols.errors import InputError
from protocols.run_name import RunName

CONFOUNDS = "confounds"


class Missing(NamedTuple):
    """One thing that a run lacks: what, and where it was looked for or what was found instead."""

    run: str
    what: str
    where: str


def list_gaps(names: Collection[RunName]) -> list[Missing]:
    """Return the runs that are nowhere, though there are runs with higher numbers.

    That is no fault where a run was never scanned. A session's numbers may begin above 1 where a subject has several.
    """
    sessions: dict[tuple[str, str | None], list[RunName]] = {}
    for name in sorted(names, key=lambda name: name.stem):
        sessions.setdefault((name.subject, name.session), []).append(name)
    gaps: list[Missing] = []
    for (subject, _), runs in sessions.items():
        numbers = {run.run for run in runs}
        alone = sum(who == subject for who, _ in sessions) == 1
        for number in sorted(set(range(1 if alone else min(numbers), max(numbers))) - numbers):
            gaps.append(Missing(replace(runs[0], run=number).stem, "run", f"neither BOLD nor events, though there is run {max(numbers)}"))
    return gaps


def refuse_missing(missing: Sequence[Missing], gaps: Sequence[Missing], where: str, root: Path) -> None:
    """Refuse a data set that lacks anything; gaps in the runs' numbers are shown, but alone no reason. Paths are relative to `root`.

    Raises
    ------
    InputError
        With one row for each missing thing.
    """
    if not missing:
        return
    header = Missing("run", "missing", "looked for")
    rows = [Missing(run, what, place.replace(f"{root}/", "")) for run, what, place in sorted([*missing, *gaps], key=lambda row: row.run)]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in (0, 1)]
    lines = [f"  {run:<{widths[0]}}  {what:<{widths[1]}}  {place}" for run, what, place in (header, *rows)]
    hint = " (or give --confounds none)" if any(row.what == CONFOUNDS for row in rows) else ""
    raise InputError(f"{where} is incomplete:\n" + "\n".join(lines) + f"\ncopy what is missing{hint}, or name the subjects to take")
