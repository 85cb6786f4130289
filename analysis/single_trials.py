"""A run's series and one regressor per trial in; each trial's response out.

With N the nuisance columns (confounds, drifts, constant), projected out of both sides beforehand, X the trials, b_i trial i's response:

    all at once (LSA)     Y = X b                                   unbiased, noisy where trials follow each other quickly
    separately (LSS)      Y = x_i b_i + (sum of the others) a_i     one model per trial (Mumford et al. 2012, NeuroImage 59:2636)
    ridge                 b = (X'X + lambda I)^-1 X'Y               with lambda told by |b| as a fraction of the unregularized |b|
                                                                    (Rokem & Kay 2020, GigaScience 9:giaa133)

All separate models share their columns up to one: G = X'X and X'Y hold everything that any of them needs, so that trial i's model is a
system of two equations (with conditions, of one more than there are), and all trials are one product of a matrix with X'Y.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from analysis.hrf import HrfModel, find_peak, respond_to_events
from protocols.errors import InputError

FRACTIONS = tuple(round(0.05 * step, 2) for step in range(1, 21))  # as GLMsingle offers them (Prince et al. 2022, eLife 11:e77599)
_LEAST_INDEPENDENT = 1e-10  # smallest eigenvalue of correlations among a model's columns
_PENALTIES = 400
_NEGLIGIBLE = 1e-10  # of the largest singular value


def respond_to_trials(
    times_s: Float[np.ndarray, " volumes"], onsets_s: Float[np.ndarray, " trials"], durations_s: Float[np.ndarray, " trials"], hrf: HrfModel
) -> Float[np.ndarray, "volumes trials"]:
    """Return one regressor per trial with a peak of 1, so that its weight is the response in percent signal change.

    Onsets may lie anywhere between volumes: the peak is the response's own, not that of the volumes that happened to be taken.
    """
    lengths, which = np.unique(durations_s, return_inverse=True)
    peaks = np.array([find_peak(float(length), hrf) for length in lengths])
    regressors: Float[np.ndarray, "volumes trials"] = respond_to_events(times_s, onsets_s, durations_s, hrf) / peaks[which]
    return regressors


def fit_all_at_once(
    series: Float[np.ndarray, "volumes voxels"], trials: Float[np.ndarray, "volumes trials"], nuisance: Float[np.ndarray, "volumes columns"]
) -> Float[np.ndarray, "trials voxels"]:
    """Fit all trials in one model.

    Raises
    ------
    InputError
        When a trial depends on others.
    """
    x, y = _remove(nuisance, trials), _remove(nuisance, series)
    gram = x.T @ x
    _refuse_dependent(gram[None])
    betas: Float[np.ndarray, "trials voxels"] = np.linalg.solve(gram, x.T @ y)
    return betas


def fit_separately(
    series: Float[np.ndarray, "volumes voxels"],
    trials: Float[np.ndarray, "volumes trials"],
    nuisance: Float[np.ndarray, "volumes columns"],
    conditions: Sequence[str] | None = None,
) -> Float[np.ndarray, "trials voxels"]:
    """Fit each trial in a model of its own, in which the other trials are one regressor, or with `conditions` one per condition.

    Raises
    ------
    InputError
        When a trial depends on the others.
    """
    x = _remove(nuisance, trials)
    labels = np.zeros(x.shape[1], dtype=np.int64) if conditions is None else np.unique(list(conditions), return_inverse=True)[1]
    estimator = _solve_separately(x.T @ x, labels)
    betas: Float[np.ndarray, "trials voxels"] = (estimator @ x.T) @ series  # x has no nuisance in it, series need not lose theirs
    return betas


def _solve_separately(gram: Float[np.ndarray, "trials trials"], labels: Int[np.ndarray, " trials"]) -> Float[np.ndarray, "trials trials"]:
    """Return the matrix that turns X'Y into every trial's own response.

    Trial i's model has the columns x_i and, for each condition k, s_k = X d_k, less x_i in the trial's own. With D = (d_1 ... d_k), its
    normal equations are blocks of G, GD and D'GD.
    """
    count = len(gram)
    own = (labels[:, None] == np.arange(labels.max() + 1)).astype(np.float64)  # D; row i also says which sum must lose trial i
    sums, power = gram @ own, np.diagonal(gram)
    others = (own.T @ sums)[None] - own[:, :, None] * sums[:, None, :] - own[:, None, :] * sums[:, :, None]
    others += own[:, :, None] * own[:, None, :] * power[:, None, None]
    trial, condition = np.nonzero(own * (own.sum(axis=0) == 1))  # the only trial of its condition: nothing is left of that sum
    others[trial, condition, condition] = power[trial]
    systems = np.empty((count, 1 + own.shape[1], 1 + own.shape[1]))
    systems[:, 0, 0], systems[:, 1:, 1:] = power, others
    systems[:, 0, 1:] = systems[:, 1:, 0] = sums - own * power[:, None]
    _refuse_dependent(systems)
    first = np.linalg.solve(systems, np.eye(systems.shape[1])[:, :1])[:, :, 0]
    estimator: Float[np.ndarray, "trials trials"] = first[:, 1:] @ own.T
    estimator[np.arange(count), np.arange(count)] += first[:, 0] - (first[:, 1:] * own).sum(axis=1)
    return estimator


def fit_ridge(
    series: Float[np.ndarray, "volumes voxels"],
    trials: Float[np.ndarray, "volumes trials"],
    nuisance: Float[np.ndarray, "volumes columns"],
    fractions: Float[np.ndarray, " voxels"],
) -> Float[np.ndarray, "trials voxels"]:
    """Fit all trials in one model, shrunk until the norm of a voxel's responses is `fractions` (0-1) of the unregularized.

    Trials that depend on one another are no obstacle: what cannot be told apart gets the smallest responses that fit. The responses are too
    small by construction; `restore_scale` gives them back their size.
    """
    return _Rotated.rotate(series, trials, nuisance).shrink(fractions)


@dataclass(frozen=True)
class _Rotated:
    """A run's trials by singular values: X = U S V'. There ridge divides, direction by direction."""

    directions: Float[np.ndarray, "trials ranks"]
    singular: Float[np.ndarray, " ranks"]
    plain: Float[np.ndarray, "ranks voxels"]

    @classmethod
    def rotate(
        cls,
        series: Float[np.ndarray, "volumes voxels"],
        trials: Float[np.ndarray, "volumes trials"],
        nuisance: Float[np.ndarray, "volumes columns"],
    ) -> "_Rotated":
        """Decompose X without nuisance, and fit without regularization."""
        left, singular, right = np.linalg.svd(_remove(nuisance, trials), full_matrices=False)
        real = singular > _NEGLIGIBLE * singular[0]
        return cls(right[real].T, singular[real], (left[:, real].T @ series) / singular[real, None])

    def shrink(self, fractions: Float[np.ndarray, " voxels"]) -> Float[np.ndarray, "trials voxels"]:
        """Return the responses whose norm is a fraction of the unregularized."""
        squares = self.singular[:, None] ** 2
        shrinkage = squares / (squares + self._find_penalties(fractions)[None])
        betas: Float[np.ndarray, "trials voxels"] = self.directions @ np.where(fractions > 0, shrinkage * self.plain, 0.0)
        return betas

    def _find_penalties(self, fractions: Float[np.ndarray, " voxels"]) -> Float[np.ndarray, " voxels"]:
        """Return each voxel's lambda, by interpolation of its logarithm among `_PENALTIES` values whose norms are computed."""
        low, high = np.log10(self.singular.min() ** 2) - 4, np.log10(self.singular.max() ** 2) + 4
        grid = np.linspace(low, high, _PENALTIES)
        squares = self.singular**2
        shrinkage = squares / (squares + 10 ** grid[:, None])
        power = self.plain**2
        reached = np.sqrt((shrinkage**2 @ power) / np.maximum(power.sum(axis=0), np.finfo(np.float64).tiny))  # falls along the grid
        above = np.clip((reached > fractions).sum(axis=0), 1, _PENALTIES - 1)
        voxels = np.arange(len(fractions))
        before, after = reached[above - 1, voxels], reached[above, voxels]
        share = np.clip((before - fractions) / np.maximum(before - after, np.finfo(np.float64).tiny), 0.0, 1.0)
        penalties: Float[np.ndarray, " voxels"] = np.where(
            fractions < 1, 10 ** (grid[above - 1] + share * (grid[above] - grid[above - 1])), 0.0
        )
        return penalties


