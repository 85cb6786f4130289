"""Image files in, the exact pixels that are shown out; and where they lie on the screen."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from experiment.geometry import fit_image
from protocols.protocol import Screen
from protocols.stimulus_set import StimulusSet


def load_pixels(path: Path, screen: Screen) -> np.ndarray:
    """Return an image as it is shown: height x width x 3, uint8, `size_deg` wide.

    An image of that size already is taken as it is; any other is resampled once, here, so that the screen draws every
    image pixel for pixel and the shown pixels can be compared with these.
    """
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    size = fit_image(rgb.width, rgb.height, screen)
    return np.asarray(rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BICUBIC))


def load_images(stimuli: StimulusSet, stim_ids: Iterable[str], screen: Screen) -> dict[str, np.ndarray]:
    """Return the shown pixels of several images of a set."""
    return {stim_id: load_pixels(stimuli.image_path(stim_id), screen) for stim_id in stim_ids}


def place_centered(image: np.ndarray, background: int, width_px: int, height_px: int) -> np.ndarray:
    """Return a whole screen, height x width x 3, with `image` in its center (an odd remainder goes right and below)."""
    canvas = np.full((height_px, width_px, 3), background, dtype=np.uint8)
    canvas[find_place(image, width_px, height_px)] = image
    return canvas


def find_place(image: np.ndarray, width_px: int, height_px: int) -> tuple[slice, slice]:
    """Return the rows and columns of a screen that an image in its center takes."""
    height, width = image.shape[:2]
    top, left = (height_px - height) // 2, (width_px - width) // 2
    return slice(top, top + height), slice(left, left + width)


def describe_difference(shown: np.ndarray, expected: np.ndarray) -> str | None:
    """Say how two screens differ, or None where every pixel is the same."""
    if shown.shape != expected.shape:
        return f"the screen is {shown.shape[1]} x {shown.shape[0]} px, expected {expected.shape[1]} x {expected.shape[0]}"
    if np.array_equal(shown, expected):
        return None
    difference = np.abs(shown.astype(np.int16) - expected)
    pixels = int(difference.any(axis=2).sum())
    return f"{pixels} pixels differ, by up to {int(difference.max())} of 255"
