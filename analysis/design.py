"""Events, confounds and frame times of one run in, design matrices out.

Drifts and the constant are nilearn's; event regressors come from `analysis.hrf`. One stimulus or condition is one
column; with derivatives of the response, or without a shape (`fir`), it has further ones. Volumes that are left out (not in steady
state, scrubbed) have no row: the matrix is built on all volumes, so that nothing is filtered or shifted by a gap, and then cut. A design
whose columns depend on one another is refused with their names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator

from analysis.hrf import FIR, HrfModel, find_peak, list_parts, respond_in_bins, respond_to_events
from protocols.config import config
from protocols.errors import InputError

Kind = Literal["task", "confound", "drift"]
_LEAST_SHARE = 0.05  # of a condition's squared response; with less in the volumes that are kept, its estimate is nothing but noise
_WINDOW_STEPS = 81
_CONSTANT = 1e-10  # of its largest value: rounding


@config
class DesignSettings:
    """How a run is modelled."""

    hrf: HrfModel = "glover"
    high_pass_s: float = Field(default=128.0, gt=0)
    """Period of the slowest signal kept, as SPM and nilearn's documentation use it."""
    slice_time_ref: float | None = Field(default=None, ge=0, le=1)
    """Moment of the repetition that a volume stands for, 0-1; None: from the sidecar."""
    fir_length_s: float = Field(default=24.0, gt=0)
    """With `fir`, how long after its onset an event may act; a bin is one repetition."""
    fir_window_s: tuple[float, float] = (4.0, 8.0)
    """With `fir`, when after the onset the response is read: its mean between the two."""

    def choose_reference(self, own: float) -> float:
        """Return the moment of the repetition that a run's volumes stand for; `own` is that of the run's sidecars."""
        return own if self.slice_time_ref is None else self.slice_time_ref

    @model_validator(mode="after")
    def _order_window(self) -> "DesignSettings":
        start, end = self.fir_window_s
        if not 0 <= start < end <= self.fir_length_s:
            raise ValueError(f"fir_window_s {start:g} to {end:g} s must lie, in order, within fir_length_s, {self.fir_length_s:g} s")
        return self


@dataclass(frozen=True)
class Design:
    """A design matrix and what its columns are.

    Attributes
    ----------
    matrix
        One row per volume that is kept, one named column per regressor. Conditions come first, then their derivatives, confounds, drifts.
    peaks
        For each condition's column, the highest value of the response to one event of its (median) duration: a weight times
        its peak is the response to one event. Empty with `fir`, where no single column is the response; see `loadings`.
    counts
        For each condition, its number of events.
    loadings
        Conditions x regressors: times the weights, the response to one event of each condition. With a shape this is the peak
        at the condition's column, with `fir` the mean over `fir_window_s`. It holds for every model; derivatives have 0.
    volumes
        For each row of the matrix, which volume of the run it is, from 0: where the series has gaps.
    kinds
        For each column what it is: `task` (conditions, derivatives, bins), `confound` or `drift` (with the constant).
    """

    matrix: pd.DataFrame
    peaks: dict[str, float]
    counts: dict[str, int]
    loadings: Float[np.ndarray, "conditions regressors"]
    volumes: Int[np.ndarray, " rows"]
    kinds: tuple[Kind, ...]

    @property
    def values(self) -> Float[np.ndarray, "rows regressors"]:
        """The matrix as an array."""
        values: Float[np.ndarray, "rows regressors"] = self.matrix.to_numpy(dtype=np.float64)
        return values

    def select(self, kind: Kind) -> Float[np.ndarray, "rows columns"]:
        """Return the columns of one kind."""
        return self.values[:, np.array(self.kinds) == kind]


def compute_frame_times(volumes: int, tr_s: float, slice_time_ref: float) -> Float[np.ndarray, " volumes"]:
    """Return the moments, in seconds, that the volumes stand for."""
    return (np.arange(volumes) + slice_time_ref) * tr_s


