"""RoiTable: one response per subject, session, run, ROI and stimulus; what the inference reads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from protocols.errors import InputError
from protocols.tables import Columns, check_columns, read_json, read_tsv, write_text, write_tsv

FILE_NAME = "roi_table.tsv"
FORMAT_VERSION = 1
CIRCULAR = "Circular"
COLUMNS: Columns = {
    "subject": "text",
    "session": "optional text",
    "run": "integer",
    "roi": "text",
    "hemisphere": "text",
    "stim_id": "text",
    "condition": "text",
    "target": "optional text",
    "response_psc": "number",
    "se_psc": "optional number",
    "n_voxels": "integer",
}
BOTH = "LR"
HEMISPHERES = ("L", "R", BOTH)
KEY = ["subject", "session", "run", "roi", "hemisphere", "stim_id"]


@dataclass(frozen=True)
class RoiTable:
    """Responses in percent signal change with their standard errors. `hemisphere` is L, R or both (`LR`).

    `circular` says that runs in it were tested on what they chose themselves (`analysis rois --allow-circular`): nothing can be claimed.

    Raises
    ------
    InputError
        When a column is missing, a cell is not of its kind, a hemisphere is another, or a row stands there twice.
    """

    table: pd.DataFrame
    where: str = FILE_NAME
    circular: bool = False

    def __post_init__(self) -> None:
        table = check_columns(self.table, COLUMNS, self.where).reset_index(drop=True)
        object.__setattr__(self, "table", table)
        unknown = ~table["hemisphere"].isin(HEMISPHERES)
        if unknown.any():
            row = int(unknown.to_numpy().argmax())
            raise InputError(f"{self.where} row {row + 2}: hemisphere is {table['hemisphere'][row]!r}, expected {', '.join(HEMISPHERES)}")
        repeated = table.duplicated(KEY)
        if repeated.any():
            row = int(repeated.to_numpy().argmax())
            key = ", ".join(f"{name} {table[name][row]}" for name in KEY)
            raise InputError(f"{self.where} row {row + 2}: a second response for {key}; keep one")

    @classmethod
    def read(cls, path: Path) -> "RoiTable":
        """Read a RoiTable from its TSV file, or from the folder that holds `roi_table.tsv`; its sidecar may be absent."""
        file = path / FILE_NAME if path.is_dir() else path
        sidecar = file.with_suffix(".json")
        values = read_json(sidecar, "copy it again") if sidecar.is_file() else {}
        circular = values.get(CIRCULAR, False)
        if not isinstance(circular, bool):
            raise InputError(f"{sidecar}: {CIRCULAR} is {circular!r}, expected true or false")
        return cls(read_tsv(file, COLUMNS), str(file), circular)

    def write(self, path: Path, sidecar: Mapping[str, Any] | None = None) -> None:
        """Write the table to `path` (a `.tsv` file), and its sidecar where there is anything to say in it."""
        write_tsv(self.table, path)
        if sidecar is not None or self.circular:
            values = {"format_version": FORMAT_VERSION, CIRCULAR: self.circular, **(sidecar or {})}
            write_text(json.dumps(values, indent=2) + "\n", path.with_suffix(".json"))
