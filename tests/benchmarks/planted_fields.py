"""Where does a model say that a voxel looks? A readout and features in, receptive-field centers out; for planted voxels truth is known."""

import numpy as np

from stimgen.encoding_model import Readout
from stimgen.features import PooledLayer

_FINE = 56  # side of the map that all grids are brought to


def locate_fields(readout: Readout, features: np.ndarray, layers: tuple[PooledLayer, ...]) -> np.ndarray:
    """Return the center (x, y in 0-1) of each voxel's receptive field, voxels x 2.

    A place's weight is the covariance of its part of the prediction with the whole prediction, over the images; the layers' maps of it
    are added up, and the center is the centroid of what is above half of the maximum.
    """
    z = (features - features.mean(axis=0)) / readout.feature_scale
    whole = z @ readout.coefficients
    total = np.zeros((_FINE, _FINE, whole.shape[1]))
    start = 0
    for layer in layers:
        if layer.grid > 1:
            share = (z.T[start : start + layer.size] @ whole) * readout.coefficients[start : start + layer.size]
            density = share.reshape(layer.components, layer.grid, layer.grid, -1).sum(axis=0) * layer.grid**2
            total += _interpolate(density)
        start += layer.size
    return np.stack([_find_centroid(total[:, :, voxel]) for voxel in range(total.shape[2])])


def _interpolate(density: np.ndarray) -> np.ndarray:
    """Bring a map of places to the fine grid, linearly between the places' centers."""
    grid = len(density)
    at = (np.arange(_FINE) + 0.5) / _FINE * grid - 0.5
    low = np.clip(np.floor(at).astype(int), 0, grid - 2)
    part = np.clip(at - low, 0, 1)
    weights = np.zeros((_FINE, grid))
    weights[np.arange(_FINE), low] = 1 - part
    weights[np.arange(_FINE), low + 1] = part
    fine: np.ndarray = np.einsum("ag,ghv,bh->abv", weights, density, weights)
    return fine


def _find_centroid(density: np.ndarray) -> np.ndarray:
    above = np.clip(density - density.max() / 2, 0, None)
    if above.sum() == 0:
        return np.array([0.5, 0.5])
    centers = (np.arange(_FINE) + 0.5) / _FINE
    return np.array([above.sum(axis=0) @ centers, above.sum(axis=1) @ centers]) / above.sum()
