"""A run's events file in, its events in order of onset out; what no model can use is refused, row by row."""

import re
from typing import Any

import pandas as pd

from analysis.dataset import Run
from protocols.errors import InputError
from protocols.tables import Columns, check_columns, read_tsv

EVENT_COLUMNS: Columns = {"onset": "number", "duration": "number", "trial_type": "text"}
_TIMES = ("onset", "duration")
_COMMA = re.compile(r"\s*[+-]?\d*,\d+\s*")
_HEADER_ROWS = 2
_MOST_ROWS = 5


def read_events(run: Run, end_s: float) -> pd.DataFrame:
    """Read a run's events as `onset duration trial_type stim_id` (stim_id None where the file has none), sorted by onset.

    Rows of one onset keep their order. An event may begin before the first volume: its response reaches into the run.

    Raises
    ------
    InputError
        When there are no events, a cell is n/a or no number, a duration is not positive, or an event begins after the last
        volume, at `end_s`.
    """
    table = read_tsv(run.events, {})
    if table.empty:
        raise InputError(f"{run.events}: holds no events; without them there is nothing to estimate")
    _refuse_absent(table, run)
    _refuse_commas(table, run)
    checked = check_columns(table, EVENT_COLUMNS, str(run.events))
    _refuse_rows(checked, run, end_s)
    names = checked["stim_id"] if "stim_id" in checked else pd.Series([None] * len(checked), index=checked.index, dtype=object)
    checked["stim_id"] = names.astype(object).where(names.notna(), None)
    in_order = checked.sort_values("onset", kind="stable").reset_index(drop=True)
    return in_order[["onset", "duration", "trial_type", "stim_id"]]


def _refuse_absent(table: pd.DataFrame, run: Run) -> None:
    """Refuse n/a in the columns that a model needs; BIDS allows it in two of them."""
    for name in EVENT_COLUMNS:
        rows = [row + _HEADER_ROWS for row, absent in enumerate(table[name].isna()) if absent] if name in table else []
        if rows:
            remedy = (
                "delete the row, or name its condition" if name == "trial_type" else "write the time that it was shown, or delete the row"
            )
            raise InputError(f"{run.events} row {_list_rows(rows)}: {name} is n/a; a model needs it: {remedy}")


def _refuse_commas(table: pd.DataFrame, run: Run) -> None:
    """Refuse decimal commas; a file that uses them throughout was saved by a program in another language."""
    cells = table[[name for name in _TIMES if name in table]].astype(str)
    commas = cells.apply(lambda column: column.str.fullmatch(_COMMA))
    rows = [row + _HEADER_ROWS for row, found in enumerate(commas.any(axis=1)) if found]
    if rows:
        column = next(name for name in commas if commas[name].any())
        first = cells[column][commas[column]].iloc[0]
        scope = "decimal commas throughout" if commas.any(axis=1).all() else f"a decimal comma in row {_list_rows(rows)}"
        raise InputError(f"{run.events}: {scope} ({column} {first!r}); BIDS writes decimals with a point: save the table again so")


def _refuse_rows(table: pd.DataFrame, run: Run, end_s: float) -> None:
    problems = [
        f"{run.events} row {row + _HEADER_ROWS}: event {event['trial_type']!r} at {event['onset']:g} s {problem}"
        for row, event in enumerate(table.to_dict("records"))
        if (problem := _find_problem(event, run, end_s))
    ]
    if problems:
        more = f"\nand {len(problems) - _MOST_ROWS} rows more" if len(problems) > _MOST_ROWS else ""
        raise InputError("\n".join(problems[:_MOST_ROWS]) + more)


def _find_problem(event: Any, run: Run, end_s: float) -> str:
    """Return why an event cannot be modelled, empty where it can."""
    if event["duration"] <= 0:
        why = "a model's answer to an event without extent depends on its time grid, and percent signal change on the duration"
        return f"lasts {event['duration']:g} s; give the time that it was shown: {why}"
    if event["onset"] >= end_s:
        return f"is beyond the last volume of {run.bold.name}, at {end_s:g} s; BOLD and events are of different runs"
    return ""


def _list_rows(rows: list[int]) -> str:
    return ", ".join(map(str, rows[:_MOST_ROWS])) + (", ..." if len(rows) > _MOST_ROWS else "")
