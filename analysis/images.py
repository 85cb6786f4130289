"""NIfTI files in and out: masks as booleans, BOLD as volumes x voxels, and never a resampled label."""

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from protocols.errors import InputError

_GRID_TOLERANCE = 1e-3  # affines of one data set differ in the last digits of a float32


@dataclass(frozen=True)
class Grid:
    """Where voxels are: shape and affine of a volume."""

    shape: tuple[int, ...]
    affine: Float[np.ndarray, "4 4"]

    def matches(self, other: "Grid") -> bool:
        """Say whether two grids are the same, up to rounding."""
        return self.shape == other.shape and np.allclose(self.affine, other.affine, atol=_GRID_TOLERANCE)


def load_image(path: Path) -> Any:
    """Open a NIfTI file; its data are read when asked for."""
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        return nibabel.load(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ImageFileError, OSError, EOFError, zlib.error) as problem:
        raise InputError(f"{path}: not a readable NIfTI file ({problem}); copy it again") from None


def read_grid(path: Path) -> Grid:
    """Read the grid of a volume, or of a series' volumes."""
    image = load_image(path)
    return Grid(tuple(int(size) for size in image.shape[:3]), np.asarray(image.affine, dtype=np.float64))


def read_array(path: Path) -> Float[np.ndarray, "*shape"]:
    """Read a NIfTI file's values, scaled, as float32."""
    image = load_image(path)
    try:
        values: Float[np.ndarray, "*shape"] = image.get_fdata(dtype=np.float32, caching="unchanged")
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise InputError(f"{path}: is damaged ({problem}); copy it again") from None
    return values


def read_mask(path: Path, grid: Grid, of: Path) -> Bool[np.ndarray, "x y z"]:
    """Read a mask that must lie on `grid`, which is that of the file `of`.

    Raises
    ------
    InputError
        When the grids differ (labels are never resampled) or the mask is empty.
    """
    own = read_grid(path)
    if not own.matches(grid):
        what = f"shape {own.shape} against {grid.shape}" if own.shape != grid.shape else "the same shape, another affine"
        raise InputError(f"{path}: is not on the grid of {of.name} ({what}); resample it yourself and look at the result")
    mask = read_array(path).reshape(grid.shape) > 0
    if not mask.any():
        raise InputError(f"{path}: is empty; make the mask again")
    return mask


def read_bold(path: Path, mask: Bool[np.ndarray, "x y z"]) -> Float[np.ndarray, "volumes voxels"]:
    """Read the series of the voxels inside `mask`."""
    values = read_array(path)
    if values.ndim != 4:
        raise InputError(f"{path}: has {values.ndim} dimensions, expected x, y, z and time; name the 4-D file")
    series: Float[np.ndarray, "volumes voxels"] = values[mask].T.astype(np.float64)
    return series


def write_volumes(
    rows: Float[np.ndarray, "rows voxels"], mask: Bool[np.ndarray, "x y z"], affine: Float[np.ndarray, "4 4"], path: Path
) -> None:
    """Write voxel values as float32 volumes, one per row (a single row as a 3-D file), 0 outside `mask`."""
    volumes = np.zeros((*mask.shape, len(rows)), dtype=np.float32)
    volumes[mask] = rows.T
    save_image(volumes[..., 0] if len(rows) == 1 else volumes, affine, path)


def save_image(values: np.ndarray, affine: Float[np.ndarray, "4 4"], path: Path, tr_s: float | None = None) -> None:
    """Write an array as NIfTI in its own data type, millimeters and seconds."""
    import nibabel

    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm", "sec")
    if tr_s is not None:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr_s))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def intersect(masks: Sequence[Bool[np.ndarray, "x y z"]]) -> Bool[np.ndarray, "x y z"]:
    """Return the voxels that are in every mask."""
    common: Bool[np.ndarray, "x y z"] = np.logical_and.reduce(list(masks))
    return common
