"""Contrasts' responses in; p values that need no normal distribution out: the permutation twin of the crossed test.

A claim about new images and new people must pass three tests. *Images*: labels are permuted among the images that a contrast compares, for
all subjects together, since they saw the same images; the statistic is the crossed t (`analysis.crossed`). It is exact where images of the
two sides are exchangeable for these subjects. *Subjects*: the signs of subjects' differences are flipped; exact where these are symmetric
about 0 for these images. Each alone takes the other's variance for none, and so would both where the two are alike. *Both*: deviations of
subjects and of images from their means get random signs together (a wild bootstrap of both ways of the table, on the safe side because
residuals count twice, as in Owen & Eckles 2012). p is the largest of the three (Berger 1982, intersection-union).

All arrangements are counted where there are few enough; else a fixed number is drawn, and the observed one counts among them. No p is below
the floor: with S subjects 2^(1 - S), so that fewer than 6 people can never show an effect at .05 by this test, two-sided.

Over the tests of a family p is corrected by the maximum (Westfall & Young 1993). Tests of the same images share their permutations, and all
tests share their flips, so that correlated regions cost little; tests of different images are permuted apart.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

_EXACT_UP_TO = 10_000
_DRAWS = 5_000
_CHUNK = 1_000
_SEED = 0
_LEAST = float(np.finfo(np.float64).tiny)  # instead of 0 in a denominator
_TIE = 1 - 1e-9  # statistics that differ by rounding are equal


@dataclass(frozen=True)
class PermutedTest:
    """A contrast in an ROI: responses of all subjects (NaN where one has none) to `images`, each of which is in a set with a weight."""

    family: str
    images: tuple[str, ...]
    values: Float[np.ndarray, "subjects images"]
    sets: Int[np.ndarray, " images"]
    weights: Float[np.ndarray, " sets"]


@dataclass(frozen=True)
class Twin:
    """Two-sided p values and the smallest that the data could have given; NaN for subjects and both where there is one subject."""

    p: float
    p_corrected: float
    p_floor: float
    p_images: float
    p_subjects: float
    p_both: float
    exact: bool


@dataclass(frozen=True)
class _Tail:
    """One of the two tests of each contrast: p, corrected p, floor, and whether all arrangements were counted."""

    p: Float[np.ndarray, " tests"]
    corrected: Float[np.ndarray, " tests"]
    floor: Float[np.ndarray, " tests"]
    exact: Bool[np.ndarray, " tests"]


def permute_contrasts(tests: Sequence[PermutedTest]) -> list[Twin]:
    """Return the twin of each test, corrected over the tests of its family."""
    tails = images, subjects, both = _permute_images(tests), _flip_subjects(tests), _flip_both(tests)
    p, corrected, floor = (np.fmax.reduce(values) for values in zip(*((one.p, one.corrected, one.floor) for one in tails), strict=True))
    exact = images.exact & subjects.exact
    columns = (one.tolist() for one in (p, corrected, floor, images.p, subjects.p, both.p, exact))
    return [Twin(*row) for row in zip(*columns, strict=True)]


def _permute_images(tests: Sequence[PermutedTest]) -> _Tail:
    """Permute labels among images; tests of the same images together."""
    count = len(tests)
    p, floor, exact = np.ones(count), np.ones(count), np.ones(count, dtype=bool)
    pools: dict[tuple[str, ...], list[int]] = {}
    for place, test in enumerate(tests):
        pools.setdefault(tuple(sorted(test.images)), []).append(place)
    misses = np.ones(count)  # chance that no pool's largest statistic of the family reaches the test's
    for pool, places in pools.items():
        columns = [np.array([tests[place].images.index(image) for image in pool]) for place in places]
        sets = np.stack([tests[place].sets[order] for place, order in zip(places, columns, strict=True)])
        orders, counted = _list_orders(sets)
        statistics = np.stack([_permute(tests[place], order, orders) for place, order in zip(places, columns, strict=True)])
        for row, place in enumerate(places):
            p[place] = (statistics[row] >= statistics[row, 0] * _TIE).mean()
            floor[place], exact[place] = _find_floor(sets[row], len(sets), len(orders), counted), counted
        _add_pool(tests, places, statistics, misses)
    return _Tail(p, np.maximum(1 - misses, p), floor, exact)


def _add_pool(
    tests: Sequence[PermutedTest], places: Sequence[int], statistics: Float[np.ndarray, "pool orders"], misses: Float[np.ndarray, " tests"]
) -> None:
    """Multiply `misses` of every test by the chance that this pool's largest statistic of its family stays below the test's own."""
    observed = {place: statistics[row, 0] for row, place in enumerate(places)}
    for family in {tests[place].family for place in places}:
        rows = [row for row, place in enumerate(places) if tests[place].family == family]
        largest = statistics[rows].max(axis=0)
        for place, test in enumerate(tests):
            if test.family == family:
                own = observed.get(place)
                reach = own if own is not None else _observe(test)
                misses[place] *= (largest < reach * _TIE).mean()


def _observe(test: PermutedTest) -> float:
    identity = np.arange(len(test.images))
    return float(_permute(test, identity, identity[None])[0])


def _find_floor(sets: Int[np.ndarray, " images"], sharing: int, orders: int, counted: bool) -> float:
    """Return the smallest p: labels of two sets of one size can also all be exchanged, which gives the same size of effect."""
    sizes = np.bincount(sets)
    mirrored = counted and sharing == 1 and len(sizes) == 2 and sizes[0] == sizes[1]
    return (2 if mirrored else 1) / orders


def _list_orders(sets: Int[np.ndarray, "pool images"]) -> tuple[Int[np.ndarray, "orders images"], bool]:
    """Return orders of the images, the identity first: one for each way to deal out the labels of all tests, or as many as are drawn."""
    _, kind = np.unique(sets, axis=1, return_inverse=True)
    kind = kind.reshape(-1)
    sizes = np.bincount(kind)
    ways = math.factorial(len(kind))
    for size in sizes:
        ways //= math.factorial(int(size))
    if ways > _EXACT_UP_TO:
        rng = np.random.default_rng(_SEED)
        drawn = rng.permuted(np.tile(np.arange(len(kind)), (_DRAWS - 1, 1)), axis=1)
        return np.concatenate([np.arange(len(kind))[None], drawn]), False
    donors = np.argsort(kind, kind="stable")
    orders = np.empty((ways, len(kind)), dtype=np.int64)
    for row, places in enumerate(_deal(tuple(range(len(kind))), [int(size) for size in sizes])):
        orders[row, list(places)] = donors
    identity = (kind[orders] == kind).all(axis=1)
    return np.concatenate([orders[identity], orders[~identity]]), True


def _deal(places: tuple[int, ...], sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield every way to give the first `sizes[0]` images their places, then the next, and so on."""
    if len(sizes) == 1:
        yield places
        return
    for chosen in itertools.combinations(places, sizes[0]):
        left = tuple(place for place in places if place not in chosen)
        for rest in _deal(left, sizes[1:]):
            yield chosen + rest


