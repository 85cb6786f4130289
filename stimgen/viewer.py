"""A static page of a stimulus set: what it shows, as plain values, and the page itself, which opens from disk without a network."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from protocols.errors import InputError
from protocols.stimulus_set import JUDGED, PREDICTED, StimulusSet
from stimgen.look import COLUMNS_OF_LIGHT
from stimgen.set_check import read_drives
from stimgen.set_tables import ASCENT, SCORES, read_ascent, read_scores

IMAGES, THUMBNAILS = "images", "thumbnails"
_THUMBNAIL_PX, _QUALITY = 144, 80
_FACTS = ("condition", "target", "method", "seed", "control_of", "source_image", "source", "license", "subjects")
_DIGITS = 3


def describe_images(stimulus_set: StimulusSet) -> list[dict[str, Any]]:
    """Return what the page knows of every image, in the set's order: plain values, None where there is none.

    Raises
    ------
    InputError
        When a table beside the set names an image that is not in it.
    """
    table = stimulus_set.table
    drives = read_drives(stimulus_set)
    light = {name: pd.to_numeric(table[name], errors="coerce") for name in COLUMNS_OF_LIGHT if name in table.columns}
    scores, ascents = _group(stimulus_set, SCORES, read_scores), _group(stimulus_set, ASCENT, read_ascent)
    images = []
    for row, record in enumerate(table.to_dict("records")):
        stim_id = record["stim_id"]
        images.append(
            {
                "id": stim_id,
                "file": record["stim_file"],
                **{name: _plain(record.get(name)) for name in _FACTS},
                "seed": None if _plain(record["seed"]) is None else f"{int(float(record['seed']))}",
                "gate": _plain(record.get("gate")),
                "predicted": _plain(drives["drive_predicted"][row]),
                "judged": _plain(drives["drive_judged"][row]),
                "percentile": _plain(drives["drive_percentile"][row]),
                "light": {name: _plain(values[row]) for name, values in light.items()},
                "rois": _list_rois(record),
                "scores": [[one["model"], one["role"], _plain(one["drive"])] for one in scores.get(stim_id, [])],
                "ascent": [[int(one["step"]), _plain(one["drive"])] for one in ascents.get(stim_id, [])],
            }
        )
    return images


def _group(stimulus_set: StimulusSet, name: str, read: Callable[[Path], pd.DataFrame | None]) -> dict[str, list[dict[Any, Any]]]:
    """Return the rows of a table beside the set by image."""
    found = read(stimulus_set.folder)
    if found is None:
        return {}
    unknown = set(found["stim_id"]) - set(stimulus_set.table["stim_id"])
    if unknown:
        raise InputError(f"{stimulus_set.folder / name}: names {min(unknown)!r}, which is not in the set; copy the set again")
    return {str(stim_id): rows.to_dict("records") for stim_id, rows in found.groupby("stim_id", sort=False)}


def _list_rois(record: dict[Any, Any]) -> list[list[Any]]:
    """Return each ROI with its predicted and its judged response."""
    rois = dict.fromkeys(str(name).partition("_")[2] for name in record if str(name).startswith((PREDICTED, JUDGED)))
    return [[roi, _plain(record.get(f"{PREDICTED}{roi}")), _plain(record.get(f"{JUDGED}{roi}"))] for roi in rois]


def _plain(value: Any) -> Any:
    """Return a value that JSON has: numbers rounded, None for what is missing."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return None
    return round(float(value), _DIGITS) if isinstance(value, float) else str(value)


def copy_images(stimulus_set: StimulusSet, folder: Path, track: Callable[[Sequence[str]], Iterable[str]] = iter) -> None:
    """Copy every image into the page's folder, byte for byte, and make its thumbnail."""
    for name in (IMAGES, THUMBNAILS):
        (folder / name).mkdir()
    for name in track(list(stimulus_set.table["stim_file"])):
        source = stimulus_set.folder / name
        (folder / IMAGES / name).write_bytes(source.read_bytes())
        with Image.open(source) as image:
            small = image.convert("RGB")
            small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX), Image.Resampling.LANCZOS)
            small.save((folder / THUMBNAILS / name).with_suffix(".jpg"), quality=_QUALITY)


def render_page(title: str, images: Sequence[dict[str, Any]]) -> str:
    """Return the page as HTML; it names its pictures relative to itself."""
    environment = Environment(loader=PackageLoader("stimgen", "."), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("viewer.html").render(title=title, images=images)
