"""The pictures and scripts of a cortex page: a sweep's images and favorite photographs as small JPEGs, the page's own files beside them."""

import io
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from protocols.errors import InputError
from protocols.tables import write_text
from stimgen.image_files import crop_center, open_photograph
from stimgen.sweep_store import SweepStore

IMAGES, NATURAL, CODE = "images", "natural", "code"
SCRIPTS = (
    "three.min.js",
    "decode.js",
    "cortex.js",
    "colors.js",
    "outlines.js",
    "scene.js",
    "panel.js",
    "overlays.js",
    "gestures.js",
    "page.js",
)  # in this order
_FILES = ("page.css", "three.LICENSE.txt", *SCRIPTS)
_FOLDERS = {name: "vendor" if name.startswith("three") else "cortex_page" for name in _FILES}
_IMAGE_PX, _NATURAL_PX, _QUALITY = 224, 112, 82
_PER_FOLDER = 1000
Track = Callable[[Sequence[str]], Iterable[str]]


def name_picture(kind: str, number: int) -> str:
    """Return where the page looks for a picture: a thousand in a folder, numbered, so that no name depends on an id."""
    return f"{kind}/{number // _PER_FOLDER:03d}/{number:06d}.jpg"


def write_images(store: SweepStore, images: pd.DataFrame, folder: Path, track: Track = iter) -> None:
    """Write some of a sweep's images by the index of `images`, rows of its table; at most 224 pixels wide. A shard is read once.

    Raises
    ------
    InputError
        When a shard is missing or damaged, or an image is not the one that the sweep's table names.
    """
    for shard in track([str(name) for name in images["shard"].unique()]):
        pictures = store.read_shard(shard)
        inside = images[images["shard"] == shard]
        for number, image_id, digest in zip(inside.index.tolist(), inside["image_id"], inside["sha256"], strict=True):
            png = pictures.get(image_id)
            if png is None or sha256(png).hexdigest() != digest:
                found = "is missing" if png is None else "does not match its sha256 in images.tsv"
                raise InputError(f"{store.folder}: image {image_id!r} {found} (shard {shard}); copy the sweep again, or run it again")
            with Image.open(io.BytesIO(png)) as image:
                _save_small(image.convert("RGB"), _IMAGE_PX, folder / name_picture(IMAGES, number))


def write_natural(paths: Sequence[Path], chosen: Iterable[int], folder: Path) -> None:
    """Write thumbnails of the pool's images that are somebody's favorite, under their row in the pool."""
    for number in sorted(set(chosen)):
        picture = crop_center(open_photograph(paths[number], least_px=_NATURAL_PX))
        _save_small(picture, _NATURAL_PX, folder / name_picture(NATURAL, number))


def _save_small(image: Image.Image, side_px: int, path: Path) -> None:
    image.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=_QUALITY)


def write_page(title: str, folder: Path) -> None:
    """Write `index.html` and the scripts it loads, with the license of the library among them."""
    from importlib.resources import files

    for name in _FILES:
        write_text((files("stimgen") / _FOLDERS[name] / name).read_text(encoding="utf-8"), folder / CODE / name)
    environment = Environment(loader=PackageLoader("stimgen", "cortex_page"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("cortex.html").render(
        title=title, scripts=[f"{CODE}/{name}" for name in SCRIPTS], styles=f"{CODE}/page.css"
    )
    write_text(page, folder / "index.html")
