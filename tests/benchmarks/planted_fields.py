"""Where does a model say that a voxel looks? A readout and features in, receptive-field centers out; for planted voxels truth is known."""

import numpy as np

from stimgen.encoding_model import Readout
from stimgen.features import PooledLayer
from stimgen.receptive_field import locate_field, map_readout


def locate_fields(readout: Readout, features: np.ndarray, layers: tuple[PooledLayer, ...]) -> np.ndarray:
    """Return the center (x, y in 0-1) of each voxel's receptive field, voxels x 2; the image's middle where no place carries anything."""
    fields = [locate_field(carried) for carried in map_readout(readout, features, layers)]
    return np.array([[0.5, 0.5] if field is None else [field.x, field.y] for field in fields])
