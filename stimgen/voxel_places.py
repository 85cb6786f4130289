"""A model's table of voxels in, where each of them lies out: on a vertex of a surface, or at a point in space."""

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float, Int

from protocols.errors import InputError
from protocols.tables import check_columns
from stimgen.surface_files import Surfaces

_MILLIMETERS, _INDICES = ("x_mm", "y_mm", "z_mm"), ("i", "j", "k")
_WHOLE = (10242, 32492, 40962, 163842)  # vertices of a hemisphere in fsaverage5, fsLR 32k, fsaverage6, fsaverage
_EXPORT = "analysis surfaces --out DIR writes fsaverage5"


def find_vertices(voxels: pd.DataFrame, surfaces: Surfaces) -> Int[np.ndarray, "voxels 2"]:
    """Return each voxel's hemisphere (its place in `surfaces.hemispheres`) and vertex, from the columns `hemisphere` and `i`.

    Raises
    ------
    InputError
        When the voxels are of another subject, of a volume, or of a surface with another number of vertices.
    """
    where = "voxels.tsv"
    subjects = sorted(set(voxels["subject"]))
    if surfaces.subject is not None and subjects != [surfaces.subject]:
        raise InputError(
            f"{surfaces.folder}: the surfaces are subject {surfaces.subject}'s, the model has voxels of {', '.join(subjects)}; "
            f"give --subject {surfaces.subject}, the other subject's surfaces, or those of a template ({_EXPORT})"
        )
    missing = [name for name in ("hemisphere", *_INDICES) if name not in voxels.columns]
    if missing:
        raise InputError(f"{where}: has no column {missing[0]!r}, so no vertex is known; leave --surfaces out")
    table = check_columns(voxels, {"hemisphere": "text", **dict.fromkeys(_INDICES, "integer")}, where)
    if (table[["j", "k"]] != 0).any(axis=None):
        raise InputError(f"{where}: its voxels are of a volume (j and k are not 0), not vertices of a surface; leave --surfaces out")
    names = [one.name for one in surfaces.hemispheres]
    unknown = sorted(set(table["hemisphere"]) - set(names))
    if unknown:
        raise InputError(
            f"{where}: hemisphere {unknown[0]!r} is on no surface; fit a model to vertices of L and R, or leave --surfaces out"
        )
    for one in surfaces.hemispheres:
        _refuse_count(table.loc[table["hemisphere"] == one.name], one.name, one.vertices, surfaces)
    return np.stack([table["hemisphere"].map(names.index).to_numpy(dtype=np.int64), table["i"].to_numpy(dtype=np.int64)], axis=1)


def _refuse_count(table: pd.DataFrame, hemisphere: str, vertices: int, surfaces: Surfaces) -> None:
    """Refuse vertices that the surface does not have, and whole hemispheres of another number of vertices."""
    if table.empty:
        return
    found, most = table["i"].nunique(), int(table["i"].max()) + 1
    whole = (
        found == most in _WHOLE
    )  # all vertices of a template from the first on: a model of just these would lie on a part of a finer mesh
    if table["i"].min() < 0 or most > vertices or (whole and most != vertices):
        raise InputError(
            f"{surfaces.folder}: hemisphere {hemisphere} has {vertices} vertices, the model's voxels are of a surface with "
            f"{'at least ' if found < most else ''}{most}; give the surfaces that were measured on ({_EXPORT}, 10242 a hemisphere)"
        )


def find_points(voxels: pd.DataFrame) -> tuple[Float[np.ndarray, "voxels 3"], str]:
    """Return each voxel's place in space and its unit: `x_mm y_mm z_mm` and mm where the table has them, else its indices and voxels.

    Raises
    ------
    InputError
        When the table has neither, or its voxels are vertices of a surface.
    """
    for names in (_MILLIMETERS, _INDICES):
        if all(name in voxels.columns for name in names):
            table = check_columns(voxels, dict.fromkeys(names, "number"), "voxels.tsv")
            points: npt.NDArray[np.float64] = table[list(names)].to_numpy(dtype=np.float64)
            if len(points) > 1 and names == _INDICES and not points[:, 1:].any():
                raise InputError(f"voxels.tsv: its voxels are vertices of a surface (j and k are 0); give --surfaces DIR ({_EXPORT})")
            return points, "mm" if names == _MILLIMETERS else "voxels"
    raise InputError("voxels.tsv: has neither x_mm, y_mm, z_mm nor i, j, k, so no voxel has a place; fit the model to responses with them")
