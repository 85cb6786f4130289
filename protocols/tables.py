"""TSV files in and out, as BIDS writes them: UTF-8, tabs, `.` decimal, `n/a`, LF.

A `Columns` mapping names every column that must be there and what its cells hold; anything else in the
table is kept as it is, so that formats can grow.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from protocols.errors import InputError

Kind = Literal["text", "optional text", "integer", "number", "optional number"]
Columns = Mapping[str, Kind]
MISSING = "n/a"
_HEADER_ROWS = 2  # a table's first data row is the file's second line


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
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, na_values=[MISSING], encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as problem:
        raise InputError(f"{path}: not a tab-separated UTF-8 table ({problem}); write the file again") from None
    return check_columns(table, columns, str(path))


def write_tsv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as TSV, whole or not at all: a temporary file beside it is renamed over `path`."""
    text = table.to_csv(sep="\t", index=False, na_rep=MISSING, lineterminator="\n")
    write_text(text, path)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 text durably and atomically (temporary file, fsync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8", newline="\n") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def check_columns(table: pd.DataFrame, columns: Columns, where: str) -> pd.DataFrame:
    """Return a copy of `table` whose `columns` have their kinds' dtypes; `where` opens every refusal."""
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise InputError(f"{where}: missing column {', '.join(missing)}; found {', '.join(map(str, table.columns)) or 'none'}")
    checked = table.copy()
    for name, kind in columns.items():
        checked[name] = _convert(table[name], kind, where)
    return checked


def check_unique(table: pd.DataFrame, column: str, where: str) -> None:
    """Refuse a table in which two rows share a value of `column`."""
    repeated = table[column][table[column].duplicated()]
    if len(repeated):
        row, value = repeated.index[0] + _HEADER_ROWS, repeated.iloc[0]
        raise InputError(f"{where} row {row}: {column} {value!r} stands there twice; every {column} must be unique")


def _convert(cells: pd.Series, kind: Kind, where: str) -> pd.Series:
    if kind in ("text", "optional text"):
        text = cells.astype(object).where(cells.notna(), None)
        if kind == "text":
            _refuse_first(text.isna() | (text == ""), cells, where, "text")
        return text.map(lambda value: None if value is None else str(value)).astype(object)
    numbers = pd.to_numeric(cells, errors="coerce")
    wrong = numbers.isna() & (cells.notna() if kind == "optional number" else True)
    _refuse_first(wrong | np.isinf(numbers), cells, where, "a number")
    if kind == "integer":
        _refuse_first(numbers % 1 != 0, cells, where, "a whole number")
        return numbers.astype(np.int64)
    return numbers.astype(np.float64)


def _refuse_first(wrong: pd.Series, cells: pd.Series, where: str, expected: str) -> None:
    if wrong.any():
        position = int(np.flatnonzero(wrong.to_numpy())[0])
        raise InputError(f"{where} row {position + _HEADER_ROWS}: {cells.name} is {cells.iloc[position]!r}, expected {expected}")
