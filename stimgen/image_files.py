"""Image files in and out: any photograph in, a square RGB array in 0-1 out; arrays in 0-1 saved as 8-bit PNG."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError

from protocols.errors import InputError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_GRAY = 127  # what transparent pixels become
_SIXTEEN_BIT = 65535 / 255


def find_images(folder: Path) -> list[Path]:
    """Return the image files in `folder` and below it, sorted by path; files whose names begin with a dot are passed over.

    Raises
    ------
    InputError
        When the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    files = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )
    if not files:
        raise InputError(f"{folder}: holds no images ({', '.join(SUFFIXES)})")
    return files


def open_photograph(path: Path) -> Image.Image:
    """Return an image file as 8-bit RGB: turned as its EXIF says, transparency on mid gray, 16-bit gray scaled to 8.

    Raises
    ------
    InputError
        When the file is missing or cannot be decoded.
    """
    try:
        with Image.open(path) as stored:
            stored.load()
            upright = ImageOps.exif_transpose(stored)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        raise InputError(f"{path}: cannot be decoded as an image ({problem}); remove it or copy it again") from None
    if upright.mode.startswith("I"):
        upright = Image.fromarray((np.asarray(upright) / _SIXTEEN_BIT).round().clip(0, 255).astype(np.uint8))
    if upright.has_transparency_data:
        layered = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layered.size, (_GRAY, _GRAY, _GRAY, 255)), layered)
    return upright.convert("RGB")


def crop_center(image: Image.Image) -> Image.Image:
    """Return the largest square around the image's center."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))


def read_image(path: Path, size_px: int) -> Float[np.ndarray, "size size 3"]:
    """Read an image file as a square of `size_px` in 0-1: its center, resized bilinearly with antialiasing where sizes differ."""
    square = crop_center(open_photograph(path))
    if square.size != (size_px, size_px):
        square = square.resize((size_px, size_px), Image.Resampling.BILINEAR)
    return np.asarray(square, dtype=np.float32) / 255


def write_png(image: Float[np.ndarray, "height width 3"], path: Path) -> None:
    """Write an array in 0-1 as an 8-bit RGB PNG.

    Raises
    ------
    ValueError
        When a value is not finite: such an image is a defect of whatever made it.
    """
    if not np.isfinite(image).all():
        raise ValueError(f"{path.name}: the image holds values that are not finite")
    pixels: npt.NDArray[np.uint8] = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")
