"""Runs in; those whose pattern of responses says that they are not what their name says, as flags, out.

A run's pattern is its responses of all ROIs to the images, less each ROI's mean. The correlation of two patterns is a sum over images, and
what images add to it, or to the difference of two correlations, tells the standard error: ROIs may depend on one another as they will.
Each check takes as many standard errors as its comparisons need for one flag in 300 clean data sets (Bonferroni), and none is raised where
a subject's runs tell nothing about one another.

Where a correlation is missed instead of exceeded (a run that fits nobody, a region that is like nobody's), it is compared with the median of
k others, whose variance adds pi / 2k of theirs. They overlap in data and have fewer runs behind them than what is tested, so that a
clean run lies above them rather than below: over ten designs of 3 to 12 runs the distance in standard errors had standard deviations of
.06 to .93.

What this finds: events of another run at a correlation of .3 between single runs with 75 images in 5 ROIs; the run of another subject only
where people differ: of two swapped runs the differences are added, and at half of the images' variance shared by all people it took
150 images a run. Nothing finds two people who were swapped altogether.
"""

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from analysis.flags import DUPLICATE, EVENTS, REGION, SCALE, SUBJECT, UNLIKE, Flag, Runs, average

_CHANCE = 0.003  # of a flag by one check in a clean data set
_MEDIAN = np.pi / 2  # variance of a median over that of a mean
_RELATED = 0.2  # correlation below which runs of a subject tell nothing about one another
_SCALE = 2.5  # times the other runs' spread
_FEWEST_IMAGES = 8


def check_patterns(runs: Runs) -> Iterator[Flag]:
    """Compare each run with its own subject's other runs, and with those of other subjects; copies of a run are left out."""
    copies = {run for run, _ in _find_copies(runs)}
    rest = {run: [other for other in runs.others(run) if other not in copies] for run in range(len(runs.names)) if run not in copies}
    rest = {run: own for run, own in rest.items() if len(own) > 1}
    means = {subject: average(runs.responses[runs.of_subject(subject)]) for subject in dict.fromkeys(runs.subjects)}
    swapped = _find_swapped_runs(runs, rest, means)
    for run, own in rest.items():
        fit = correlate(runs.responses[run], [average(runs.responses[own])])[0]
        expected, error = _expect(runs, own)
        if _count(fit) < _FEWEST_IMAGES or expected < _RELATED:
            continue
        lacking, least = expected - np.nansum(fit), _need(len(rest))
        if run in swapped:
            yield Flag(SUBJECT, runs.names[run], swapped[run])
        elif np.nansum(fit) < expected / 2 and lacking > least * np.hypot(_err(fit), error):
            found = f"r with the other runs {np.nansum(fit):.2f}, theirs with one another {expected:.2f}"
            yield Flag(EVENTS, runs.names[run], found)


def _find_swapped_runs(
    runs: Runs, rest: dict[int, list[int]], means: dict[str, Float[np.ndarray, "rois images"]]
) -> dict[int, str]:
    """Return what was found of runs that fit another subject better than their own, alone or together with a run of that subject."""
    better: dict[tuple[int, str], float] = {}
    found: dict[int, str] = {}
    least = _need(sum(runs.subjects[one] != runs.subjects[other] for one in rest for other in rest if one < other))
    for run, own in rest.items():
        for subject in (one for one in means if one != runs.subjects[run]):
            fits = correlate(runs.responses[run], [average(runs.responses[own]), means[subject]])
            r = np.nansum(fits, axis=1)
            if r[1] > r[0] and _count(fits[0]) >= _FEWEST_IMAGES:
                better[run, subject] = r[1]
                said = f"r with own runs {r[0]:.2f}, with those of sub-{subject} {r[1]:.2f}"
                if r[1] >= max(value for (one, _), value in better.items() if one == run) and _is_clear(fits[1] - fits[0], least):
                    found[run] = said
    for one, subject in better:
        for other in (other for other, back in better if back == runs.subjects[one] and runs.subjects[other] == subject and one < other):
            gained = [_gain(runs, mine, rest[mine], rest[theirs]) for mine, theirs in ((one, other), (other, one))]
            if min(np.nansum(gain) for gain in gained) > 0 and _is_clear(np.nan_to_num(gained[0]) + np.nan_to_num(gained[1]), least):
                for mine, theirs in ((one, other), (other, one)):
                    found.setdefault(mine, f"it and {runs.names[theirs]} fit each other's subject better than their own")
    return found


def _gain(runs: Runs, run: int, own: Sequence[int], others: Sequence[int]) -> Float[np.ndarray, " images"]:
    """Return what each image adds to how much better a run fits other runs than its own subject's."""
    fits = correlate(runs.responses[run], [average(runs.responses[list(own)]), average(runs.responses[list(others)])])
    gained: Float[np.ndarray, " images"] = fits[1] - fits[0]
    return gained


def check_regions(runs: Runs) -> Iterator[Flag]:
    """Compare each subject's ROIs with the same and with other ROIs of the other subjects' mean: one by one, and two by two for a swap.

    A ROI that is like none of theirs is told where the same ROI of the others is clearly alike from one to the next.
    """
    subjects = list(dict.fromkeys(runs.subjects))
    if len(subjects) < 3:
        return
    means = np.stack([average(runs.responses[runs.of_subject(subject)]) for subject in subjects])
    rests = [average(np.delete(means, place, axis=0)) for place in range(len(subjects))]
    swapped = []
    for place, subject in enumerate(subjects):
        rest = rests[place]
        rois = np.flatnonzero(~(np.isnan(means[place]).all(axis=1) | np.isnan(rest).all(axis=1)))
        shown = ~(np.isnan(means[place][rois]) | np.isnan(rest[rois])).any(axis=0)
        own, theirs = means[place][rois][:, shown], rest[rois][:, shown]
        added = np.array([correlate(one[None], [other[None] for other in theirs]) for one in own])
        if shown.sum() >= _FEWEST_IMAGES:
            swapped += _find_swaps(added, [runs.rois[roi] for roi in rois], f"sub-{subject}", _need(len(subjects) * len(rois) ** 2))
    yield from swapped
    yield from (flag for flag in _find_unlike(runs, subjects, means, rests) if flag.where not in {one.where for one in swapped})


