"""True responses, events and a scanner's settings in, a simulated BOLD series with its motion parameters out. Pure.

A voxel's series is its baseline x (1 + signal / 100): hemodynamic responses to the events, slow drift, AR(1) noise of its own and
noise shared by all voxels, and a part locked to head motion. All amplitudes are percent signal change.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from analysis.confounds import MOTION
from analysis.hrf import HrfModel, find_peak, respond_to_events
from protocols.config import config

HEAD_RADIUS_MM = 50.0  # framewise displacement, Power et al. 2012
MID_VOLUME = 0.5


@config
class Participant:
    """Who lies in the scanner: a subject label of the plan and the folder with the true responses."""

    subject: str
    responses: Path


@config
class Scan:
    """A simulated scan. Amplitudes with `_psc` are percent signal change of the baseline."""

    participants: tuple[Participant, ...] = Field(min_length=1)
    seed: int = 1
    gain_psc: float = Field(default=0.5, gt=0)
    """Peak response to one event, per z unit of the true response."""
    hrf: HrfModel = "glover"
    noise_sd_psc: float = Field(default=1.0, ge=0)
    """Standard deviation over time of each voxel's own noise."""
    ar1: float = Field(default=0.3, ge=0, lt=1)
    """Correlation of that noise between successive volumes."""
    shared_noise_sd_psc: float = Field(default=0.2, ge=0)
    """The same for noise common to all voxels."""
    drift_psc: float = Field(default=0.5, ge=0)
    """Standard deviation of the linear trend's amplitude over voxels, and of a half cosine's."""
    motion_mm: float = Field(default=0.2, ge=0)
    """Standard deviation of each translation; rotations move the head's surface as much."""
    motion_psc: float = Field(default=0.3, ge=0)
    """Signal that one standard deviation of a motion parameter adds, standard deviation over voxels."""
    baseline: float = Field(default=1000.0, gt=0)
    missing_volumes: int = Field(default=0, ge=0)
    """Volumes dropped from the end of every run, as when a scan is stopped early."""
    background_voxels: int = Field(default=400, ge=0)
    """Brain voxels without any response, nearest to the ROIs."""


@dataclass(frozen=True)
class Series:
    """A run as scanned: `values` in arbitrary units, `motion` in mm and radians (fMRIPrep's names)."""

    values: Float[np.ndarray, "volumes voxels"]
    motion: pd.DataFrame


def simulate_series(
    true_z: Float[np.ndarray, "events voxels"], events: pd.DataFrame, volumes: int, tr_s: float, scan: Scan, rng: np.random.Generator
) -> Series:
    """Simulate one run; row e of `true_z` is the response, in z units, to row e of `events` (`onset duration`)."""
    kept = max(volumes - scan.missing_volumes, 1)
    times = (np.arange(kept) + MID_VOLUME) * tr_s
    voxels = true_z.shape[1]
    motion = _wander(kept, len(MOTION), rng)
    percent = convolve_responses(true_z * scan.gain_psc, events, times, scan.hrf)
    percent += _drift(kept, voxels, scan.drift_psc, rng)
    percent += scan.noise_sd_psc * draw_ar1((kept, voxels), scan.ar1, rng)
    percent += scan.shared_noise_sd_psc * draw_ar1((kept, 1), scan.ar1, rng)
    percent += scan.motion_psc * motion @ rng.standard_normal((len(MOTION), voxels))
    baseline = scan.baseline * rng.uniform(0.9, 1.1, voxels)
    return Series(baseline * (1 + percent / 100), _scale_motion(motion, scan.motion_mm))


def convolve_responses(
    peaks_psc: Float[np.ndarray, "events voxels"], events: pd.DataFrame, times_s: Float[np.ndarray, " volumes"], hrf: HrfModel
) -> Float[np.ndarray, "volumes voxels"]:
    """Sum the responses to all events, each of which alone would peak at its row of `peaks_psc`."""
    onsets, durations = (events[name].to_numpy(dtype=np.float64) for name in ("onset", "duration"))
    lengths = {float(duration): find_peak(round(float(duration), 3), hrf) for duration in np.unique(np.round(durations, 3))}
    shapes = respond_to_events(times_s, onsets, durations, hrf) / np.array([lengths[float(d)] for d in np.round(durations, 3)])
    summed: Float[np.ndarray, "volumes voxels"] = shapes @ peaks_psc
    return summed


def draw_ar1(shape: tuple[int, int], correlation: float, rng: np.random.Generator) -> Float[np.ndarray, "volumes series"]:
    """Draw stationary first-order autoregressive noise of variance 1 along the first axis."""
    from scipy.signal import lfilter

    innovations = rng.standard_normal(shape)
    innovations[1:] *= np.sqrt(1 - correlation**2)
    noise: Float[np.ndarray, "volumes series"] = lfilter([1.0], [1.0, -correlation], innovations, axis=0)
    return noise


def tabulate_confounds(motion: pd.DataFrame) -> pd.DataFrame:
    """Return fMRIPrep's confounds table: the motion parameters and framewise displacement (n/a in the first volume)."""
    steps = motion[list(MOTION)].diff().abs()
    rotations = [name for name in MOTION if name.startswith("rot")]
    steps[rotations] *= HEAD_RADIUS_MM
    return motion.assign(framewise_displacement=steps.sum(axis=1, skipna=False))


def _wander(volumes: int, count: int, rng: np.random.Generator) -> Float[np.ndarray, "volumes series"]:
    """Return random walks with mean 0 and standard deviation 1 over the run."""
    walks = np.cumsum(rng.standard_normal((volumes, count)), axis=0)
    return _standardize(walks)


def _drift(volumes: int, voxels: int, amplitude: float, rng: np.random.Generator) -> Float[np.ndarray, "volumes voxels"]:
    phase = np.linspace(0, 1, volumes)[:, None]
    shapes: Sequence[np.ndarray] = (phase - 0.5, np.cos(np.pi * phase))
    drift: Float[np.ndarray, "volumes voxels"] = sum(shape * rng.normal(0, amplitude, voxels) for shape in shapes)  # type: ignore[assignment]
    return drift


def _scale_motion(motion: Float[np.ndarray, "volumes series"], millimeters: float) -> pd.DataFrame:
    scale = [millimeters / HEAD_RADIUS_MM if name.startswith("rot") else millimeters for name in MOTION]
    return pd.DataFrame(motion * scale, columns=list(MOTION))


def _standardize(series: Float[np.ndarray, "volumes series"]) -> Float[np.ndarray, "volumes series"]:
    spread = series.std(axis=0)
    standardized: Float[np.ndarray, "volumes series"] = (series - series.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return standardized
