"""NIfTI files in and out: masks as booleans, BOLD as volumes x voxels, and never a resampled label.

A series is read once from end to end: each volume is decompressed, masked and hashed as it passes, and no more than one is held
beside the result, where `nibabel` holds the whole decompressed series.
"""

import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32

from analysis.byte_source import ByteSource
from protocols.errors import InputError

_GRID_TOLERANCE = 1e-3  # affines of one data set differ in the last digits of a float32


@dataclass(frozen=True)
class Grid:
    """Where voxels are: shape and affine of a volume; of a surface the number of vertices, and an identity."""

    shape: tuple[int, ...]
    affine: Float[np.ndarray, "4 4"]

    def matches(self, other: "Grid") -> bool:
        """Say whether two grids are the same, up to rounding."""
        return not self.describe_difference(other)

    def describe_difference(self, other: "Grid") -> str:
        """Return in words how two grids differ; empty where they are the same, up to rounding."""
        if self.shape != other.shape:
            return f"shape {self.shape} against {other.shape}"
        same = np.allclose(self.affine, other.affine, atol=_GRID_TOLERANCE)
        return "" if same else "the same shape, another affine"


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


def count_volumes(path: Path) -> int:
    """Read from the header how many volumes a series has.

    Raises
    ------
    InputError
        When the file is not 4-D.
    """
    shape = load_image(path).shape
    if len(shape) != 4:
        raise InputError(f"{path}: has {len(shape)} dimensions, expected x, y, z and time; name the 4-D file")
    return int(shape[3])


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
    if difference := read_grid(path).describe_difference(grid):
        raise InputError(f"{path}: is not on the grid of {of.name} ({difference}); resample it yourself and look at the result")
    mask = read_array(path).reshape(grid.shape) > 0
    if not mask.any():
        raise InputError(f"{path}: is empty; make the mask again")
    return mask


def read_series(path: Path, mask: Bool[np.ndarray, "x y z"]) -> tuple[Float32[np.ndarray, "volumes voxels"], str]:
    """Read the series of the voxels inside `mask`, scaled as the header says, and the sha256 of the file, in one pass.

    Memory is that of the result and of one volume.

    Raises
    ------
    InputError
        When the file is damaged, is no 4-D NIfTI file of one number per voxel, or its volumes are not of the mask's shape.
    """
    proxy = _open_proxy(path, mask.shape)
    order = np.ravel_multi_index(np.nonzero(mask), mask.shape, order="F")  # NIfTI: the first axis varies fastest
    scale = _choose_scale(float(proxy.slope), float(proxy.inter))
    series = np.empty((proxy.shape[3], len(order)), dtype=np.float32)
    try:
        with path.open("rb") as stream:
            source = ByteSource(stream)
            for row, volume in zip(series, _iterate_volumes(source, proxy, mask.size), strict=False):
                row[:] = scale(volume[order])
            sha256 = source.drain()
    except (OSError, EOFError, zlib.error) as problem:
        raise InputError(f"{path}: is damaged ({problem}); copy it again") from None
    return series, sha256


def _open_proxy(path: Path, shape: tuple[int, ...]) -> Any:
    """Return nibabel's description of the file's array: shape, data type, offset, slope and intercept."""
    count_volumes(path)  # refuses what is not 4-D
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(f"{path}: is neither .nii nor .nii.gz; convert the file")
    proxy = load_image(path).dataobj
    if tuple(proxy.shape[:3]) != shape:
        raise InputError(f"{path}: its volumes are {tuple(proxy.shape[:3])}, the mask is {shape}; they are of different spaces")
    if proxy.dtype.kind not in "iuf":
        raise InputError(f"{path}: holds {proxy.dtype} values, expected one real number per voxel; convert the file")
    return proxy


def _iterate_volumes(source: ByteSource, proxy: Any, voxels: int) -> Iterator[np.ndarray]:
    """Yield each volume as it is stored, in one buffer that the next volume overwrites."""
    if source.fill(memoryview(bytearray(proxy.offset))) < proxy.offset:
        raise EOFError("the header is cut off")
    buffer = bytearray(voxels * proxy.dtype.itemsize)
    for volume in range(proxy.shape[3]):
        if source.fill(memoryview(buffer)) < len(buffer):
            raise EOFError(f"it holds {volume} of {proxy.shape[3]} volumes")
        yield np.frombuffer(buffer, dtype=proxy.dtype)


def _choose_scale(slope: float, inter: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return stored -> true values; in double precision, rounded once when they are stored as float32."""
    if (slope, inter) == (1.0, 0.0):
        return lambda stored: stored
    return lambda stored: stored.astype(np.float64) * slope + inter


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


def intersect(masks: Sequence[Bool[np.ndarray, "*grid"]]) -> Bool[np.ndarray, "*grid"]:
    """Return the voxels that are in every mask."""
    common: Bool[np.ndarray, "*grid"] = np.logical_and.reduce(list(masks))
    return common
