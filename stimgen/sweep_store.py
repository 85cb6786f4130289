"""A sweep's images on disk: an image or more for every target, in a few shards with one index, and what is known of each target.

A shard is a plain zip archive of PNGs, stored without further compression, so that one image is read without its neighbors and any
program opens it. The same images give the same bytes.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.tables import Columns, check_columns, check_unique, read_json, read_tsv, write_text, write_tsv

CARD, TARGETS, IMAGES, SHARDS = "sweep.json", "targets.tsv", "images.tsv", "shards"
FORMAT_VERSION = 1
TARGET_COLUMNS: Columns = {
    "target_id": "text",
    "subject": "text",
    "roi": "text",
    "cv_r": "number",
    "noise_ceiling": "optional number",
    "layer": "text",
}
IMAGE_COLUMNS: Columns = {
    "image_id": "text",
    "target_id": "text",
    "seed": "integer",
    "start": "optional text",
    "shard": "text",
    "sha256": "text",
    "predicted": "number",
    "judged": "optional number",
}
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class SweepStore:
    """A sweep.

    Attributes
    ----------
    folder
        Where it lies.
    targets
        One row per target (`TARGET_COLUMNS`, and what else the model's `voxels.tsv` knows of a voxel); `layer` is the deepest it needs.
    images
        One row per image (`IMAGE_COLUMNS`), those of a target together; `predicted` and `judged` are drives in z units of natural images.
    card
        Everything else: size in pixels, images per target, the model's hash, settings.
    """

    folder: Path
    targets: pd.DataFrame
    images: pd.DataFrame
    card: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", check_columns(self.targets, TARGET_COLUMNS, TARGETS).reset_index(drop=True))
        object.__setattr__(self, "images", check_columns(self.images, IMAGE_COLUMNS, IMAGES).reset_index(drop=True))
        check_unique(self.targets, "target_id", TARGETS)
        check_unique(self.images, "image_id", IMAGES)
        unknown = sorted(set(self.images["target_id"]) ^ set(self.targets["target_id"]))
        if unknown:
            raise InputError(f"{self.folder}: {unknown[0]!r} is in one of {TARGETS} and {IMAGES} alone; copy the sweep again")

    @classmethod
    def read(cls, folder: Path) -> "SweepStore":
        """Read a sweep's tables; images are read one by one.

        Raises
        ------
        InputError
            When the folder is incomplete, or of another format.
        """
        Provenance.read(folder)
        card = read_json(folder / CARD, "copy the sweep again")
        if card.get("format_version") != FORMAT_VERSION:
            raise InputError(f"{folder / CARD}: format_version {card.get('format_version')!r}; this version reads {FORMAT_VERSION}")
        return cls(folder, read_tsv(folder / TARGETS, TARGET_COLUMNS), read_tsv(folder / IMAGES, IMAGE_COLUMNS), card)

    def write(self, folder: Path) -> None:
        """Write card and tables into `folder`, where the shards are already."""
        write_text(json.dumps({"format_version": FORMAT_VERSION, **self.card}, indent=2, sort_keys=True) + "\n", folder / CARD)
        write_tsv(self.targets, folder / TARGETS)
        write_tsv(self.images, folder / IMAGES)

    def recall_hash(self, name: str) -> str | None:
        """Return the sha256 of an input (`model`, `pool`) that the card names, None where it names none."""
        described = self.card.get(name)
        found = described.get("sha256") if isinstance(described, dict) else self.card.get(f"{name}_sha256")
        return found if isinstance(found, str) else None

    def read_shard(self, shard: str) -> dict[str, bytes]:
        """Return a shard's PNGs by image_id.

        Raises
        ------
        InputError
            When the shard is missing or damaged.
        """
        return read_shard(self.folder / SHARDS / shard)

    def read_image(self, image_id: str) -> bytes:
        """Return one image's PNG.

        Raises
        ------
        InputError
            When there is no such image, or its shard is missing or damaged.
        """
        rows = self.images.loc[self.images["image_id"] == image_id, "shard"]
        if not len(rows):
            raise InputError(f"{self.folder / IMAGES}: has no image {image_id!r}")
        return _open_shard(self.folder / SHARDS / str(rows.iloc[0]), [image_id])[image_id]


def write_shard(images: Mapping[str, bytes], path: Path) -> None:
    """Write PNGs by image_id as one archive; the caller moves it into place."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for image_id, png in images.items():
            archive.writestr(zipfile.ZipInfo(f"{image_id}.png", _EPOCH), png)


def read_shard(path: Path) -> dict[str, bytes]:
    """Return an archive's PNGs by image_id.

    Raises
    ------
    InputError
        When the file is missing or damaged.
    """
    return _open_shard(path, None)


def _open_shard(path: Path, only: list[str] | None) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(path.read_bytes()) if only is None else path) as archive:
            names = archive.namelist() if only is None else [f"{image_id}.png" for image_id in only]
            return {name.removesuffix(".png"): archive.read(name) for name in names}
    except (OSError, KeyError, zipfile.BadZipFile) as problem:
        raise InputError(f"{path}: cannot be read ({problem}); copy the sweep again, or run stimgen sweep again") from None
