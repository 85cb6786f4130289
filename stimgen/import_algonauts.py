"""A subject's folder of the Algonauts 2023 challenge in, Responses out; and the ROI maps that it shares with the dataset it comes from.

The challenge (Gifford et al. 2023, arXiv 2301.03198) is the Natural Scenes Dataset on the fsaverage surface: responses z-scored within
session and averaged over an image's repetitions. Its `mapping_*.npy` are pickled and never opened; the names are published and stand here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float, Int

from protocols.errors import InputError
from protocols.responses import Responses
from stimgen.import_folder import RUN, SESSION, load_array, load_responses, require_folder

ROI_NAMES: dict[str, tuple[str, ...]] = {  # in the order of their labels, from 1 (NSD Data Manual, ROIs)
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
}
DEFAULT_MAPS = "prf-visualrois,floc-faces,floc-bodies,floc-places,floc-words"
NO_ROI = "none"
_SIDES = {"lh": "L", "rh": "R"}
_IMAGE = re.compile(r"train-\d+_nsd-(\d{5})")
_REMEDY = "give a subject's folder as the challenge distributes it (subj01/, with training_split/ and roi_masks/)"


@dataclass(frozen=True)
class RoiMap:
    """One map of ROIs: a label per voxel, 0 or below for none, and the name that each label stands for.

    Raises
    ------
    InputError
        When a voxel has a label without a name.
    """

    labels: Int[np.ndarray, " voxels"]
    names: Mapping[int, str]
    where: str

    def __post_init__(self) -> None:
        unnamed = set(np.unique(self.labels[self.labels > 0]).tolist()) - set(self.names)
        if unnamed:
            known = ", ".join(f"{label} {name}" for label, name in self.names.items())
            raise InputError(f"{self.where}: label {min(unnamed)} has no name (known: {known}); leave the map out of --roi-maps")


def parse_maps(text: str) -> list[str]:
    """Split `--roi-maps`, names in order of priority between commas.

    Raises
    ------
    InputError
        When there is none, or one stands there twice.
    """
    names = [name.strip() for name in text.split(",")]
    if "" in names:
        raise InputError(f"--roi-maps: {text!r} holds an empty name; give names between commas, such as {DEFAULT_MAPS}")
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise InputError(f"--roi-maps: {repeated[0]!r} stands there twice; its place in the list is its priority, give one")
    return names


def name_labels(roi_map: str) -> dict[int, str]:
    """Return the published names of a map's labels.

    Raises
    ------
    InputError
        When the map has no published names.
    """
    if roi_map not in ROI_NAMES:
        raise InputError(f"--roi-maps: {roi_map!r} is no map whose names are known; choose from {', '.join(ROI_NAMES)}")
    return dict(enumerate(ROI_NAMES[roi_map], start=1))


def assign_rois(maps: Sequence[RoiMap]) -> npt.NDArray[np.object_]:
    """Return each voxel's one ROI, `none` outside of all maps; where maps overlap, the first of them that names the voxel."""
    rois = np.full(len(maps[0].labels), NO_ROI, dtype=object)
    for one in reversed(maps):  # the first is written last, over the others
        for label, name in one.names.items():
            if label > 0:
                rois[one.labels == label] = name
    return rois


def read_algonauts(source: Path, maps: Sequence[str], all_vertices: bool) -> tuple[Responses, list[Path]]:
    """Read a subject's training data: one trial per image, one voxel per vertex of a chosen map (or per vertex).

    Returns
    -------
    responses
        Trials and images in the order of the images' names, vertices of the left hemisphere before those of the right.
    files
        The image files, in the order of `responses.images`.

    Raises
    ------
    InputError
        When a file is missing or of another kind, sizes disagree, or no vertex is left.
    """
    files, images = _list_images(source / "training_split/training_images")
    halves = {side: _read_side(source, side, maps, len(files)) for side in _SIDES}
    kept = {side: table[all_vertices | (table["roi"] != NO_ROI)] for side, (_, table) in halves.items()}
    voxels = pd.concat(kept.values(), ignore_index=True)
    if voxels.empty:
        raise InputError(f"{source}/roi_masks: no vertex lies in {', '.join(maps)}; choose other --roi-maps, or give --all-vertices")
    betas = np.empty((len(files), len(voxels)), dtype=np.float32)
    first = 0
    for side, table in kept.items():
        betas[:, first : first + len(table)] = halves[side][0][:, table.index.to_numpy()]
        first += len(table)
    trials = pd.DataFrame({"stim_id": images["stim_id"], "session": SESSION, "run": RUN})
    return Responses(source, trials, betas, voxels, images), files


