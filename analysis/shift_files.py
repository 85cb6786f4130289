"""What `analysis shift` writes and `analysis group --shifted` reads: a RoiTable, and its responses with BOLD slid against events."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from analysis.flags import name_run
from protocols.arrays import open_array
from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.roi_table import FILE_NAME, RoiTable

ARRAY = "shifted.npy"
_RUN = ["subject", "session", "run"]


@dataclass(frozen=True)
class Shifted:
    """The same rows, with the responses of events where they were (`table`) and of every draw."""

    table: RoiTable
    responses: Float[np.ndarray, "draws rows"]

    def write(self, folder: Path) -> None:
        """Write both into `folder` (see `staged_folder`)."""
        self.table.write(folder / FILE_NAME)
        np.save(folder / ARRAY, self.responses.astype(np.float32))

    @classmethod
    def read(cls, folder: Path) -> "Shifted":
        """Read a folder of `analysis shift`.

        Raises
        ------
        InputError
            When it is incomplete, or table and array do not fit together.
        """
        Provenance.read(folder)
        table = RoiTable.read(folder)
        values = open_array(folder / ARRAY, "the folder")
        if values is None or values.ndim != 2 or values.shape[1] != len(table.table):
            raise InputError(f"{folder / ARRAY}: does not have a value for each of the {len(table.table)} rows; run analysis shift again")
        return cls(table, np.asarray(values))

    def refuse_other_runs(self, table: RoiTable) -> None:
        """Refuse a RoiTable of other runs.

        Raises
        ------
        InputError
            Naming a run that only one of them has.
        """
        ours, theirs = ({tuple(row) for row in one.table[_RUN].fillna("").itertuples(index=False)} for one in (self.table, table))
        differing = sorted(ours ^ theirs, key=str)
        if differing:
            name = name_run(*differing[0])
            raise InputError(f"{self.table.where}: {name} is in one of it and {table.where} alone; run analysis shift on the same runs")

    def draws(self) -> Iterator[RoiTable]:
        """Yield each draw's RoiTable."""
        for values in self.responses:
            yield dataclasses.replace(self.table, table=self.table.table.assign(response_psc=values.astype(np.float64)))
