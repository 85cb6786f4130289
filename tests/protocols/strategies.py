"""Hypothesis strategies: any legal cell, table and noun of `protocols`."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from protocols.tables import MISSING, Columns, Kind

AWKWARD_TEXT = (
    "nan",
    "NA",
    "N/A",
    "NULL",
    "None",
    "null",
    "01",
    "007",
    "1e3",
    "True",
    "-",
    '"',
    '"a',
    "'",
    " a ",
    "1,5",
    "é",
    "\x85",
    "\u2028",
    "#",
)
text_cells = st.one_of(
    st.sampled_from(AWKWARD_TEXT),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\r\n"), min_size=1, max_size=8).filter(
        lambda text: text != MISSING
    ),
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
labels = st.from_regex(r"[0-9A-Za-z]{1,8}", fullmatch=True)
identifiers = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name not in ("other", "blank"))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
json_objects = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), json_values, max_size=3)
CELLS: dict[Kind, st.SearchStrategy] = {
    "text": text_cells,
    "optional text": st.none() | text_cells,
    "integer": st.integers(-(2**53), 2**53),
    "number": numbers,
    "optional number": st.none() | numbers,
}
DTYPES: dict[Kind, type] = {
    "text": object,
    "optional text": object,
    "integer": np.int64,
    "number": np.float64,
    "optional number": np.float64,
}


def make_table(columns: Columns, rows: list[tuple[object, ...]]) -> pd.DataFrame:
    """Build a table with the dtypes that `check_columns` returns."""
    values = list(zip(*rows, strict=True)) or [()] * len(columns)
    series = {name: pd.Series(list(cells), dtype=DTYPES[kind]) for (name, kind), cells in zip(columns.items(), values, strict=True)}
    return pd.DataFrame(series)


@st.composite
def tables(draw: st.DrawFn, columns: Columns, min_rows: int = 0, max_rows: int = 4) -> pd.DataFrame:
    """Draw a table of any legal cells."""
    row = st.tuples(*(CELLS[kind] for kind in columns.values()))
    return make_table(columns, draw(st.lists(row, min_size=min_rows, max_size=max_rows)))
