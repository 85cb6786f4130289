"""Control images: the best natural images for each target, and phase-scrambled copies."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from protocols.errors import InputError


def best_natural(
    scores: Float[np.ndarray, "images targets"], labels: Sequence[str], count: int, sources: Sequence[str], per_source: int | None = None
) -> dict[str, list[int]]:
    """Choose `count` images for every target: the highest scores, each image for one target only.

    Targets choose in turn, so that none has the first pick of all. At most `per_source` of a target's images (a third of them if None)
    come from one source: crops of the same photograph look alike. The limit is lifted where the pool has too few sources.

    Raises
    ------
    InputError
        When the pool has fewer images than the targets need together.
    """
    needed = count * len(labels)
    if len(scores) < needed:
        raise InputError(
            f"the natural pool has {len(scores)} images, but {len(labels)} targets need {needed}; give a larger pool, or lower 'count'"
        )
    per_source = per_source or math.ceil(count / 3)
    chosen: dict[str, list[int]] = {label: [] for label in labels}
    taken: set[int] = set()
    for _ in range(count):
        for column, label in enumerate(labels):
            used = Counter(sources[index] for index in chosen[label])
            ranked = [int(index) for index in np.argsort(-scores[:, column], kind="stable") if int(index) not in taken]
            pick = next((index for index in ranked if used[sources[index]] < per_source), ranked[0])
            chosen[label].append(pick)
            taken.add(pick)
    return chosen


def phase_scramble(image: Float[np.ndarray, "height width 3"], rng: np.random.Generator) -> Float[np.ndarray, "height width 3"]:
    """Return the image with random phases: the same amplitude spectrum, mean and color correlation, no arrangement.

    The same random phase field (of a white-noise image, so that the result is real) is added in all three channels.
    Values outside 0-1, which the new phases may give, are clipped.
    """
    noise_phase = np.angle(np.fft.fft2(rng.standard_normal(image.shape[:2])))
    noise_phase[0, 0] = 0.0
    spectrum = np.fft.fft2(image, axes=(0, 1)) * np.exp(1j * noise_phase)[:, :, None]
    scrambled: npt.NDArray[np.float32] = np.clip(np.fft.ifft2(spectrum, axes=(0, 1)).real, 0, 1).astype(np.float32)
    return scrambled
