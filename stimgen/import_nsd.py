"""The Natural Scenes Dataset as released: design, ROI volumes and betas of one subject in; trials, voxels and responses out.

Layout, names and units are those of the NSD Data Manual (https://cvnlab.slite.page/p/M3ZvPmfgU3) and of Allen et al. 2022 (Nature
Neuroscience 25, 116-126). An image is named by its `nsdId`, its place in `imgBrick` counted from 0, as `nsd_stim_info_merged.csv`
and the Algonauts challenge name it; the design counts from 1.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from rich.progress import track

from protocols.errors import InputError
from stimgen.console import progress_console
from stimgen.import_folder import require_file

SESSIONS = 40  # NSD Data Manual, Technical notes: the most that any subject completed
TRIALS = 750  # of a session (same place)
_SCALE = 300.0  # integer betas are percent signal change x 300 (same place, Functional data)
DOWNLOAD = "download it from the NSD release, keeping its folders"


@dataclass(frozen=True)
class NsdRelease:
    """Where one subject's files lie below `root`, the folder that holds `nsddata`, `nsddata_betas` and `nsddata_stimuli`."""

    root: Path
    subject: int
    resolution: str
    betas: str

    @property
    def design(self) -> Path:
        """Which image was shown when."""
        return self.root / "nsddata/experiments/nsd/nsd_expdesign.mat"

    @property
    def stimuli(self) -> Path:
        """All 73,000 images."""
        return self.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    def session_file(self, session: int) -> Path:
        """Return the betas of a session: HDF5, which can be read in parts, or NIfTI where only that is there."""
        folder = self.root / f"nsddata_betas/ppdata/subj{self.subject:02d}" / self.resolution / self.betas
        in_parts, compressed = (folder / f"betas_session{session:02d}.{suffix}" for suffix in ("hdf5", "nii.gz"))
        return compressed if compressed.is_file() and not in_parts.is_file() else in_parts

    def roi_file(self, name: str) -> Path:
        """Return the volume of an ROI map; `lh.NAME` and `rh.NAME` are those of one hemisphere."""
        return self.root / f"nsddata/ppdata/subj{self.subject:02d}" / self.resolution / f"roi/{name}.nii.gz"

    def label_file(self, name: str) -> Path:
        """Return the names of a map's labels."""
        return self.root / f"nsddata/freesurfer/subj{self.subject:02d}/label/{name}.mgz.ctab"

    def list_inputs(self, sessions: Sequence[int], maps: Sequence[str]) -> dict[str, Path]:
        """Return every file that an import reads, under a name for the provenance."""
        volumes = {name: self.roi_file(name) for one in maps for name in (one, f"lh.{one}", f"rh.{one}")}
        labels = {f"{name} labels": self.label_file(name) for name in maps}
        betas = {f"session {session:02d}": self.session_file(session) for session in sessions}
        found = {name: path for name, path in {**volumes, **labels}.items() if path.is_file()}
        return {"design": self.design, "stimuli": self.stimuli, **found, **betas}


def find_sessions(release: NsdRelease, wanted: str | None) -> list[int]:
    """Return the sessions that `wanted` names (`10` for the first ten, `3-12`), or all that are there.

    Raises
    ------
    InputError
        When the text is neither, or the betas of a session are missing.
    """
    if wanted is None:
        found = [session for session in range(1, SESSIONS + 1) if release.session_file(session).is_file()]
        if not found:
            raise InputError(f"{release.session_file(1)}: no such file, nor of another session, nor .nii.gz; {DOWNLOAD}")
        return found
    first, dash, last = wanted.partition("-")
    numbers = [first, last] if dash else ["1", first]
    if not all(number.isdecimal() for number in numbers) or not 1 <= int(numbers[0]) <= int(numbers[1]) <= SESSIONS:
        raise InputError(f"--sessions: {wanted!r} is neither a count such as 10 nor a range such as 3-12, up to {SESSIONS}")
    sessions = list(range(int(numbers[0]), int(numbers[1]) + 1))
    for session in sessions:
        require_file(release.session_file(session), f"{DOWNLOAD} (.hdf5 or .nii.gz), or name fewer --sessions")
    return sessions


