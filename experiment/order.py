"""Which image stands where in a run: images per cell in, sequences without unintended repeats out; pure and seeded.

A cell is what the analysis compares: a condition and, where an image was made for one, its target ROI.
"""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from protocols.errors import InputError

_CANDIDATES = 256  # seeded shuffles per run; the one with the most even cell-to-cell transitions is kept
_REPAIRS = 200  # swaps tried on a shuffle before the next way is taken


def deal_images(cells: Mapping[str, Sequence[str]], repetitions: int, runs: int, rng: np.random.Generator) -> list[list[str]]:
    """Deal every image `repetitions` times to `runs` runs; return each run's images, in no particular order.

    Images go round the runs one by one, cell after cell, an image's repetitions in a row. So runs differ by at most
    one image trial in all and in each cell, and an image comes back within a run only when `repetitions > runs`.

    Raises
    ------
    InputError
        When there are fewer presentations than runs, or an image would have to follow itself.
    """
    total = repetitions * sum(len(images) for images in cells.values())
    if total < runs:
        raise InputError(
            f"timing: {total // repetitions} images x repetitions {repetitions} make {total} trials for {runs} runs; "
            "lower 'runs' or raise 'repetitions'"
        )
    dealt: list[list[str]] = [[] for _ in range(runs)]
    places = rng.permutation(runs)
    position = 0
    for cell in rng.permutation(list(cells)):
        for image in rng.permutation(list(cells[str(cell)])):
            for _ in range(repetitions):
                dealt[places[position % runs]].append(str(image))
                position += 1
    for images in dealt:
        image, count = Counter(images).most_common(1)[0]
        if count > (len(images) + 1) // 2:
            raise InputError(
                f"timing: image {image!r} stands {count} times in a run of {len(images)} image trials and would follow itself; "
                "lower 'repetitions', raise 'runs' or add images"
            )
    return dealt


def order_images(
    images: Sequence[str], cell_of: Mapping[str, str], transitions: np.ndarray, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
    """Order a run's images so that none follows itself and cells follow one another evenly.

    Parameters
    ----------
    transitions
        Counts, cells x cells in order of first appearance in `cell_of`, over the runs ordered so far: a new run evens them out.

    Returns
    -------
    The sequence, and the counts with this run added.
    """
    names = list(dict.fromkeys(cell_of.values()))
    codes = np.array([names.index(cell_of[image]) for image in images])
    orders = [rng.permutation(len(images)) for _ in range(_CANDIDATES)]
    shares = np.bincount(codes, minlength=len(names)) / len(codes)
    wanted = np.outer(shares, shares) * (transitions.sum() + len(images) - 1)
    deviations = [float(((transitions + _count_transitions(codes[order], len(names)) - wanted) ** 2).sum()) for order in orders]
    best = [images[index] for index in orders[int(np.argmin(deviations))]]
    sequence = _separate_repeats(best, cell_of, rng)
    chosen = np.array([names.index(cell_of[image]) for image in sequence])
    return sequence, transitions + _count_transitions(chosen, len(names))


def choose_probes(sequence: Sequence[str], cell_of: Mapping[str, str], count: int, rng: np.random.Generator) -> set[int]:
    """Choose `count` positions of `sequence`, as evenly over cells as it goes."""
    queues: dict[str, list[int]] = {}
    for position in rng.permutation(len(sequence)):
        queues.setdefault(cell_of[sequence[position]], []).append(int(position))
    cells = [queues[str(name)] for name in rng.permutation(list(queues))]
    deepest = max((len(queue) for queue in cells), default=0)
    turns = [queue[turn] for turn in range(deepest) for queue in cells if turn < len(queue)]
    return set(turns[:count])


def choose_apart(length: int, count: int, rng: np.random.Generator) -> set[int]:
    """Choose `count` of `length` positions, no two adjacent, every such choice equally likely.

    Raises
    ------
    InputError
        When they do not fit.
    """
    if count > (length + 1) // 2:
        raise InputError(f"probe: {count} probes among {length} image trials would follow one another; lower 'fraction'")
    squeezed = np.sort(rng.choice(length - count + 1, size=count, replace=False)) if count else np.array([], dtype=int)
    return {int(position) + index for index, position in enumerate(squeezed)}


def choose_blanks(length: int, count: int, rng: np.random.Generator) -> set[int]:
    """Choose the image positions, of `length`, that a blank follows: never first, never two blanks in a row.

    Raises
    ------
    InputError
        When there are more blanks than image trials.
    """
    if count > length:
        raise InputError(f"timing: blanks_per_run {count} among {length} image trials would stand side by side; lower 'blanks_per_run'")
    return {int(position) for position in rng.choice(length, size=count, replace=False)}


def _count_transitions(codes: np.ndarray, cells: int) -> np.ndarray:
    return np.bincount(codes[:-1] * cells + codes[1:], minlength=cells * cells).reshape(cells, cells)


def _separate_repeats(sequence: list[str], cell_of: Mapping[str, str], rng: np.random.Generator) -> list[str]:
    """Swap images of one cell until none follows itself, which keeps the order of cells; failing that, interleave anew."""
    ordered = list(sequence)
    for _ in range(_REPAIRS):
        repeats = _find_repeats(ordered)
        if not repeats:
            return ordered
        here = int(rng.choice(repeats))
        there = int(rng.choice([index for index, image in enumerate(ordered) if cell_of[image] == cell_of[ordered[here]]]))
        swapped = list(ordered)
        swapped[here], swapped[there] = swapped[there], swapped[here]
        if len(_find_repeats(swapped)) <= len(repeats):
            ordered = swapped
    return ordered if not _find_repeats(ordered) else _interleave(sequence, rng)


def _find_repeats(sequence: Sequence[str]) -> list[int]:
    return [index for index in range(1, len(sequence)) if sequence[index] == sequence[index - 1]]


def _interleave(sequence: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Take the image with most copies left, but never the one just taken: this never fails where an order exists."""
    heap = [(-count, float(rng.random()), image) for image, count in Counter(sequence).items()]
    heapq.heapify(heap)
    ordered: list[str] = []
    held: tuple[int, float, str] | None = None
    while heap:
        count, _, image = heapq.heappop(heap)
        ordered.append(image)
        if held:
            heapq.heappush(heap, held)
        held = (count + 1, float(rng.random()), image) if count + 1 else None
    return ordered
