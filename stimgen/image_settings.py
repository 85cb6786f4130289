"""How images are drawn: the table [image] of a targets file, and the parameterization and first images that it asks for."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from pydantic import Field
from torch import Tensor

from protocols.config import config
from protocols.errors import InputError
from stimgen.edit import Edit, Norm
from stimgen.image import Fourier, Pixels
from stimgen.image_files import read_image
from stimgen.maco import Maco, measure_magnitude
from stimgen.parameterization import Parameterization

NAMES = ("fourier", "pixels", "maco", "edit")
_TEMPLATE_IMAGES = 256  # natural images that MACO's template is the mean of


@config
class ImageSettings:
    """The parameterization of images, and where the ascent starts."""

    parameterization: str = "fourier"
    """`fourier`, `pixels`, `maco`, `edit`, or a generator of one's own as `package.module:callable`."""
    start: Literal["natural", "noise"] = "natural"
    """`natural`: each image starts at one of the natural images that do best what it shall do; `noise`: nearly gray."""
    photographs: Path | None = None
    """Folder of photographs to start from instead of the pool's best."""
    decay: float = Field(default=1.0, gt=0)
    """Exponent of 1 / f, for `fourier`."""
    budget: float = Field(default=0.0, ge=0)
    """For `maco`: the largest factor by which a magnitude may change, less 1."""
    largest: float = Field(default=0.1, gt=0)
    """For `edit`: largest change, in units of 0-1."""
    norm: Norm = "l2"
    """For `edit`: `l2`, the root mean square over pixels; or `linf`, any pixel."""
    mask: Path | None = None
    """For `edit`: a gray image; white where the photograph may change."""
    keep_features: float = Field(default=0.0, ge=0)
    """For `edit`: how strongly the networks' features are held to those of the photograph, relative to the drive."""


def build_parameterization(
    settings: ImageSettings,
    size_px: int,
    photographs: Float[Tensor, "images 3 height width"] | None,
    magnitude: Float[Tensor, "3 height half"] | None,
) -> tuple[Parameterization, Tensor | None]:
    """Return the parameterization of a batch and its first parameters (None: draw them).

    `photographs` are what the images start from, None for noise; `magnitude` is MACO's template.

    Raises
    ------
    InputError
        When an edit has no photographs, or a generator cannot be loaded or cannot start from photographs.
    """
    made = _choose(settings, size_px, photographs, magnitude)
    return made, None if photographs is None else made.encode(photographs)


def _choose(settings: ImageSettings, size_px: int, photographs: Tensor | None, magnitude: Tensor | None) -> Parameterization:
    if settings.parameterization == "pixels":
        return Pixels(size_px)
    if settings.parameterization == "maco":
        if magnitude is None:
            raise InputError("parameterization 'maco': needs natural images for its template; give --pool")
        return Maco(size_px, magnitude, settings.budget)
    if settings.parameterization == "edit":
        if photographs is None:
            raise InputError("parameterization 'edit': starts from photographs; set start = \"natural\"")
        mask = None if settings.mask is None else torch.from_numpy(read_image(settings.mask, size_px).mean(axis=2))
        return Edit(photographs, settings.largest, settings.norm, mask)
    if settings.parameterization == "fourier":
        return Fourier(size_px, settings.decay)
    from stimgen.user_generator import load_generator

    return load_generator(settings.parameterization, size_px)


def check_image_settings(settings: ImageSettings) -> None:
    """Refuse a parameterization that is not known."""
    if settings.parameterization not in NAMES and ":" not in settings.parameterization:
        raise InputError(
            f"image: parameterization {settings.parameterization!r} is not known; choose from {', '.join(NAMES)}, "
            "or your own generator as package.module:callable"
        )


def measure_template(settings: ImageSettings, paths: list[Path], size_px: int) -> Float[Tensor, "3 height half"] | None:
    """Return the mean magnitude spectrum of natural images where the parameterization needs it."""
    if settings.parameterization != "maco":
        return None
    step = max(1, len(paths) // _TEMPLATE_IMAGES)
    images = np.stack([read_image(path, size_px) for path in paths[::step]])
    return measure_magnitude(torch.from_numpy(images).permute(0, 3, 1, 2))


def check_photographs(paths: list[Path], least_px: int) -> None:
    """Refuse photographs smaller than the networks see: enlarged, they would not be what they are.

    Raises
    ------
    InputError
        Naming the photograph and its size.
    """
    for path in paths:
        with Image.open(path) as image:
            if min(image.size) < least_px:
                width, height = image.size
                raise InputError(f"{path}: {width} x {height} px, smaller than the networks' input of {least_px} px; give a larger one")
