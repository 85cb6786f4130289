"""Onsets and durations in, expected BOLD responses at any time out.

An event of duration d that begins at o drives H(t - o) - H(t - o - d), H being the integral of the hemodynamic
response function. This is the convolution that nilearn's `compute_regressor` does on a grid of TR / 50, without the
grid: an onset counts where it is, and 75 regressors cost a millisecond instead of seconds.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Float

HrfModel = Literal["glover", "spm"]
HRF_MODELS = ("glover", "spm")
_STEP_S = 0.01
_LENGTH_S = 32.0  # nilearn's default length of both kernels


def respond_to_events(
    times_s: Float[np.ndarray, " volumes"], onsets_s: Float[np.ndarray, " events"], durations_s: Float[np.ndarray, " events"], hrf: HrfModel
) -> Float[np.ndarray, "volumes events"]:
    """Return each event's response at `times_s`, for a kernel of area 1 (so a long block plateaus at 1)."""
    since_onset = times_s[:, None] - onsets_s[None, :]
    responses: Float[np.ndarray, "volumes events"] = _integrate(since_onset, hrf) - _integrate(since_onset - durations_s[None, :], hrf)
    return responses


def find_peak(duration_s: float, hrf: HrfModel) -> float:
    """Return the highest value of the response to one event: what turns a regression weight into a response.

    Glover: 1 s .33, 2 s .67, 12 s 1.55.
    """
    times = np.arange(0.0, duration_s + _LENGTH_S, 0.05)
    return float(respond_to_events(times, np.zeros(1), np.array([duration_s]), hrf).max())


def _integrate(times_s: Float[np.ndarray, "volumes events"], hrf: HrfModel) -> Float[np.ndarray, "volumes events"]:
    integral = _integrated_kernel(hrf)
    grid = np.arange(len(integral)) * _STEP_S
    integrated: Float[np.ndarray, "volumes events"] = np.interp(times_s, grid, integral)
    return integrated


@lru_cache(maxsize=2)
def _integrated_kernel(hrf: HrfModel) -> Float[np.ndarray, " steps"]:
    """Return the kernel's integral on a grid of `_STEP_S` that begins with 0."""
    from nilearn.glm.first_level import glover_hrf, spm_hrf

    kernel = {"glover": glover_hrf, "spm": spm_hrf}[hrf](1.0, oversampling=round(1 / _STEP_S), time_length=_LENGTH_S)
    return np.concatenate([[0.0], np.cumsum(kernel)])
