"""A run's series, motion and design in; what a person looks at before believing its results, as numbers, out."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from analysis.design import Design
from analysis.glm import fit_run
from analysis.mixed_noise import expect_kinds
from analysis.noise import NoiseModel, expect_ratios

_HEAD_RADIUS_MM = 50.0  # Power et al. 2012, NeuroImage 59:2142
_BLOCK_VALUES = 2_000_000  # of a block of series: 16 MB
_CHANCE = 0.95
_MOST_SHIFTS = 400


@dataclass(frozen=True)
class TaskMotion:
    """How much of the motion follows the task.

    Attributes
    ----------
    r2
        Of each motion parameter: the share of its variance, drifts removed, that the conditions' regressors explain.
    chance
        What the largest of them exceeds in one of twenty circular shifts of the motion against the task: autocorrelated motion always
        follows a task a little, the more regressors the more.
    """

    r2: Float[np.ndarray, " parameters"]
    chance: float

    @property
    def largest(self) -> float:
        """The largest R2 of a parameter."""
        return float(self.r2.max())


def compute_displacement(motion: Float[np.ndarray, "volumes 6"]) -> Float[np.ndarray, " volumes"]:
    """Return the framewise displacement in millimeters, NaN for the first volume (Power et al. 2012, NeuroImage 59:2142).

    `motion` has x, y, z in millimeters and three rotations in radians, as fMRIPrep gives them; rotations count as on a sphere of 50 mm.
    """
    steps = np.abs(np.diff(motion, axis=0)) * np.array([1, 1, 1, *[_HEAD_RADIUS_MM] * 3])
    return np.concatenate([[np.nan], steps.sum(axis=1)])


def compute_tsnr(series: Float[np.ndarray, "rows voxels"], drifts: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, " voxels"]:
    """Return each voxel's mean over the standard deviation of what `drifts` (with the constant) leave: temporal signal-to-noise ratio."""
    basis = np.linalg.qr(drifts)[0]
    width = max(_BLOCK_VALUES // len(series), 1)
    parts = []
    for start in range(0, series.shape[1], width):
        block = series[:, start : start + width].astype(np.float64)
        residual = block - basis @ (basis.T @ block)
        deviation = np.sqrt((residual**2).sum(axis=0) / (len(series) - basis.shape[1]))
        parts.append(block.mean(axis=0) / np.where(deviation > 0, deviation, np.nan))
    return np.concatenate(parts) if parts else np.empty(0)


def measure_task_motion(motion: Float[np.ndarray, "rows parameters"], design: Design) -> TaskMotion:
    """Regress motion, as it was and shifted in time, on the conditions' regressors (derivatives and bins too), drifts removed from both."""
    drifts = design.select("drift")
    task = _remove(drifts, design.select("task"))
    basis = np.linalg.qr(task)[0]
    clean = _remove(drifts, motion)
    power = (clean**2).sum(axis=0)
    lags = np.linspace(0, len(clean) - 1, min(len(clean), _MOST_SHIFTS)).astype(np.int64)  # the first is none
    shifts = (np.arange(len(clean)) + lags[:, None]) % len(clean)
    explained = ((clean[shifts].transpose(0, 2, 1) @ basis) ** 2).sum(axis=2) / np.where(power > 0, power, np.inf)
    return TaskMotion(explained[0], float(np.quantile(explained[1:].max(axis=1), _CHANCE)))


def measure_autocorrelation(
    series: Float[np.ndarray, "rows voxels"], design: Design, noise: NoiseModel
) -> tuple[Float[np.ndarray, " voxels"], Float[np.ndarray, " voxels"]]:
    """Return the residuals' correlation of successive volumes, before and after the whitening that the noise model chose.

    Residuals of white noise are below 0, because the design took out what is slow: compare with `expect_white`.
    """
    neighbors = np.diff(design.volumes) == 1
    plain = _remove(design.values, series)
    return _correlate_neighbors(plain, neighbors), _correlate_neighbors(_whiten(series, design, noise), neighbors)


def expect_white(design: Design) -> float:
    """Return the correlation of successive residuals that white noise has after this design."""
    ratios, rho = expect_ratios(design.values / np.linalg.norm(design.values, axis=0), design.volumes)
    return float(np.interp(0.0, rho, ratios))


def _whiten(series: Float[np.ndarray, "rows voxels"], design: Design, noise: NoiseModel) -> Float[np.ndarray, "rows voxels"]:
    """Return the residuals of the whitened fit."""
    residuals = np.empty_like(series)
    if noise == "ar1-white":
        mixed = expect_kinds(design.values / np.linalg.norm(design.values, axis=0), design.volumes)
        kinds = mixed.choose(series)
        for kind in np.unique(kinds):
            whiten = mixed.whiten(int(kind))
            residuals[:, kinds == kind] = _remove(whiten(design.values), whiten(series[:, kinds == kind]))
        return residuals
    rho = fit_run(series, design, design.loadings[:1], noise).rho
    for value in np.unique(rho):
        own = rho == value
        residuals[:, own] = _remove(_innovate(design.values, design, value), _innovate(series[:, own], design, value))
    return residuals


def _innovate(values: Float[np.ndarray, "rows columns"], design: Design, rho: float) -> Float[np.ndarray, "rows columns"]:
    """Return what each volume adds to its forecast from the one before, g volumes earlier, over its standard deviation."""
    kept = rho ** np.diff(design.volumes)
    innovations = (values[1:] - kept[:, None] * values[:-1]) / np.sqrt(1 - kept**2)[:, None]
    return np.concatenate([values[:1], innovations])


def _correlate_neighbors(
    residuals: Float[np.ndarray, "rows voxels"], neighbors: Bool[np.ndarray, " pairs"]
) -> Float[np.ndarray, " voxels"]:
    products = (residuals[1:][neighbors] * residuals[:-1][neighbors]).sum(axis=0)
    power = (residuals**2).sum(axis=0)
    correlation: Float[np.ndarray, " voxels"] = products / np.where(power > 0, power, np.nan)
    return correlation


def _remove(columns: Float[np.ndarray, "rows columns"], values: Float[np.ndarray, "rows _"]) -> Float[np.ndarray, "rows _"]:
    basis = np.linalg.qr(columns)[0]
    removed: Float[np.ndarray, "rows _"] = values - basis @ (basis.T @ values)
    return removed
