"""Results of runs that are finished are kept beside the output folder until all are; an interrupted command takes them up again.

A result is named by the sha256 of all that it depends on: the files of the run, the settings, the contrasts, the set's table and the
code. It is written by rename, so that one that is there is whole.
"""

import hashlib
import json
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from analysis.combine import RunEffect
from analysis.first_level import ModelSettings, RunModel, RunResult
from analysis.images import Grid
from analysis.map_contrasts import MapContrast
from analysis.run_betas import RunBetas
from protocols.config import config_values
from protocols.errors import InputError
from protocols.provenance import hash_file


@dataclass(frozen=True)
class RunStore:
    """The folder of finished results; `common` is what all runs' results depend on, `resumes` whether an earlier command left any."""

    folder: Path
    common: str
    resumes: bool

    @classmethod
    def open(cls, folder: Path, common: str) -> "RunStore":
        """Return the store in `folder`, which need not be there."""
        return cls(folder, common, folder.is_dir())

    def holds(self, model: RunModel, sha256: str) -> bool:
        """Say whether a run's result is there; `sha256` is that of the BOLD."""
        return self._path(model, sha256).is_file()

    def read(self, model: RunModel, sha256: str) -> RunResult:
        """Return a run's result.

        Raises
        ------
        InputError
            When it is not there, although the run was fitted.
        """
        path = self._path(model, sha256)
        if not path.is_file():
            raise InputError(f"{path}: {model.run.stem} was fitted, but its result is not here; all computers must share this folder")
        return _read_result(path, model, sha256)

    def keep(self, model: RunModel, result: RunResult) -> None:
        """Write a result, whose maps are in single precision, so that an interruption changes no digit."""
        path = self._path(model, result.sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {"mask": result.mask, "affine": result.grid.affine, "left_out": np.array(result.left_out)}
        if result.betas is not None:
            arrays |= {"betas": result.betas.effects, "beta_variances": result.betas.variances}
        for label, effect in result.contrasts.items():
            arrays |= {f"effect {label}": effect.effect, f"variance {label}": effect.variance, f"df {label}": np.array(effect.df)}
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")  # a lost worker may still be at it
        with partial.open("wb") as stream:
            np.savez(stream, **arrays)
        partial.replace(path)

    def clear(self) -> None:
        """Remove the folder, once everything is in its place."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, model: RunModel, sha256: str) -> Path:
        run = model.run
        files = [hash_file(path) for kind, path in run.files.items() if kind != "bold"]
        parts = [self.common, run.stem, model.hrf, str(run.tr_s), str(run.slice_time_ref), sha256, *files]
        return self.folder / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.npz"


def name_common(settings: ModelSettings, contrasts: Sequence[MapContrast], set_sha256: str | None, code: str) -> str:
    """Return what all runs' results depend on, as text."""
    made = [(one.label, one.plus, one.minus) for one in contrasts]
    return json.dumps([config_values(settings), made, set_sha256, code], sort_keys=True, default=str)


def _read_result(path: Path, model: RunModel, sha256: str) -> RunResult:
    with np.load(path) as stored:
        mask = stored["mask"] > 0
        grid = Grid(mask.shape, stored["affine"])
        betas = None
        if model.stimuli is not None:
            betas = RunBetas(model.run.stem, model.stimuli[1], stored["betas"], stored["beta_variances"], mask, grid)
        labels = [name.removeprefix("df ") for name in stored.files if name.startswith("df ")]
        contrasts = {
            label: RunEffect(stored[f"effect {label}"], stored[f"variance {label}"], int(stored[f"df {label}"])) for label in labels
        }
        return RunResult(model.run, mask, grid, int(stored["left_out"]), sha256, betas, contrasts)