def _permute(
    test: PermutedTest, columns: Int[np.ndarray, " images"], orders: Int[np.ndarray, "orders images"]
) -> Float[np.ndarray, " orders"]:
    """Return the size of the crossed t with the sets dealt out anew: image j takes the set of image order[j]."""
    values, sets = test.values[:, columns], test.sets[columns]
    values = values[np.isfinite(values).all(axis=1)]
    parts = [_take_crossed_t(values, sets[orders[start : start + _CHUNK]], test.weights) for start in range(0, len(orders), _CHUNK)]
    return np.concatenate(parts)


def _take_crossed_t(
    values: Float[np.ndarray, "subjects images"], sets: Int[np.ndarray, "orders images"], weights: Float[np.ndarray, " sets"]
) -> Float[np.ndarray, " orders"]:
    """Return |d| / sqrt(max(A, C) + max(B, C) - C), the letters as in `analysis.crossed`, for every order; for one subject d / sqrt(B)."""
    subjects = len(values)
    means, squares = values.mean(axis=0), (values**2).sum(axis=0)
    scores = np.zeros((subjects, len(sets)))
    b, c = np.zeros(len(sets)), np.zeros(len(sets))
    for number, weight in enumerate(weights):
        member = (sets == number).astype(np.float64).T
        size = float(member[:, 0].sum())
        by_subject = values @ member / size
        level = by_subject.mean(axis=0)
        by_image = means**2 @ member - size * level**2
        error = squares @ member - size * (by_subject**2).sum(axis=0) - subjects * by_image
        scores += weight * by_subject
        b += weight**2 * by_image / (size * (size - 1))
        c += weight**2 * error / (size * subjects * max((subjects - 1) * (size - 1), 1))
    d = np.abs(scores.mean(axis=0))
    if subjects == 1:
        a = c = np.zeros_like(b)
    else:
        a, c = scores.var(axis=0, ddof=1) / subjects, np.maximum(c, 0)
    t: Float[np.ndarray, " orders"] = d / np.sqrt(np.maximum(np.maximum(a, c) + np.maximum(b, c) - c, _LEAST))
    return t


