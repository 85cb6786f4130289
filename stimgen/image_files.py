"""Image files in and out: any photograph in, a square RGB array in 0-1 out; arrays in 0-1 saved as 8-bit PNG.

A photograph comes out as it is meant to look on an sRGB display; where the file does not tell how that is, it is refused.
"""

import io
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from protocols.errors import InputError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MOST_PIXELS = 200_000_000
_NOT_READ = (".arw", ".avif", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".psd")  # not by every Pillow
_HUGE_PIXELS = 89_478_485  # beyond what Pillow opens without a word; below it every pixel of a JPEG is decoded
_OVERSAMPLED = 4  # pixels that a huge JPEG keeps along a side for each that is asked for
_GRAY = 127  # what transparent pixels become
_NO_RANGE = {
    "F": "floating-point numbers whose black and white are not known",
    "I": "whole numbers of more than 16 bits or with a sign",
    "LAB": "a color space without a known white",
}
_SIXTEEN_BIT_IN_I = ("PNG", "PPM")  # formats of which mode I is 16-bit gray, in some versions of Pillow
_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF 6.0, section 8
_SAME_COLOR = 2  # of 255 levels: a profile that changes no color by more is one of the many that are called sRGB
_OPENING = threading.Lock()


def find_images(folder: Path) -> list[Path]:
    """Return the image files in `folder` and below it, sorted by path; files whose names begin with a dot are passed over.

    Raises
    ------
    InputError
        When the folder is missing, holds no image, or holds a photograph of a kind that is not read.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    kinds = SUFFIXES + _NOT_READ
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in kinds and not path.name.startswith(".") and path.is_file())
    for path in files:
        _refuse_kind(path)
    if not files:
        raise InputError(f"{folder}: holds no images ({', '.join(SUFFIXES)})")
    return files


def open_photograph(path: Path, least_px: int | None = None) -> Image.Image:
    """Return an image file as 8-bit RGB for an sRGB display, the first image where a file holds several.

    It is turned as its EXIF says; an embedded color profile is applied unless it is sRGB or broken; transparency becomes mid gray; 16 bits
    become 8. With `least_px` a JPEG beyond 89 megapixels MAY come smaller, its sides at least four times that: the decoder skips details.

    Raises
    ------
    InputError
        When the file is missing, cannot be decoded, has too many pixels, is of a kind that is not read, or has values of no known range.
    """
    _refuse_kind(path)
    try:
        with _any_size():
            stored = Image.open(path)
        with stored:
            _refuse_size(stored.size, path)
            if least_px is not None and stored.width * stored.height > _HUGE_PIXELS:
                stored.draft(stored.mode, (_OVERSAMPLED * least_px, _OVERSAMPLED * least_px))
            stored.load()
            upright = _scale_to_8_bits(ImageOps.exif_transpose(stored), stored, path)
            embedded = stored.info.get("icc_profile")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, struct.error) as problem:
        raise InputError(f"{path}: cannot be decoded as an image ({problem}); remove it or copy it again") from None
    gray = Image.getmodebase(upright.mode) == "L"
    if not upright.has_transparency_data:
        return _convert_to_srgb(upright, embedded, gray)
    layered = upright.convert("RGBA")
    colors = _convert_to_srgb(layered.convert("RGB"), embedded, gray)
    colors.putalpha(layered.getchannel("A"))
    return Image.alpha_composite(Image.new("RGBA", colors.size, (_GRAY, _GRAY, _GRAY, 255)), colors).convert("RGB")


def crop_center(image: Image.Image) -> Image.Image:
    """Return the largest square around the image's center."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    with _any_size():
        return image.crop((left, top, left + side, top + side))


def read_image(path: Path, size_px: int) -> Float[np.ndarray, "size size 3"]:
    """Read an image file as a square of `size_px` in 0-1: its center, resized bilinearly with antialiasing where sizes differ."""
    return read_square(open_photograph(path, least_px=size_px), size_px)


