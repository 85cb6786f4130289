"""How different are images of one target? Features in; a number, and a choice of images that are good and differ, out."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float


def describe_images(
    features: Float[np.ndarray, "images features"], natural: Float[np.ndarray, "pool features"], layer_of_feature: np.ndarray
) -> Float[np.ndarray, "images features"]:
    """Return features less the natural mean, every layer of the same energy, each image of length 1: their products are cosines."""
    centered = features - natural.mean(axis=0)
    for layer in np.unique(layer_of_feature):
        inside = layer_of_feature == layer
        energy = float(np.sqrt((natural[:, inside].var(axis=0)).sum()))
        centered[:, inside] /= energy if energy > 0 else 1.0
    length = np.linalg.norm(centered, axis=1, keepdims=True)
    described: npt.NDArray[np.float32] = centered / np.where(length > 0, length, 1.0)
    return described


def measure_diversity(described: Float[np.ndarray, "images features"]) -> float:
    """Return the mean of 1 - cosine over all pairs: 0 for copies, about 1 for unrelated images; NaN for a single image."""
    count = len(described)
    if count < 2:
        return float("nan")
    cosines = described @ described.T
    return float(1 - cosines[~np.eye(count, dtype=bool)].mean())


def choose_diverse(
    ratings: Float[np.ndarray, " images"],
    described: Float[np.ndarray, "images features"],
    count: int,
    weight: float,
    slots: Sequence[int] | None = None,
) -> Sequence[int]:
    """Choose `count` images one after another: each the best by rating minus `weight` x its largest cosine with those chosen.

    Ratings are in z units of natural images; ties go to the first. With `slots`, at most one image of each slot.
    """
    chosen: list[int] = []
    for _ in range(min(count, len(ratings))):
        nearest = (described @ described[chosen].T).max(axis=1) if chosen else np.zeros(len(ratings))
        used = np.isin(np.arange(len(ratings)), chosen) if slots is None else np.isin(slots, [slots[index] for index in chosen])
        gain = np.where(used, -np.inf, ratings - weight * nearest)
        chosen.append(int(np.argmax(gain)))
    return sorted(chosen)
