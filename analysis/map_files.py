"""Values of voxels or vertices in and out: NIfTI on a volume, GIFTI on a hemisphere, one row per volume or map either way."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from analysis.images import Grid, read_array, read_grid, write_volumes
from analysis.surface import read_extent, read_maps, write_maps

VOLUME, SURFACE = ".nii.gz", ".func.gii"


def write_map(
    rows: Float[np.ndarray, "rows voxels"], mask: Bool[np.ndarray, "*grid"], grid: Grid, hemisphere: str | None, stem: str
) -> None:
    """Write voxel values as NIfTI, or the vertex values of a hemisphere as GIFTI; `stem` is the path without its ending."""
    if hemisphere:
        write_maps(rows, mask, hemisphere, Path(f"{stem}{SURFACE}"))
    else:
        write_volumes(rows, mask, grid.affine, Path(f"{stem}{VOLUME}"))


def read_map(path: Path) -> tuple[Float[np.ndarray, "rows ..."], Grid]:
    """Read what `write_map` wrote: rows of values on the whole grid, 0 where nothing was computed; and the grid."""
    if path.name.endswith(SURFACE):
        return read_maps(path), read_extent(path)[0]
    values = read_array(path)  # a single row is stored in three dimensions
    return values[None] if values.ndim == 3 else np.moveaxis(values, -1, 0), read_grid(path)


def strip_ending(file_name: str) -> str:
    """Return a map's name without its ending."""
    return file_name.removesuffix(SURFACE).removesuffix(VOLUME)