def read_square(image: Image.Image, size_px: int) -> Float[np.ndarray, "size size 3"]:
    """Return an 8-bit RGB image as a square of `size_px` in 0-1, as `read_image` does."""
    square = crop_center(image)
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
    path.write_bytes(encode_png(image, path.name))


def encode_png(image: Float[np.ndarray, "height width 3"], name: str) -> bytes:
    """Return an array in 0-1 as the bytes of an 8-bit RGB PNG; `name` opens a refusal.

    Raises
    ------
    ValueError
        When a value is not finite.
    """
    if not np.isfinite(image).all():
        raise ValueError(f"{name}: the image holds values that are not finite")
    pixels: npt.NDArray[np.uint8] = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


@contextmanager
def _any_size() -> Iterator[None]:
    """Keep Pillow from warning of a large image: nobody could act on it, and what is too large is refused here."""
    with _OPENING:
        former, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = former


def _refuse_kind(path: Path) -> None:
    if path.suffix.lower() in _NOT_READ:
        raise InputError(f"{path}: {path.suffix} photographs are not read; save it as PNG or JPEG, or take it out of the folder")


def _refuse_size(size_px: tuple[int, int], path: Path) -> None:
    width, height = size_px
    if width * height > MOST_PIXELS:
        raise InputError(
            f"{path}: is too large ({width} x {height} pixels, at most {MOST_PIXELS // 10**6} megapixels are read); scale it down"
        )


def _scale_to_8_bits(image: Image.Image, stored: Image.Image, path: Path) -> Image.Image:
    """Return 16-bit gray as 8-bit gray, anything else as it is; refuse values of no known range."""
    if image.mode in _NO_RANGE and not (image.mode == "I" and stored.format in _SIXTEEN_BIT_IN_I):
        raise InputError(f"{path}: its pixels are of mode {image.mode!r}, {_NO_RANGE[image.mode]}; save it as an 8-bit RGB image")
    if not image.mode.startswith("I"):
        return image
    tags = getattr(stored, "tag_v2", {})
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    levels = (np.asarray(image) / ((2**bits - 1) / 255)).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(255 - levels if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else levels)


def _convert_to_srgb(image: Image.Image, embedded: bytes | None, gray: bool) -> Image.Image:
    """Return RGB by the embedded profile, as photograph programs do (relative colorimetric, black to black); `gray`: all channels alike."""
    profile, space = _read_profile(embedded)
    fitting = ("CMYK",) if image.mode == "CMYK" else ("RGB", "GRAY") if gray else ("RGB",)
    if profile is None or space not in fitting:
        return image.convert("RGB")
    given = image.convert("L" if space == "GRAY" else space)
    srgb, flags = ImageCms.createProfile("sRGB"), ImageCms.Flags.BLACKPOINTCOMPENSATION
    try:
        transform = ImageCms.buildTransform(profile, srgb, given.mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, flags)
    except ImageCms.PyCMSError:
        return image.convert("RGB")
    if _keeps_colors(transform, given.mode):
        return image.convert("RGB")
    converted = transform.apply(given)
    converted.info.pop("icc_profile")  # Pillow puts the profile of sRGB there, with the time of day: no PNG would be the same twice
    return converted


def _read_profile(embedded: bytes | None) -> tuple[ImageCms.ImageCmsProfile | None, str]:
    """Return an embedded profile and its color space; none where there is none or it is broken, which viewers pass over as well."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded)) if embedded else None
        return profile, "" if profile is None else profile.profile.xcolor_space.strip()
    except (OSError, ValueError):
        return None, ""


def _keeps_colors(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Say whether a transform leaves colors as they are, tried on a grid over all of them."""
    if mode not in ("L", "RGB"):
        return False
    axes = np.meshgrid(*[np.arange(0, 256, 15, dtype=np.uint8)] * 3) if mode == "RGB" else [np.arange(256, dtype=np.uint8)] * 3
    grid = np.stack([axis.ravel() for axis in axes], axis=-1)[None]
    converted = transform.apply(Image.fromarray(grid).convert(mode))
    return bool(np.abs(np.asarray(converted, dtype=int) - grid).max() <= _SAME_COLOR)
