"""Tables of subjects x images, balanced and not, for comparison with other mixed models.

numpy alone, so that an oracle's environment reads it.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Table:
    """Two sets' responses, a row each; images are numbered through both sets, `repeated` says that a subject's image may have several."""

    subject: np.ndarray
    image: np.ndarray
    group: np.ndarray
    response: np.ndarray
    repeated: bool


# name: seed, subjects, images of each set, sds (subject x set, image, subject x image, run), share of cells missing, most runs of a cell
DESIGNS = {
    "balanced": (1, 6, (9, 9), (1.0, 0.8, 0.7, 0.0), 0.0, 1),
    "balanced, few subjects": (2, 4, (12, 12), (0.8, 1.0, 0.9, 0.0), 0.0, 1),
    "sets of unequal size": (3, 7, (5, 14), (0.9, 0.7, 0.8, 0.0), 0.0, 1),
    "images missing": (4, 6, (10, 8), (0.9, 0.8, 0.8, 0.0), 0.15, 1),
    "many missing": (5, 8, (7, 12), (1.0, 0.6, 1.0, 0.0), 0.4, 1),
    "uneven runs": (6, 5, (8, 8), (0.9, 0.8, 0.6, 0.9), 0.0, 4),
    "uneven runs and images missing": (7, 7, (9, 6), (0.8, 0.9, 0.7, 0.8), 0.2, 3),
    "no subject differences": (8, 6, (10, 10), (0.0, 1.0, 0.8, 0.0), 0.1, 1),
}


def draw_design(name: str) -> Table:
    seed, subjects, sizes, (by_set, by_image, by_cell, by_run), missing, most_runs = DESIGNS[name]
    rng = np.random.default_rng(seed)
    rows = []
    first = 0
    for group, size in enumerate(sizes):
        level, image_effect = by_set * rng.standard_normal(subjects), by_image * rng.standard_normal(size)
        cell = by_cell * rng.standard_normal((subjects, size))
        seen = rng.uniform(size=(subjects, size)) >= missing
        runs = rng.integers(1, most_runs + 1, (subjects, size))
        for subject in range(subjects):
            for image in range(size):
                for _ in range(runs[subject, image] if seen[subject, image] else 0):
                    effect = 0.5 * (group == 0) + level[subject] + image_effect[image] + cell[subject, image]
                    rows.append((subject, first + image, group, effect + by_run * rng.standard_normal()))
        first += size
    subject, image, group, response = (np.array(column) for column in zip(*rows, strict=True))
    return Table(subject, image, group, response, most_runs > 1)
