"""Localizer runs in, the hemodynamic response function that predicts them best out, with the runs that chose it.

Each candidate is fitted to all runs but one and predicts the one left out; its score is the mean over voxels of R2 = 1 - SS_residual /
SS_total, after confounds and drifts are projected out of both sides. The choice is made from data, and the runs behind it must not be
tested with it: they are returned as `chosen_from`, for the double-dipping check.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from analysis.design import Design, DesignSettings, build_design
from analysis.hrf import HRF_LIBRARY, HrfModel
from protocols.errors import InputError


@dataclass(frozen=True)
class LocalizerRun:
    """One run that may choose.

    Attributes
    ----------
    scan
        Which scan it is: `subject session task run sha256`, as sidecars tell it.
    series
        Percent signal change, all volumes.
    events
        `onset duration` in seconds, and `regressor`, the condition.
    frame_times
        The moments that the volumes stand for.
    confounds
        A row per volume.
    kept
        Volumes that are not left out.
    """

    scan: dict[str, Any]
    series: Float[np.ndarray, "volumes voxels"]
    events: pd.DataFrame
    frame_times: Float[np.ndarray, " volumes"]
    confounds: pd.DataFrame
    kept: Bool[np.ndarray, " volumes"]

    @property
    def where(self) -> str:
        """The run, for messages."""
        return "_".join(f"{name}-{self.scan[name]}" for name in ("subject", "session", "task", "run") if self.scan.get(name) is not None)


@dataclass(frozen=True)
class HrfChoice:
    """The chosen model, the cross-validated R2 of every candidate, and the scans that chose."""

    hrf: HrfModel
    r2: dict[str, float]
    chosen_from: list[dict[str, Any]]


@dataclass(frozen=True)
class _Moments:
    """What cross-validation needs of one run: X'X, X'Y and Y'Y, confounds and drifts removed, conditions in one order."""

    gram: Float[np.ndarray, "conditions conditions"]
    cross: Float[np.ndarray, "conditions voxels"]
    squares: Float[np.ndarray, " voxels"]


def choose_hrf(runs: Sequence[LocalizerRun], settings: DesignSettings, library: Sequence[HrfModel] = HRF_LIBRARY) -> HrfChoice:
    """Return the model of `library` (one column a condition) with the highest cross-validated R2; the other settings stay.

    Raises
    ------
    InputError
        When there are fewer than two runs, or they share no condition.
    """
    if len(runs) < 2:
        raise InputError(f"an HRF is chosen across runs, and there is {len(runs)}; give two localizer runs, or name the HRF")
    shared = [name for name in dict.fromkeys(runs[0].events["regressor"]) if all((run.events["regressor"] == name).any() for run in runs)]
    if not shared:
        raise InputError(f"{runs[0].where} and the other localizer runs have no condition in common; choose among runs of one task")
    r2 = {hrf: _cross_validate([_summarize(run, dataclasses.replace(settings, hrf=hrf), shared) for run in runs]) for hrf in library}
    best = max(library, key=lambda hrf: r2[hrf])
    return HrfChoice(best, {str(hrf): value for hrf, value in r2.items()}, [dict(run.scan) for run in runs])


def _summarize(run: LocalizerRun, settings: DesignSettings, shared: Sequence[str]) -> _Moments:
    design = build_design(run.events, "regressor", run.frame_times, run.confounds, settings, run.where, run.kept)
    conditions, series = _remove_nuisance(design, shared, run.series[design.volumes])
    return _Moments(conditions.T @ conditions, conditions.T @ series, (series**2).sum(axis=0))


def _remove_nuisance(
    design: Design, shared: Sequence[str], series: Float[np.ndarray, "rows voxels"]
) -> tuple[Float[np.ndarray, "rows conditions"], Float[np.ndarray, "rows voxels"]]:
    basis = np.linalg.qr(design.matrix.drop(columns=list(shared)).to_numpy(dtype=np.float64))[0]
    conditions = design.matrix[list(shared)].to_numpy(dtype=np.float64)
    return conditions - basis @ (basis.T @ conditions), series - basis @ (basis.T @ series)


def _cross_validate(runs: Sequence[_Moments]) -> float:
    """Return the mean over voxels of the R2 of runs predicted by the others."""
    residual = np.zeros_like(runs[0].squares)
    for left_out in runs:
        others = [run for run in runs if run is not left_out]
        weights = np.linalg.solve(sum(run.gram for run in others), sum(run.cross for run in others))
        explained = 2 * weights * left_out.cross - weights * (left_out.gram @ weights)
        residual += left_out.squares - explained.sum(axis=0)
    total = np.sum([run.squares for run in runs], axis=0)
    return float(np.mean(1 - residual / total))
