"""A run's BOLD, slid against its events, in; the responses that the same model then finds, in the same regions, out.

Slid by a random whole number of volumes, what runs out at the end coming in again at the start, BOLD keeps its autocorrelation, its drifts
and the likeness of regions, and events their order and spacing; only what happened when is gone. Confounds and drifts are taken out
before, so that they stay where they were (circular shifts: Lancaster et al. 2018, Physics Reports 748:1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from pydantic import Field

from analysis.first_level import ModelSettings
from analysis.glm import fit_run
from analysis.permute_runs import PlannedTest, average_regions
from analysis.run_model import plan_model
from protocols.config import config
from protocols.errors import InputError
from protocols.roi_table import BOTH

_CLEAR_S = 16.0  # a response is over: the shift is at least this long, both ways round


@config
class ShiftSettings:
    """The first level's own model, and how often BOLD is slid against events."""

    model: ModelSettings = ModelSettings()
    draws: int = Field(default=100, ge=1)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class ShiftedRun:
    """A run's rows of a RoiTable without condition and target, from events where they were, and each draw's responses in those rows."""

    rows: pd.DataFrame
    responses: Float[np.ndarray, "draws rows"]


def shift_run(one: PlannedTest, settings: ShiftSettings) -> ShiftedRun:
    """Fit the run's regions with events where they were, and with BOLD slid against them.

    The noise is that of a region's mean series; the first level fits every voxel with its own, so that responses differ a little.

    Raises
    ------
    InputError
        When the run is too short to be slid, or no event names a stimulus.
    """
    run = one.runs[0]
    model = plan_model(run, one.volumes, settings.model, (), None)
    if model.stimuli is None:
        raise InputError(f"{run.events}: events name no stim_id, so that there is no response to a stimulus to test")
    design, table = model.stimuli
    rois = list(dict.fromkeys(region.name for part in one.regions for region in part))
    series = average_regions(one, rois, model.kept)
    nuisance = np.concatenate([design.select("confound"), design.select("drift")], axis=1)
    series = series - nuisance @ np.linalg.lstsq(nuisance, series)[0]
    slid = [np.roll(series, lag, axis=0) for lag in (0, *draw_lags(len(series), run.tr_s, settings, run.name.stem))]
    rows = [list(design.counts).index(name) for name in table["stim_id"]]
    found = fit_run(np.concatenate(slid, axis=1), design, design.loadings[rows], settings.model.noise)
    effect = found.effect.reshape(len(rows), -1, len(rois)).transpose(1, 2, 0)  # draws x ROIs x stimuli
    se = np.sqrt(found.variance).reshape(len(rows), -1, len(rois))[:, 0].T
    counts = {roi: sum(len(region.voxels) for part in one.regions for region in part if region.name == roi) for roi in rois}
    named = pd.DataFrame([(stim_id, roi) for roi in rois for stim_id in table["stim_id"]], columns=["stim_id", "roi"])
    named = named.assign(hemisphere=BOTH, response_psc=effect[0].ravel(), se_psc=se.ravel(), n_voxels=named["roi"].map(counts))
    return ShiftedRun(
        named.assign(subject=run.name.subject, session=run.name.session, run=run.name.run), effect[1:].reshape(len(effect) - 1, -1)
    )


def draw_lags(volumes: int, tr_s: float, settings: ShiftSettings, stem: str) -> Int[np.ndarray, " draws"]:
    """Draw by how many volumes a run's BOLD is slid, the same every time for the same run.

    Raises
    ------
    InputError
        When the run is not longer than two responses.
    """
    least = int(np.ceil(_CLEAR_S / tr_s))
    if volumes <= 2 * least:
        raise InputError(f"{stem}: {volumes} volumes of {tr_s:g} s are too few to slide BOLD by {_CLEAR_S:g} s either way")
    rng = np.random.default_rng([settings.seed, *stem.encode()])
    lags: Int[np.ndarray, " draws"] = rng.integers(least, volumes - least + 1, settings.draws)
    return lags


def join_runs(runs: Sequence[ShiftedRun]) -> ShiftedRun:
    """Return all runs' rows below one another."""
    return ShiftedRun(pd.concat([one.rows for one in runs], ignore_index=True), np.concatenate([one.responses for one in runs], axis=1))
