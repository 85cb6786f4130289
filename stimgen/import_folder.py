"""A plain folder of tables, betas and images in, checked Responses out; and how every imported layout finds, loads and copies files."""

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from jaxtyping import Float
from rich.progress import track

from protocols.arrays import open_array
from protocols.errors import InputError
from protocols.responses import IMAGE_COLUMNS, Responses
from protocols.tables import Columns, read_tsv
from stimgen.console import progress_console
from stimgen.image_files import find_images, open_photograph

SESSION, RUN = "01", 1  # of trials whose session or run is not known
BOTH_HEMISPHERES = "LR"  # as in a RoiTable: the two are not told apart
_INDICES = ["i", "j", "k"]
_TRIAL_COLUMNS: Columns = {"stim_id": "text"}
_VOXEL_COLUMNS: Columns = {"voxel_id": "text", "roi": "text"}


def read_folder(source: Path) -> tuple[Responses, list[Path]]:
    """Read `trials.tsv`, `betas.npy`, `voxels.tsv` and `images/` (with or without `images.tsv`) from a folder.

    Returns
    -------
    responses
        With the optional columns filled in; its folder is `source`, so that a refusal names the file that has to be mended.
    files
        The image files, in the order of `responses.images`.

    Raises
    ------
    InputError
        When a file is missing, a table or the array breaks a rule, or the sizes disagree.
    """
    trials = read_tsv(require_file(source / "trials.tsv", "write one row per trial with its stim_id"), _TRIAL_COLUMNS)
    voxels = read_tsv(require_file(source / "voxels.tsv", "write one row per voxel with voxel_id and roi"), _VOXEL_COLUMNS)
    betas = load_responses(source / "betas.npy", "save the responses there, trials x voxels, with numpy.save")
    images = _read_images(source)
    responses = Responses(source, fill_trials(trials), betas, fill_voxels(voxels, f"{source}/voxels.tsv"), images)
    return responses, _find_image_files(source, images)


def fill_trials(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials with a `session` (01) and a `run` (1) where the columns are absent."""
    filled = trials if "session" in trials.columns else trials.assign(session=SESSION)
    return filled if "run" in filled.columns else filled.assign(run=RUN)


def fill_voxels(voxels: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the voxels with a `hemisphere` (LR) and indices (`i` the voxel's column in the betas, `j` and `k` 0) where absent.

    Raises
    ------
    InputError
        When some of i, j, k are there and others are not: a place of which only a part is known is a mistake.
    """
    filled = voxels if "hemisphere" in voxels.columns else voxels.assign(hemisphere=BOTH_HEMISPHERES)
    missing = [name for name in _INDICES if name not in voxels.columns]
    if len(missing) == len(_INDICES):
        return filled.assign(i=np.arange(len(voxels)), j=0, k=0)
    if missing:
        raise InputError(f"{where}: missing column {', '.join(missing)}; give i, j and k, or none of them")
    return filled


def require_file(path: Path, remedy: str) -> Path:
    """Return `path` where it is a file.

    Raises
    ------
    InputError
        Naming the path that was looked for, and `remedy`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; {remedy}")
    return path


def require_folder(path: Path, remedy: str) -> Path:
    """Return `path` where it is a folder; refuse it with `remedy` otherwise."""
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; {remedy}")
    return path


def load_array(path: Path, remedy: str) -> np.ndarray:
    """Open a NumPy array file without reading it whole (memory-mapped) and without ever unpickling it.

    Raises
    ------
    InputError
        When the file is missing (ending in `remedy`) or is no NumPy array.
    """
    require_file(path, remedy)
    array = open_array(path)
    if array is None:
        raise InputError(f"{path}: holds an archive of arrays; save the one array with numpy.save")
    return array


def load_responses(path: Path, remedy: str) -> Float[np.ndarray, "trials voxels"]:
    """Open an array of responses, trials x voxels, of any floating-point type; see `load_array`."""
    array = load_array(path, remedy)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"{path}: holds {array.dtype}, expected floating-point numbers; convert the responses first")
    if array.ndim != 2:
        raise InputError(f"{path}: shape {array.shape}, expected two dimensions, trials x voxels; save it so")
    return array


def copy_images(files: Sequence[Path], names: Sequence[str], folder: Path) -> None:
    """Copy image files byte for byte to `names`, relative to `folder`.

    Raises
    ------
    InputError
        Naming the first file that cannot be decoded as an image.
    """
    pairs = list(zip(files, names, strict=True))
    for file, name in track(pairs, description="images", console=progress_console()):
        open_photograph(file)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, folder / name)


def _read_images(source: Path) -> pd.DataFrame:
    """Return `stim_id image_file` and what else `images.tsv` holds; without it, every file of `images/` under its stem."""
    table = source / "images.tsv"
    if table.is_file():
        return read_tsv(table, IMAGE_COLUMNS)
    folder = require_folder(source / "images", "put the images there, each named after its stim_id")
    files = [path.relative_to(source).as_posix() for path in find_images(folder)]
    images = pd.DataFrame({"stim_id": [PurePosixPath(name).stem for name in files], "image_file": files})
    repeated = images["stim_id"].duplicated(keep=False)
    if repeated.any():
        first, second = images["image_file"][repeated].iloc[:2]
        raise InputError(f"{folder}: {first!r} and {second!r} would have the same stim_id; rename one, or write images.tsv")
    return images


def _find_image_files(source: Path, images: pd.DataFrame) -> list[Path]:
    for row, name in enumerate(images["image_file"]):
        place = PurePosixPath(name)
        where = f"{source}/images.tsv row {row + 2}: image_file {name!r}"
        if place.is_absolute() or ".." in place.parts or "\\" in name:
            raise InputError(f"{where} must be a path below the folder, written with /")
        if not (source / place).is_file():
            raise InputError(f"{where} is missing; put the image there")
    return [source / name for name in images["image_file"]]
