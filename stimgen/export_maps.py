"""Numbers and labels of voxels as brain maps: a table in, NIfTI volumes or GIFTI surfaces out, which any viewer opens.

Voxels are placed by `i j k` in a volume whose shape and affine come from a reference image, or from the millimeters of the voxels
themselves (`x_mm y_mm z_mm`). Voxels with `j` and `k` 0 throughout and a hemisphere L or R are vertices of a surface, `i` being the vertex.
Where no voxel is, numbers are NaN and labels 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float, Int

from protocols.errors import InputError
from protocols.tables import Columns, check_columns, write_tsv

INDICES: Columns = {"hemisphere": "text", "i": "integer", "j": "integer", "k": "integer"}
MILLIMETERS = ("x_mm", "y_mm", "z_mm")
FSAVERAGE = {2562: "fsaverage4", 10242: "fsaverage5", 40962: "fsaverage6", 163842: "fsaverage"}  # by the vertices of a hemisphere
STRUCTURES = {"L": "CortexLeft", "R": "CortexRight"}
# Okabe & Ito's colors, told apart by colour-blind people, then darker and lighter ones of them
COLORS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#000000",
    "#004466",
    "#8A5F00",
    "#005F46",
    "#8A3F6B",
)
_MOST_OFF = 0.05  # of a voxel: how far the fitted affine may miss the millimeters of a voxel
_REMEDY = "give --reference with an image of their grid, or --no-maps"


@dataclass(frozen=True)
class Volume:
    """The grid of a subject's voxels: `places` are their indices into an array of `shape`."""

    places: Int[np.ndarray, "voxels 3"]
    shape: tuple[int, int, int]
    affine: Float[np.ndarray, "4 4"]

    def describe(self) -> str:
        """Say what maps on it are."""
        return f"NIfTI, {' x '.join(map(str, self.shape))} voxels"

    def fill(self, values: npt.NDArray[np.generic], outside: float) -> npt.NDArray[np.generic]:
        """Return the volume with the voxels' values, `outside` elsewhere."""
        volume = np.full(self.shape, outside, dtype=values.dtype)
        volume[tuple(self.places.T)] = values
        return volume


@dataclass(frozen=True)
class Surface:
    """The vertices of a subject: of which hemisphere each row is, and its vertex among `vertices` of that hemisphere."""

    hemispheres: tuple[str, ...]
    places: Int[np.ndarray, " voxels"]
    vertices: int
    guessed: bool = False
    """Whether nobody said how many vertices there are."""

    def describe(self) -> str:
        """Say what maps on it are."""
        taken = f", taken for {FSAVERAGE[self.vertices]}" if self.guessed else ""
        return f"GIFTI, {self.vertices} vertices a hemisphere{taken}"

    def fill(self, values: npt.NDArray[np.generic], hemisphere: str, outside: float) -> npt.NDArray[np.generic]:
        """Return one hemisphere's vertices with their values, `outside` elsewhere."""
        inside = np.array(self.hemispheres) == hemisphere
        filled = np.full(self.vertices, outside, dtype=values.dtype)
        filled[self.places[inside]] = values[inside]
        return filled


Space = Volume | Surface


def find_spaces(voxels: pd.DataFrame, where: str, reference: Path | None = None, vertices: int | None = None) -> dict[str, Space]:
    """Return where every subject's voxels lie, as `find_space` does; `voxels` has a column `subject` as well."""
    subjects = dict.fromkeys(voxels["subject"])
    return {str(subject): find_space(voxels[voxels["subject"] == subject], where, reference, vertices) for subject in subjects}


