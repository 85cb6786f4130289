"""Runs in; those whose pattern of responses says that they are not what their name says, as flags, out.

A run's pattern is its responses of all ROIs to the images, less each ROI's mean. The correlation of two patterns is a sum over images, and
what images add to it, or to the difference of two correlations, tells the standard error: ROIs may depend on one another as they will. A
flag needs `_CLEAR` standard errors, and none is raised where a subject's runs tell nothing about one another.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from analysis.flags import DUPLICATE, EVENTS, REGION, SCALE, SUBJECT, Flag, Runs, average

_CLEAR = 4.0  # standard errors: with 100 comparisons a clean data set has a flag with a chance of 1 in 300
_RELATED = 0.2  # correlation below which runs of a subject tell nothing about one another
_SCALE = 2.5  # times the other runs' spread
_FEWEST_IMAGES = 8


def check_patterns(runs: Runs) -> Iterator[Flag]:
    """Compare each run with its own subject's other runs, and with those of other subjects."""
    for run, name in enumerate(runs.names):
        own = runs.others(run)
        if len(own) < 2:
            continue
        others = [subject for subject in dict.fromkeys(runs.subjects) if subject != runs.subjects[run]]
        patterns = [average(runs.responses[own]), *(average(runs.responses[runs.of_subject(subject)]) for subject in others)]
        fits = correlate(runs.responses[run], patterns)
        expected = _expect(runs, own)
        if fits.shape[1] < _FEWEST_IMAGES or expected < _RELATED:
            continue
        r = fits.sum(axis=1)
        best = int(r[1:].argmax()) + 1 if others else 0
        if best and _is_clear(fits[best] - fits[0]):
            yield Flag(SUBJECT, name, f"r with own runs {r[0]:.2f}, with those of sub-{others[best - 1]} {r[best]:.2f}")
        elif r[0] < expected / 2 and expected - r[0] > _CLEAR * np.sqrt(2) * _err(fits[0]):
            yield Flag(EVENTS, name, f"r with the other runs {r[0]:.2f}, theirs with one another {expected:.2f}")


def check_regions(runs: Runs) -> Iterator[Flag]:
    """Compare each subject's ROIs with the same and with other ROIs of the other subjects' mean: one by one, and two by two for a swap."""
    subjects = list(dict.fromkeys(runs.subjects))
    means = np.stack([average(runs.responses[runs.of_subject(subject)]) for subject in subjects])
    for place, subject in enumerate(subjects if len(subjects) > 2 else []):
        rest = average(np.delete(means, place, axis=0))
        rois = np.flatnonzero(~(np.isnan(means[place]).all(axis=1) | np.isnan(rest).all(axis=1)))
        shown = ~(np.isnan(means[place][rois]) | np.isnan(rest[rois])).any(axis=0)
        own, theirs = means[place][rois][:, shown], rest[rois][:, shown]
        added = np.array([correlate(one[None], [other[None] for other in theirs]) for one in own])
        if shown.sum() >= _FEWEST_IMAGES:
            yield from _find_swaps(added, [runs.rois[roi] for roi in rois], f"sub-{subject}")


def _find_swaps(added: Float[np.ndarray, "rois rois images"], rois: Sequence[str], subject: str) -> Iterator[Flag]:
    """Flag an ROI that fits another one of the others better than its own, alone or together with that one's fit to it."""
    r = added.sum(axis=2)
    for one in range(len(rois)):
        best = int(r[one].argmax())
        alone = added[one, best] - added[one, one]
        both = alone + added[best, one] - added[best, best]
        if best != one and r[one, best] > _RELATED and (_is_clear(alone) or (_is_clear(both) and r[best].argmax() == one)):
            found = f"r with the others' {rois[one]} {r[one, one]:.2f}, with their {rois[best]} {r[one, best]:.2f}"
            yield Flag(REGION, f"{subject} {rois[one]}", found)


def check_duplicates(runs: Runs) -> Iterator[Flag]:
    """Find runs that are copies of others, whoever's they are."""
    for run, name in enumerate(runs.names):
        for other in range(run):
            a, b = runs.responses[run], runs.responses[other]
            shared = ~np.isnan(a) & ~np.isnan(b)
            if shared.sum() > 1 and np.ptp(a[shared]) > 0 and np.array_equal(a[shared], b[shared]):
                yield Flag(DUPLICATE, name, f"the same responses as {runs.names[other]}")


def check_scales(runs: Runs) -> Iterator[Flag]:
    """Compare the spread of a run's responses around ROI means with the median of the subject's other runs."""
    centered = [_center(one[:, ~np.isnan(one).all(axis=0)]) for one in runs.responses]
    spreads = np.array([np.sqrt(np.nanmean(one**2)) if one.size else 0.0 for one in centered])
    for run, name in enumerate(runs.names):
        own = runs.others(run)
        usual = float(np.median(spreads[own])) if len(own) > 1 else 0.0
        if usual > 0 and spreads[run] > 0 and not 1 / _SCALE < spreads[run] / usual < _SCALE:
            yield Flag(SCALE, name, f"responses spread by {spreads[run]:.2f} %, in the other runs by {usual:.2f} %")


def correlate(
    one: Float[np.ndarray, "rois images"], others: Sequence[Float[np.ndarray, "rois images"]]
) -> Float[np.ndarray, "others common"]:
    """Return what each image that all patterns have adds to the correlation of `one` with each of `others`; ROIs that lack it all go."""
    values = np.stack([one, *others])
    values = values[:, ~np.isnan(values).all(axis=2).any(axis=0)]
    values = values[:, :, ~np.isnan(values).any(axis=(0, 1))]
    if not values.size:
        return np.zeros((len(others), 0))
    centered = values - values.mean(axis=2, keepdims=True)
    power = np.sqrt((centered**2).sum(axis=(1, 2), keepdims=True))
    unit = centered / np.where(power > 0, power, 1.0)
    added: Float[np.ndarray, "others common"] = (unit[1:] * unit[0]).sum(axis=1)
    return added


def _expect(runs: Runs, own: Sequence[int]) -> float:
    """Return the median correlation of each of a subject's runs with the mean of the rest of them."""
    rest = [[one for one in own if one != run] for run in own]
    return float(
        np.median([correlate(runs.responses[run], [average(runs.responses[others])]).sum() for run, others in zip(own, rest, strict=True)])
    )


def _err(added: Float[np.ndarray, " images"]) -> float:
    return float(added.std(ddof=1) * np.sqrt(len(added)))


def _is_clear(added: Float[np.ndarray, " images"]) -> bool:
    return float(added.sum()) > _CLEAR * _err(added)


def _center(values: Float[np.ndarray, "rois images"]) -> Float[np.ndarray, "rois images"]:
    shown = ~np.isnan(values)
    mean = np.where(shown, values, 0).sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
    centered: Float[np.ndarray, "rois images"] = values - mean[:, None]
    return centered