def _list_images(folder: Path) -> tuple[list[Path], pd.DataFrame]:
    """Return the image files by name, and `stim_id image_file source` of each."""
    require_folder(folder, _REMEDY)
    files = sorted(path for path in folder.glob("*.png") if not path.name.startswith("."))
    if not files:
        raise InputError(f"{folder}: holds no PNG; {_REMEDY}")
    numbers: dict[str, Path] = {}
    for path in files:
        match = _IMAGE.fullmatch(path.stem)
        if match is None:
            raise InputError(f"{path}: expected a name such as train-0001_nsd-00013.png; remove the file or copy the folder again")
        if match[1] in numbers:
            raise InputError(f"{path}: shows the same image as {numbers[match[1]].name}, nsd-{match[1]}; keep one row and one file of it")
        numbers[match[1]] = path
    ids = [f"nsd{number}" for number in numbers]
    named = {"stim_id": ids, "image_file": [f"images/{stim_id}.png" for stim_id in ids], "source": [f"nsd-{number}" for number in numbers]}
    return files, pd.DataFrame(named)


def _read_side(source: Path, side: str, maps: Sequence[str], images: int) -> tuple[Float[np.ndarray, "images vertices"], pd.DataFrame]:
    """Return one hemisphere's responses (memory-mapped) and the table of its vertices, its index the column of each."""
    path = source / f"training_split/training_fmri/{side}_training_fmri.npy"
    betas = load_responses(path, _REMEDY)
    if len(betas) != images:
        raise InputError(f"{path}: {len(betas)} rows, but training_images holds {images} images; copy the folder again, whole")
    count = betas.shape[1]
    named = []
    for name in maps:
        names = name_labels(name)
        file = source / f"roi_masks/{side}.{name}_challenge_space.npy"
        named.append(RoiMap(_load_labels(file, count), names, str(file)))
    vertices = {
        "voxel_id": [f"{side}{column:05d}" for column in range(count)],
        "roi": assign_rois(named),
        "hemisphere": _SIDES[side],
        "i": _find_vertices(source / f"roi_masks/{side}.all-vertices_fsaverage_space.npy", count),
        "j": 0,
        "k": 0,
    }
    return betas, pd.DataFrame(vertices)


def _load_labels(path: Path, count: int | None) -> Int[np.ndarray, " vertices"]:
    """Return whole numbers, one per vertex; `count` of them where it is given."""
    labels = load_array(path, f"{_REMEDY}, or choose other --roi-maps")
    if labels.ndim != 1 or (count is not None and len(labels) != count):
        expected = "one dimension" if count is None else f"({count},), one label per column of the responses"
        raise InputError(f"{path}: shape {labels.shape}, expected {expected}; copy the folder again")
    if not np.issubdtype(labels.dtype, np.number) or not (labels == np.round(labels)).all():
        raise InputError(f"{path}: holds {labels.dtype}, expected whole numbers; copy the folder again")
    return labels.astype(np.int64)


def _find_vertices(path: Path, count: int) -> Int[np.ndarray, " vertices"]:
    """Return each column's vertex number on fsaverage, or the column itself where the file that tells it is absent."""
    if not path.is_file():
        return np.arange(count)
    vertices = np.flatnonzero(_load_labels(path, None))
    if len(vertices) != count:
        raise InputError(f"{path}: marks {len(vertices)} vertices, but the responses have {count} columns; copy the folder again")
    return vertices
