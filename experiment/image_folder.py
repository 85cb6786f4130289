"""A folder of images in, a stimulus set out: a localizer's categories, or catch images that join another set.

The images are taken as they are: turned as their EXIF says, saved as 8-bit RGB PNG, named by the BIDS rules.
"""

import dataclasses
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError

from protocols.errors import InputError
from protocols.protocol import Protocol
from protocols.provenance import Provenance, hash_file
from protocols.stimulus_set import COLUMNS, StimulusSet, image_file_name

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_MODES = ("RGB", "L", "P", "1")
_GAMMA = 2.2  # no display was measured for these images; the columns below say how light they are, nothing is matched by them
_REC_709 = (0.2126, 0.7152, 0.0722)  # luminance of the primaries (ITU-R BT.709)


def list_images(folder: Path, categories: Mapping[str, Sequence[str]]) -> dict[str, list[Path]]:
    """Return the image files of each condition: those of its folders, or, without `categories`, of the folder of its name.

    Raises
    ------
    InputError
        When the folder, or the folder of a category, is absent or has no image.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give a folder that has one folder of images per category")
    wanted = categories or {path.name: [path.name] for path in sorted(folder.iterdir()) if path.is_dir()}
    found = {condition: [file for name in names for file in _list_files(folder / name)] for condition, names in wanted.items()}
    if not found:
        raise InputError(f"{folder}: has no folders; put the images of each category into a folder of its name")
    return found


def import_images(found: Mapping[str, Sequence[Path]], folder: Path) -> pd.DataFrame:
    """Save images into `folder` by the rules of a stimulus set; return their rows.

    Raises
    ------
    InputError
        Naming the file that is no image, or has transparency or more than 8 bits.
    """
    rows = []
    for condition, files in found.items():
        label = re.sub(r"[^A-Za-z0-9]", "", condition)
        for number, file in enumerate(files, 1):
            rows.append(_import_image(file, condition, f"{label}{number:03d}", folder))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def join_tables(stimuli: StimulusSet, added: pd.DataFrame) -> pd.DataFrame:
    """Return a set's rows and then those of other images.

    Raises
    ------
    InputError
        When a stim_id stands in both.
    """
    both = set(stimuli.table["stim_id"].str.lower()) & set(added["stim_id"].str.lower())
    if both:
        raise InputError(f"{stimuli.folder}: has a stim_id {min(both)!r} already; name the folder of the added images otherwise")
    joined = pd.concat([stimuli.table, added], ignore_index=True)
    return joined.astype(object).where(joined.notna(), None)


def _list_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise InputError(f"{folder}: has no image ({', '.join(_SUFFIXES)}); put the category's images there, or change [categories]")
    return files


def _import_image(file: Path, condition: str, stim_id: str, folder: Path) -> dict[str, object]:
    try:
        with Image.open(file) as opened:
            if opened.mode not in _MODES or opened.has_transparency_data:
                raise InputError(f"{file}: has mode {opened.mode} or transparency; save it as an 8-bit RGB or gray image")
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise InputError(f"{file}: cannot be read as an image ({problem}); take it out or save it anew") from None
    path = folder / image_file_name(stim_id)
    image.save(path)
    luminance = (np.asarray(image, dtype=np.float64) / 255) ** _GAMMA @ np.array(_REC_709)
    return {
        "stim_id": stim_id,
        "stim_file": path.name,
        "condition": condition,
        "target": None,
        "method": "file",
        "seed": None,
        "source_image": f"{file.parent.name}/{file.name}",
        "sha256": hash_file(path),
        "width_px": image.width,
        "height_px": image.height,
        "mean_luminance": float(luminance.mean()),
        "rms_contrast": float(luminance.std() / luminance.mean()) if luminance.any() else 0.0,
    }


@contextmanager
def gather_stimuli(set_folder: Path | None, images: Path | None, catch: Path | None, protocol: Protocol) -> Iterator[StimulusSet]:
    """Yield the set that a plan shows: `set_folder` as it is, or a set made of folders of images for as long as the context lasts.

    Raises
    ------
    InputError
        When neither or both of set and images are given, or one cannot be read.
    """
    if (set_folder is None) == (images is None):
        raise InputError("plan: give either --set, a stimulus set, or --images, a folder with one folder of images per category")
    given = StimulusSet.read(set_folder) if set_folder else None
    if given:
        given.verify()
        if catch is None:
            yield given
            return
    with tempfile.TemporaryDirectory(prefix="voxdrive-") as place:
        folder = Path(place) / "stimuli"
        folder.mkdir()
        found = list_images(images, protocol.categories) if images else {}
        if catch is not None:
            found[protocol.probe.catch_condition] = _list_files(catch)
        table = import_images(found, folder)
        if given:
            table = join_tables(given, table)
            for name in given.table["stim_file"]:
                shutil.copyfile(given.folder / name, folder / name)
        StimulusSet(folder, table, given.description if given else {}).write(folder)
        outputs = {file.name: hash_file(file) for file in sorted(folder.iterdir())}
        inputs = {name: one for name, one in (("set", set_folder), ("images", images), ("catch", catch)) if one}
        provenance = Provenance.collect("experiment plan", {"categories": protocol.categories}, inputs)
        dataclasses.replace(provenance, outputs=outputs).write(folder)
        yield StimulusSet.read(folder)