def find_space(voxels: pd.DataFrame, where: str, reference: Path | None = None, vertices: int | None = None) -> Space:
    """Return where a subject's voxels lie.

    Parameters
    ----------
    voxels
        One subject's rows, with `hemisphere i j k` and, at will, `x_mm y_mm z_mm`.
    where
        Opens every refusal.
    reference
        An image in whose array `i j k` are indices.
    vertices
        Vertices per hemisphere; where None, those of the smallest fsaverage that has them all.

    Raises
    ------
    InputError
        When indices or the grid are missing, two voxels share a place, or a place lies outside of the grid.
    """
    missing = [name for name in INDICES if name not in voxels.columns]
    if missing:
        raise InputError(f"{where}: no column {', '.join(missing)}, so there is no map of these voxels; give --no-maps")
    table = check_columns(voxels, INDICES, where)
    places = table[["i", "j", "k"]].to_numpy()
    hemispheres = tuple(table["hemisphere"])
    if reference is None and not places[:, 1:].any() and set(hemispheres) <= set(STRUCTURES):
        space: Space = Surface(hemispheres, places[:, 0], _count_vertices(places[:, 0], where, vertices), vertices is None)
        _refuse_shared(np.column_stack([np.array(hemispheres) == "R", places[:, 0]]), where)
        return space
    _refuse_shared(places, where)
    if reference is not None:
        return _read_grid(reference, places, where)
    return _fit_grid(table, places, where)


def _count_vertices(places: Int[np.ndarray, " voxels"], where: str, vertices: int | None) -> int:
    fitting = [count for count in ((vertices,) if vertices else FSAVERAGE) if places.min() >= 0 and places.max() < count]
    if not fitting:
        most = f"{vertices} vertices were given" if vertices else f"fsaverage has {max(FSAVERAGE)} vertices"
        raise InputError(f"{where}: vertex {places.min() if places.min() < 0 else places.max()}, but {most}; give --vertices, or --no-maps")
    return fitting[0]


def _refuse_shared(places: npt.NDArray[np.int64], where: str) -> None:
    unique, count = np.unique(places, axis=0, return_counts=True)
    if (count > 1).any():
        raise InputError(f"{where}: two voxels lie at {tuple(unique[count > 1][0].tolist())}; a map needs a place for each; give --no-maps")


def _read_grid(reference: Path, places: Int[np.ndarray, "voxels 3"], where: str) -> Volume:
    import nibabel

    try:
        image = nibabel.load(reference)
        shape, affine = tuple(int(side) for side in image.shape[:3]), np.asarray(image.affine, dtype=np.float64)
    except Exception as problem:  # nibabel raises many kinds for what is no image, and surfaces have no shape
        raise InputError(f"{reference}: is no readable volume ({problem}); give a NIfTI image of the voxels' grid") from None
    if len(shape) != 3:
        raise InputError(f"{reference}: is of {len(shape)} dimensions; give a NIfTI image of the voxels' grid")
    outside = ((places < 0) | (places >= np.array(shape))).any(axis=1)
    if outside.any():
        raise InputError(
            f"{where}: a voxel at {tuple(places[outside][0].tolist())} lies outside of {reference.name}, of shape {shape}; "
            "give the image that i j k index"
        )
    return Volume(places, shape, affine)


def _fit_grid(table: pd.DataFrame, places: Int[np.ndarray, "voxels 3"], where: str) -> Volume:
    """Fit millimeters = affine (i j k 1) by least squares; indices below 0 are moved up to begin at 0, with the affine."""
    if any(name not in table.columns for name in MILLIMETERS):
        raise InputError(f"{where}: has i j k but neither their affine nor {' '.join(MILLIMETERS)}; {_REMEDY}")
    millimeters = check_columns(table, dict.fromkeys(MILLIMETERS, "number"), where)[list(MILLIMETERS)].to_numpy()
    offset = np.minimum(places.min(axis=0), 0)
    indices = np.column_stack([places - offset, np.ones(len(places))])
    if np.linalg.matrix_rank(indices) < 4:
        raise InputError(f"{where}: the voxels lie in one plane, which does not tell the affine of their volume; {_REMEDY}")
    solution, *_ = np.linalg.lstsq(indices, millimeters, rcond=None)
    off = np.abs(indices @ solution - millimeters).max()
    voxel = np.cbrt(abs(np.linalg.det(solution[:3])))
    if off > _MOST_OFF * voxel or voxel == 0:
        raise InputError(f"{where}: no affine takes i j k to {' '.join(MILLIMETERS)} (one voxel is {off:.2g} mm off); {_REMEDY}")
    affine = np.eye(4)
    affine[:3] = solution.T
    i, j, k = (int(side) + 1 for side in (places - offset).max(axis=0))
    return Volume(places - offset, (i, j, k), affine)


