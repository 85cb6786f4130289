"""A run in; the series of its brain voxels or vertices, read from disk once, out; kept under a hash where a cache folder was given."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int

from analysis import surface
from analysis.dataset import Run
from analysis.glm import find_usable
from analysis.images import Grid, read_mask, read_series
from analysis.run_checks import measure_run
from protocols.errors import InputError
from protocols.provenance import hash_file
from protocols.tables import write_text


@dataclass(frozen=True)
class RunSeries:
    """A run's series.

    Attributes
    ----------
    values
        Volumes x voxels, in the scanner's units, of the voxels in `mask`.
    mask
        Voxels of the brain mask (or vertices) that can be modelled.
    left_out
        How many of the brain mask cannot: constant, not finite, or with a mean not above 0.
    sha256
        Of the BOLD file.
    """

    values: Float32[np.ndarray, "volumes voxels"]
    mask: Bool[np.ndarray, "*grid"]
    grid: Grid
    left_out: int
    sha256: str

    def locate(self, voxels: Int[np.ndarray, " voxels"]) -> Int[np.ndarray, " voxels"]:
        """Return the columns of voxels given by their flat indices on the grid; -1 where they are not modelled."""
        columns = np.full(self.mask.size, -1)
        columns[np.flatnonzero(self.mask)] = np.arange(int(self.mask.sum()))
        found: Int[np.ndarray, " voxels"] = columns[voxels]
        return found


def extract_run(run: Run, cache: Path | None = None) -> RunSeries:
    """Read a run's series; with `cache`, from the folder `cache/series` where an earlier command left them.

    Raises
    ------
    InputError
        When files are damaged or on different grids, or no voxel changes over time.
    """
    grid, _ = measure_run(run)
    brain = read_mask(run.mask, grid, run.bold) if run.mask else np.ones(grid.shape, dtype=bool)
    values, sha256 = _read(run, brain, cache)
    usable = find_usable(values)
    if not usable.any():
        raise InputError(f"{run.bold}: no voxel of the brain mask changes over time; the file or its mask is wrong")
    mask = brain.copy()
    mask[brain] = usable
    return RunSeries(values if usable.all() else values[:, usable], mask, grid, int((~usable).sum()), sha256)


def _read(run: Run, brain: Bool[np.ndarray, "*grid"], cache: Path | None) -> tuple[Float32[np.ndarray, "volumes voxels"], str]:
    if cache is None:
        return _read_file(run, brain)
    sha256 = hash_file(run.bold)
    folder = cache / "series" / f"{sha256}-{hash_file(run.mask) if run.mask else 'surface'}"
    if (folder / "series.json").is_file():  # written last: the values are whole
        kept: Float32[np.ndarray, "volumes voxels"] = np.load(folder / "series.npy")
        return kept, sha256
    values, sha256 = _read_file(run, brain)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "series.partial.npy", values)
    (folder / "series.partial.npy").replace(folder / "series.npy")
    write_text(json.dumps({"format_version": 1, "bold": run.bold.name, "volumes": len(values)}) + "\n", folder / "series.json")
    return values, sha256


def _read_file(run: Run, brain: Bool[np.ndarray, "*grid"]) -> tuple[Float32[np.ndarray, "volumes voxels"], str]:
    return surface.read_series(run.bold, brain) if run.surface else read_series(run.bold, brain)