def _find_swaps(added: Float[np.ndarray, "rois rois images"], rois: Sequence[str], subject: str, least: float) -> Iterator[Flag]:
    """Flag an ROI that fits another one of the others better than its own, alone or together with that one's fit to it."""
    r = added.sum(axis=2)
    for one in range(len(rois)):
        best = int(r[one].argmax())
        alone = added[one, best] - added[one, one]
        both = alone + added[best, one] - added[best, best]
        clear = _is_clear(alone, least) or (_is_clear(both, least) and r[best].argmax() == one)
        if best != one and r[one, best] > _RELATED and clear:
            found = f"r with the others' {rois[one]} {r[one, one]:.2f}, with their {rois[best]} {r[one, best]:.2f}"
            yield Flag(REGION, f"{subject} {rois[one]}", found)


def _find_unlike(
    runs: Runs, subjects: Sequence[str], means: Float[np.ndarray, "subjects rois images"], rests: Sequence[Float[np.ndarray, "rois images"]]
) -> Iterator[Flag]:
    """Flag a subject's ROI whose pattern is unrelated to the others', though theirs are related."""
    least = _need(len(subjects) * len(runs.rois))
    for place, roi in enumerate(runs.rois):
        fits = np.stack([correlate(one[place][None], [rest[place][None]])[0] for one, rest in zip(means, rests, strict=True)])
        r, errors = np.nansum(fits, axis=1), np.array([_err(fit) for fit in fits])
        told = np.array([_count(fit) >= _FEWEST_IMAGES for fit in fits])
        for subject in np.flatnonzero(told):
            others = told & (np.arange(len(subjects)) != subject)
            if others.sum() < 2:
                continue
            expected, error = _take_median(r[others], errors[others])
            if expected > _RELATED and r[subject] < expected / 2 and expected - r[subject] > least * np.hypot(errors[subject], error):
                yield Flag(UNLIKE, f"sub-{subjects[subject]} {roi}", f"r with the others' {r[subject]:.2f}, theirs {expected:.2f}")


def check_duplicates(runs: Runs) -> Iterator[Flag]:
    """Find runs that are copies of others, whoever's they are."""
    for run, other in _find_copies(runs):
        yield Flag(DUPLICATE, runs.names[run], f"the same responses as {runs.names[other]}")


def _find_copies(runs: Runs) -> Iterator[tuple[int, int]]:
    for run in range(len(runs.names)):
        for other in range(run):
            a, b = runs.responses[run], runs.responses[other]
            shared = ~np.isnan(a) & ~np.isnan(b)
            if shared.sum() > 1 and np.ptp(a[shared]) > 0 and np.array_equal(a[shared], b[shared]):
                yield run, other


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
) -> Float[np.ndarray, "others images"]:
    """Return what each image adds to the correlation of `one` with each of `others`; NaN where a pattern lacks it; ROIs that lack all go."""
    values = np.stack([one, *others])
    added = np.full((len(others), values.shape[2]), np.nan)
    values = values[:, ~np.isnan(values).all(axis=2).any(axis=0)]
    common = ~np.isnan(values).any(axis=(0, 1))
    values = values[:, :, common]
    if values.size:
        centered = values - values.mean(axis=2, keepdims=True)
        power = np.sqrt((centered**2).sum(axis=(1, 2), keepdims=True))
        unit = centered / np.where(power > 0, power, 1.0)
        added[:, common] = (unit[1:] * unit[0]).sum(axis=1)
    return added


def _expect(runs: Runs, own: Sequence[int]) -> tuple[float, float]:
    """Return the median correlation of each of a subject's runs with the mean of the rest of them, and its standard error."""
    rest = [[one for one in own if one != run] for run in own]
    fits = [correlate(runs.responses[run], [average(runs.responses[others])])[0] for run, others in zip(own, rest, strict=True)]
    return _take_median(np.array([np.nansum(fit) for fit in fits]), np.array([_err(fit) for fit in fits]))


def _take_median(r: Float[np.ndarray, " k"], errors: Float[np.ndarray, " k"]) -> tuple[float, float]:
    """Return the median of correlations and its standard error."""
    return float(np.median(r)), float(np.sqrt(_MEDIAN * np.mean(np.square(errors)) / len(errors)))


def _need(comparisons: int) -> float:
    """Return how many standard errors a flag needs."""
    return -NormalDist().inv_cdf(_CHANCE / max(comparisons, 1))


def _count(added: Float[np.ndarray, " images"]) -> int:
    return int((~np.isnan(added)).sum())


def _err(added: Float[np.ndarray, " images"]) -> float:
    known = added[~np.isnan(added)]
    return float(known.std(ddof=1) * np.sqrt(len(known))) if len(known) > 1 else float("inf")


def _is_clear(added: Float[np.ndarray, " images"], least: float) -> bool:
    return float(np.nansum(added)) > least * _err(added)


def _center(values: Float[np.ndarray, "rois images"]) -> Float[np.ndarray, "rois images"]:
    shown = ~np.isnan(values)
    mean = np.where(shown, values, 0).sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
    centered: Float[np.ndarray, "rois images"] = values - mean[:, None]
    return centered
