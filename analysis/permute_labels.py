"""An ROI's series in; is a contrast of conditions larger than with the conditions' names dealt to the images anew? p values out.

Each relabeling refits the whole first level by ordinary least squares. A condition's regressor is the sum of its trials': with X the
trials and Y the series, confounds and drifts projected out of both, and L the trials x conditions matrix of a labeling, the weights are
(L'GL)^-1 L'b with G = X'X and b = X'Y, so that a relabeling costs a few small products and no volume is touched again. Compared are t
values (the contrast over its standard error), so that a labeling whose regressors are hard to tell apart does not win by its variance.

What is exchanged are images, not events: events that show one image keep one label, in every run. Images change places only with images
that are shown equally often in each run ("within runs", where each run has its own images), so every run keeps its counts; images of
conditions that the contrast has nothing to do with keep theirs. If the order of images was drawn at random, p is exact for these images
and this subject whatever the noise: p <= a with probability at most a. It says nothing of other images or people; `analysis group` does.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from protocols.errors import InputError

_TIE = 1e-9  # relative: rounding


@dataclass(frozen=True)
class RoiRun:
    """One run: ROI series (percent), one regressor per event, nuisance columns, and each event's image (or a name of its own)."""

    series: Float[np.ndarray, "volumes rois"]
    trials: Float[np.ndarray, "volumes events"]
    nuisance: Float[np.ndarray, "volumes columns"]
    stim_ids: Sequence[str]


@dataclass(frozen=True)
class LabelTest:
    """What relabeling says of every ROI.

    Attributes
    ----------
    estimate
        The contrast, mean over runs.
    p
        Share of labelings, the observed one included, whose t is at least as far from 0 (two-sided).
    p_corrected
        The same with the largest t of all ROIs: corrected for the number of ROIs.
    p_floor
        The smallest p that can be had: 1 / labelings, or 2 / labelings where two conditions can simply change places, which turns the
        contrast round.
    labelings
        How many were tried, the observed one included: all that there are, where they are no more than asked for.
    """

    estimate: Float[np.ndarray, " rois"]
    p: Float[np.ndarray, " rois"]
    p_corrected: Float[np.ndarray, " rois"]
    p_floor: float
    labelings: int


def permute_labels(
    runs: Sequence[RoiRun],
    conditions: Mapping[str, str],
    contrast: Mapping[str, float],
    rng: np.random.Generator,
    permutations: int = 1000,
) -> LabelTest:
    """Test a contrast (condition -> weight) of the conditions that images belong to (image -> condition), two-sided.

    Runs without one of the contrast's conditions are left out.

    Raises
    ------
    InputError
        When an event's image has no condition, no run has all conditions, or no two images of different conditions can change places.
    """
    table = _count_images(runs, conditions)
    weighed = [name for name, weight in contrast.items() if weight]
    names = list(dict.fromkeys(table["condition"]))
    having = [run for run in runs if set(weighed) <= {conditions[stim_id] for stim_id in run.stim_ids}]
    if not having or not set(weighed) <= set(names):
        raise InputError(f"no run has all conditions of the contrast ({', '.join(weighed)}); show them within a run")
    blocks = _find_blocks(table, weighed)
    codes = table["condition"].map({name: place for place, name in enumerate(names)}).to_numpy()
    distinct = math.prod(_count_labelings(codes[block]) for block in blocks)
    if distinct < 2:
        raise InputError("no labels can change places: no two images of different conditions are shown equally often in each run")
    labelings = _list_all(codes, blocks) if distinct <= permutations + 1 else _relabel(codes, blocks, permutations, rng)
    is_reversible = len(weighed) == 2 and all(len(set(np.unique(codes[block], return_counts=True)[1])) == 1 for block in blocks)
    weights = np.array([contrast.get(name, 0.0) for name in names])
    places = {stim_id: place for place, stim_id in enumerate(table.index)}
    fitted = [_refit(run, labelings[:, [places[name] for name in run.stim_ids]], weights) for run in having]
    effect, variance = (np.mean([one[place] for one in fitted], axis=0) for place in (0, 1))
    floor = max(1 / len(labelings), (2 if is_reversible else 1) / distinct)
    return _compare(effect[0], effect / np.sqrt(variance), floor)


