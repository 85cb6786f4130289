"""RunBetas: one run's response to each stimulus in every voxel, as `glm` writes it and `rois` reads it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from analysis.images import Grid
from analysis.map_files import SURFACE, VOLUME, read_map, strip_ending, write_map
from analysis.sidecars import parse_entities
from protocols.errors import InputError
from protocols.run_name import RunName
from protocols.tables import Columns, read_tsv, write_text, write_tsv

BETAS = "desc-stimuli_betas.nii.gz"
VARIANCES = "desc-stimuli_variances.nii.gz"
TABLE = "desc-stimuli_betas.tsv"
SIDECAR = "desc-stimuli_betas.json"
MODELLED = "desc-modelled_mask.nii.gz"
COLUMNS: Columns = {"stim_id": "text", "events": "integer", "duration": "number"}


@dataclass(frozen=True)
class RunBetas:
    """One run's responses.

    Attributes
    ----------
    stem
        The run's BIDS name, with its space (and hemisphere, on a surface).
    stimuli
        One row per stimulus: `stim_id events duration`, in the order of the volumes.
    effects, variances
        Percent signal change of one event, and its variance, of the voxels (or vertices) in `mask`.
    mask
        Voxels that were modelled.
    grid
        Shape and affine.
    """

    stem: str
    stimuli: pd.DataFrame
    effects: Float[np.ndarray, "stimuli voxels"]
    variances: Float[np.ndarray, "stimuli voxels"]
    mask: Bool[np.ndarray, "*grid"]
    grid: Grid

    @property
    def name(self) -> RunName:
        """Which run."""
        return RunName.parse(self.stem)

    @property
    def hemisphere(self) -> str | None:
        """L or R on a surface."""
        return parse_entities(self.stem).get("hemi")

    def write(self, root: Path, sidecar: dict[str, Any]) -> None:
        """Write the maps, the table of stimuli and the JSON sidecar below `root`."""
        folder = root / self.name.folder
        rows = {BETAS: self.effects, VARIANCES: self.variances, MODELLED: np.ones((1, int(self.mask.sum())), dtype=np.float32)}
        for suffix, values in rows.items():
            write_map(values, self.mask, self.grid, self.hemisphere, str(folder / f"{self.stem}_{strip_ending(suffix)}"))
        write_tsv(self.stimuli, folder / f"{self.stem}_{TABLE}")
        text = json.dumps({"Units": "percent signal change at the response's peak, one event", **sidecar}, indent=2)
        write_text(text + "\n", folder / f"{self.stem}_{SIDECAR}")

    @classmethod
    def read(cls, path: Path) -> "RunBetas":
        """Read one run from the path of its betas file."""
        ending = SURFACE if path.name.endswith(SURFACE) else VOLUME
        stem = path.name.removesuffix(f"_{strip_ending(BETAS)}{ending}")
        rows = {suffix: read_map(path.with_name(f"{stem}_{strip_ending(suffix)}{ending}")) for suffix in (BETAS, VARIANCES, MODELLED)}
        mask = rows[MODELLED][0][0] > 0
        maps = [rows[suffix][0][:, mask] for suffix in (BETAS, VARIANCES)]
        stimuli = read_tsv(path.with_name(f"{stem}_{TABLE}"), COLUMNS)
        if len(stimuli) != len(maps[0]):
            raise InputError(f"{path}: {len(maps[0])} volumes, but its table lists {len(stimuli)} stimuli; run analysis glm again")
        return cls(stem, stimuli, maps[0], maps[1], mask, rows[BETAS][1])


def find_run_betas(folder: Path) -> list[Path]:
    """Return the betas files below a folder that `analysis glm` wrote, sorted.

    Raises
    ------
    InputError
        When there are none.
    """
    paths = sorted([*folder.glob(f"sub-*/**/*_{BETAS}"), *folder.glob(f"sub-*/**/*_{strip_ending(BETAS)}{SURFACE}")])
    if not paths:
        raise InputError(
            f"{folder}: has no responses to single stimuli (*_{BETAS}); events need a stim_id column, and analysis glm to be run on them"
        )
    return paths
