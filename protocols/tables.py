"""TSV files in and out, as BIDS writes them: UTF-8, tabs, `.` decimal, `n/a`, LF; no quoting.

A `Columns` mapping names every column that must be there and what its cells hold; anything else in the
table is kept as it is (as text when read), so that formats can grow. Lines are split here and not by
`pandas.read_csv`, which fills up short rows, drops the ends of long ones and skips blank ones without a word.
"""

import csv
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from protocols.errors import InputError

Kind = Literal["text", "optional text", "integer", "number", "optional number"]
Columns = Mapping[str, Kind]
MISSING = "n/a"
_HEADER_ROWS = 2  # a table's first data row is the file's second line
_SEPARATORS = frozenset("\t\n\r")
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
_LARGEST_INTEGER = 2**53  # beyond it neighboring integers are one float


def read_tsv(path: Path, columns: Columns) -> pd.DataFrame:
    """Read a TSV file and check `columns`.

    Raises
    ------
    InputError
        When the file is missing or not a table, a column is missing, or a cell is not of its kind (the row is named).
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError as problem:
        raise InputError(f"{path}: not a tab-separated UTF-8 table ({problem}); write the file again") from None
    header, *rows = [line.split("\t") for line in lines]
    for row, cells in enumerate(rows):
        if len(cells) != len(header):
            raise InputError(
                f"{path} row {row + _HEADER_ROWS}: {len(cells)} cells, the header has {len(header)}; write it again, separated by tabs"
            )
    values = [[None if cell == MISSING else cell for cell in cells] for cells in rows]
    return check_columns(pd.DataFrame(values, columns=header, dtype=object), columns, str(path))


def write_tsv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as TSV, whole or not at all: a temporary file beside it is renamed over `path`.

    Raises
    ------
    InputError
        When a cell holds a tab or a line break, which a TSV file cannot.
    """
    for name, cells in table.items():
        if not pd.api.types.is_numeric_dtype(cells):
            broken = cells.map(lambda cell: isinstance(cell, str) and not _SEPARATORS.isdisjoint(cell))
            _refuse_first(broken.astype(bool), cells.rename(str(name)), str(path), "text without tabs and line breaks")
    text = table.to_csv(sep="\t", index=False, na_rep=MISSING, lineterminator="\n", quoting=csv.QUOTE_NONE)
    write_text(text, path)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 text durably and atomically (temporary file, fsync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with name_failed_file(path):
        with partial.open("w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object; `remedy` ends every refusal.

    Raises
    ------
    InputError
        When the file is missing, is not UTF-8 JSON, or holds anything but an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as problem:
        raise InputError(f"{path}: cannot be read ({problem}); {remedy}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds {type(values).__name__}, expected a JSON object; {remedy}")
    return values


@contextmanager
def name_failed_file(path: Path) -> Iterator[None]:
    """Give an OSError of a write or an fsync, which names no file, the name of the file being written."""
    try:
        yield
    except OSError as failure:
        failure.filename = failure.filename or str(path)
        raise


def check_columns(table: pd.DataFrame, columns: Columns, where: str) -> pd.DataFrame:
    """Return a copy of `table` whose `columns` have their kinds' dtypes; `where` opens every refusal."""
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise InputError(f"{where}: column {repeated[0]!r} stands there twice; keep one")
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(f"{where}: missing column {', '.join(missing)}; found {', '.join(map(str, table.columns)) or 'none'}")
    checked = table.copy()
    for name, kind in columns.items():
        checked[name] = _convert(table[name], kind, where)
    return checked


def check_unique(table: pd.DataFrame, column: str, where: str) -> None:
    """Refuse a table in which two rows share a value of `column`."""
    repeated = np.flatnonzero(table[column].duplicated().to_numpy())
    if len(repeated):
        value = table[column].iloc[repeated[0]]
        raise InputError(f"{where} row {repeated[0] + _HEADER_ROWS}: {column} {value!r} stands there twice; every {column} must be unique")


def _convert(cells: pd.Series, kind: Kind, where: str) -> pd.Series:
    if kind in ("text", "optional text"):
        text = cells.astype(object).where(cells.notna() & (cells.astype(object) != MISSING), None)
        expected = "text" if kind == "text" else f"text, or {MISSING} for none"
        _refuse_first((text == "") | (text.isna() if kind == "text" else False), cells, where, expected)
        values = [None if pd.isna(value) else str(value) for value in text]
        return pd.Series(values, index=cells.index, dtype=object)  # `map` would infer pandas' str, in which None becomes NaN
    numbers = pd.to_numeric(cells, errors="coerce")
    wrong = numbers.isna() & (cells.notna() if kind == "optional number" else True)
    _refuse_first(wrong | np.isinf(numbers), cells, where, "a number")
    if kind == "integer":
        _refuse_first((numbers % 1 != 0) | (numbers.abs() > _LARGEST_INTEGER), cells, where, "a whole number")
        return numbers.astype(np.int64)
    return numbers.astype(np.float64)


def _refuse_first(wrong: pd.Series, cells: pd.Series, where: str, expected: str) -> None:
    if wrong.any():
        position = int(np.flatnonzero(wrong.to_numpy())[0])
        found = cells.iloc[position]
        shown = MISSING if pd.isna(found) else repr(found)
        hint = (
            "; write decimals with a point" if isinstance(found, str) and _DECIMAL_COMMA.fullmatch(found) and "number" in expected else ""
        )
        raise InputError(f"{where} row {position + _HEADER_ROWS}: {cells.name} is {shown}, expected {expected}{hint}")
