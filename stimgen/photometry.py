"""Photometry of images on a display: luminance, contrast, slope of the spectrum, saturation, striped and high-frequency energy.

All is measured on light, not on gray levels, and differentiably, so that the same code that measures a saved PNG holds an image's
photometry while it is made. The spectrum is that of the image by itself, as it lies on a background of its mean luminance.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stimgen.display import BT709, Display, load_display

_HIGH_CYCLES_PER_PX = 0.25
_TINY = 1e-12
WEDGES = 12  # orientations that stripes are looked for in
STRIPES_CPD = (2.0, 4.5)  # cycles per degree about 3, where stripes are least comfortable (Wilkins et al. 1984)


@dataclass(frozen=True)
class Photometry:
    """What is held equal between conditions, one value per image.

    Attributes
    ----------
    luminance
        Mean luminance relative to white, 0-1.
    contrast
        RMS contrast: standard deviation of luminance over its mean.
    slope
        Of log amplitude (root of the mean power at each whole number of cycles per image) on log frequency; about -1 in nature.
    saturation
        Root mean square distance of the channels' light from its luminance, over mean luminance; 0 for gray.
    """

    luminance: Float[Tensor, " images"]
    contrast: Float[Tensor, " images"]
    slope: Float[Tensor, " images"]
    saturation: Float[Tensor, " images"]

    def stack(self) -> Float[Tensor, "images 4"]:
        """Return the four as columns."""
        return torch.stack([self.luminance, self.contrast, self.slope, self.saturation], dim=1)


Feature = Literal["luminance", "contrast", "slope", "saturation"]
FEATURES: tuple[Feature, ...] = ("luminance", "contrast", "slope", "saturation")


def measure_light(linear: Float[Tensor, "images 3 side side"], window: Float[Tensor, "side side"] | None = None) -> Photometry:
    """Measure images given as light relative to white; differentiable. `window` is 1 where an image is seen, 0 outside its aperture."""
    weight = torch.ones_like(linear[0, 0]) if window is None else window.to(linear)
    luminance = to_luminance(linear)
    seen = weight.sum()
    mean = (luminance * weight).sum(dim=(1, 2)) / seen
    difference = luminance - mean[:, None, None]
    variance = (difference**2 * weight).sum(dim=(1, 2)) / seen
    chroma = ((linear - luminance[:, None]) ** 2).mean(dim=1)
    saturation = (chroma * weight).sum(dim=(1, 2)) / seen
    safe = mean.clamp(min=1e-6)
    slope = measure_slope(difference * weight)
    return Photometry(mean, torch.sqrt(variance + _TINY) / safe, slope, torch.sqrt(saturation + _TINY) / safe)


def to_luminance(linear: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images height width"]:
    """Return luminance relative to white of light relative to white."""
    return torch.einsum("nchw,c->nhw", linear, linear.new_tensor(BT709))


def measure_slope(planes: Float[Tensor, "images side side"]) -> Float[Tensor, " images"]:
    """Return the slope of log amplitude on log frequency, least squares over 1 ... side / 2 - 1 cycles per image."""
    ring, share, weights = _rings(planes.shape[-1], planes.device)
    power = torch.fft.rfft2(planes).abs() ** 2
    means = torch.zeros(len(planes), len(weights) + 2, device=planes.device, dtype=power.dtype)
    means = means.index_add(1, ring, power.flatten(1) * share.to(power))
    return (torch.log(means[:, 1:-1] + _TINY) / 2) @ weights.to(power)


@lru_cache(maxsize=8)
def _rings(side: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return every term's ring (the last one is left out), its share of the ring's mean, and the regression's weights."""
    rows = torch.fft.fftfreq(side)[:, None] * side
    columns = torch.fft.rfftfreq(side)[None, :] * side
    last = side // 2
    ring = torch.sqrt(rows**2 + columns**2).round().long().clamp(max=last).flatten()
    twice = count_twins(side, torch.device("cpu")).flatten()
    counted = torch.zeros(last + 1).index_add(0, ring, twice)
    log_frequency = torch.log(torch.arange(1, last, dtype=torch.float32))
    centered = log_frequency - log_frequency.mean()
    weights = centered / (centered**2).sum()
    return ring.to(device), (twice / counted[ring]).to(device), weights.to(device)


