"""Photometry of sRGB images in 0-1: luminance, contrast and the share of energy in high spatial frequencies."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])  # ITU-R BT.709
_HIGH_CYCLES_PER_PX = 0.25


def linear_luminance(image: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width"]:
    """Return relative luminance 0-1 of an sRGB image (IEC 61966-2-1, ITU-R BT.709)."""
    linear = np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    luminance: npt.NDArray[np.float64] = linear @ _LUMINANCE
    return luminance


def mean_luminance(image: Float[np.ndarray, "height width 3"]) -> float:
    """Return the mean relative luminance, 0-1."""
    return float(linear_luminance(image).mean())


def rms_contrast(image: Float[np.ndarray, "height width 3"]) -> float:
    """Return the standard deviation of luminance over its mean; 0 for a black image."""
    luminance = linear_luminance(image)
    return float(luminance.std() / luminance.mean()) if luminance.mean() > 0 else 0.0


def high_frequency_share(image: Float[np.ndarray, "height width 3"]) -> float:
    """Return the share of luminance variance above a quarter cycle per pixel (half the Nyquist frequency), 0-1."""
    luminance = linear_luminance(image)
    power = np.abs(np.fft.fft2(luminance - luminance.mean())) ** 2
    rows, columns = (np.fft.fftfreq(side) for side in luminance.shape)
    high = np.hypot(rows[:, None], columns[None, :]) > _HIGH_CYCLES_PER_PX
    return float(power[high].sum() / power.sum()) if power.sum() > 0 else 0.0