@dataclass(frozen=True)
class TrialRun:
    """One run for the choice of fractions: series, one regressor per trial, nuisance, and which image each trial showed."""

    series: Float[np.ndarray, "volumes voxels"]
    trials: Float[np.ndarray, "volumes trials"]
    nuisance: Float[np.ndarray, "volumes columns"]
    stim_ids: Sequence[str]


def choose_fractions(runs: Sequence[TrialRun], fractions: Sequence[float] = FRACTIONS) -> Float[np.ndarray, " voxels"]:
    """Return each voxel's fraction: the one whose responses, in the other runs, predict the unregularized responses of each run best.

    Only images that are repeated in another run count. The choice reads the images' names, not their conditions; it is nevertheless made
    from these runs, and is to be recorded with them.

    Raises
    ------
    InputError
        When no image is shown in two runs.
    """
    names = sorted({name for run in runs for name in run.stim_ids})
    shown = [np.array([[name == stim_id for stim_id in run.stim_ids] for name in names], dtype=np.float64) for run in runs]
    counts = np.stack([which.sum(axis=1) for which in shown])  # runs x images
    if not ((counts > 0).sum(axis=0) > 1).any():
        raise InputError("no image is shown in two runs: a fraction cannot be cross-validated; give it, or use LSS")
    rotated = [_Rotated.rotate(run.series, run.trials, run.nuisance) for run in runs]
    voxels = runs[0].series.shape[1]
    truth = [made.shrink(np.ones(voxels)) for made in rotated]
    errors = np.zeros((len(fractions), voxels))
    for place, fraction in enumerate(fractions):
        sums = [which @ made.shrink(np.full(voxels, fraction)) for which, made in zip(shown, rotated, strict=True)]
        for number, own in enumerate(sums):
            others = counts.sum(axis=0) - counts[number]  # 0: nothing is predicted, and no fraction preferred
            predicted = (np.sum(sums, axis=0) - own) / np.maximum(others, 1)[:, None]
            errors[place] += ((truth[number] - shown[number].T @ predicted) ** 2).sum(axis=0)
    chosen: Float[np.ndarray, " voxels"] = np.asarray(fractions, dtype=np.float64)[errors.argmin(axis=0)]
    return chosen


