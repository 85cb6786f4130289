"""Plain tables for benchmarks: a title, columns and rows in, text out."""

from collections.abc import Sequence
from typing import Any


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their columns; numbers with three decimals, truth as yes or no."""
    cells = [[_show(value) for value in row] for row in rows]
    widths = [max(len(column), *(len(row[number]) for row in cells)) + 2 for number, column in enumerate(columns)]
    print(f"\n{title}\n")
    print("".join(column.rjust(width) for column, width in zip(columns, widths, strict=True)))
    for row in cells:
        print("".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)), flush=True)


def _show(value: Any) -> str:
    if isinstance(value, bool) or type(value).__name__ == "bool_" or type(value).__name__ == "bool":
        return "yes" if value else "no"
    return f"{value:.3f}" if isinstance(value, float) or (hasattr(value, "dtype") and value.dtype.kind == "f") else str(value)
