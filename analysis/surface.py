"""GIFTI and FreeSurfer files in and out: BOLD of a hemisphere as volumes x vertices, maps, and labels by vertex.

A hemisphere is a `Grid` of as many points as it has vertices. Vertices of the medial wall are constant or NaN, and are left out
where the data are looked at, as are such voxels of a volume.
"""

import binascii
import hashlib
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from analysis.images import Grid
from protocols.errors import InputError

STRUCTURES = {"L": "CortexLeft", "R": "CortexRight"}
VERTICES = {"fsaverage": 163842, "fsaverage6": 40962, "fsaverage5": 10242}  # of a hemisphere, in FreeSurfer's templates
_UNLABELED = frozenset({"unknown", "???", "none", "background", "medial_wall", "medialwall", "medial wall"})
_POINTS_AND_TRIANGLES = (1008, 1009)  # NIfTI's intents of a surface's geometry
_HEAD = 1 << 14  # bytes to look through at a time for the first array's description
_DAMAGE = (ExpatError, zlib.error, binascii.Error, ValueError, KeyError, TypeError, AttributeError, EOFError)


def read_extent(path: Path) -> tuple[Grid, int]:
    """Read from the head of a GIFTI file its grid, which is the number of vertices, and how many volumes or maps it holds."""
    head = _read_head(path)
    arrays = re.search(rb'NumberOfDataArrays="(\d+)"', head)
    first = re.search(rb"<DataArray\b[^>]*>", head)
    sizes = {int(axis): int(size) for axis, size in re.findall(rb'\bDim(\d)="(\d+)"', first.group())} if first else {}
    if arrays is None or 0 not in sizes:
        raise InputError(f"{path}: is no GIFTI file with data of vertices; name a .func.gii file")
    return _make_grid(sizes[0]), int(arrays.group(1)) * sizes.get(1, 1)


def read_series(path: Path, mask: Bool[np.ndarray, " vertices"]) -> tuple[Float32[np.ndarray, "volumes inside"], str]:
    """Read the series of the vertices inside `mask`, and the sha256 of the file, in one pass.

    Raises
    ------
    InputError
        When the file is damaged, holds no data of vertices, or has not as many as the mask.
    """
    content = _read_bytes(path)
    arrays = _parse_arrays(content, path)
    series = np.stack(arrays, dtype=np.float32, casting="unsafe") if arrays[0].ndim == 1 else arrays[0].T.astype(np.float32)
    if series.shape[1] != len(mask):
        raise InputError(f"{path}: has {series.shape[1]} vertices, the mask {len(mask)}; they are of different surfaces")
    return series[:, mask], hashlib.sha256(content).hexdigest()


def read_maps(path: Path) -> Float32[np.ndarray, "maps vertices"]:
    """Read all values of a GIFTI data file, one row per array."""
    return read_series(path, np.ones(read_extent(path)[0].shape, dtype=bool))[0]


