"""A run's series and design in; by how many volumes the responses come later than the events say, out.

The task's columns are moved against the series, volume by volume, and the variance of all voxels that they explain is compared: its peak,
between volumes by a parabola, is the lag. A response function that is slower or faster than a person's own moves all runs of the person
alike; a run that differs from the others by a volume has the events of another clock, or lost a volume at its start.
"""

import numpy as np
from jaxtyping import Float, Int

from analysis.design import Design

_REACH = 3  # volumes to either side
_FAR = 12  # volumes from where the task has nothing to do with the series
_MOST_SHIFTS = 60
_CLEAR = 4.0  # standard deviations of what is explained at far shifts


def measure_lag(series: Float[np.ndarray, "rows voxels"], design: Design) -> float:
    """Return the lag in volumes, above 0 where responses are late; NaN where the task explains too little to tell, and for `fir`."""
    nuisance = np.linalg.qr(np.concatenate([design.select("confound"), design.select("drift")], axis=1))[0]
    clean = series - nuisance @ (nuisance.T @ series)
    power = (clean**2).sum(axis=0)
    clean = clean[:, power > 0] / np.sqrt(power[power > 0])
    length = int(design.volumes[-1]) + 1
    task = np.zeros((length, len(design.peaks)))
    task[design.volumes] = design.select("task")[:, : len(design.peaks)]  # without derivatives, which follow a lag
    shifts = np.arange(-_REACH, _REACH + 1)
    far = np.unique(np.linspace(_FAR, length - _FAR, _MOST_SHIFTS).astype(np.int64)) if length > 2 * _FAR else np.empty(0, dtype=np.int64)
    if not clean.size or not task.size or len(far) < _FAR:
        return float("nan")
    explained = _explain(clean, task, nuisance, design.volumes, shifts)
    chance = _explain(clean, task, nuisance, design.volumes, far)
    best = int(explained.argmax())
    if best in (0, len(shifts) - 1) or explained[best] < chance.mean() + _CLEAR * chance.std():
        return float("nan")
    before, peak, after = explained[best - 1 : best + 2]
    return float(shifts[best] + (before - after) / (2 * (before - 2 * peak + after)))


def _explain(
    clean: Float[np.ndarray, "rows voxels"],
    task: Float[np.ndarray, "volumes columns"],
    nuisance: Float[np.ndarray, "rows regressors"],
    rows: Int[np.ndarray, " rows"],
    shifts: Int[np.ndarray, " shifts"],
) -> Float[np.ndarray, " shifts"]:
    """Return the variance of the series that the task explains, moved later by each shift, round the end."""
    found = []
    for shift in shifts:
        moved = np.roll(task, shift, axis=0)[rows]
        basis, scale = np.linalg.qr(moved - nuisance @ (nuisance.T @ moved))
        diagonal = np.abs(np.diag(scale))
        basis = basis[:, diagonal > 1e-8 * diagonal.max()]
        found.append(((basis.T @ clean) ** 2).sum())
    return np.array(found)
