"""One subject's runs and the settings of a model in, responses to single stimuli and contrast maps out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from analysis.confounds import Confounds, Strategy, read_confounds
from analysis.dataset import Run
from analysis.design import DesignSettings, build_design, compute_frame_times
from analysis.glm import (
    Maps,
    NoiseModel,
    combine_runs,
    estimate_contrast,
    estimate_events,
    find_usable,
    fit_run,
    scale_to_percent,
    weigh_columns,
)
from analysis.images import Grid, count_volumes, intersect, read_grid, read_mask, read_series
from analysis.map_contrasts import MapContrast, assign_conditions
from analysis.run_betas import RunBetas
from analysis.run_events import read_events
from protocols.config import config
from protocols.errors import InputError


@config
class ModelSettings:
    """The first-level model: design, noise, confounds."""

    design: DesignSettings = DesignSettings()
    noise: NoiseModel = "nilearn-ar1"
    confounds: Strategy = "motion6"


@dataclass(frozen=True)
class RunResult:
    """What one run contributes: responses to its stimuli, if its events name any, and nilearn contrasts by label."""

    run: Run
    mask: Bool[np.ndarray, "x y z"]
    grid: Grid
    left_out: int
    betas: RunBetas | None
    contrasts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SubjectMaps:
    """One contrast of one subject, all runs combined, in the voxels that every run has."""

    contrast: MapContrast
    runs: int
    maps: Maps
    mask: Bool[np.ndarray, "x y z"]
    grid: Grid


def model_run(run: Run, settings: ModelSettings, contrasts: Sequence[MapContrast], stimuli: pd.DataFrame | None) -> RunResult:
    """Fit one run: once with a regressor per stimulus, once with a regressor per condition."""
    if run.mask is None:
        raise InputError(f"{run.bold}: is of a surface, where there is no model yet; choose a volume with --space")
    grid = read_grid(run.bold)
    mask = read_mask(run.mask, grid, run.bold)
    volumes = count_volumes(run.bold)
    end_s = volumes * run.tr_s
    events = assign_conditions(read_events(run, end_s), stimuli, str(run.events))
    confounds = _mark_volumes(read_confounds(run, settings.confounds, volumes))
    reference = run.slice_time_ref if settings.design.slice_time_ref is None else settings.design.slice_time_ref
    times = compute_frame_times(volumes, run.tr_s, reference)
    series = read_series(run.bold, mask)[0].astype(np.float64)
    usable = find_usable(series)
    if not usable.any():
        raise InputError(f"{run.bold}: no voxel of the brain mask changes over time; the file or its mask is wrong")
    mask[mask] = usable
    percent = scale_to_percent(series[:, usable])
    result = RunResult(run, mask, grid, int((~usable).sum()), None)
    if events["stim_id"].notna().any():
        named = events.assign(regressor=events["stim_id"].where(events["stim_id"].notna(), "other event " + events["trial_type"]))
        design = build_design(named, "regressor", times, confounds, settings.design, run.name.stem)
        result = _with_betas(result, *estimate_events(fit_run(percent, design, settings.noise)), named)
    if contrasts:
        design = build_design(events, "regressor", times, confounds, settings.design, run.name.stem)
        fit = fit_run(percent, design, settings.noise)
        weights = {contrast.label: weigh_columns(design, contrast.plus, contrast.minus) for contrast in contrasts}
        result.contrasts.update({label: estimate_contrast(fit, weight) for label, weight in weights.items() if weight is not None})
    return result


def _with_betas(result: RunResult, effects: np.ndarray, variances: np.ndarray, events: pd.DataFrame) -> RunResult:
    regressors = list(dict.fromkeys(events["regressor"]))
    is_stimulus = np.isin(regressors, events["stim_id"].dropna().to_numpy(dtype=str))
    ids = [name for name, keep in zip(regressors, is_stimulus, strict=True) if keep]
    grouped = events.groupby("stim_id")["duration"].agg(["size", "median"]).loc[ids]
    table = pd.DataFrame({"stim_id": ids, "events": grouped["size"].to_numpy(), "duration": grouped["median"].to_numpy()})
    betas = RunBetas(result.run.stem, table, effects[is_stimulus], variances[is_stimulus], result.mask, result.grid)
    return RunResult(result.run, result.mask, result.grid, result.left_out, betas)


def combine_subject(results: Sequence[RunResult], contrasts: Sequence[MapContrast]) -> list[SubjectMaps]:
    """Combine a subject's runs for each contrast; a run without one of its conditions is not counted.

    Raises
    ------
    InputError
        When runs lie on different grids, or no run has all conditions of a contrast.
    """
    first = results[0]
    for result in results[1:]:
        if not result.grid.matches(first.grid):
            raise InputError(f"{result.run.bold}: is not on the grid of {first.run.bold.name}; runs of a subject must share a grid")
    return [_combine_contrast(results, contrast) for contrast in contrasts]


def _combine_contrast(results: Sequence[RunResult], contrast: MapContrast) -> SubjectMaps:
    having = [result for result in results if contrast.label in result.contrasts]
    if not having:
        subject = results[0].run.name.subject
        wanted = ", ".join((*contrast.plus, *contrast.minus))
        raise InputError(f"sub-{subject}: no run has all conditions of {contrast.expression!r} ({wanted}); show them within a run")
    common = intersect([result.mask for result in having])
    parts = [_restrict(result.contrasts[contrast.label], common[result.mask]) for result in having]
    return SubjectMaps(contrast, len(having), combine_runs(parts), common, having[0].grid)


def _restrict(contrast: Any, voxels: Bool[np.ndarray, " voxels"]) -> Any:
    from nilearn.glm.contrasts import Contrast

    return Contrast(contrast.effect.ravel()[voxels], contrast.variance.ravel()[voxels], dof=contrast.dof, stat_type="t")


def _mark_volumes(confounds: Confounds) -> pd.DataFrame:
    """Return the confounds with a regressor for each volume that is not kept, which takes it out of the model."""
    left_out = np.flatnonzero(~confounds.kept)
    spikes = np.eye(len(confounds.kept))[:, left_out]
    names = [f"volume_{volume}" for volume in left_out]
    return pd.concat([confounds.table.reset_index(drop=True), pd.DataFrame(spikes, columns=names)], axis=1)
