"""Contrast maps of single runs and parcels in; in each parcel the voxels that respond most, and which runs chose them, out.

A group-constrained, subject-specific localizer (Julian et al. 2012, NeuroImage 60:2357): parcels say where a region may be, the subject's
own contrast which voxels it is. Folds make it fit for the same task: each leaves out runs, and those are tested in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import Field

from analysis.bids_name import BidsName, name_sidecar, read_sidecar
from analysis.images import Grid
from analysis.labels import Region, refuse_other_grid
from analysis.lineage import Scan, identify_scan, read_chosen
from analysis.map_files import SURFACE, VOLUME, read_map
from protocols.config import config
from protocols.errors import InputError
from protocols.run_name import RunName

Scheme = Literal["all", "odd-even", "leave-run-out"]
EFFECT, VARIANCE = "_stat-effect_statmap.", "_stat-variance_statmap."


@config
class LocalizerSettings:
    """How voxels are chosen."""

    top_percent: float = Field(default=10.0, gt=0, le=100)
    """Share of a parcel's modelled voxels, those with the highest t; at least one."""
    scheme: Scheme = "leave-run-out"
    rois: tuple[str, ...] = ()
    """Parcels to take; all where none is named."""


@dataclass(frozen=True)
class RunContrast:
    """One run's contrast: effect and its variance of every voxel of the grid (variance 0 where it was not modelled).

    `chosen` are scans that chose the model it comes from, a hemodynamic response for example.
    """

    file: Path
    scan: Scan
    effect: Float[np.ndarray, " voxels"]
    variance: Float[np.ndarray, " voxels"]
    grid: Grid
    chosen: tuple[Scan, ...] = ()


@dataclass(frozen=True)
class Fold:
    """One choice of voxels: its name in files, and the places of the runs that make it."""

    label: str
    runs: tuple[int, ...]


@dataclass(frozen=True)
class Located:
    """The voxels that a fold chose in a parcel (flat indices), the parcel's modelled voxels, and the lowest t among the chosen."""

    fold: Fold
    parcel: Region
    voxels: Int[np.ndarray, " chosen"]
    modelled: int
    lowest_t: float


def find_contrast_files(folder: Path, label: str) -> dict[str, list[Path]]:
    """Return each subject's effect maps of single runs, by the contrast's label, in order of session and run.

    Raises
    ------
    InputError
        When there are none; the labels that are there are named.
    """
    maps = sorted(folder.glob(f"sub-*/**/*_run-*_contrast-*{EFFECT}*"))
    listed = [path for path in maps if path.name.endswith((VOLUME, SURFACE))]
    found: dict[str, list[Path]] = {}
    for path in listed:
        name = BidsName.parse(path.name)
        if name.get("contrast") == label:
            found.setdefault(str(name.get("sub")), []).append(path)
    if not found:
        labels = sorted({str(BidsName.parse(path.name).get("contrast")) for path in listed})
        raise InputError(f"{folder}: has no maps of single runs of contrast {label!r}; contrasts there: {', '.join(labels) or 'none'}")
    return {subject: sorted(paths, key=_order) for subject, paths in found.items()}


def split_hemispheres(files: Sequence[Path]) -> dict[str | None, list[Path]]:
    """Return a subject's files by hemisphere: L and R on surfaces, None for volumes."""
    found: dict[str | None, list[Path]] = {}
    for file in files:
        found.setdefault(BidsName.parse(file.name).get("hemi"), []).append(file)
    return found


def read_contrast(file: Path) -> RunContrast:
    """Read one run's contrast from the path of its effect map.

    Raises
    ------
    InputError
        When its variance is not beside it, or a map is damaged.
    """
    scan = identify_scan(file)
    variance = file.with_name(file.name.replace(EFFECT, VARIANCE))
    (effects, grid), (variances, other) = (_read_map(path) for path in (file, variance))
    refuse_other_grid(variance, other, grid, file.name)
    return RunContrast(file, scan, effects, variances, grid, read_chosen(read_sidecar(file), name_sidecar(file)) or ())


