"""A cortex as a page: voxels with their places, numbers, images and favorites in, the data that the page's scripts read out.

The page opens from disk, where browsers let scripts read no file but by `<script src>`. So all numbers stand in one `data.js`, arrays as
base64 of their bytes (little endian), missing numbers as NaN; pictures are files that are loaded when they are shown.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from protocols.tables import write_text
from stimgen.roi_colors import assign_colors, sample_palettes
from stimgen.surface_files import Surfaces
from stimgen.voxel_maps import Contrastable, VoxelMaps

DATA = "data.js"
WHOLE_PARCEL = -1
_TOUCHING = 6  # nearest voxels in space that count as touching
# Column of the model's table, what the page calls it.
_NUMBERS = {
    "cv_r": "accuracy, cross-validated r",
    "test_r": "accuracy on held-out images, r",
    "noise_ceiling": "noise ceiling, r",
    "normalized_accuracy": "share of explainable variance",
}
_LITTLE = {"f": "<f4", "i": "<i4", "u": "|u1"}


@dataclass(frozen=True)
class Places:
    """Where voxels are: on vertices of surfaces (hemisphere and vertex), or, where there are none, at points in space.

    `unit` is that of the points: `mm`, right, anterior and superior being positive, or `voxels` of an unknown orientation.
    """

    surfaces: Surfaces | None
    vertices: Int[np.ndarray, "voxels 2"] | None
    points: Float[np.ndarray, "voxels 3"] | None
    unit: str = "mm"

    def find_touching(self) -> Int[np.ndarray, "pairs 2"]:
        """Return pairs of voxels side by side: on vertices of one triangle, or among each other's nearest in space."""
        if self.surfaces is None or self.vertices is None:
            points = np.asarray(self.points)
            count = min(_TOUCHING + 1, len(points))
            near = np.asarray(cKDTree(points).query(points, count)[1]).reshape(len(points), count)
            return np.stack([np.repeat(np.arange(len(points)), count), near.ravel()], axis=1)
        pairs = []
        for number, one in enumerate(self.surfaces.hemispheres):
            voxel_of = np.full(one.vertices, -1)
            here = np.flatnonzero(self.vertices[:, 0] == number)
            voxel_of[self.vertices[here, 1]] = here
            corners = voxel_of[one.triangles]
            pairs += [corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]
        found = np.concatenate(pairs)
        touching: npt.NDArray[np.int64] = found[(found >= 0).all(axis=1)]
        return touching


@dataclass(frozen=True)
class CortexView:
    """All that the page knows.

    Attributes
    ----------
    title
        The page's name.
    voxels
        The model's table.
    places
        Where its voxels are.
    layers
        Names of the model's layers, first to last.
    maps
        What the voxels prefer.
    images
        The sweep's images, a row each, with `subject`, `roi` and `voxel`: the row of `voxels` it was made for, -1 for a whole parcel.
    natural
        Names of the pool's images, in its order.
    contrasts
        What can be subtracted.
    """

    title: str
    voxels: pd.DataFrame
    places: Places
    layers: tuple[str, ...]
    maps: VoxelMaps
    images: pd.DataFrame
    natural: Sequence[str]
    contrasts: Sequence[Contrastable]


def encode(values: npt.NDArray[Any]) -> dict[str, str]:
    """Return an array as the page reads it: its kind (`f4`, `i4` or `u1`) and its bytes in base64."""
    kind = _LITTLE[np.asarray(values).dtype.kind if values.dtype != np.uint8 else "u"]
    return {"kind": kind[1:], "bytes": base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode("ascii")}


def decode(encoded: Mapping[str, str]) -> npt.NDArray[Any]:
    """Return what `encode` wrote, flat."""
    kind = next(one for one in _LITTLE.values() if one[1:] == encoded["kind"])
    return np.frombuffer(base64.b64decode(encoded["bytes"]), dtype=kind)


