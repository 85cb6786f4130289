"""What an image looks like, in numbers that two conditions of a study should share: light, spectrum, color, edges, complexity."""

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from skimage.filters import sobel
from torch import Tensor

from protocols.stimulus_set import StimulusSet
from stimgen.display import Display, load_display
from stimgen.image_files import read_image
from stimgen.matching import PhotometrySettings, draw_window
from stimgen.photometry import high_frequency_share, measure_photometry, measure_stripes

_EDGE = 0.1  # step of lightness (cube root of luminance, 0-1) across a pixel that counts as an edge
_JPEG_QUALITY = 75
COLUMNS_OF_LIGHT = {"mean_luminance": "luminance", "rms_contrast": "contrast", "slope": "slope", "saturation": "saturation"}
LOOKS = (*COLUMNS_OF_LIGHT, "edge_density", "complexity")


@dataclass(frozen=True)
class Viewing:
    """How a set is shown: the display's curve, and the window that its images are seen through (None: all of them)."""

    display: Display
    window: Float[Tensor, "side side"] | None = None
    size_deg: float = PhotometrySettings().size_deg

    def measure_stripes(self, image: Float[np.ndarray, "side side 3"]) -> float:
        """Return the largest RMS contrast of stripes of one orientation near 3 cycles per degree."""
        linear = self.display.to_linear(torch.from_numpy(image).permute(2, 0, 1)[None])
        return float(measure_stripes(linear, self.size_deg, self.window).max())

    def measure_light(self, image: Float[np.ndarray, "side side 3"]) -> dict[str, float]:
        """Return `mean_luminance rms_contrast slope saturation` of an image in 0-1."""
        measured = measure_photometry(image, self.display, self.window)
        return {column: measured[name] for column, name in COLUMNS_OF_LIGHT.items()}


def read_viewing(description: dict[str, Any], size_px: int) -> Viewing:
    """Return the viewing that a set's sidecar tells in `photometry`; sRGB without a window where it tells none."""
    told = description.get("photometry", {})
    known = {field.name for field in fields(PhotometrySettings)} - {"matching", "wanted"}
    settings = PhotometrySettings(**{key: value for key, value in told.items() if key in known})
    curve = told.get("curve")
    if curve is None:
        return Viewing(load_display(settings.gamma), draw_window(settings, size_px), settings.size_deg)
    levels, luminance = (torch.tensor(curve[key]) for key in ("level", "relative_luminance"))
    return Viewing(Display(levels / 255, luminance), draw_window(settings, size_px), settings.size_deg)


def measure_looks(stimulus_set: StimulusSet, track: Callable[[Sequence[Any]], Iterable[Any]] = iter) -> pd.DataFrame:
    """Return `LOOKS`, `stripes` and `high_frequency_share` of every saved image, in the table's order, as its display shows it."""
    rows = []
    viewings: dict[int, Viewing] = {}
    for record in track(stimulus_set.table.to_dict("records")):
        side = record["width_px"]
        viewing = viewings.setdefault(side, read_viewing(stimulus_set.description, side))
        image = read_image(stimulus_set.folder / record["stim_file"], side)
        light = viewing.measure_light(image)
        drawn = {"edge_density": measure_edges(image, viewing.display), "complexity": measure_complexity(image)}
        others = {"stripes": viewing.measure_stripes(image), "high_frequency_share": high_frequency_share(image)}
        rows.append({**light, **drawn, **others})
    return pd.DataFrame(rows)


def measure_edges(image: Float[np.ndarray, "height width 3"], display: Display) -> float:
    """Return the share of pixels, 0-1, where lightness changes by more than a tenth of its range (Sobel)."""
    linear = display.to_linear(torch.from_numpy(image).permute(2, 0, 1)[None])[0].numpy()
    lightness = np.cbrt(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return float(np.mean(np.asarray(sobel(lightness)) > _EDGE))


def measure_complexity(image: Float[np.ndarray, "height width 3"]) -> float:
    """Return bytes per pixel of the image as a JPEG of quality 75."""
    buffer = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return float(buffer.tell() / image[..., 0].size)
