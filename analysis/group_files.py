"""A GroupResult on disk: `group.tsv`, `group.json` (the same every time), `matrix.tsv`, `specificity.tsv` and the RoiTable it came from."""

import json
import math
from pathlib import Path
from typing import Any

from analysis.group import COLUMNS as TEST_COLUMNS
from analysis.group import GroupResult
from analysis.group_specificity import COLUMNS as SPECIFICITY_COLUMNS
from analysis.group_twin import COLUMNS as TWIN_COLUMNS
from protocols.provenance import Provenance
from protocols.roi_table import FILE_NAME as ROI_TABLE
from protocols.roi_table import RoiTable
from protocols.tables import Columns, read_json, read_tsv, write_text, write_tsv

TABLE = "group.tsv"
SUMMARY = "group.json"
MATRIX = "matrix.tsv"
SPECIFICITY = "specificity.tsv"
_TEXT = ("contrast", "expression", "family", "roi", "method")
_WHOLE = ("subjects", "images")
_OPTIONAL = ("p_corrected", "p_floor", *TWIN_COLUMNS, "min_f", "min_f_df", "min_f_p")
_FLAGS = ("claimed", "planned")
COLUMNS: Columns = {
    name: "text" if name in (*_TEXT, *_FLAGS) else "integer" if name in _WHOLE else "optional number" if name in _OPTIONAL else "number"
    for name in TEST_COLUMNS
}
MATRIX_COLUMNS: Columns = {
    **dict.fromkeys(("subject", "roi", "image_set", "condition"), "text"),
    **{"target": "optional text", "response_psc": "number", "ci_low": "optional number", "ci_high": "optional number", "images": "integer"},
}
COMPARISONS: Columns = {
    name: "text" if name in ("comparison", "roi", "other", "method") else "integer" if name in _WHOLE else "number"
    for name in SPECIFICITY_COLUMNS
}


def write_group(result: GroupResult, table: RoiTable, folder: Path) -> None:
    """Write the result into `folder` (see `staged_folder`); no file holds a date."""
    flags = {name: result.tests[name].map({True: "true", False: "false"}) for name in _FLAGS}
    write_tsv(result.tests.assign(**flags), folder / TABLE)
    tests = [{name: _plain(value) for name, value in row.items()} for row in result.tests.to_dict("records")]
    write_text(json.dumps({**result.summary, "tests": tests}, indent=2) + "\n", folder / SUMMARY)
    write_tsv(result.matrix, folder / MATRIX)
    write_tsv(result.specificity, folder / SPECIFICITY)
    table.write(folder / ROI_TABLE)


def read_group(folder: Path) -> tuple[GroupResult, RoiTable]:
    """Read a complete group folder.

    Raises
    ------
    InputError
        When it is incomplete, or a file is missing or was changed.
    """
    Provenance.read(folder).verify_outputs(folder)
    tests = read_tsv(folder / TABLE, COLUMNS)
    tests = tests.assign(**{name: tests[name] == "true" for name in _FLAGS})
    summary = read_json(folder / SUMMARY, "run analysis group again")
    summary.pop("tests", None)
    matrix, specificity = read_tsv(folder / MATRIX, MATRIX_COLUMNS), read_tsv(folder / SPECIFICITY, COMPARISONS)
    return GroupResult(tests, matrix, summary, specificity), RoiTable.read(folder)


def _plain(value: Any) -> Any:
    """Return a JSON value: NumPy numbers as Python's, NaN as null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
