"""A folder of GIFTI surfaces in, both hemispheres' meshes and sulcal depth out: fsaverage5 by `analysis surfaces`, or a subject's own.

Names are BIDS's, as fMRIPrep and `analysis surfaces` write them: `hemi-L_inflated.surf.gii`, with or without `sub-LABEL_` before.
"""

import binascii
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

from protocols.errors import InputError

HEMISPHERES = ("L", "R")
KINDS = ("inflated", "pial", "midthickness", "white")  # the first that is there is shown first
_SULC = "sulc.shape.gii"
_DAMAGE = (ExpatError, zlib.error, binascii.Error, OSError, ValueError, KeyError, TypeError, AttributeError, EOFError)
_REMEDY = "run analysis surfaces, or give a folder with hemi-L_inflated.surf.gii and hemi-R_inflated.surf.gii"


@dataclass(frozen=True)
class Hemisphere:
    """One hemisphere: `positions` in millimeters by kind, all of the same `triangles`; `sulc` is positive in sulci."""

    name: str
    triangles: Int[np.ndarray, "triangles 3"]
    positions: Mapping[str, Float[np.ndarray, "vertices 3"]]
    sulc: Float[np.ndarray, " vertices"]

    @property
    def vertices(self) -> int:
        """Number of vertices."""
        return len(self.sulc)


@dataclass(frozen=True)
class Surfaces:
    """The hemispheres of one brain; `subject` is None for a template."""

    folder: Path
    subject: str | None
    hemispheres: tuple[Hemisphere, ...]


def read_surfaces(folder: Path) -> Surfaces:
    """Read the surfaces of a folder; the subject is that of the files' `sub-LABEL`, or of the folder's name.

    Raises
    ------
    InputError
        When a hemisphere is missing, a file is damaged, two files are of one kind, or a hemisphere's files are of different meshes.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; {_REMEDY}")
    found = tuple(_read_hemisphere(folder, name) for name in HEMISPHERES)
    names = [folder.resolve().name, *(path.name for path in sorted(folder.glob("*hemi-*.surf.gii")))]
    subjects = sorted({match[1] for name in names if (match := re.match(r"sub-([0-9A-Za-z]+)(?=_|$)", name))})
    if len(subjects) > 1:
        raise InputError(f"{folder}: holds surfaces of {' and '.join(subjects)}; give a folder of one subject")
    return Surfaces(folder, subjects[0] if subjects else None, found)


def _read_hemisphere(folder: Path, name: str) -> Hemisphere:
    files = {kind: path for kind in KINDS if (path := _find_file(folder, f"hemi-{name}_{kind}.surf.gii")) is not None}
    if not files:
        raise InputError(f"{folder}: has no surface of hemisphere {name}; {_REMEDY}")
    meshes = {kind: _read_mesh(path) for kind, path in files.items()}
    first, (_, triangles) = next(iter(meshes.items()))
    for kind, (points, others) in meshes.items():
        if len(points) != len(meshes[first][0]) or not np.array_equal(others, triangles):
            raise InputError(f"{files[kind]}: is not the mesh of {files[first].name}; give surfaces of one brain")
    positions = {kind: points for kind, (points, _) in meshes.items()}
    return Hemisphere(name, triangles, positions, _read_sulc(folder, name, len(positions[first])))


def _find_file(folder: Path, ending: str) -> Path | None:
    """Return the file of that name, or of that name after other entities; None where there is none."""
    found = sorted(path for path in folder.iterdir() if path.name == ending or path.name.endswith(f"_{ending}"))
    if len(found) > 1:
        raise InputError(f"{folder}: {found[0].name} and {found[1].name} are the same surface; keep one in a folder of its own")
    return found[0] if found else None


def _read_arrays(path: Path) -> list[Any]:
    from nibabel.gifti import GiftiImage

    try:
        return [array.data for array in GiftiImage.from_bytes(path.read_bytes()).darrays]
    except _DAMAGE as problem:
        raise InputError(f"{path}: is no readable GIFTI file ({problem}); copy it again") from None


def _read_mesh(path: Path) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    arrays = [np.asarray(array) for array in _read_arrays(path)]
    points = next((array for array in arrays if array.ndim == 2 and array.shape[1] == 3 and array.dtype.kind == "f"), None)
    triangles = next((array for array in arrays if array.ndim == 2 and array.shape[1] == 3 and array.dtype.kind in "iu"), None)
    if points is None or triangles is None or not len(triangles):
        raise InputError(f"{path}: holds no points and triangles; give a .surf.gii file")
    if not np.isfinite(points).all() or triangles.min() < 0 or triangles.max() >= len(points):
        raise InputError(f"{path}: its triangles name points that are not there, or points are not finite; copy it again")
    return points.astype(np.float32), triangles.astype(np.int32)


def _read_sulc(folder: Path, name: str, vertices: int) -> npt.NDArray[np.float32]:
    """Return the sulcal depth, zeros where there is no file of it."""
    path = _find_file(folder, f"hemi-{name}_{_SULC}")
    if path is None:
        return np.zeros(vertices, dtype=np.float32)
    arrays = _read_arrays(path)
    if not arrays or np.shape(arrays[0]) != (vertices,):
        shape = np.shape(arrays[0]) if arrays else ()
        raise InputError(f"{path}: is of shape {shape}, but the surface has {vertices} vertices; give files of one brain")
    return np.nan_to_num(np.asarray(arrays[0], dtype=np.float32))
