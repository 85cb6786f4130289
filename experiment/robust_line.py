"""A straight line through clock times that a few late or missing pulses cannot bend: volumes and times in, offset, slope and spread out.

Iteratively reweighted least squares: Huber's weights to come near (1964, constant 1.345), then Tukey's biweight (constant 4.685),
which gives pulses far off no weight at all. The spread is 1.4826 times the median absolute residual.
"""

from dataclasses import dataclass

import numpy as np

_HUBER, _TUKEY = 1.345, 4.685
_STEPS = 6
_MAD_TO_SD = 1.4826
_LEAST_SD_S = 1e-6
_PRIOR_PPM = 200.0  # no scanner's clock differs by more from a computer's, unless its TR is another one
_SUSPECTED_SD_S = 0.001  # jitter of a trigger, until enough of them have shown theirs
_ENOUGH = 10
_CLEARLY_OFF = 5.0


@dataclass(frozen=True)
class Line:
    """time_s = offset_s + slope_s volume, with the residuals' standard deviation in s."""

    offset_s: float
    slope_s: float
    sd_s: float

    def predict(self, volumes: np.ndarray) -> np.ndarray:
        """Return the time in s of each volume."""
        return self.offset_s + self.slope_s * volumes


def fit_line(volumes: np.ndarray, times_s: np.ndarray, start_slope_s: float, nominal_s: float | None = None) -> Line:
    """Fit a line to at least two pulses, beginning with a slope in s per volume near the right one.

    With `nominal_s`, a slope that is not clearly another one is drawn to it as far as the pulses leave it open: few pulses
    give the nominal TR, many their own.
    """
    center = volumes.mean()
    x = volumes - center
    slope_s = start_slope_s
    offset_s = float(np.median(times_s - slope_s * x))
    sd_s = _LEAST_SD_S
    for step in range(2 * _STEPS):
        residual_s = times_s - offset_s - slope_s * x
        sd_s = max(_MAD_TO_SD * float(np.median(np.abs(residual_s))), _LEAST_SD_S)
        scaled = np.abs(residual_s) / sd_s
        weight = np.minimum(1, _HUBER / np.maximum(scaled, _HUBER)) if step < _STEPS else np.maximum(0, 1 - (scaled / _TUKEY) ** 2) ** 2
        total = weight.sum()
        middle = (weight @ x) / total
        spread = weight @ (x - middle) ** 2
        if spread > 0:
            slope_s = float(weight @ ((x - middle) * times_s) / spread)
        offset_s = float(weight @ (times_s - slope_s * x) / total)
    if nominal_s is not None:
        drawn_s = _draw_to_nominal(slope_s, sd_s, float((x**2).sum()), len(x), nominal_s)
        offset_s += (slope_s - drawn_s) * float((weight @ x) / total)
        slope_s = drawn_s
    return Line(offset_s - slope_s * center, slope_s, sd_s)


def _draw_to_nominal(slope_s: float, sd_s: float, spread: float, count: int, nominal_s: float) -> float:
    """Return the posterior mean of the slope under a normal prior of 200 ppm around the nominal one, where the two are compatible."""
    error_s = max(sd_s, _SUSPECTED_SD_S if count < _ENOUGH else 0) / np.sqrt(spread)
    prior_s = _PRIOR_PPM * 1e-6 * nominal_s
    if abs(slope_s - nominal_s) > _CLEARLY_OFF * np.hypot(error_s, prior_s):
        return slope_s
    share = prior_s**2 / (prior_s**2 + error_s**2)
    return float(nominal_s + share * (slope_s - nominal_s))
