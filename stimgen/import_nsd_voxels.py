"""ROI volumes of the Natural Scenes Dataset in, the table of the voxels that lie in an ROI out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Int

from protocols.errors import InputError
from stimgen.import_algonauts import NO_ROI, RoiMap, assign_rois, name_labels
from stimgen.import_folder import require_file
from stimgen.import_nsd import DOWNLOAD, NsdRelease, refuse_unreadable

_CHOOSE = f"{DOWNLOAD}, or choose other --roi-maps"


def read_voxels(release: NsdRelease, maps: Sequence[str]) -> tuple[pd.DataFrame, tuple[int, ...]]:
    """Return the table of the voxels that lie in a map, and the shape of the volume; i, j, k are indices of the NIfTI volume.

    Raises
    ------
    InputError
        When a map is missing, is no volume of whole numbers or of another shape, a label has no name, or no voxel lies in any map.
    """
    first = require_file(release.roi_file(maps[0]), _CHOOSE)
    shape = _load_labels(first, None).shape
    named = []
    for name in maps:
        path = require_file(release.roi_file(name), _CHOOSE)
        named.append(RoiMap(_load_labels(path, shape).ravel(), _read_names(release.label_file(name), name), str(path)))
    rois = assign_rois(named)
    inside = rois != NO_ROI
    if not inside.any():
        raise InputError(f"{first.parent}: no voxel lies in {', '.join(maps)}; choose other --roi-maps")
    places = np.argwhere(inside.reshape(shape))
    columns = {
        "voxel_id": [f"v{i:03d}{j:03d}{k:03d}" for i, j, k in places],
        "roi": rois[inside],
        "hemisphere": np.where(_find_left(release, maps, places, shape), "L", "R"),
        **dict(zip("ijk", places.T, strict=True)),
    }
    return pd.DataFrame(columns), shape


def _find_left(
    release: NsdRelease, maps: Sequence[str], places: Int[np.ndarray, "voxels 3"], shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Say which voxels are of the left hemisphere: by `lh.MAP` and `rh.MAP` where one of the two has the voxel, by its place otherwise."""
    marked = {side: np.zeros(len(places), dtype=bool) for side in ("lh", "rh")}
    for side in marked:
        for path in (release.roi_file(f"{side}.{name}") for name in maps):
            if path.is_file():
                marked[side] |= _load_labels(path, shape)[tuple(places.T)] > 0
    return np.where(marked["lh"] == marked["rh"], _lies_left(release.roi_file(maps[0]), places), marked["lh"])


def _lies_left(path: Path, places: Int[np.ndarray, "voxels 3"]) -> npt.NDArray[np.bool_]:
    """Say which voxels lie at x < 0 mm of the affine, whose origin the release puts into the volume's center."""
    import nibabel
    from nibabel.affines import apply_affine

    with refuse_unreadable(path):
        image = nibabel.load(path)
    if int(image.header["sform_code"]) or int(image.header["qform_code"]):
        return np.asarray(apply_affine(image.affine, places)[:, 0] < 0)
    return np.asarray(places[:, 0] < (image.shape[0] - 1) / 2)  # no orientation stored: the release's volumes begin on the left


def _load_labels(path: Path, shape: tuple[int, ...] | None) -> Int[np.ndarray, "i j k"]:
    """Return a volume of whole numbers, of `shape` where it is given."""
    import nibabel

    with refuse_unreadable(path):
        labels = np.asarray(nibabel.load(path).dataobj)
    if labels.ndim != 3 or (shape is not None and labels.shape != shape):
        raise InputError(f"{path}: shape {labels.shape}, expected {'three dimensions' if shape is None else shape}; {DOWNLOAD}")
    if not (labels == np.round(labels)).all():  # NaN is not equal to itself
        raise InputError(f"{path}: holds labels that are not whole numbers; {DOWNLOAD}")
    return labels.astype(np.int64)


def _read_names(path: Path, roi_map: str) -> dict[int, str]:
    """Return the names of a map's labels from its `.mgz.ctab` (label and name between blanks), or as published where it is absent."""
    if not path.is_file():
        return name_labels(roi_map)
    names: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) < 2 or not words[0].lstrip("-").isdecimal():
            raise InputError(f"{path} line {number}: {line!r} is no label and name, such as '1 V1v'; {DOWNLOAD}")
        names[int(words[0])] = words[1]
    return names