def _count_images(runs: Sequence[RoiRun], conditions: Mapping[str, str]) -> pd.DataFrame:
    """Return, for each image, how often each run shows it, and its condition."""
    ids = list(dict.fromkeys(stim_id for run in runs for stim_id in run.stim_ids))
    unknown = [stim_id for stim_id in ids if stim_id not in conditions]
    if unknown:
        raise InputError(f"image {str(unknown[0])!r} has no condition; name the stimulus set that was shown")
    counts = pd.DataFrame([[list(run.stim_ids).count(stim_id) for run in runs] for stim_id in ids], index=ids)
    return counts.assign(condition=[conditions[stim_id] for stim_id in ids])


def _find_blocks(table: pd.DataFrame, conditions: Sequence[str]) -> list[Int[np.ndarray, " _"]]:
    """Return the groups of images of these conditions that are shown equally often in each run."""
    taken = np.flatnonzero(table["condition"].isin(conditions))
    _, group = np.unique(table.drop(columns="condition").to_numpy()[taken], axis=0, return_inverse=True)
    return [taken[group == number] for number in range(group.max() + 1)]


def _count_labelings(codes: Int[np.ndarray, " images"]) -> int:
    """Return in how many ways the labels of one block can be dealt: the multinomial coefficient."""
    return math.factorial(len(codes)) // math.prod(math.factorial(int(count)) for count in np.unique(codes, return_counts=True)[1])


def _list_all(codes: Int[np.ndarray, " images"], blocks: Sequence[Int[np.ndarray, " _"]]) -> Int[np.ndarray, "labelings images"]:
    """Return every distinct labeling once, the observed one first."""
    dealt = itertools.product(*(sorted(_deal(tuple(sorted(codes[block].tolist())))) for block in blocks))
    labelings = np.tile(codes, (math.prod(_count_labelings(codes[block]) for block in blocks), 1))
    for labeling, parts in zip(labelings, dealt, strict=True):
        for block, part in zip(blocks, parts, strict=True):
            labeling[block] = part
    observed = (labelings == codes).all(axis=1)
    return np.concatenate([labelings[observed], labelings[~observed]])


def _deal(codes: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Return every distinct order of some labels."""
    if len(set(codes)) == 1:
        return {codes}
    return {
        (code, *rest) for place, code in enumerate(codes) for rest in _deal(codes[:place] + codes[place + 1 :]) if code not in codes[:place]
    }


def _relabel(
    codes: Int[np.ndarray, " images"], blocks: Sequence[Int[np.ndarray, " _"]], permutations: int, rng: np.random.Generator
) -> Int[np.ndarray, "labelings images"]:
    """Return labelings, the observed one first."""
    labelings = np.tile(codes, (permutations + 1, 1))
    for block in blocks:
        labelings[1:, block] = rng.permuted(labelings[1:, block], axis=1)
    return labelings


def _refit(
    run: RoiRun, labelings: Int[np.ndarray, "labelings events"], weights: Float[np.ndarray, " conditions"]
) -> tuple[Float[np.ndarray, "labelings rois"], Float[np.ndarray, "labelings rois"]]:
    """Return the contrast of one run and its variance for every labeling of its events."""
    basis = np.linalg.qr(run.nuisance)[0]
    trials, series = (values - basis @ (basis.T @ values) for values in (run.trials, run.series))
    present = np.unique(labelings[0])
    members = (labelings[:, :, None] == present).astype(np.float64)
    left = members.transpose(0, 2, 1)
    inverse = np.linalg.inv(left @ (trials.T @ trials) @ members)
    cross = left @ (trials.T @ series)
    fitted, c = inverse @ cross, weights[present]
    residual = (series**2).sum(axis=0) - (fitted * cross).sum(axis=1)
    spread = np.einsum("c,lcd,d->l", c, inverse, c) / (len(series) - basis.shape[1] - len(present))
    return np.einsum("c,lcr->lr", c, fitted), spread[:, None] * residual


def _compare(effect: Float[np.ndarray, " rois"], t: Float[np.ndarray, "labelings rois"], floor: float) -> LabelTest:
    """Return two-sided p values; the observed labeling, the first, counts as one of them."""
    size = np.abs(t)
    largest = size.max(axis=1, keepdims=True)
    reached, beyond = ((values >= size[0] * (1 - _TIE)).mean(axis=0) for values in (size, largest))
    return LabelTest(effect, reached, beyond, floor, len(t))
