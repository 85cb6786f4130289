"""Events, confounds and frame times of one run in, design matrices out.

Drifts and the constant are nilearn's; event regressors come from `analysis.hrf`. One stimulus or condition is one
column. A design whose columns depend on one another is refused with their names.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from analysis.hrf import HrfModel, find_peak, respond_to_events
from protocols.config import config
from protocols.errors import InputError


@config
class DesignSettings:
    """How a run is modelled."""

    hrf: HrfModel = "glover"
    high_pass_s: float = Field(default=128.0, gt=0)
    """Period of the slowest signal kept, as SPM and nilearn's documentation use it."""
    slice_time_ref: float | None = Field(default=None, ge=0, le=1)
    """Moment of the repetition that a volume stands for, 0-1; None: from the sidecar."""


@dataclass(frozen=True)
class Design:
    """A design matrix and what its columns are.

    Attributes
    ----------
    matrix
        One row per volume, one named column per regressor.
    peaks
        For each event column, the highest value of the response to one event of its (median) duration: a weight times
        its peak is the response to one event.
    counts
        For each event column, its number of events.
    """

    matrix: pd.DataFrame
    peaks: dict[str, float]
    counts: dict[str, int]

    @property
    def values(self) -> Float[np.ndarray, "volumes regressors"]:
        """The matrix as an array."""
        values: Float[np.ndarray, "volumes regressors"] = self.matrix.to_numpy(dtype=np.float64)
        return values


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
) -> Design:
    """Return the design with one regressor per distinct value of `events[column]` (`onset` and `duration` in seconds).

    Raises
    ------
    InputError
        When columns are linearly dependent, naming them, or there are more columns than volumes.
    """
    names = list(dict.fromkeys(events[column]))
    onsets, durations = (events[name].to_numpy(dtype=np.float64) for name in ("onset", "duration"))
    responses = respond_to_events(frame_times, onsets, durations, settings.hrf)
    columns = {name: responses[:, (events[column] == name).to_numpy()].sum(axis=1) for name in names}
    matrix = pd.concat([pd.DataFrame(columns, columns=names), confounds.reset_index(drop=True), _drift(frame_times, settings)], axis=1)
    _refuse_dependent(matrix, where)
    peaks = {name: find_peak(float(events.loc[events[column] == name, "duration"].median()), settings.hrf) for name in names}
    return Design(matrix, peaks, {name: int((events[column] == name).sum()) for name in names})


def _drift(frame_times: Float[np.ndarray, " volumes"], settings: DesignSettings) -> pd.DataFrame:
    from nilearn.glm.first_level import make_first_level_design_matrix

    drift: pd.DataFrame = make_first_level_design_matrix(frame_times, drift_model="cosine", high_pass=1 / settings.high_pass_s)
    return drift.reset_index(drop=True)


def _refuse_dependent(matrix: pd.DataFrame, where: str) -> None:
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
