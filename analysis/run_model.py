"""A run's events and confounds in, the designs that will be fitted to it out: before any BOLD is read, so that mistakes show first."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from analysis.confounds import Confounds, read_confounds
from analysis.dataset import Run
from analysis.design import Design, DesignSettings, build_design, compute_frame_times
from analysis.first_level import ModelSettings, RunModel
from analysis.hrf_file import HrfChoices
from analysis.map_contrasts import MapContrast, assign_conditions
from analysis.run_events import read_events
from analysis.single_trials import respond_to_trials
from protocols.errors import InputError

_TRIAL, _OTHER = "trial", "other event "


def plan_models(
    runs: dict[Run, int],
    settings: ModelSettings,
    contrasts: Sequence[MapContrast],
    stimuli: pd.DataFrame | None,
    choices: HrfChoices | None = None,
) -> list[RunModel]:
    """Return the model of every run (with its number of volumes), a subject's together (on surfaces one hemisphere's), in order of names.

    `choices` are response functions that localizer runs chose, subject by subject.

    Raises
    ------
    InputError
        Naming all runs whose confounds or designs cannot be used, with the reason for each.
    """
    models, problems = [], []
    for run in sorted(runs, key=lambda run: (run.name.subject, run.hemisphere or "", run.stem)):
        try:
            design = dataclasses.replace(settings.design, hrf=choices.of(run.name.subject)) if choices else settings.design
            models.append(plan_model(run, runs[run], dataclasses.replace(settings, design=design), contrasts, stimuli))
        except InputError as problem:
            problems.append(str(problem))
    if problems:
        raise InputError("\n".join(problems))
    return models


def plan_model(run: Run, volumes: int, settings: ModelSettings, contrasts: Sequence[MapContrast], stimuli: pd.DataFrame | None) -> RunModel:
    """Return a run's model: a regressor per stimulus where events name any, a regressor per condition where contrasts are asked."""
    events, times, confounds = list_regressors(run, volumes, settings, stimuli)

    def build(table: pd.DataFrame) -> Design:
        return build_design(table, "regressor", times, confounds.table, settings.design, run.name.stem, confounds.kept)

    named = None
    if events["stim_id"].notna().any():
        table = events.assign(regressor=events["stim_id"].where(events["stim_id"].notna(), _OTHER + events["trial_type"]))
        named = build(table), _tabulate_stimuli(table)
    return RunModel(run, named, build(events) if contrasts else None, confounds.kept, settings.design.hrf)


def list_regressors(
    run: Run, volumes: int, settings: ModelSettings, stimuli: pd.DataFrame | None
) -> tuple[pd.DataFrame, Float[np.ndarray, " volumes"], Confounds]:
    """Return a run's events with the `regressor` of each, the moments that its volumes stand for, and its confounds."""
    events = assign_conditions(read_events(run, volumes * run.tr_s), stimuli, str(run.events))
    confounds = read_confounds(run, settings.confounds, volumes, settings.confound_settings)
    return events, compute_frame_times(volumes, run.tr_s, settings.design.choose_reference(run.slice_time_ref)), confounds


def separate_trials(
    events: pd.DataFrame,
    is_trial: Bool[np.ndarray, " events"],
    times: Float[np.ndarray, " volumes"],
    confounds: Confounds,
    settings: DesignSettings,
    where: str,
) -> tuple[Float[np.ndarray, "rows trials"], Float[np.ndarray, "rows columns"]]:
    """Return one regressor per trial, and all else of the design: other events by their trial types, confounds, drifts."""
    named = events.assign(regressor=np.where(is_trial, _TRIAL, _OTHER + events["trial_type"]))
    design = build_design(named, "regressor", times, confounds.table, settings, where, confounds.kept)
    onsets, durations = (events.loc[is_trial, name].to_numpy(dtype=np.float64) for name in ("onset", "duration"))
    trials = respond_to_trials(times[confounds.kept], onsets, durations, settings.hrf)
    return trials, design.matrix.drop(columns=_TRIAL).to_numpy(dtype=np.float64)


def list_trial_types(runs: Iterable[Run]) -> list[str]:
    """Return the trial types of all runs' events."""
    return sorted({str(name) for run in runs for name in read_events(run, float("inf"))["trial_type"]})


def _tabulate_stimuli(events: pd.DataFrame) -> pd.DataFrame:
    """Return one row per stimulus, in order of its first event: `stim_id events duration`."""
    shown = events[events["stim_id"].notna()]
    grouped = shown.groupby("stim_id", sort=False)["duration"].agg(["size", "median"])
    return pd.DataFrame({"stim_id": list(grouped.index), "events": grouped["size"].to_numpy(), "duration": grouped["median"].to_numpy()})