def describe_cortex(view: CortexView) -> dict[str, Any]:
    """Return the page's data: plain values and encoded arrays."""
    rois = list(dict.fromkeys(view.voxels["roi"]))
    subjects = list(dict.fromkeys(view.voxels["subject"]))
    colors = assign_colors(rois, list(view.voxels["roi"]), view.places.find_touching())
    return {
        "title": view.title,
        "subjects": subjects,
        "layers": list(view.layers),
        "rois": [{"name": roi, "color": colors[roi], "voxels": int((view.voxels["roi"] == roi).sum())} for roi in rois],
        "palettes": {name: encode(steps) for name, steps in sample_palettes().items()},
        "voxels": {
            "id": list(view.voxels["voxel_id"]),
            "subject": encode(view.voxels["subject"].map(subjects.index).to_numpy(dtype=np.int32)),
            "roi": encode(view.voxels["roi"].map(rois.index).to_numpy(dtype=np.int32)),
            "layer": encode(view.maps.layer),
            **_describe_places(view.places),
        },
        "numbers": _list_numbers(view),
        "contrasts": [
            {"key": one.key, "label": one.label, "groups": list(one.groups), "values": encode(one.values)} for one in view.contrasts
        ],
        "images": _describe_images(view.images, subjects, rois),
        "natural": {
            "name": list(view.natural),
            "best": encode(view.maps.best),
            "z": encode(_take_best(view.maps)),
            "count": int(view.maps.best.shape[1]),
        },
        "surfaces": [_describe_hemisphere(one) for one in view.places.surfaces.hemispheres] if view.places.surfaces else [],
    }


def _describe_images(images: pd.DataFrame, subjects: list[str], rois: list[str]) -> dict[str, Any]:
    return {
        "id": list(images["image_id"]),
        "voxel": encode(images["voxel"].to_numpy(dtype=np.int32)),
        "subject": encode(images["subject"].map(subjects.index).to_numpy(dtype=np.int32)),
        "roi": encode(images["roi"].map(rois.index).to_numpy(dtype=np.int32)),
        "predicted": encode(images["predicted"].to_numpy(dtype=np.float32)),
        "judged": encode(images["judged"].to_numpy(dtype=np.float32)),
    }


def _take_best(maps: VoxelMaps) -> Float[np.ndarray, "voxels best"]:
    """Return the z of each voxel's favorites."""
    z: npt.NDArray[np.float32] = np.take_along_axis(maps.z.T, np.maximum(maps.best, 0), axis=1)
    return z


def _describe_places(places: Places) -> dict[str, Any]:
    if places.vertices is not None:
        return {"hemisphere": encode(places.vertices[:, 0]), "vertex": encode(places.vertices[:, 1])}
    return {"points": encode(np.asarray(places.points)), "unit": places.unit}


def _describe_hemisphere(one: Any) -> dict[str, Any]:
    return {
        "hemisphere": one.name,
        "triangles": encode(one.triangles),
        "sulc": encode(one.sulc),
        "positions": {kind: encode(points) for kind, points in one.positions.items()},
    }


def _list_numbers(view: CortexView) -> list[dict[str, Any]]:
    """Return every number of a voxel that can be shown, with the ends of its color scale."""
    columns = {
        name: pd.to_numeric(view.voxels[name], errors="coerce").to_numpy(dtype=np.float64)
        for name in _NUMBERS
        if name in view.voxels.columns
    }
    labels = dict(_NUMBERS)
    for name, label in (("predicted", "its image's drive, predicted z"), ("judged", "its image's drive, judged z")):
        columns[name], labels[name] = _find_best(view, name), label
    return [
        {"key": name, "label": labels[name], **_choose_ends(values), "values": encode(values)}
        for name, values in columns.items()
        if np.isfinite(values).any()
    ]


def _find_best(view: CortexView, name: str) -> Float[np.ndarray, " voxels"]:
    """Return the largest value among the images of each voxel, or of its parcel; NaN without an image."""
    whole = view.images["voxel"] == WHOLE_PARCEL
    parcels = {key: float(best) for key, best in view.images[whole].groupby(["subject", "roi"])[name].max().items()}
    keys = zip(view.voxels["subject"], view.voxels["roi"], strict=True)
    values = np.array([parcels.get(key, np.nan) for key in keys], dtype=np.float64)
    own = view.images[~whole].groupby("voxel")[name].max()
    values[own.index.to_numpy(dtype=np.int64)] = own.to_numpy(dtype=np.float64)
    return values


def _choose_ends(values: Float[np.ndarray, " voxels"]) -> dict[str, float]:
    """Return the ends of a color scale: 0, or the 2nd percentile where that is far above; and the 98th percentile."""
    low, high = np.nanpercentile(values, [2, 98])
    low = 0.0 if low < high / 2 else float(low)
    return {"low": round(min(low, float(high)), 3), "high": round(max(float(high), low + 1e-3), 3)}


def write_data(data: Mapping[str, Any], folder: Path) -> None:
    """Write `data.js`, which gives the page its data."""
    write_text(f"const DATA = {json.dumps(data, separators=(',', ':'))};\n", folder / DATA)
