"""Standardized features without a copy of them: features and the images to fit on in, blocks of standardized columns out."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int

_COLUMNS = 2048  # features standardized at a time


@dataclass(frozen=True)
class Standardizer:
    """Feature mean, and one scale per layer, of the images they were computed on.

    A layer with variance v, summed over its features, is divided by sqrt(v L), L layers: the kernel of standardized features has
    mean diagonal 1, every layer has the same share of it, and the penalties do not depend on the number of features. Within a layer
    features keep their relative variance, so that its principal components stay in order of importance.
    """

    mean: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " features"]

    def apply(self, features: Float[np.ndarray, "images _features"], columns: slice = slice(None)) -> Float[np.ndarray, "images _some"]:
        """Return the standardized features of some columns."""
        standardized: npt.NDArray[np.float32] = (features[:, columns] - self.mean[columns]) / self.scale[columns]
        return standardized


@dataclass(frozen=True)
class Rows:
    """Images' features, standardized on the way out: `features[index]` is never copied as a whole."""

    features: Float[np.ndarray, "all features"]
    index: Int[np.ndarray, " images"]
    standardizer: Standardizer

    def blocks(self, columns: slice) -> Iterator[tuple[slice, Float[np.ndarray, "images _some"]]]:
        """Yield blocks of standardized columns, each with where it stands."""
        for start in range(columns.start, columns.stop, _COLUMNS):
            block = slice(start, min(start + _COLUMNS, columns.stop))
            yield block, (self.features[self.index, block] - self.standardizer.mean[block]) / self.standardizer.scale[block]


def standardize(
    features: Float[np.ndarray, "all features"], index: Int[np.ndarray, " images"], layer_of_feature: Int[np.ndarray, " features"]
) -> Standardizer:
    """Fit a standardizer to the images in `index`; a layer that is constant over them gets scale 1 and contributes nothing."""
    mean, variance = np.empty(features.shape[1]), np.empty(features.shape[1])
    for start in range(0, features.shape[1], _COLUMNS):
        block = features[index, start : start + _COLUMNS].astype(np.float64)
        mean[start : start + _COLUMNS], variance[start : start + _COLUMNS] = block.mean(axis=0), block.var(axis=0)
    layers = int(layer_of_feature[-1]) + 1
    total = np.bincount(layer_of_feature, variance, minlength=layers)
    level = np.bincount(layer_of_feature, mean**2, minlength=layers)
    scale = np.where(total > 1e-12 * (level + total), np.sqrt(total * layers), 1.0)  # below: rounding of a constant
    return Standardizer(mean.astype(np.float32), scale[layer_of_feature].astype(np.float32))