def plan_folds(names: Sequence[RunName], scheme: Scheme) -> list[Fold]:
    """Return the folds of a scheme: one of all runs, odd and even ones, or one for each run, which leaves it out.

    Raises
    ------
    InputError
        When a scheme that leaves out runs has a single one.
    """
    places = range(len(names))
    if scheme == "all":
        return [Fold("localizer", tuple(places))]
    if len(names) < 2:
        raise InputError(
            f"{names[0].stem}: is the only run of its subject, so none is left to choose voxels; use --scheme all, to test other data"
        )
    if scheme == "odd-even":
        return [Fold("odd", tuple(places[::2])), Fold("even", tuple(places[1::2]))]
    return [Fold(f"leave{_label(names[out])}", tuple(place for place in places if place != out)) for out in places]


def locate(contrasts: Sequence[RunContrast], parcels: Sequence[Region], folds: Sequence[Fold], top_percent: float) -> list[Located]:
    """Return the voxels that each fold chooses in each parcel.

    Raises
    ------
    InputError
        When a map or a parcel is on another grid, or no voxel of a parcel was modelled.
    """
    first = contrasts[0]
    for contrast in contrasts[1:]:
        refuse_other_grid(contrast.file, contrast.grid, first.grid, first.file.name)
    for parcel in parcels:
        refuse_other_grid(parcel.path, parcel.grid, first.grid, first.file.name)
    located = []
    for fold in folds:
        t = combine_t(np.stack([contrasts[run].effect for run in fold.runs]), np.stack([contrasts[run].variance for run in fold.runs]))
        for parcel in parcels:
            modelled = parcel.voxels[np.isfinite(t[parcel.voxels])]
            if not len(modelled):
                raise InputError(
                    f"{parcel.path}: no voxel of {parcel.name} was modelled in {first.file.name}; the parcel is outside the brain mask"
                )
            chosen = modelled[select_top(t[modelled], top_percent)]
            located.append(Located(fold, parcel, chosen, len(modelled), float(t[chosen].min())))
    return located


def combine_t(effects: Float[np.ndarray, "runs voxels"], variances: Float[np.ndarray, "runs voxels"]) -> Float[np.ndarray, " voxels"]:
    """Return t of the runs combined with precision weights, sum(e / v) / sqrt(sum(1 / v)); NaN where a run did not model the voxel."""
    usable = (variances > 0) & np.isfinite(effects)
    weights = 1 / np.where(usable, variances, 1.0)
    t: Float[np.ndarray, " voxels"] = (effects * weights).sum(axis=0) / np.sqrt(weights.sum(axis=0))
    return np.where(usable.all(axis=0), t, np.nan)


def select_top(t: Float[np.ndarray, " voxels"], top_percent: float) -> Int[np.ndarray, " chosen"]:
    """Return the places of the highest `top_percent` of `t`, at least one, in order of place; of equals the first."""
    count = max(1, round(len(t) * top_percent / 100))
    return np.sort(np.argsort(-t, kind="stable")[:count])


def list_choosers(contrasts: Sequence[RunContrast], fold: Fold) -> list[Scan]:
    """Return the scans that a fold's voxels were chosen from: its runs', and those that chose their models."""
    return [scan for run in fold.runs for scan in (contrasts[run].scan, *contrasts[run].chosen)]


def _read_map(file: Path) -> tuple[Float[np.ndarray, " voxels"], Grid]:
    rows, grid = read_map(file)
    return rows[0].ravel().astype(np.float64), grid


def _order(path: Path) -> tuple[str, int]:
    name = RunName.parse(path.name)
    return name.session or "", name.run


def _label(name: RunName) -> str:
    return (f"ses{name.session}" if name.session else "") + f"run{name.run:02d}"
