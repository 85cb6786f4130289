"""Image files in and out: any photograph in, a square RGB array in 0-1 out; arrays in 0-1 saved as 8-bit PNG."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from protocols.errors import InputError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_GRAY = 127  # what transparent pixels become
_MOST_16_BIT = 65535
_SIXTEEN_BIT = _MOST_16_BIT / 255
_NO_RANGE = {"F": "floating-point numbers whose black and white are not known", "LAB": "a color space without a known white"}
_DEEP = "whole numbers of more than 16 bits"


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
    """Return an image file as 8-bit RGB: turned as its EXIF says, transparency on mid gray, 16-bit gray scaled to 8, colors in sRGB.

    Raises
    ------
    InputError
        When the file is missing, cannot be decoded, has more pixels than fit into memory, or values of no known range.
    """
    try:
        with _allow_large(), Image.open(path) as stored:
            stored.load()
            upright = ImageOps.exif_transpose(stored)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Image.DecompressionBombError as problem:
        raise InputError(f"{path}: is too large ({problem}); scale it down") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as problem:
        raise InputError(f"{path}: cannot be decoded as an image ({problem}); remove it or copy it again") from None
    if upright.mode in _NO_RANGE or (upright.mode == "I" and np.asarray(upright).max() > _MOST_16_BIT):
        raise InputError(
            f"{path}: its pixels are of mode {upright.mode!r}, {_NO_RANGE.get(upright.mode, _DEEP)}; save it as an 8-bit RGB image"
        )
    if upright.mode.startswith("I"):
        upright = Image.fromarray((np.asarray(upright) / _SIXTEEN_BIT).round().clip(0, 255).astype(np.uint8))
    if upright.has_transparency_data:
        layered = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layered.size, (_GRAY, _GRAY, _GRAY, 255)), layered)
        upright.info["icc_profile"] = layered.info.get("icc_profile")
    return _convert_to_srgb(upright)


def _convert_to_srgb(image: Image.Image) -> Image.Image:
    """Return the image in RGB; colors of another embedded profile (Adobe RGB, Display P3, a printer's) become those of sRGB."""
    embedded = image.info.get("icc_profile")
    if not embedded:
        return image.convert("RGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return image.convert("RGB")
        plain = image.convert("RGB") if image.mode not in ("RGB", "CMYK", "L") else image
        converted = ImageCms.profileToProfile(plain, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")  # a broken profile, or one of other colors than the image's, is passed over, as viewers do
    return image.convert("RGB") if converted is None else converted


def crop_center(image: Image.Image) -> Image.Image:
    """Return the largest square around the image's center."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    with _allow_large():
        return image.crop((left, top, left + side, top + side))


@contextmanager
def _allow_large() -> Iterator[None]:
    """Keep Pillow from warning of photographs of 100 megapixels; those of twice that are refused by an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


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
