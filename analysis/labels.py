"""Segmentations in (a whole number per voxel or vertex, and a table of names), the places of each named region out.

Labels are never resampled: a segmentation on another grid is refused, because the nearest neighbor moves borders and can lose a small
region without a word. Nor is a label lost in silence: one without a name, and a name without a voxel, are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int

from analysis.bids_name import BidsName, strip_extension
from analysis.images import Grid, read_array, read_grid
from analysis.sidecars import find_applicable, parse_entities
from analysis.surface import read_labels
from protocols.errors import InputError
from protocols.roi_table import BOTH
from protocols.tables import Columns, read_tsv

TABLE = "dseg.tsv"
TABLE_COLUMNS: Columns = {"index": "integer", "name": "text"}
NONE = 0  # the label of what belongs to no region
SURFACES = (".label.gii", ".annot")
_MOST_NAMED = 8


@dataclass(frozen=True)
class Region:
    """One named region on one grid: `voxels` are its flat indices, `hemisphere` is L, R or LR (not told apart)."""

    name: str
    hemisphere: str
    voxels: Int[np.ndarray, " voxels"]
    grid: Grid
    path: Path


def find_segmentations(place: Path, subject: str) -> list[Path]:
    """Return a subject's segmentations: the file itself (for everybody), or those in a folder, the subject's before a template's.

    Files end in `_dseg.nii.gz`, `.label.gii` or `.annot`; in a folder they are the subject's (`sub-SUBJECT/**`), or, where it has
    none, those that belong to no subject.

    Raises
    ------
    InputError
        When there are none.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise InputError(f"{place}: no such file or folder")
    found = [path for ending in ("_dseg.nii.gz", "_dseg.nii", *SURFACES) for path in sorted(place.glob(f"**/*{ending}"))]
    owners = {path: BidsName.parse(path.name).get("sub") or _read_owner(path.relative_to(place).parts[0]) for path in found}
    own, shared = ([path for path in found if owners[path] == owner] for owner in (subject, None))
    if not own and not shared:
        raise InputError(f"{place}: has no segmentation of sub-{subject} (*_dseg.nii.gz, *.label.gii or *.annot); name the file")
    return own or shared


def read_regions(path: Path, root: Path, rois: Sequence[str] = ()) -> list[Region]:
    """Return the regions of a segmentation in order of the table; of these only `rois`, where any are named.

    A region that a surface's table names may be in the other hemisphere alone; a volume has every one.

    Raises
    ------
    InputError
        When a value is no whole number, a label has no name, a name no voxel, or a name stands there twice.
    """
    surface = path.name.endswith(SURFACES)
    values, grid, table = _read_surface(path) if surface else _read_volume(path, root)
    _refuse_nameless(values, table, path)
    _refuse_unknown(table, rois, path)
    wanted = table[table["name"].isin(rois)] if rois else table
    if surface:  # a color table lists what the other hemisphere has
        wanted = wanted[wanted["index"].isin(np.unique(values))]
    flat = values.ravel()
    regions = [
        Region(str(row["name"]), str(row["hemisphere"]), np.flatnonzero(flat == row["index"]), grid, path)
        for row in wanted.to_dict("records")
    ]
    empty = [region.name for region in regions if not len(region.voxels)]
    if empty:
        raise InputError(f"{path}: no voxel has the label of {_list(empty)}; choose the regions that it has with --roi, or mend the table")
    return regions


def find_hemisphere(path: Path) -> str:
    """Return the side that a surface file's name tells, `hemi-L` as in BIDS or `lh.` as in FreeSurfer.

    Raises
    ------
    InputError
        When the name tells none.
    """
    told = BidsName.parse(path.name).get("hemi") or {"lh": "L", "rh": "R"}.get(path.name.split(".")[0])
    if told not in ("L", "R"):
        raise InputError(f"{path}: its name tells no hemisphere; call it hemi-L_... or lh....")
    return told


