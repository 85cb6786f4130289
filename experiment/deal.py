"""Which images each run of a subject shows: images per cell and run sizes in, every run's images out; pure and seeded.

A cell is what the analysis compares: a condition and, where an image was made for one, its target ROI.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from protocols.errors import InputError


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
    places = [int(place) for place in rng.permutation(runs)]
    turns = [places[position % runs] for position in range(total)]
    counts = {image: repetitions for images in cells.values() for image in images}
    return _refuse_crowded(_deal(cells, counts, turns, runs, rng))


def fill_runs(cells: Mapping[str, Sequence[str]], sizes: Sequence[int], rng: np.random.Generator) -> list[list[str]]:
    """Fill runs of `sizes` image trials; return each run's images, in no particular order.

    Every image is shown equally often, or once more than others; the images that are shown once more are as many in
    each cell as it goes. Where there are more images than trials, that many images are drawn.

    Raises
    ------
    InputError
        When an image would have to follow itself.
    """
    total, number = sum(sizes), sum(len(images) for images in cells.values())
    counts = {image: total // number for images in cells.values() for image in images}
    queues = [[str(image) for image in rng.permutation(list(cells[str(cell)]))] for cell in rng.permutation(list(cells))]
    for image in _take_turns(queues)[: total % number]:
        counts[image] += 1
    shown = {cell: [image for image in images if counts[image]] for cell, images in cells.items()}
    left = dict(enumerate(sizes))
    places = [int(place) for place in rng.permutation(len(sizes))]
    turns: list[int] = []
    while len(turns) < total:
        for run in places:
            if left[run]:
                left[run] -= 1
                turns.append(run)
    return _refuse_crowded(_deal(shown, counts, turns, len(sizes), rng))


def _take_turns(queues: Sequence[Sequence[str]]) -> list[str]:
    """Return the first of each queue, then the second of each, and so on."""
    deepest = max((len(queue) for queue in queues), default=0)
    return [queue[turn] for turn in range(deepest) for queue in queues if turn < len(queue)]


def _deal(
    cells: Mapping[str, Sequence[str]], counts: Mapping[str, int], turns: Sequence[int], runs: int, rng: np.random.Generator
) -> list[list[str]]:
    """Give presentation k to run `turns[k]`: cell after cell, an image's presentations in a row."""
    dealt: list[list[str]] = [[] for _ in range(runs)]
    position = 0
    for cell in rng.permutation(list(cells)):
        for image in rng.permutation(list(cells[str(cell)])):
            for _ in range(counts[str(image)]):
                dealt[turns[position]].append(str(image))
                position += 1
    return dealt


def _refuse_crowded(dealt: list[list[str]]) -> list[list[str]]:
    for images in dealt:
        if not images:
            continue
        image, count = Counter(images).most_common(1)[0]
        if count > (len(images) + 1) // 2:
            raise InputError(
                f"timing: image {image!r} stands {count} times in a run of {len(images)} image trials and would follow itself; "
                "lower 'repetitions', raise 'runs' or add images"
            )
    return dealt