def build_design(
    events: pd.DataFrame,
    column: str,
    frame_times: Float[np.ndarray, " volumes"],
    confounds: pd.DataFrame,
    settings: DesignSettings,
    where: str,
    kept: Bool[np.ndarray, " volumes"] | None = None,
) -> Design:
    """Return the design with one condition per distinct value of `events[column]` (`onset` and `duration` in seconds).

    `confounds` has a row for every volume; volumes that are not `kept` leave the matrix, and with them confounds that change no more.

    Raises
    ------
    InputError
        When columns are linearly dependent or share a name, naming them, there are more columns than volumes, or the response to a
        condition lies in volumes that are left out.
    """
    shown = _Shown.group(events, column)
    task, loads = _model_bins(shown, frame_times, settings) if settings.hrf == FIR else _model_shapes(shown, frame_times, settings.hrf)
    rows = np.ones(len(frame_times), dtype=bool) if kept is None else kept
    _refuse_left_out(shown, task, loads, rows, where)
    nuisance, drift = _keep_changing(confounds.reset_index(drop=True), rows), _drift(frame_times, settings)
    matrix = pd.concat([task, nuisance, drift], axis=1)[rows].reset_index(drop=True)
    _refuse_dependent(matrix, where)
    loadings = np.zeros((len(shown.names), matrix.shape[1]))
    loadings[:, : task.shape[1]] = loads
    peaks = {} if settings.hrf == FIR else {name: float(loads[place, place]) for place, name in enumerate(shown.names)}
    counts = {name: int(count) for name, count in zip(shown.names, shown.belongs.sum(axis=0), strict=True)}
    parts: list[tuple[Kind, pd.DataFrame]] = [("task", task), ("confound", nuisance), ("drift", drift)]
    kinds = tuple(kind for kind, part in parts for _ in part)
    return Design(matrix, peaks, counts, loadings, np.flatnonzero(rows), kinds)


@dataclass(frozen=True)
class _Shown:
    """Events, and which condition each `belongs` to (0 or 1)."""

    names: list[str]
    onsets: Float[np.ndarray, " events"]
    durations: Float[np.ndarray, " events"]
    belongs: Float[np.ndarray, "events conditions"]

    @classmethod
    def group(cls, events: pd.DataFrame, column: str) -> "_Shown":
        names = list(dict.fromkeys(events[column]))
        onsets, durations = (events[name].to_numpy(dtype=np.float64) for name in ("onset", "duration"))
        belongs = np.stack([(events[column] == name).to_numpy(dtype=np.float64) for name in names], axis=1)
        return cls([str(name) for name in names], onsets, durations, belongs)

    @property
    def median_durations(self) -> list[float]:
        return [float(np.median(self.durations[members > 0])) for members in self.belongs.T]


def _model_shapes(
    shown: _Shown, times: Float[np.ndarray, " volumes"], hrf: HrfModel
) -> tuple[pd.DataFrame, Float[np.ndarray, "conditions columns"]]:
    """Return the conditions' columns, then their derivatives, and each condition's peak at its column.

    As in nilearn, a derivative is made orthogonal to what precedes it in its condition: the response's weight is what it is without it.
    """
    parts = list_parts(hrf)
    made = np.stack([respond_to_events(times, shown.onsets, shown.durations, hrf, part) @ shown.belongs for part in parts])
    for number in range(1, len(parts)):
        for place in range(len(shown.names)):
            before, derivative = made[:number, :, place].T, made[number, :, place]
            made[number, :, place] = derivative - before @ np.linalg.lstsq(before, derivative)[0]
    names = [name if part == "response" else f"{name}_{part}" for part in parts for name in shown.names]
    loads = np.zeros((len(shown.names), len(names)))
    np.fill_diagonal(loads, [find_peak(duration, hrf) for duration in shown.median_durations])
    return pd.DataFrame(np.concatenate(made, axis=1), columns=names), loads


