"""Runs in; those whose pattern of responses says that they are not what their name says, as flags, out.

A run's pattern is its responses of all ROIs to the images, less each ROI's mean. The correlation of two patterns is a sum over images, and
what images add to it, or to the difference of two correlations, tells the standard error: ROIs may depend on one another as they will.
Each check takes as many standard errors as its comparisons need for one flag in 200 clean data sets (Bonferroni, Student's t over images).

A run that fits nobody, or a region that is like nobody's, is found by its slope on the mean of the others, which noise of its own leaves as
it is, while a correlation would fall. It is compared with the median slope of the k others on the rest of theirs, whose variance adds
pi / 2k of one slope's. They overlap in data and have fewer runs behind them, so that a clean run lies above the median rather than below:
over twelve designs of 3 to 12 runs, of equal noise or of variances that differ tenfold, at most 1.7 % of clean runs lay two standard errors
below, and .7 % two and a half.

What this finds depends on the images: events of another run, with 75 to 100 images in each of 4 runs and a correlation of single runs of
.35, nearly always; where a run shares half its images with each other run, or correlates by .2 with them, in one of four. The run of
another subject is found only where people differ, and the differences of two runs that fit each other's subject are added. Nothing finds
two people who were swapped altogether, nor a region that is wrong in everybody.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from analysis.flags import DUPLICATE, EVENTS, REGION, SCALE, SUBJECT, UNLIKE, Flag, Runs, average

_CHANCE = 0.005  # of a flag by one check in a clean data set
_MEDIAN = np.pi / 2  # variance of a median over that of a mean
_RELATED = 0.2  # correlation below which a region is like no other
_LESS = 0.5  # of the usual slope
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
        if run in swapped:
            yield Flag(SUBJECT, runs.names[run], swapped[run])
            continue
        slope = regress(runs.responses[run], average(runs.responses[own]))
        parts = [(other, [one for one in own if one != other]) for other in own]
        theirs = [regress(runs.responses[other], average(runs.responses[others])) for other, others in parts]
        if _is_less(slope, theirs, len(rest)):
            found = f"slope on the other runs {np.nansum(slope):.2f}, theirs on one another {_take_median(theirs):.2f}"
            yield Flag(EVENTS, runs.names[run], found)


def _find_swapped_runs(runs: Runs, rest: dict[int, list[int]], means: dict[str, Float[np.ndarray, "rois images"]]) -> dict[int, str]:
    """Return what was found of runs that fit another subject better than their own, alone or together with a run of that subject."""
    better: dict[tuple[int, str], float] = {}
    found: dict[int, str] = {}
    pairs = sum(runs.subjects[one] != runs.subjects[other] for one in rest for other in rest if one < other)
    for run, own in rest.items():
        for subject in (one for one in means if one != runs.subjects[run]):
            fits = correlate(runs.responses[run], [average(runs.responses[own]), means[subject]])
            r = np.nansum(fits, axis=1)
            if r[1] > r[0] and _count(fits[0]) >= _FEWEST_IMAGES:
                better[run, subject] = r[1]
                said = f"r with own runs {r[0]:.2f}, with those of sub-{subject} {r[1]:.2f}"
                if r[1] >= max(value for (one, _), value in better.items() if one == run) and _is_clear(fits[1] - fits[0], pairs):
                    found[run] = said
    for one, subject in better:
        for other in (other for other, back in better if back == runs.subjects[one] and runs.subjects[other] == subject and one < other):
            gained = [_gain(runs, mine, rest[mine], rest[theirs]) for mine, theirs in ((one, other), (other, one))]
            if min(np.nansum(gain) for gain in gained) > 0 and _is_clear(_add(*gained), pairs):
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
    swapped: list[Flag] = []
    for place, subject in enumerate(subjects):
        rest = rests[place]
        rois = np.flatnonzero(~(np.isnan(means[place]).all(axis=1) | np.isnan(rest).all(axis=1)))
        shown = ~(np.isnan(means[place][rois]) | np.isnan(rest[rois])).any(axis=0)
        own, theirs = means[place][rois][:, shown], rest[rois][:, shown]
        added = np.array([correlate(one[None], [other[None] for other in theirs]) for one in own])
        if shown.sum() >= _FEWEST_IMAGES:
            swapped += _find_swaps(added, [runs.rois[roi] for roi in rois], f"sub-{subject}", len(subjects) * len(rois) ** 2)
    yield from swapped
    yield from (flag for flag in _find_unlike(runs, subjects, means, rests) if flag.where not in {one.where for one in swapped})


def _find_swaps(added: Float[np.ndarray, "rois rois images"], rois: Sequence[str], subject: str, pairs: int) -> Iterator[Flag]:
    """Flag an ROI that fits another one of the others better than its own, alone or together with that one's fit to it."""
    r = added.sum(axis=2)
    for one in range(len(rois)):
        best = int(r[one].argmax())
        alone = added[one, best] - added[one, one]
        both = alone + added[best, one] - added[best, best]
        clear = _is_clear(alone, pairs) or (_is_clear(both, pairs) and r[best].argmax() == one)
        if best != one and r[one, best] > _RELATED and clear:
            found = f"r with the others' {rois[one]} {r[one, one]:.2f}, with their {rois[best]} {r[one, best]:.2f}"
            yield Flag(REGION, f"{subject} {rois[one]}", found)


