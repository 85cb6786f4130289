"""Onsets and durations in, expected BOLD responses at any time out.

An event of duration d that begins at o drives H(t - o) - H(t - o - d), H being the integral of the hemodynamic
response function. This is the convolution that nilearn's `compute_regressor` does on a grid of TR / 50, without the
grid: an onset counts where it is, and 75 regressors cost a millisecond instead of seconds.

A model is a shape (`glover`, `spm`, or `peakN`: SPM's double gamma with its peak at N s), with or without its derivatives by
time and by dispersion, or `fir`: no shape at all, one bin per repetition.
"""

from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from protocols.errors import InputError

HrfModel = Literal[
    "glover", "glover+derivative", "glover+derivative+dispersion",
    "spm", "spm+derivative", "spm+derivative+dispersion",
    "peak3", "peak4", "peak6", "peak7", "peak8",
    "fir",
]  # fmt: skip
Part = Literal["response", "derivative", "dispersion"]
HRF_MODELS: tuple[HrfModel, ...] = get_args(HrfModel)
FIR: HrfModel = "fir"
HRF_LIBRARY: tuple[HrfModel, ...] = ("glover", "spm", "peak3", "peak4", "peak6", "peak7", "peak8")
"""One-column shapes to choose from; SPM's peaks at 5 s."""
_STEP_S = 0.01
_LENGTH_S = 32.0  # nilearn's default length of both kernels
_UNDERSHOOT_LATER_S = 10.0  # SPM's undershoot peaks at 15 s, its response at 5 s
_UNDERSHOOT = 1 / 6  # of the response, SPM's


def require_one_column(hrf: str) -> None:
    """Refuse a model with several columns for an event, where each event has one regressor.

    Raises
    ------
    InputError
        Naming the model.
    """
    if "+" in hrf or hrf == FIR:
        raise InputError(f"--hrf {hrf!r}: a trial has one regressor; choose a shape without derivatives")


def list_parts(hrf: HrfModel) -> list[Part]:
    """Return the columns that one condition has: its response and, if the model has them, derivatives of it."""
    derivatives: list[Part] = ["derivative", "dispersion"]
    return ["response", *(part for part in derivatives if f"+{part}" in hrf)]


def respond_to_events(
    times_s: Float[np.ndarray, " volumes"],
    onsets_s: Float[np.ndarray, " events"],
    durations_s: Float[np.ndarray, " events"],
    hrf: HrfModel,
    part: Part = "response",
) -> Float[np.ndarray, "volumes events"]:
    """Return each event's response at `times_s`, for a kernel of area 1 (so a long block plateaus at 1), or a derivative of it.

    Derivatives are nilearn's finite differences: by an onset .1 s later, by a dispersion .01 larger.
    """
    since_onset = times_s[:, None] - onsets_s[None, :]
    shape, _, _ = hrf.partition("+")
    integral = _integrated_kernel(shape, part)
    responses: Float[np.ndarray, "volumes events"] = _integrate(since_onset, integral) - _integrate(since_onset - durations_s, integral)
    return responses


def respond_in_bins(
    times_s: Float[np.ndarray, " volumes"],
    onsets_s: Float[np.ndarray, " events"],
    durations_s: Float[np.ndarray, " events"],
    delays: Int[np.ndarray, " delays"],
    bin_s: float,
) -> Float[np.ndarray, "volumes events delays"]:
    """Return, for a finite impulse response, each event's share of each bin, as nilearn counts them.

    Bin k of width b holds what began between (k - 1) b and k b before the volume: an event of duration d is in it for
    |[t - k b, t - (k - 1) b] with [o, o + d]| / b.
    """
    since_onset = times_s[:, None, None] - onsets_s[None, :, None]
    starts = (delays - 1) * bin_s
    reached, left = (np.clip((since - starts) / bin_s, 0.0, 1.0) for since in (since_onset, since_onset - durations_s[None, :, None]))
    shares: Float[np.ndarray, "volumes events delays"] = reached - left
    return shares


def find_peak(duration_s: float, hrf: HrfModel) -> float:
    """Return the highest value of the response to one event: what turns a regression weight into a response.

    Glover: 1 s .33, 2 s .67, 12 s 1.55. With derivatives it is that of the response alone, which nilearn and SPM report too.
    """
    times = np.arange(0.0, duration_s + _LENGTH_S, 0.05)
    return float(respond_to_events(times, np.zeros(1), np.array([duration_s]), hrf).max())


def _integrate(times_s: Float[np.ndarray, "volumes events"], integral: Float[np.ndarray, " steps"]) -> Float[np.ndarray, "volumes events"]:
    grid = np.arange(len(integral)) * _STEP_S
    integrated: Float[np.ndarray, "volumes events"] = np.interp(times_s, grid, integral)
    return integrated


@lru_cache(maxsize=32)
def _integrated_kernel(shape: str, part: Part) -> Float[np.ndarray, " steps"]:
    """Return the kernel's integral on a grid of `_STEP_S` that begins with 0."""
    from nilearn.glm import first_level

    if shape.startswith("peak"):
        kernel = _double_gamma(float(shape.removeprefix("peak")))
    else:
        make = {
            ("glover", "response"): first_level.glover_hrf,
            ("glover", "derivative"): first_level.glover_time_derivative,
            ("glover", "dispersion"): first_level.glover_dispersion_derivative,
            ("spm", "response"): first_level.spm_hrf,
            ("spm", "derivative"): first_level.spm_time_derivative,
            ("spm", "dispersion"): first_level.spm_dispersion_derivative,
        }[shape, part]
        kernel = make(1.0, oversampling=round(1 / _STEP_S), time_length=_LENGTH_S)
    return np.concatenate([[0.0], np.cumsum(kernel)])


def _double_gamma(peak_s: float) -> Float[np.ndarray, " steps"]:
    from scipy.stats import gamma

    times = np.arange(0.0, _LENGTH_S, _STEP_S)
    kernel = gamma.pdf(times, peak_s + 1) - _UNDERSHOOT * gamma.pdf(times, peak_s + _UNDERSHOOT_LATER_S + 1)
    scaled: Float[np.ndarray, " steps"] = kernel / kernel.sum()
    return scaled
