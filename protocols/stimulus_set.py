"""StimulusSet: a folder of PNGs and the checked table that says what each is; a ready BIDS `stimuli/` folder."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, UnidentifiedImageError

from protocols.errors import InputError
from protocols.provenance import Provenance, hash_file
from protocols.tables import Columns, check_columns, check_unique, read_json, read_tsv, write_text, write_tsv

TABLE = "stimuli.tsv"
SIDECAR = "stimuli.json"
FORMAT_VERSION = 1
COLUMNS: Columns = {
    "stim_id": "text",
    "stim_file": "text",
    "condition": "text",
    "target": "optional text",
    "method": "text",
    "seed": "optional number",
    "source_image": "optional text",
    "sha256": "text",
    "width_px": "integer",
    "height_px": "integer",
    "mean_luminance": "number",
    "rms_contrast": "number",
}
PREDICTED = "predicted_"
JUDGED = "judged_"
_BIT_DEPTH = 24  # offset of that byte in a PNG file (PNG specification, 11.2.1 IHDR)
STIM_ID = re.compile(r"[A-Za-z][A-Za-z0-9]*")


@dataclass(frozen=True)
class StimulusSet:
    """Images of one experiment and what is known of each.

    Attributes
    ----------
    folder
        Where the PNGs are.
    table
        One row per image with `COLUMNS`, then `predicted_<roi>` (by the generating models) and `judged_<roi>` (by models
        that took no part), both in z units of the natural pool. `mean_luminance` and `rms_contrast` are in 0-1 units.
    description
        The sidecar: levels and units of the columns, models, judges, and whatever the generator records.
    """

    folder: Path
    table: pd.DataFrame
    description: dict[str, Any]

    def __post_init__(self) -> None:
        where = str(self.folder / TABLE)
        scores: Columns = {str(name): "optional number" for name in self.table.columns if str(name).startswith((PREDICTED, JUDGED))}
        object.__setattr__(self, "table", check_columns(self.table, {**COLUMNS, **scores}, where).reset_index(drop=True))
        lower_case = self.table.assign(stim_id=self.table["stim_id"].str.lower())  # Windows and macOS keep one file for A and a
        check_unique(lower_case, "stim_id", where)
        for row, stim_id, stim_file in zip(self.table.index, self.table["stim_id"], self.table["stim_file"], strict=True):
            if not STIM_ID.fullmatch(stim_id):
                raise InputError(f"{where} row {row + 2}: stim_id {stim_id!r} must be letters and digits, beginning with a letter")
            if stim_file != image_file_name(stim_id):
                raise InputError(f"{where} row {row + 2}: stim_file {stim_file!r} must be {image_file_name(stim_id)!r}")

    @property
    def rois(self) -> list[str]:
        """ROIs that the set's images were made for, in order of first appearance."""
        return list(dict.fromkeys(target for target in self.table["target"] if target is not None))

    @property
    def sha256(self) -> str:
        """The set's identity: the sha256 of its table, which holds the sha256 of every image."""
        return hash_file(self.folder / TABLE)

    def image_path(self, stim_id: str) -> Path:
        """Return the path of one image."""
        if stim_id not in set(self.table["stim_id"]):
            raise InputError(f"{self.folder}: has no stim_id {stim_id!r}")
        return self.folder / image_file_name(stim_id)

    @classmethod
    def read(cls, folder: Path) -> "StimulusSet":
        """Read a complete set. The images themselves are checked by `verify`.

        Raises
        ------
        InputError
            When the folder has no provenance, or its table or sidecar is missing or breaks a rule.
        """
        Provenance.read(folder)
        table = read_tsv(folder / TABLE, COLUMNS)
        description = read_json(folder / SIDECAR, "copy the set again")
        if description.get("format_version") != FORMAT_VERSION:
            found = description.get("format_version")
            raise InputError(f"{folder / SIDECAR}: format_version {found!r}; this version reads {FORMAT_VERSION}")
        return cls(folder, table, description)

    def write(self, folder: Path) -> None:
        """Write `stimuli.tsv` and `stimuli.json` into `folder`, where the PNGs already are (see `staged_folder`)."""
        write_tsv(self.table, folder / TABLE)
        write_text(json.dumps({**self.description, "format_version": FORMAT_VERSION}, indent=2) + "\n", folder / SIDECAR)

    def verify(self) -> None:
        """Check every image against its row (present, decodable, of its size, unchanged), and the folder against its provenance.

        The latter finds what no row tells: a row that was renamed, added or taken out, an edited sidecar.

        Raises
        ------
        InputError
            Naming the row, the file and what is wrong with it.
        """
        for row, record in enumerate(self.table.to_dict("records")):
            where = f"{self.folder / TABLE} row {row + 2}: image {record['stim_file']!r}"
            path = self.folder / record["stim_file"]
            if not path.is_file():
                raise InputError(f"{where} is missing; copy the set again")
            image = _decode(path, where)
            _refuse_other_pixels(image, path, where)
            if hash_file(path) != record["sha256"]:
                raise InputError(f"{where} does not match its sha256; copy the set again")
            if image.size != (record["width_px"], record["height_px"]):
                raise InputError(
                    f"{where} is {image.width} x {image.height} px, the table says {record['width_px']} x {record['height_px']}"
                )
        Provenance.read(self.folder).verify_outputs(self.folder)


def image_file_name(stim_id: str) -> str:
    """Return the BIDS name of a stimulus's image: `stim-LABEL_image.png`."""
    return f"stim-{stim_id}_image.png"


def _decode(path: Path, where: str) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise InputError(f"{where} cannot be decoded ({problem}); copy the set again") from None


def _refuse_other_pixels(image: Image.Image, path: Path, where: str) -> None:
    """Refuse what two programs would show differently: 16 bits, transparency, a palette, another format than PNG."""
    with path.open("rb") as stream:
        header = stream.read(_BIT_DEPTH + 1)
    if image.format != "PNG" or header[_BIT_DEPTH] != 8 or image.mode not in ("L", "RGB") or image.has_transparency_data:
        raise InputError(f"{where} is not an 8-bit RGB or gray PNG without transparency; save it as one and make the set again")