def read_trials(release: NsdRelease, sessions: Sequence[int]) -> pd.DataFrame:
    """Return `stim_id session run nsd_id` of every trial of the sessions, in the order in which they were shown.

    Raises
    ------
    InputError
        When the design is missing, cannot be read, or does not hold what the trials need.
    """
    path = require_file(release.design, DOWNLOAD)
    design = _load_design(path)
    order, images = design["masterordering"].ravel().astype(np.int64), design["subjectim"]
    if len(order) < max(sessions) * TRIALS:
        raise InputError(
            f"{path}: masterordering has {len(order)} trials, session {max(sessions)} needs {max(sessions) * TRIALS}; {DOWNLOAD}"
        )
    if images.ndim != 2 or len(images) < release.subject or not 1 <= order.min() <= order.max() <= images.shape[1]:
        raise InputError(f"{path}: subjectim {images.shape} does not hold the images of subject {release.subject}; {DOWNLOAD}")
    tables = []
    for session in sessions:
        shown = images[release.subject - 1, order[(session - 1) * TRIALS : session * TRIALS] - 1].astype(np.int64) - 1
        runs = _find_runs(design.get("stimpattern"), session, path)
        tables.append(
            pd.DataFrame({"stim_id": [f"nsd{one:05d}" for one in shown], "session": f"{session:02d}", "run": runs, "nsd_id": shown})
        )
    return pd.concat(tables, ignore_index=True)