def _flip_subjects(tests: Sequence[PermutedTest]) -> _Tail:
    """Flip the signs of subjects' differences, in all tests together; |sum of d| / sqrt(sum of d^2) rises with Student's t."""
    scores = np.stack([_score_subjects(test) for test in tests])
    present = np.isfinite(scores)
    scores = np.where(present, scores, 0)
    counts = present.sum(axis=1)
    flips, counted = _list_flips(scores.shape[1])
    sizes = np.sqrt((scores**2).sum(axis=1))[:, None]
    statistics = np.abs(scores @ flips.T) / np.maximum(sizes, _LEAST)
    observed = statistics[:, :1]
    p = (statistics >= observed * _TIE).mean(axis=1)
    corrected = np.ones(len(tests))
    families = np.array([test.family for test in tests])
    for family in dict.fromkeys(families):
        same = families == family
        corrected[same] = (statistics[same].max(axis=0) >= observed[same] * _TIE).mean(axis=1)
    floor = np.where(counted, 2.0 ** (1 - counts), 1 / len(flips))
    alone = counts < 2
    p, corrected, floor = (np.where(alone, np.nan, one) for one in (p, corrected, floor))
    return _Tail(p, corrected, floor, np.full(len(tests), counted))


def _flip_both(tests: Sequence[PermutedTest]) -> _Tail:
    """Give subjects' and images' deviations random signs, the same in all tests; the statistic is the root of min F', of data and draws."""
    rng = np.random.default_rng(_SEED)
    names = sorted({image for test in tests for image in test.images})
    columns = {name: column for column, name in enumerate(names)}
    by_subject = rng.choice((1.0, -1.0), size=(_DRAWS, len(tests[0].values)))
    by_image = rng.choice((1.0, -1.0), size=(_DRAWS, len(names)))
    observed, statistics = np.empty(len(tests)), np.empty((len(tests), _DRAWS))
    for place, test in enumerate(tests):
        signs = by_image[:, [columns[image] for image in test.images]]
        observed[place], statistics[place] = _draw_min_f(test, by_subject, signs)
    p = (1 + (statistics >= observed[:, None] * _TIE).sum(axis=1)) / (1 + _DRAWS)
    corrected = np.ones(len(tests))
    families = np.array([test.family for test in tests])
    for family in dict.fromkeys(families):
        same = families == family
        corrected[same] = (1 + (statistics[same].max(axis=0) >= observed[same, None] * _TIE).sum(axis=1)) / (1 + _DRAWS)
    alone = np.array([np.isfinite(test.values).all(axis=1).sum() < 2 for test in tests])
    p, corrected, floor = (np.where(alone, np.nan, one) for one in (p, corrected, 1 / (1 + _DRAWS)))
    return _Tail(p, corrected, floor, np.zeros(len(tests), dtype=bool))


def _draw_min_f(
    test: PermutedTest, by_subject: Float[np.ndarray, "draws subjects"], by_image: Float[np.ndarray, "draws images"]
) -> tuple[float, Float[np.ndarray, " draws"]]:
    """Return |d| / sqrt(A + B) (see `analysis.crossed`) of the data, and of deviations from the means with signs drawn for them.

    Deviations are scaled up for the mean that was taken from them.
    """
    scores = _score_subjects(test)
    present = np.isfinite(scores)
    means = test.values[present].mean(axis=0)
    estimate = float(scores[present].mean())
    drawn, a = _sign(scores[present] - estimate, by_subject[:, present])
    variance, observed = a, _square_error(scores[present])
    for number, weight in enumerate(test.weights):
        same = test.sets == number
        level, b = _sign(means[same] - means[same].mean(), by_image[:, same])
        drawn = drawn + weight * level
        variance = variance + weight**2 * b
        observed += weight**2 * _square_error(means[same])
    return abs(estimate) / np.sqrt(max(observed, _LEAST)), np.abs(drawn) / np.sqrt(np.maximum(variance, _LEAST))


def _sign(
    deviations: Float[np.ndarray, " units"], signs: Float[np.ndarray, "draws units"]
) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
    """Return the mean of deviations with drawn signs, and its squared standard error."""
    n = len(deviations)
    scaled = deviations * np.sqrt(n / max(n - 1, 1))
    mean = signs @ scaled / n
    return mean, np.maximum((scaled**2).sum() - n * mean**2, 0) / (n * max(n - 1, 1))


def _square_error(values: Float[np.ndarray, " units"]) -> float:
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0


def _score_subjects(test: PermutedTest) -> Float[np.ndarray, " subjects"]:
    """Return each subject's difference, sum_g w_g times the mean over the images of set g."""
    sizes = np.bincount(test.sets, minlength=len(test.weights))
    scores: Float[np.ndarray, " subjects"] = test.values @ (test.weights / sizes)[test.sets]
    return scores


def _list_flips(subjects: int) -> tuple[Float[np.ndarray, "flips subjects"], bool]:
    """Return signs, no flip first; the first subject keeps its sign, since flipping all changes nothing."""
    if 2 ** (subjects - 1) <= _EXACT_UP_TO:
        return np.array([(1.0, *rest) for rest in itertools.product((1.0, -1.0), repeat=subjects - 1)]), True
    rng = np.random.default_rng(_SEED)
    drawn = rng.choice((1.0, -1.0), size=(_DRAWS - 1, subjects))
    return np.concatenate([np.ones((1, subjects)), drawn]), False