@lru_cache(maxsize=8)
def count_twins(side: int, device: torch.device) -> Float[Tensor, "side half"]:
    """Return how many terms of the full spectrum each term of the half spectrum stands for: 2, or 1 at the edges."""
    twins = torch.full((side, side // 2 + 1), 2.0, device=device)
    twins[:, 0] = 1.0
    twins[:, side // 2 :] = 1.0 if side % 2 == 0 else 2.0
    return twins


def measure_stripes(
    linear: Float[Tensor, "images 3 side side"], size_deg: float, window: Float[Tensor, "side side"] | None = None
) -> Float[Tensor, "images wedges"]:
    """Return the RMS contrast of each orientation's stripes near 3 cycles per degree, for images of `size_deg` degrees a side."""
    luminance = to_luminance(linear)
    mean = luminance.mean(dim=(1, 2))
    planes = (luminance - mean[:, None, None]) * (1.0 if window is None else window.to(linear))
    side = planes.shape[-1]
    power = torch.fft.rfft2(planes).abs() ** 2 / side**4 * count_twins(side, planes.device)
    variance = torch.einsum("nhw,khw->nk", power, mark_wedges(side, size_deg, planes.device))
    return torch.sqrt(variance + _TINY) / mean.clamp(min=1e-6)[:, None]


@lru_cache(maxsize=8)
def mark_wedges(side: int, size_deg: float, device: torch.device) -> Float[Tensor, "wedges side half"]:
    """Return 1 in each wedge of orientations of the half spectrum within `STRIPES_CPD`, 0 elsewhere."""
    rows = torch.fft.fftfreq(side)[:, None] * side / size_deg
    columns = torch.fft.rfftfreq(side)[None, :] * side / size_deg
    frequency = torch.sqrt(rows**2 + columns**2)
    inside = (frequency >= STRIPES_CPD[0]) & (frequency <= STRIPES_CPD[1])
    angle = torch.remainder(torch.atan2(rows, columns), torch.pi) / torch.pi * WEDGES
    number = torch.floor(angle + 0.5).long() % WEDGES
    return torch.stack([(inside & (number == wedge)).float() for wedge in range(WEDGES)]).to(device)


def measure_photometry(
    image: Float[np.ndarray, "side side 3"], display: Display | None = None, window: Float[Tensor, "side side"] | None = None
) -> dict[str, float]:
    """Return `luminance contrast slope saturation` of one image in 0-1, on a display (sRGB if None), seen through a window."""
    linear = (display or load_display()).to_linear(_to_tensor(image))
    measured = measure_light(linear.double(), window).stack()[0].tolist()
    return dict(zip(FEATURES, measured, strict=True))


def high_frequency_share(image: Float[np.ndarray, "height width 3"]) -> float:
    """Return the share of luminance variance above a quarter cycle per pixel (half the Nyquist frequency), 0-1."""
    luminance = to_luminance(load_display().to_linear(_to_tensor(image)).double())[0].numpy()
    power = np.abs(np.fft.fft2(luminance - luminance.mean())) ** 2
    rows, columns = (np.fft.fftfreq(side) for side in luminance.shape)
    high = np.hypot(rows[:, None], columns[None, :]) > _HIGH_CYCLES_PER_PX
    return float(power[high].sum() / power.sum()) if power.sum() > _TINY else 0.0


def _to_tensor(image: Float[np.ndarray, "height width 3"]) -> Float[Tensor, "1 3 height width"]:
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).permute(2, 0, 1)[None]