def _find_unlike(
    runs: Runs, subjects: Sequence[str], means: Float[np.ndarray, "subjects rois images"], rests: Sequence[Float[np.ndarray, "rois images"]]
) -> Iterator[Flag]:
    """Flag a subject's ROI whose pattern is unrelated to the others', though theirs are related."""
    for place, roi in enumerate(runs.rois):
        slopes = {subject: regress(one[place][None], rest[place][None]) for subject, one, rest in zip(subjects, means, rests, strict=True)}
        for subject, slope in slopes.items():
            theirs = [other for name, other in slopes.items() if name != subject]
            if _is_less(slope, theirs, len(subjects) * len(runs.rois)):
                found = f"slope on the others' mean {np.nansum(slope):.2f}, theirs {_take_median(theirs):.2f}"
                yield Flag(UNLIKE, f"sub-{subject} {roi}", found)


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
    """Return what each image adds to the correlation of `one` with each of `others`; NaN where one lacks it; ROIs that lack all go."""
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


def regress(one: Float[np.ndarray, "rois images"], other: Float[np.ndarray, "rois images"]) -> Float[np.ndarray, " images"]:
    """Return what each image adds to the slope of `one` on `other`; NaN where one lacks it."""
    kept = ~(np.isnan(one).all(axis=1) | np.isnan(other).all(axis=1))
    known = ~(np.isnan(one[kept]) | np.isnan(other[kept])).any(axis=0)
    x, y = (values[kept][:, known] - values[kept][:, known].mean(axis=1, keepdims=True) for values in (one, other))
    added = np.full(one.shape[1], np.nan)
    power = float((y**2).sum()) if y.size else 0.0
    added[known] = (x * y).sum(axis=0) / power if power > 0 else np.nan
    return added


def _is_less(slope: Float[np.ndarray, " images"], others: Sequence[Float[np.ndarray, " images"]], comparisons: int) -> bool:
    """Tell whether a slope is clearly below the median of at least two others, and less than half of it."""
    known = [one for one in others if _count(one) >= _FEWEST_IMAGES]
    if len(known) < 2 or _count(slope) < _FEWEST_IMAGES:
        return False
    usual = _take_median(known)
    error = np.hypot(_err(slope), np.sqrt(_MEDIAN * np.mean([_err(one) ** 2 for one in known]) / len(known)))
    lacking = usual - np.nansum(slope)
    return bool(np.nansum(slope) < _LESS * usual and lacking > _need(comparisons, _count(slope)) * error)


def _take_median(slopes: Sequence[Float[np.ndarray, " images"]]) -> float:
    return float(np.median([np.nansum(one) for one in slopes]))


def _need(comparisons: int, images: int) -> float:
    """Return how many standard errors a flag needs."""
    from scipy.special import stdtrit

    return float(-stdtrit(images - 1, _CHANCE / max(comparisons, 1)))


def _add(one: Float[np.ndarray, " images"], other: Float[np.ndarray, " images"]) -> Float[np.ndarray, " images"]:
    """Add what images add to two differences; NaN where an image is in neither."""
    both = np.nan_to_num(one) + np.nan_to_num(other)
    summed: Float[np.ndarray, " images"] = np.where(np.isnan(one) & np.isnan(other), np.nan, both)
    return summed


def _count(added: Float[np.ndarray, " images"]) -> int:
    return int((~np.isnan(added)).sum())


def _err(added: Float[np.ndarray, " images"]) -> float:
    known = added[~np.isnan(added)]
    return float(known.std(ddof=1) * np.sqrt(len(known))) if len(known) > 1 else float("inf")


def _is_clear(added: Float[np.ndarray, " images"], comparisons: int) -> bool:
    return _count(added) > 1 and float(np.nansum(added)) > _need(comparisons, _count(added)) * _err(added)


def _center(values: Float[np.ndarray, "rois images"]) -> Float[np.ndarray, "rois images"]:
    shown = ~np.isnan(values)
    mean = np.where(shown, values, 0).sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
    centered: Float[np.ndarray, "rois images"] = values - mean[:, None]
    return centered
