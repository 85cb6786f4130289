"""Which image stands where in a run: a run's images in, sequences without unintended repeats out; pure and seeded."""

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from protocols.errors import InputError

_CANDIDATES = 256  # seeded shuffles per run; the one with the most even cell-to-cell transitions is kept
_REPAIRS = 200  # swaps tried on a shuffle before the next way is taken


def order_images(
    images: Sequence[str], cell_of: Mapping[str, str], names: Sequence[str], transitions: np.ndarray, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
    """Order a run's images so that none follows itself and cells follow one another evenly.

    Parameters
    ----------
    transitions
        Counts, cells x cells in the order of `names`, over the runs ordered so far: a new run evens them out.

    Returns
    -------
    The sequence, and the counts with this run added.
    """
    codes = np.array([names.index(cell_of[image]) for image in images])
    orders = [rng.permutation(len(images)) for _ in range(_CANDIDATES)]
    shares = np.bincount(codes, minlength=len(names)) / len(codes)
    wanted = np.outer(shares, shares) * (transitions.sum() + len(images) - 1)
    deviations = [float(((transitions + _count_transitions(codes[order], len(names)) - wanted) ** 2).sum()) for order in orders]
    best = [images[index] for index in orders[int(np.argmin(deviations))]]
    sequence = _separate_repeats(best, cell_of, rng)
    chosen = np.array([names.index(cell_of[image]) for image in sequence])
    return sequence, transitions + _count_transitions(chosen, len(names))


def list_letters(cell_of: Mapping[str, str]) -> list[str]:
    """Return the letters of a design's Latin square: each cell once, or m times where it has m times the images of the smallest."""
    sizes = Counter(cell_of.values())
    return [cell for cell in sorted(sizes) for _ in range(round(sizes[cell] / min(sizes.values())))]


def order_by_square(
    images: Sequence[str], cell_of: Mapping[str, str], letters: Sequence[str], first_row: int, rng: np.random.Generator
) -> tuple[list[str], int]:
    """Order a run's images in rounds, each round's cells in the next row of a balanced Latin square (Williams 1949).

    A round holds every letter (see `list_letters`) once; a cell without images left is passed over, so that only the last
    round may lack some. Over as many rounds as the square has rows every letter stands at every place, and follows every
    other, equally often.

    Returns
    -------
    The sequence, and the number of rounds.
    """
    queues = {cell: [image for image in images if cell_of[image] == cell] for cell in dict.fromkeys(letters)}
    queues = {cell: [str(image) for image in rng.permutation(queue)] for cell, queue in queues.items()}
    square = make_latin_square(len(letters))
    ordered: list[str] = []
    rounds = 0
    while len(ordered) < len(images):
        row = square[(first_row + rounds) % len(square)]
        ordered += [queues[letters[letter]].pop() for letter in row if queues[letters[letter]]]
        rounds += 1
    return _separate_repeats(ordered, cell_of, rng), rounds


def make_latin_square(size: int) -> list[list[int]]:
    """Return the rows of a balanced Latin square of `size` letters: every letter follows every other equally often.

    For an even size these are `size` rows; an odd size needs their mirror images as well (Williams 1949).
    """
    first = [0] + [(step + 1) // 2 if step % 2 else size - step // 2 for step in range(1, size)]
    rows = [[(letter + row) % size for letter in first] for row in range(size)]
    return rows if size % 2 == 0 else [*rows, *(row[::-1] for row in rows)]


def cut_into_streaks(length: int, streak: tuple[int, int], blanks: int, rng: np.random.Generator) -> list[int]:
    """Cut `length` image trials into streaks of `streak[0]` to `streak[1]` trials, with at most `blanks` cuts.

    Returns
    -------
    Lengths, drawn at random. As many streaks as the blanks part, or the nearest number that fits.

    Raises
    ------
    InputError
        When no number of streaks fits.
    """
    fewest, most = streak
    fitting = [count for count in range(blanks + 1, 0, -1) if count * fewest <= length <= count * most]
    if not fitting:
        raise InputError(
            f"timing: {length} image trials cannot be parted by {blanks} blanks into streaks of {fewest} to {most}; "
            "change 'streak', 'blanks_per_run' or 'trials_per_run'"
        )
    lengths = np.full(fitting[0], fewest)
    for _ in range(length - int(lengths.sum())):
        lengths[rng.choice(np.flatnonzero(lengths < most))] += 1
    return [int(one) for one in lengths]


def order_blocks(kinds: Sequence[str], copies: int, first: str | None, rng: np.random.Generator) -> list[str]:
    """Order `copies` blocks of each kind so that every kind follows every kind, itself included, equally often.

    With `first` (the kind of the block before the sequence) the transition from it counts, and the sequence ends with it:
    an Eulerian circuit through the complete graph of kinds, by Hierholzer's way, its edges drawn at random.

    Raises
    ------
    InputError
        When `copies` is no multiple of the number of kinds.
    """
    if copies % len(kinds):
        raise InputError(
            f"blocks: blocks_per_cell {copies} is no multiple of the {len(kinds)} kinds of blocks, so their order cannot be "
            "counterbalanced; change blocks_per_cell, or set counterbalanced = false"
        )
    edges = {kind: [str(other) for other in rng.permutation(list(kinds) * (copies // len(kinds)))] for kind in kinds}
    path = [str(rng.choice(list(kinds))) if first is None else first]
    circuit: list[str] = []
    while path:
        if edges[path[-1]]:
            path.append(edges[path[-1]].pop())
        else:
            circuit.append(path.pop())
    return circuit[::-1][1:]


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