def _load_design(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        design: dict[str, Any] = loadmat(path, variable_names=["masterordering", "subjectim", "stimpattern"])
    except (MatReadError, OSError, ValueError, TypeError, IndexError, NotImplementedError, zlib.error) as problem:  # of a damaged file
        raise InputError(f"{path}: cannot be read ({problem}); {DOWNLOAD}") from None
    missing = [name for name in ("masterordering", "subjectim") if name not in design]
    if missing:
        raise InputError(f"{path}: holds no {missing[0]}; {DOWNLOAD}")
    return design


def _find_runs(pattern: np.ndarray | None, session: int, path: Path) -> Int[np.ndarray, " trials"]:
    """Return the run of each trial: `stimpattern` (sessions x runs x slots) is 1 in a slot that shows an image; 1 where it is absent."""
    if pattern is None:
        return np.ones(TRIALS, dtype=np.int64)
    if pattern.ndim != 3 or len(pattern) < session or (pattern[session - 1] > 0).sum() != TRIALS:
        raise InputError(f"{path}: stimpattern {pattern.shape} does not mark {TRIALS} trials of session {session}; {DOWNLOAD}")
    per_run = (pattern[session - 1] > 0).sum(axis=1)
    return np.repeat(np.arange(1, len(per_run) + 1), per_run)


def list_images(trials: pd.DataFrame) -> pd.DataFrame:
    """Return `stim_id image_file source nsd_id` of each image that is shown, in the order of `nsd_id`."""
    ids = np.unique(trials["nsd_id"])
    names = [f"nsd{one:05d}" for one in ids]
    files, sources = [f"images/{name}.png" for name in names], [f"nsd-{one:05d}" for one in ids]
    return pd.DataFrame({"stim_id": names, "image_file": files, "source": sources, "nsd_id": ids})


def read_betas(
    release: NsdRelease, sessions: Sequence[int], voxels: pd.DataFrame, shape: tuple[int, ...], zscore: bool
) -> Float[np.ndarray, "trials voxels"]:
    """Read the voxels' responses in percent signal change, session after session; nothing but one volume is held of the rest.

    A voxel whose trials are all exactly 0 in a session was masked or outside of the field of view there and becomes NaN: the release
    keeps whole numbers, which have no NaN. With `zscore`, a voxel's responses within a session become (b - mean) / standard deviation.

    Raises
    ------
    InputError
        When a file cannot be read or has another shape than the ROI volumes.
    """
    places = voxels[["i", "j", "k"]].to_numpy(dtype=np.int64)
    betas = np.empty((len(sessions) * TRIALS, len(places)), dtype=np.float32)
    for number, session in enumerate(track(sessions, description="sessions", console=progress_console())):
        path = release.session_file(session)
        with refuse_unreadable(path):
            read = _read_hdf5(path, places, shape) if path.suffix == ".hdf5" else _read_nifti(path, places, shape)
        read[:, (read == 0).all(axis=0)] = np.nan
        betas[number * TRIALS : (number + 1) * TRIALS] = standardize(read) if zscore else read
    return betas


def standardize(betas: Float[np.ndarray, "trials voxels"]) -> Float[np.ndarray, "trials voxels"]:
    """Return z = (b - mean) / standard deviation over trials, per voxel; NaN where a voxel is constant or holds NaN."""
    mean, deviation = betas.mean(axis=0, dtype=np.float64), betas.std(axis=0, dtype=np.float64)
    deviation[deviation == 0] = np.nan
    return np.asarray((betas - mean) / deviation, dtype=np.float32)


def _read_hdf5(path: Path, places: Int[np.ndarray, "voxels 3"], shape: tuple[int, ...]) -> Float[np.ndarray, "trials voxels"]:
    """Read one session from `betas`, trials x k x j x i; each row of i in one piece, from its first voxel to its last."""
    import h5py

    values = np.empty((TRIALS, len(places)), dtype=np.float32)
    with h5py.File(path, "r") as file:
        stored = _find_dataset(file, "betas", path)
        _refuse_other_shape(path, tuple(stored.shape), (TRIALS, *reversed(shape)))
        rows, row_of = np.unique(places[:, 1:], axis=0, return_inverse=True)
        columns_of = np.split(np.argsort(row_of.ravel(), kind="stable"), np.cumsum(np.bincount(row_of.ravel()))[:-1])
        for (j, k), columns in zip(rows, columns_of, strict=True):
            i = places[columns, 0]
            values[:, columns] = stored[:, k, j, i.min() : i.max() + 1][:, i - i.min()]
        return values / np.float32(_SCALE) if np.issubdtype(stored.dtype, np.integer) else values


def _read_nifti(path: Path, places: Int[np.ndarray, "voxels 3"], shape: tuple[int, ...]) -> Float[np.ndarray, "trials voxels"]:
    """Read one session from a volume i x j x k x trials, trial after trial."""
    import nibabel

    image = nibabel.load(path, keep_file_open=True)  # a compressed file that is opened anew is unpacked from its beginning
    _refuse_other_shape(path, tuple(image.shape), (*shape, TRIALS))
    values = np.empty((TRIALS, len(places)), dtype=np.float32)
    for trial in range(TRIALS):
        values[trial] = np.asarray(image.dataobj[..., trial])[tuple(places.T)]
    is_scaled = np.issubdtype(image.get_data_dtype(), np.integer) and image.dataobj.slope == 1  # else nibabel has brought it to percent
    return values / np.float32(_SCALE) if is_scaled else values


def check_stimuli(path: Path, nsd_ids: Sequence[int]) -> None:
    """Refuse a stimulus file that is missing or does not hold the images `nsd_ids`; called before the long reading begins."""
    import h5py

    require_file(path, DOWNLOAD)
    with refuse_unreadable(path), h5py.File(path, "r") as file:
        stored = _find_dataset(file, "imgBrick", path)
        if stored.ndim != 4 or stored.shape[3] != 3 or stored.dtype != np.uint8:
            raise InputError(f"{path}: imgBrick is {stored.dtype} {stored.shape}, expected uint8, images x height x width x 3; {DOWNLOAD}")
        if min(nsd_ids) < 0 or max(nsd_ids) >= len(stored):
            raise InputError(f"{path}: imgBrick holds {len(stored)} images, the design shows image {max(nsd_ids) + 1}; {DOWNLOAD}")


def write_images(path: Path, nsd_ids: Sequence[int], files: Sequence[Path]) -> None:
    """Write images out of the stimulus file as PNG, pixel for pixel."""
    import h5py
    from PIL import Image

    with refuse_unreadable(path), h5py.File(path, "r") as file:
        pairs = list(zip(nsd_ids, files, strict=True))
        for nsd_id, target in track(pairs, description="images", console=progress_console()):
            Image.fromarray(file["imgBrick"][nsd_id]).save(target, format="PNG")


def _find_dataset(file: Any, name: str, path: Path) -> Any:
    if name not in file or not hasattr(file[name], "dtype"):
        raise InputError(f"{path}: holds no dataset {name!r}, only {', '.join(file) or 'nothing'}; {DOWNLOAD}")
    return file[name]


def _refuse_other_shape(path: Path, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if found != expected:
        raise InputError(f"{path}: shape {found}, but the ROI volumes and {TRIALS} trials make {expected}; {DOWNLOAD}")


@contextmanager
def refuse_unreadable(path: Path) -> Iterator[None]:
    """Turn what the readers of HDF5 and NIfTI files raise on a damaged one into a refusal."""
    from nibabel.filebasedimages import ImageFileError

    try:
        yield
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as problem:
        raise InputError(f"{path}: cannot be read ({problem}); {DOWNLOAD}") from None