def restore_scale(
    betas: Float[np.ndarray, "trials voxels"], unregularized: Float[np.ndarray, "trials voxels"]
) -> Float[np.ndarray, "trials voxels"]:
    """Return shrunk responses in the size of the unregularized: offset and slope of the regression of these on those, voxel by voxel.

    As GLMsingle does; a voxel whose slope is not positive stays as it is.
    """
    centered = betas - betas.mean(axis=0)
    power = (centered**2).sum(axis=0)
    slope = (centered * unregularized).sum(axis=0) / np.where(power > 0, power, 1.0)
    restored: Float[np.ndarray, "trials voxels"] = np.where(slope > 0, unregularized.mean(axis=0) + slope * centered, betas)
    return restored


def _remove(nuisance: Float[np.ndarray, "volumes columns"], values: Float[np.ndarray, "volumes _"]) -> Float[np.ndarray, "volumes _"]:
    """Return `values` without what the nuisance columns explain."""
    basis = np.linalg.qr(nuisance)[0]
    removed: Float[np.ndarray, "volumes _"] = values - basis @ (basis.T @ values)
    return removed


def _refuse_dependent(systems: Float[np.ndarray, "models columns columns"]) -> None:
    """Refuse normal equations without a single solution, by the eigenvalues of their columns' correlations."""
    power = np.diagonal(systems, axis1=1, axis2=2)
    lengths = np.sqrt(np.maximum(power, np.finfo(np.float64).tiny))
    least = np.linalg.eigvalsh(systems / lengths[:, :, None] / lengths[:, None, :])[:, 0]
    if (least < _LEAST_INDEPENDENT).any():
        number = int(np.argmax(least < _LEAST_INDEPENDENT))
        which = f"trial {number + 1}" if len(systems) > 1 else "a trial"
        raise InputError(f"{which} cannot be told from the others, from confounds or from drifts; merge trials, or use ridge")
