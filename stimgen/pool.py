"""NaturalPool: natural images that z units refer to and controls are chosen from; a table of crops, or any folder of images."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from protocols.errors import InputError
from protocols.provenance import FILE_NAME, Provenance
from protocols.responses import IMAGE_COLUMNS
from protocols.tables import Columns, check_columns, check_unique, read_tsv, write_tsv
from stimgen.image_files import find_images, open_photograph

TABLE = "images.tsv"
COLUMNS: Columns = {**IMAGE_COLUMNS, "source": "text", "license": "text"}
UNKNOWN_LICENSE = "unknown"
_MOST_HELD_PX = 1_000_000_000  # 4 GB, as Pillow keeps RGB in four bytes
Track = Callable[[Iterator[tuple[str, Image.Image]]], Iterable[tuple[str, Image.Image]]]
# Photographs that scikit-image and scikit-learn carry in their wheels, with the licenses their READMEs state.
PUBLIC_PHOTOGRAPHS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        (
            "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
            "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
        ),
        ("skimage.data", "public domain or CC0 (scikit-image)"),
    ),
    "china.jpg": ("sklearn.datasets.images", "CC BY 2.0, danielbuechele"),
    "flower.jpg": ("sklearn.datasets.images", "CC BY 2.0, vultilion"),
}  # fmt: skip


@dataclass(frozen=True)
class NaturalPool:
    """Natural images: `stim_id image_file source license` a row; `source` is the photograph that a crop comes from."""

    folder: Path
    table: pd.DataFrame

    def __post_init__(self) -> None:
        where = str(self.folder / TABLE)
        object.__setattr__(self, "table", check_columns(self.table, COLUMNS, where).reset_index(drop=True))
        check_unique(self.table, "stim_id", where)

    def image_paths(self) -> list[Path]:
        """Return the path of every image, in the order of `table`."""
        return [self.folder / name for name in self.table["image_file"]]

    @classmethod
    def read(cls, folder: Path) -> "NaturalPool":
        """Read a pool that `stimgen pool` wrote, or any folder of images (each its own source, its license unknown).

        Raises
        ------
        InputError
            When the folder is missing or holds no image, or an image that its table names is missing.
        """
        if not (folder / TABLE).is_file():
            return cls(folder, _tabulate_folder(folder))
        Provenance.read(folder)
        pool = cls(folder, read_tsv(folder / TABLE, COLUMNS))
        for row, path in enumerate(pool.image_paths()):
            if not path.is_file():
                raise InputError(f"{folder / TABLE} row {row + 2}: image {path.name!r} is missing; copy the pool again")
        return pool

    def write(self, folder: Path) -> None:
        """Write `images.tsv` into `folder`, where the images already are."""
        write_tsv(self.table, folder / TABLE)


def find_public_photographs() -> pd.DataFrame:
    """Return `path source license` of the photographs in scikit-image's and scikit-learn's wheels."""
    from importlib.resources import files

    rows = []
    for name, (package, license_text) in PUBLIC_PHOTOGRAPHS.items():
        path = Path(str(files(package))) / name
        if not path.is_file():
            raise InputError(
                f"{path}: missing from the installed package; install scikit-image and scikit-learn again, or give --images FOLDER"
            )
        rows.append({"path": path, "source": path.stem, "license": license_text})
    return pd.DataFrame(rows)


def find_photographs(folder: Path) -> pd.DataFrame:
    """Return `path source license` of a user's own folder of photographs; the license is theirs to know."""
    paths = find_images(folder)
    sources = [path.relative_to(folder).as_posix() for path in paths]
    return pd.DataFrame({"path": paths, "source": sources, "license": UNKNOWN_LICENSE})


def cut_crops(photographs: pd.DataFrame, count: int, size_px: int, rng: np.random.Generator) -> Iterator[tuple[str, Image.Image]]:
    """Yield `count` square crops (source, image), the photographs taking turns; the first of each is its center, whole.

    A crop's side is drawn between 30 % and 100 % of the photograph's short side, its place uniformly. Photographs are held in memory while
    there is room, and opened again for every crop beyond.
    """
    opened: dict[str, Image.Image] = {}
    for index in range(count):
        record = photographs.iloc[index % len(photographs)]
        source = str(record["source"])
        image = opened.get(source) or open_photograph(record["path"])
        if source not in opened and sum(one.width * one.height for one in (*opened.values(), image)) <= _MOST_HELD_PX:
            opened[source] = image
        yield source, _cut_crop(image, index >= len(photographs), size_px, rng)


def write_crops(
    photographs: pd.DataFrame, count: int, size_px: int, rng: np.random.Generator, folder: Path, track: Track = iter
) -> NaturalPool:
    """Cut crops into `folder` and write the pool's table there; `track` wraps the crops as they are cut."""
    licenses = dict(zip(photographs["source"], photographs["license"], strict=True))
    rows = []
    for number, (source, crop) in enumerate(track(cut_crops(photographs, count, size_px, rng)), start=1):
        stim_id = f"nat{number:05d}"
        crop.save(folder / f"{stim_id}.png")
        rows.append({"stim_id": stim_id, "image_file": f"{stim_id}.png", "source": source, "license": licenses[source]})
    made = NaturalPool(folder, pd.DataFrame(rows))
    made.write(folder)
    return made


def _cut_crop(image: Image.Image, at_random: bool, size_px: int, rng: np.random.Generator) -> Image.Image:
    width, height = image.size
    side = round(min(width, height) * (rng.uniform(0.3, 1.0) if at_random else 1.0))
    left, top = (int(rng.integers(0, extent - side + 1)) if at_random else (extent - side) // 2 for extent in (width, height))
    return image.resize((size_px, size_px), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))


def _tabulate_folder(folder: Path) -> pd.DataFrame:
    files = [path.relative_to(folder) for path in find_images(folder) if path.name != FILE_NAME]
    ids = [_make_id(path) for path in files]
    table = pd.DataFrame({"stim_id": ids, "image_file": [path.as_posix() for path in files], "source": ids, "license": UNKNOWN_LICENSE})
    repeated = table["stim_id"].duplicated(keep=False)
    if repeated.any():
        first, second = table["image_file"][repeated].iloc[:2]
        raise InputError(
            f"{folder}: {first!r} and {second!r} would have the same stim_id {table['stim_id'][repeated].iloc[0]!r}; rename one"
        )
    return table


def _make_id(path: Path) -> str:
    """Return a stim_id from a file's path: its letters and digits, beginning with a letter."""
    letters = re.sub(r"[^0-9A-Za-z]", "", path.with_suffix("").as_posix())
    return letters if letters[:1].isalpha() else f"i{letters}"
