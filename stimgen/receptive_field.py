"""Where a voxel looks: an image made for it and its readout in, the center and size of its receptive field out.

The features of a layer lie at places of the image, and the readout is linear in them, so that the drive of an image is a sum over places:

    drive(image) - drive(mean natural image) = sum over layers and places p of  sum over components c of  w[c, p] (x[c, p] - mean[c, p])

with x the features, w the readout's weights on them. `map_image` returns the terms of one image, a class activation map (Zhou et al. 2016,
"Learning deep features for discriminative localization", equation 2) whose class is a voxel; `map_readout` their covariance with the whole
over natural images, which needs no image made for the voxel. Layers are added up after their places were brought to one grid; what lies
between places is interpolated. Gradients back to the pixels, or covering parts of the image, do not find planted receptive fields
(`tests/benchmarks/bench_maps.py`): an image that was climbed drives through whatever its network passes on, also from far away.

The center is the centroid of what lies above half of the map's height over its background, the median place; the size is the standard
deviation of the Gaussian whose area above half of its height is the map's. Neither is finer than the grids of the layers that carry the
voxel: of late layers, read at 3 x 3 places, centers are rough, and sizes are upper bounds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stimgen.encoding_model import Readout
from stimgen.features import PooledLayer

SIDE = 28  # places along a side of a map


@dataclass(frozen=True)
class ReceptiveField:
    """Center (fractions of the image's width from the left and height from the top) and standard deviation (of its side)."""

    x: float
    y: float
    sd: float


def map_image(
    readout: Readout, voxel: int, features: Float[np.ndarray, " features"], layers: Sequence[PooledLayer]
) -> Float[np.ndarray, "side side"]:
    """Return how much of a voxel's drive each place of an image carries, beyond that of the mean natural image."""
    parts = (features - readout.feature_mean) / readout.feature_scale * readout.coefficients[:, voxel]
    carried: Float[np.ndarray, "side side"] = _add_layers(parts[:, None], layers)[0]
    return carried


def map_readout(
    readout: Readout, features: Float[np.ndarray, "images features"], layers: Sequence[PooledLayer]
) -> Float[np.ndarray, "voxels side side"]:
    """Return how much of every voxel's predicted variance over natural images each place carries (product measure)."""
    z = (features - features.mean(axis=0)) / readout.feature_scale
    return _add_layers((z.T @ (z @ readout.coefficients)) * readout.coefficients, layers)


def locate_field(carried: Float[np.ndarray, "side side"]) -> ReceptiveField | None:
    """Return the receptive field that a map shows, None where no place carries more than the background."""
    side, most, background = len(carried), float(carried.max()), float(np.median(carried))
    if not most > max(background, 0.0):
        return None
    half = (most + background) / 2
    above = np.clip(carried - half, 0, None)
    places = (np.arange(side) + 0.5) / side
    area = float((carried >= half).mean())
    sd = math.sqrt(area / (2 * math.pi * math.log(2)))  # a Gaussian is above half of its maximum on 2 pi ln 2 sd^2
    return ReceptiveField(float(above.sum(axis=0) @ places / above.sum()), float(above.sum(axis=1) @ places / above.sum()), sd)


def _add_layers(parts: Float[np.ndarray, "features voxels"], layers: Sequence[PooledLayer]) -> Float[np.ndarray, "voxels side side"]:
    """Sum parts over components, as densities over the image; layers of a single place tell nothing of places and are left out."""
    total = np.zeros((parts.shape[1], SIDE, SIDE))
    start = 0
    for layer in layers:
        if layer.grid > 1:
            density = parts[start : start + layer.size].reshape(layer.components, layer.grid, layer.grid, -1).sum(axis=0) * layer.grid**2
            weights = _interpolate(layer.grid)
            total += np.einsum("ag,ghv,bh->vab", weights, density, weights, optimize=True)
        start += layer.size
    return total


def _interpolate(grid: int) -> Float[np.ndarray, "side grid"]:
    """Return weights that bring `grid` places along an axis to `SIDE`, linearly between the places' centers."""
    at = (np.arange(SIDE) + 0.5) / SIDE * grid - 0.5
    low = np.clip(np.floor(at).astype(int), 0, grid - 2)
    part = np.clip(at - low, 0, 1)
    weights = np.zeros((SIDE, grid))
    weights[np.arange(SIDE), low] = 1 - part
    weights[np.arange(SIDE), low + 1] += part
    return weights