def refuse_other_grid(path: Path, own: Grid, grid: Grid, of: str) -> None:
    """Refuse a region on another grid than the data `of`.

    Raises
    ------
    InputError
        Saying how they differ.
    """
    difference = own.describe_difference(grid)
    if difference:
        raise InputError(f"{path}: is not on the grid of {of} ({difference}); resample it yourself and look at the result")


def _read_owner(folder: str) -> str | None:
    return folder.removeprefix("sub-") if folder.startswith("sub-") else None


def _read_surface(path: Path) -> tuple[Int[np.ndarray, " vertices"], Grid, pd.DataFrame]:
    values, names = read_labels(path)
    rows = [(index, name, find_hemisphere(path)) for index, name in names.items()]
    return values, Grid((len(values),), np.eye(4)), pd.DataFrame(rows, columns=["index", "name", "hemisphere"])


def _read_volume(path: Path, root: Path) -> tuple[Int[np.ndarray, "x y z"], Grid, pd.DataFrame]:
    values = read_array(path)
    if values.ndim != 3:
        raise InputError(f"{path}: has {values.ndim} dimensions, expected 3; a segmentation has one label per voxel")
    if not (np.isfinite(values).all() and (values == np.round(values)).all() and (values >= 0).all()):
        raise InputError(f"{path}: holds other values than whole numbers from 0; it was interpolated, or is a map of probabilities")
    return values.astype(np.int64), read_grid(path), _read_table(path, root)


def _read_table(path: Path, root: Path) -> pd.DataFrame:
    """Read the names of a segmentation, `index name` and perhaps `hemisphere`."""
    file = _find_table(path, root)
    table = read_tsv(file, TABLE_COLUMNS)
    table = table[table["index"] != NONE].reset_index(drop=True)  # some tables list the background
    table["hemisphere"] = table["hemisphere"].fillna(BOTH) if "hemisphere" in table else BOTH
    unknown = table["hemisphere"][~table["hemisphere"].isin(("L", "R", BOTH))]
    if len(unknown):
        raise InputError(f"{file}: hemisphere is {unknown.iloc[0]!r}, expected L, R or {BOTH}")
    for column, key in (("index", ["index"]), ("name", ["name", "hemisphere"])):
        repeated = table.loc[table.duplicated(key), column]
        if len(repeated):
            raise InputError(f"{file}: {column} {repeated.iloc[0]} stands there twice; give each label its own row and name")
    return table


def _find_table(path: Path, root: Path) -> Path:
    """Return the table of a segmentation: its own, or else the one that it inherits from the nearest folder up to `root`."""
    top = root if root.is_dir() else root.parent
    own = path.with_name(strip_extension(path.name) + ".tsv")
    inherited = find_applicable(top, path.parent.relative_to(top), parse_entities(path.name), TABLE)
    found = [own] if own.is_file() else inherited[-1:]
    if not found:
        raise InputError(f"{path}: has no table of names; write {own.name} with the columns index and name beside it")
    return found[0]


def _refuse_nameless(values: Int[np.ndarray, "*grid"], table: pd.DataFrame, path: Path) -> None:
    labels, counts = np.unique(values[values != NONE], return_counts=True)
    nameless = ~np.isin(labels, table["index"].to_numpy(dtype=np.int64))
    if nameless.any():
        unit = "vertices" if values.ndim == 1 else "voxels"
        listed = [f"{label} ({count} {unit})" for label, count in zip(labels[nameless], counts[nameless], strict=True)]
        raise InputError(f"{path}: label {_list(listed)} has no name in its table; the table is of another segmentation, or needs a row")


def _refuse_unknown(table: pd.DataFrame, rois: Sequence[str], path: Path) -> None:
    missing = [roi for roi in rois if roi not in set(table["name"])]
    if missing:
        raise InputError(f"{path}: has no region {_list(missing)}; its table names {_list(list(table['name']))}")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