def write_maps(voxels: pd.DataFrame, spaces: Mapping[str, Space], folder: Path) -> list[Path]:
    """Write every column of numbers, and every one of text but `subject`, as maps of each subject's voxels; return the files.

    `voxels` are a table with `subject` and what is shown; `spaces` have a subject's rows in the table's order. Volumes are
    `sub-01_NAME.nii.gz`, float32, or int16 for labels with `sub-01_NAME.tsv` (`index name color`, as in BIDS). Surfaces are
    `sub-01_hemi-L_NAME.shape.gii`, or `.label.gii` with names and colors in it. All subjects' labels have the same numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name in [str(column) for column in voxels.columns if column != "subject"]:
        is_label = not pd.api.types.is_numeric_dtype(voxels[name])
        table = name_labels(voxels[name]) if is_label else None
        values = number_labels(voxels[name], table) if table is not None else voxels[name].to_numpy(dtype=np.float32)
        for subject, space in spaces.items():
            own = values[(voxels["subject"] == subject).to_numpy()]
            files += _write_one(space, own, folder, (f"sub-{subject}_", name), table)
    return files


def name_labels(labels: pd.Series) -> pd.DataFrame:
    """Return `index name color` of labels, from 1 in the order of first appearance; labels that are whole numbers in their own order."""
    names = list(dict.fromkeys(str(label) for label in labels if not pd.isna(label)))
    if all(name.isdigit() for name in names):
        names.sort(key=int)
    colors = [COLORS[number % len(COLORS)] for number in range(len(names))]
    return pd.DataFrame({"index": range(1, len(names) + 1), "name": names, "color": colors})


def number_labels(labels: pd.Series, table: pd.DataFrame) -> npt.NDArray[np.int16]:
    """Return each voxel's index in a table of `name_labels`, 0 where it has no label."""
    number_of = dict(zip(table["name"], table["index"], strict=True))
    return np.array([0 if pd.isna(label) else number_of[str(label)] for label in labels], dtype=np.int16)


def _write_one(
    space: Space, values: npt.NDArray[np.generic], folder: Path, name: tuple[str, str], table: pd.DataFrame | None
) -> list[Path]:
    """Write one map; `name` is what comes before the hemisphere and what after."""
    before, after = name
    outside = np.nan if table is None else 0.0
    if isinstance(space, Volume):
        path = folder / f"{before}{after}.nii.gz"
        _write_volume(space, space.fill(values, outside), path)
        if table is not None:
            write_tsv(table, folder / f"{before}{after}.tsv")
        return [path]
    files = []
    for hemisphere in sorted(set(space.hemispheres)):
        path = folder / f"{before}hemi-{hemisphere}_{after}.{'shape' if table is None else 'label'}.gii"
        _write_hemisphere(space.fill(values, hemisphere, outside), hemisphere, after, table, path)
        files.append(path)
    return files


def _write_volume(space: Volume, volume: npt.NDArray[np.generic], path: Path) -> None:
    import nibabel

    image = nibabel.Nifti1Image(volume, space.affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _write_hemisphere(values: npt.NDArray[np.generic], hemisphere: str, name: str, table: pd.DataFrame | None, path: Path) -> None:
    from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable, GiftiMetaData

    labels = GiftiLabelTable()
    for row in [] if table is None else [(0, "none", None), *table.itertuples(index=False)]:
        number, text, color = row
        entry = GiftiLabel(int(number), *([0.0] * 4 if color is None else [*(int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)), 1.0]))
        entry.label = text
        labels.labels.append(entry)
    intent, datatype = ("SHAPE", "FLOAT32") if table is None else ("LABEL", "INT32")
    array = GiftiDataArray(
        values.astype(np.float32 if table is None else np.int32),
        intent=f"NIFTI_INTENT_{intent}",
        datatype=f"NIFTI_TYPE_{datatype}",
        meta=GiftiMetaData(Name=name),
    )
    image = GiftiImage(meta=GiftiMetaData(AnatomicalStructurePrimary=STRUCTURES[hemisphere]), labeltable=labels, darrays=[array])
    path.write_bytes(image.to_bytes())