def _model_bins(
    shown: _Shown, times: Float[np.ndarray, " volumes"], settings: DesignSettings
) -> tuple[pd.DataFrame, Float[np.ndarray, "conditions columns"]]:
    """Return a column per condition and delay, and what turns them into the mean response in the window.

    A delay that no volume has, as before the first event or after the last volume, has no column, unless the window needs it.
    """
    bin_s = float(np.diff(times).min())
    delays = np.arange(int(settings.fir_length_s / bin_s + 1e-9) + 1)
    binned = np.einsum("ved,ec->vcd", respond_in_bins(times, shown.onsets, shown.durations, delays, bin_s), shown.belongs)
    since = np.linspace(*settings.fir_window_s, _WINDOW_STEPS)
    start, lengths = np.zeros(1), np.array(shown.median_durations)
    window = np.concatenate([respond_in_bins(since, start, lengths[[place]], delays, bin_s).mean(axis=0) for place in range(len(lengths))])
    names = [f"{name}_delay_{delay}" for name in shown.names for delay in delays]
    loads = (np.eye(len(lengths))[:, :, None] * window).reshape(len(lengths), -1)
    task = pd.DataFrame(binned.reshape(len(times), -1), columns=names)
    used = task.any(axis=0).to_numpy() | loads.any(axis=0)
    return task.loc[:, used], loads[:, used]


def _refuse_left_out(
    shown: _Shown,
    task: pd.DataFrame,
    loads: Float[np.ndarray, "conditions columns"],
    kept: Bool[np.ndarray, " volumes"],
    where: str,
) -> None:
    """Refuse a condition whose response lies in volumes that are left out."""
    power = task.to_numpy() ** 2
    for name, load in zip(shown.names, loads, strict=True):
        own = power[:, load != 0].sum(axis=1)
        if not kept.all() and own.sum() > 0 and own[kept].sum() < _LEAST_SHARE * own.sum():
            raise InputError(
                f"{where}: the response to {name!r} lies in volumes that are left out ({int((~kept).sum())} of {len(kept)}); "
                "leave the run or the condition out, or scrub less"
            )


def _keep_changing(confounds: pd.DataFrame, kept: Bool[np.ndarray, " volumes"]) -> pd.DataFrame:
    """Leave out confounds that are the same in all volumes that are kept, such as the spike of a volume that is not."""
    values = confounds.to_numpy(dtype=np.float64)
    if not values.size or not kept.any():
        return confounds
    changing = np.ptp(values[kept], axis=0) > _CONSTANT * np.abs(values).max(axis=0)
    varying: pd.DataFrame = confounds.loc[:, changing]
    return varying


def _drift(frame_times: Float[np.ndarray, " volumes"], settings: DesignSettings) -> pd.DataFrame:
    from nilearn.glm.first_level import make_first_level_design_matrix

    drift: pd.DataFrame = make_first_level_design_matrix(frame_times, drift_model="cosine", high_pass=1 / settings.high_pass_s)
    return drift.reset_index(drop=True)


def _refuse_dependent(matrix: pd.DataFrame, where: str) -> None:
    repeated = matrix.columns[matrix.columns.duplicated()]
    if len(repeated):
        raise InputError(f"{where}: two regressors are named {repeated[0]!r}; rename the trial type, the model uses that name itself")
    volumes, regressors = matrix.shape
    if regressors >= volumes:
        raise InputError(f"{where}: {regressors} regressors for {volumes} volumes; fewer stimuli a run, or longer runs, can be estimated")
    values = matrix.to_numpy(dtype=np.float64)
    scale = np.linalg.norm(values, axis=0)
    if (scale == 0).any():
        names = [name for name, length in zip(matrix.columns, scale, strict=True) if length == 0]
        raise InputError(f"{where}: regressor {_list(names)} is zero throughout; its events lie outside the volumes")
    scaled = values / scale
    squares, directions = np.linalg.eigh(scaled.T @ scaled)  # squared singular values, smallest first
    if squares[0] < 1e-12 * squares[-1]:
        involved = np.abs(directions[:, 0]) > 1e-3
        names = [name for name, is_in in zip(matrix.columns, involved, strict=True) if is_in]
        raise InputError(f"{where}: regressors depend on one another: {_list(names)}; drop a confound, or merge the conditions")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