def write_maps(
    rows: Float[np.ndarray, "rows inside"], mask: Bool[np.ndarray, " vertices"], hemisphere: str, path: Path, names: Sequence[str] = ()
) -> None:
    """Write vertices' values as float32, one array per row (named by `names` where they are given), 0 outside `mask`."""
    from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiMetaData

    image = GiftiImage(meta=GiftiMetaData(AnatomicalStructurePrimary=STRUCTURES[hemisphere]))
    for row, name in zip(rows, names or [""] * len(rows), strict=True):
        values = np.zeros(mask.shape, dtype=np.float32)
        values[mask] = row
        meta = GiftiMetaData(Name=name) if name else GiftiMetaData()
        image.add_gifti_data_array(GiftiDataArray(values, intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32", meta=meta))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image.to_bytes())


def read_labels(path: Path) -> tuple[Int[np.ndarray, " vertices"], dict[int, str]]:
    """Read each vertex's label from a `.label.gii` or FreeSurfer `.annot` file, and the labels' names.

    0 is no label, also where the file names it ("unknown", "???"). Numbers are those of the file; in an annotation they are the rows
    of its color table, counted from 0 where the first row is for no label, and from 1 otherwise.

    Raises
    ------
    InputError
        When the file is damaged or of another kind, or two labels share a name.
    """
    if path.name.endswith(".annot"):
        labels, names = _read_annotation(path)
    elif path.name.endswith(".label.gii"):
        labels, names = _read_gifti_labels(path)
    else:
        raise InputError(f"{path}: is neither a .label.gii nor a FreeSurfer .annot file; name one of these")
    without = [number for number, name in names.items() if name.strip().lower() in _UNLABELED]
    labels = np.where(np.isin(labels, without), 0, labels).astype(np.int64)
    named = {number: name for number, name in names.items() if number not in without}
    repeated = {name for name in named.values() if list(named.values()).count(name) > 1}
    if repeated:
        raise InputError(f"{path}: two labels are called {min(repeated)!r}; rename one of them")
    return labels, named


def _read_annotation(path: Path) -> tuple[Int[np.ndarray, " vertices"], dict[int, str]]:
    from nibabel.freesurfer import read_annot

    _read_bytes(path)
    try:
        rows, _, texts = read_annot(path)
    except Exception as problem:  # nibabel checks little of this format: a damaged file fails anywhere
        raise InputError(f"{path}: is no readable FreeSurfer annotation ({problem}); copy it again") from None
    names = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in texts]
    first = 0 if names and names[0].strip().lower() in _UNLABELED else 1
    labels = np.where(np.asarray(rows) < 0, 0, np.asarray(rows, dtype=np.int64) + first)
    return labels, {row + first: name for row, name in enumerate(names)}


def _read_gifti_labels(path: Path) -> tuple[Int[np.ndarray, " vertices"], dict[int, str]]:
    content = _read_bytes(path)
    arrays = _parse_arrays(content, path)
    if len(arrays) > 1 or arrays[0].ndim != 1:
        raise InputError(f"{path}: holds {len(arrays)} maps of labels, expected one; save the one that you want")
    table = _parse(content, path).labeltable.get_labels_as_dict()
    return arrays[0].astype(np.int64), {int(number): str(name) for number, name in table.items()}


def _parse_arrays(content: bytes, path: Path) -> list[np.ndarray]:
    """Return the arrays of a file of data: one per volume or map, or a single one of vertices x volumes."""
    image = _parse(content, path)
    if any(array.intent in _POINTS_AND_TRIANGLES for array in image.darrays):
        raise InputError(f"{path}: holds a surface's geometry, not data; name a .func.gii, .shape.gii or .label.gii file")
    arrays = [array.data for array in image.darrays]
    if any(values is None for values in arrays) or len({values.shape for values in arrays}) != 1 or arrays[0].ndim > 2:
        raise InputError(f"{path}: its arrays are not of the same vertices; copy it again")
    if len(arrays) > 1 and arrays[0].ndim == 2:
        raise InputError(f"{path}: holds several arrays of two dimensions; expected one array of vertices per volume")
    return arrays


def _parse(content: bytes, path: Path) -> Any:
    from nibabel.gifti import GiftiImage

    try:
        return GiftiImage.from_bytes(content)
    except _DAMAGE as problem:
        raise InputError(f"{path}: is no readable GIFTI file ({problem}); copy it again") from None


def _read_head(path: Path) -> bytes:
    """Return a file's bytes up to the end of the first array's opening tag, where it has one."""
    head = b""
    try:
        with path.open("rb") as stream:
            while (piece := stream.read(_HEAD)) and not re.search(rb"<DataArray\b[^>]*>", head := head + piece):
                pass
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror}); name a file that is there") from None
    return head


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror}); name a file that is there") from None


def _make_grid(vertices: int) -> Grid:
    return Grid((vertices,), np.eye(4))
