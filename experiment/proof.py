"""Proof of what a run shows: every image drawn off-line in the run's own window and compared, pixel by pixel, with its file."""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from experiment.pixels import describe_difference, find_place, place_centered
from experiment.stage import Screen
from protocols.errors import InputError


def prove_images(
    screen: Screen, images: Mapping[str, np.ndarray], background: int, tell: Callable[[int], object] = lambda number: None
) -> dict[str, str] | None:
    """Draw each preloaded image without the dot, read the whole back buffer, and compare it with the image on the background.

    Parameters
    ----------
    images
        stim_id -> height x width x 3, uint8: the files' pixels, in the size in which they are shown.

    Returns
    -------
    stim_id -> sha256 of the image's rectangle as it was read back (RGB bytes, row by row); None where the screen has no window.

    Raises
    ------
    InputError
        Naming the first image that is not shown as it is, and how it differs.
    """
    shown: dict[str, str] = {}
    for number, (stim_id, pixels) in enumerate(images.items(), 1):
        drawn = screen.read_drawn(stim_id)
        if drawn is None:
            return None
        height, width = drawn.shape[:2]
        difference = describe_difference(drawn, place_centered(pixels, background, width, height))
        if difference:
            raise InputError(f"image {stim_id!r} is not shown as it is: {difference}; switch off color profiles and scaling of the display")
        shown[stim_id] = hashlib.sha256(np.ascontiguousarray(drawn[find_place(pixels, width, height)]).tobytes()).hexdigest()
        tell(number)
    return shown
