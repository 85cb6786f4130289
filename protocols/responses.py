"""Responses: single-trial voxel responses of one subject to images; what an encoding model is fitted to.

It stands here, not in `stimgen`, because the simulated scanner in `analysis` reads a planted brain's true
responses from the same folder.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from protocols.arrays import open_array
from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.tables import Columns, check_columns, check_unique, name_failed_file, read_tsv, write_tsv

TRIAL_COLUMNS: Columns = {"stim_id": "text", "session": "text", "run": "integer"}
VOXEL_COLUMNS: Columns = {"voxel_id": "text", "roi": "text", "hemisphere": "text", "i": "integer", "j": "integer", "k": "integer"}
IMAGE_COLUMNS: Columns = {"stim_id": "text", "image_file": "text"}


@dataclass(frozen=True)
class Responses:
    """One subject's responses.

    Attributes
    ----------
    folder
        Where they are; `image_file` paths are relative to it.
    trials
        One row per trial: `stim_id session run`. Repetitions are kept, never averaged.
    betas
        float32, trials x voxels, memory-mapped when read.
    voxels
        One row per voxel: `voxel_id roi hemisphere i j k` and whatever else is known of it.
    images
        One row per image: `stim_id image_file`.

    Raises
    ------
    InputError
        When sizes disagree, an id stands twice, or a trial shows an image that is not listed.
    """

    folder: Path
    trials: pd.DataFrame
    betas: npt.NDArray[np.float32]
    voxels: pd.DataFrame
    images: pd.DataFrame

    def __post_init__(self) -> None:
        for name, columns in (("trials", TRIAL_COLUMNS), ("voxels", VOXEL_COLUMNS), ("images", IMAGE_COLUMNS)):
            table = check_columns(getattr(self, name), columns, f"{self.folder / name}.tsv").reset_index(drop=True)
            object.__setattr__(self, name, table)
        check_unique(self.voxels, "voxel_id", f"{self.folder}/voxels.tsv")
        check_unique(self.images, "stim_id", f"{self.folder}/images.tsv")
        expected = (len(self.trials), len(self.voxels))
        if self.betas.shape != expected:
            raise InputError(
                f"{self.folder}/betas.npy: shape {self.betas.shape}, but trials.tsv has {expected[0]} rows and voxels.tsv {expected[1]}; "
                "write the three from the same data"
            )
        unknown = ~self.trials["stim_id"].isin(set(self.images["stim_id"]))
        if unknown.any():
            row = int(unknown.to_numpy().argmax())
            raise InputError(
                f"{self.folder}/trials.tsv row {row + 2}: stim_id {self.trials['stim_id'][row]!r} is not in images.tsv; add the image"
            )

    @property
    def subject(self) -> str:
        """The subject's label: the folder's name, without a leading `sub-`."""
        return self.folder.resolve().name.removeprefix("sub-")

    def image_paths(self) -> list[Path]:
        """Return the path of every image, in the order of `images`."""
        return [self.folder / name for name in self.images["image_file"]]

    @classmethod
    def read(cls, folder: Path) -> "Responses":
        """Read a responses folder; the betas stay on disk (memory-mapped)."""
        Provenance.read(folder)
        path = folder / "betas.npy"
        betas = open_array(path, "the folder")
        if betas is None:
            raise InputError(f"{path}: holds an archive, expected float32; write it again")
        if betas.dtype != np.float32:
            raise InputError(f"{path}: holds {betas.dtype}, expected float32; write it again")
        tables = (read_tsv(folder / f"{name}.tsv", columns) for name, columns in _TABLES.items())
        trials, voxels, images = tables
        return cls(folder, trials, betas, voxels, images)

    def verify(self) -> None:
        """Check that every image is there and that every file is as its provenance recorded it.

        Raises
        ------
        InputError
            Naming the row or the file.
        """
        for row, path in enumerate(self.image_paths()):
            if not path.is_file():
                raise InputError(f"{self.folder}/images.tsv row {row + 2}: image {path.name!r} is missing; copy the folder again")
        Provenance.read(self.folder).verify_outputs(self.folder)

    def write(self, folder: Path) -> None:
        """Write the tables and the betas into `folder` (the images are put there by whoever has them)."""
        for name in _TABLES:
            write_tsv(getattr(self, name), folder / f"{name}.tsv")
        _save_array(np.asarray(self.betas, dtype=np.float32), folder / "betas.npy")


def _save_array(array: npt.NDArray[np.float32], path: Path) -> None:
    with name_failed_file(path):
        try:
            np.save(path, array, allow_pickle=False)
        except OSError as failure:
            if failure.errno is None:  # NumPy reports a short write, which is what a full disk does, without its number
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from failure
            raise


_TABLES = {"trials": TRIAL_COLUMNS, "voxels": VOXEL_COLUMNS, "images": IMAGE_COLUMNS}
