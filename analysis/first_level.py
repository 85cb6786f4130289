"""One run and the settings of a model in, responses to single stimuli and contrasts of that run out; a subject's runs in, its maps out."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from analysis.combine import Maps, RunEffect, RunWeights, combine_runs
from analysis.confounds import ConfoundSettings, Strategy
from analysis.dataset import Run
from analysis.design import Design, DesignSettings
from analysis.extract import RunSeries
from analysis.glm import fit_run, weigh_columns
from analysis.hrf import HrfModel
from analysis.images import Grid, intersect
from analysis.map_contrasts import MapContrast
from analysis.noise import NoiseModel
from analysis.run_betas import RunBetas
from protocols.config import config
from protocols.errors import InputError


@config
class ModelSettings:
    """The first-level model: design, noise, confounds, and how a subject's runs are weighed."""

    design: DesignSettings = DesignSettings()
    noise: NoiseModel = "ar1"
    confounds: Strategy = "motion6"
    run_weights: RunWeights | None = None
    """None: precision, but the plain mean with nilearn's noise models."""
    confound_settings: ConfoundSettings = ConfoundSettings()

    @property
    def weights(self) -> RunWeights:
        """How runs are weighed."""
        return self.run_weights or ("precision" if self.noise.startswith("ar1") else "mean")


@dataclass(frozen=True)
class RunModel:
    """What will be fitted to a run: everything but its series.

    Attributes
    ----------
    stimuli
        The design with a regressor per stimulus, and the stimuli's table `stim_id events duration`; None where events name none.
    conditions
        The design with a regressor per condition; None without contrasts.
    kept
        Volumes that take part.
    hrf
        The hemodynamic response function.
    """

    run: Run
    stimuli: tuple[Design, pd.DataFrame] | None
    conditions: Design | None
    kept: Bool[np.ndarray, " volumes"]
    hrf: HrfModel


@dataclass(frozen=True)
class RunResult:
    """What one run contributes: responses to its stimuli, if its events name any, and the contrasts that it has, by label."""

    run: Run
    mask: Bool[np.ndarray, "*grid"]
    grid: Grid
    left_out: int
    sha256: str
    betas: RunBetas | None
    contrasts: dict[str, RunEffect] = field(default_factory=dict)

    def without_betas(self) -> "RunResult":
        """Return the result without the responses per stimulus, which need most memory."""
        return dataclasses.replace(self, betas=None)


@dataclass(frozen=True)
class SubjectMaps:
    """One contrast of one subject, all runs combined, in the voxels that every run has."""

    contrast: MapContrast
    run: Run
    runs: int
    maps: Maps
    mask: Bool[np.ndarray, "*grid"]
    grid: Grid


def model_run(model: RunModel, series: RunSeries, contrasts: Sequence[MapContrast], noise: NoiseModel) -> RunResult:
    """Fit one run: once with a regressor per stimulus, once with a regressor per condition."""
    values = series.values if model.kept.all() else series.values[model.kept]
    betas = None
    if model.stimuli is not None:
        betas = _estimate_stimuli(model.run, values, series, *model.stimuli, noise)
    made: dict[str, RunEffect] = {}
    if model.conditions is not None:
        made = _estimate_contrasts(values, model.conditions, contrasts, noise)
    return RunResult(model.run, series.mask, series.grid, series.left_out, series.sha256, betas, made)


def combine_subject(results: Sequence[RunResult], contrasts: Sequence[MapContrast], weights: RunWeights) -> list[SubjectMaps]:
    """Combine a subject's runs (of one hemisphere, on surfaces) for each contrast; a run without one of its conditions is not counted.

    Raises
    ------
    InputError
        When runs lie on different grids, or no run has all conditions of a contrast.
    """
    first = results[0]
    for result in results[1:]:
        if not result.grid.matches(first.grid):
            raise InputError(f"{result.run.bold}: is not on the grid of {first.run.bold.name}; runs of a subject must share a grid")
    return [_combine_contrast(results, contrast, weights) for contrast in contrasts]


def _estimate_stimuli(
    run: Run, values: Float[np.ndarray, "volumes voxels"], series: RunSeries, design: Design, table: pd.DataFrame, noise: NoiseModel
) -> RunBetas:
    names = list(design.counts)
    rows = [names.index(name) for name in table["stim_id"]]
    found = fit_run(values, design, design.loadings[rows], noise, percent=True)
    return RunBetas(run.stem, table, found.effect.astype(np.float32), found.variance.astype(np.float32), series.mask, series.grid)


def _estimate_contrasts(
    values: Float[np.ndarray, "volumes voxels"], design: Design, contrasts: Sequence[MapContrast], noise: NoiseModel
) -> dict[str, RunEffect]:
    weights = {contrast.label: weigh_columns(design, contrast.plus, contrast.minus) for contrast in contrasts}
    having = {label: weight for label, weight in weights.items() if weight is not None}
    if not having:
        return {}
    found = fit_run(values, design, np.stack(list(having.values())), noise, percent=True)
    effect, variance = found.effect.astype(np.float32), found.variance.astype(np.float32)
    return {label: RunEffect(effect[row], variance[row], found.df) for row, label in enumerate(having)}


def _combine_contrast(results: Sequence[RunResult], contrast: MapContrast, weights: RunWeights) -> SubjectMaps:
    having = [result for result in results if contrast.label in result.contrasts]
    if not having:
        subject = results[0].run.name.subject
        wanted = ", ".join((*contrast.plus, *contrast.minus))
        raise InputError(f"sub-{subject}: no run has all conditions of {contrast.expression!r} ({wanted}); show them within a run")
    common = intersect([result.mask for result in having])
    parts = [_restrict(result.contrasts[contrast.label], common[result.mask]) for result in having]
    return SubjectMaps(contrast, having[0].run, len(having), combine_runs(parts, weights), common, having[0].grid)


def _restrict(effect: RunEffect, voxels: Bool[np.ndarray, " voxels"]) -> RunEffect:
    return RunEffect(effect.effect[voxels], effect.variance[voxels], effect.df)
