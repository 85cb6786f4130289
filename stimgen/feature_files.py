"""How a feature space is written: its layers as JSON, its principal components as safetensors."""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.output_folder import current_umask
from stimgen.backbone import Backbone
from stimgen.features import FeatureSpace, PooledLayer

PROJECTIONS = "features.safetensors"


def describe_layers(space: FeatureSpace) -> list[dict[str, Any]]:
    """Return the layers as plain JSON values."""
    return [config_values(layer) for layer in space.layers]


def write_projections(space: FeatureSpace, folder: Path) -> None:
    """Write `features.safetensors`: the components of every reduced layer, under the layer's name."""
    save_arrays(dict(space.projections), folder / PROJECTIONS)


def read_space(backbone: Backbone, layers: Sequence[Mapping[str, Any]], folder: Path, where: str) -> FeatureSpace:
    """Read a feature space's components and check them against its layers; `where` opens refusals about the layers.

    Raises
    ------
    InputError
        When the network lacks a layer, or the components are missing or of another shape.
    """
    parsed = tuple(parse_config(layer, PooledLayer, f"{where} layers") for layer in layers)
    backbone.check_layers([layer.name for layer in parsed])
    expected = {layer.name: (layer.channels, layer.components) for layer in parsed if layer.is_reduced}
    return FeatureSpace(backbone, parsed, read_arrays(folder / PROJECTIONS, expected, "channels, components"))


def save_arrays(arrays: Mapping[str, npt.NDArray[np.float32]], path: Path) -> None:
    """Write float32 arrays as safetensors."""
    contiguous = {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in arrays.items()}
    try:
        save_file(contiguous, path)
    except SafetensorError as problem:  # a full disk does not come as an OSError from here
        if f"os error {errno.ENOSPC}" not in str(problem):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
    path.chmod(0o666 & ~current_umask())  # safetensors lets nobody else read its files


def read_arrays(path: Path, expected: Mapping[str, tuple[int, ...]], axes: str) -> dict[str, npt.NDArray[np.float32]]:
    """Read the arrays of a safetensors file that are expected, and check their shapes."""
    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as problem:
        raise InputError(f"{path}: cannot be read ({problem}); copy the model again") from None
    for name, shape in expected.items():
        if name not in arrays:
            raise InputError(f"{path}: array {name!r} is missing; copy the model again")
        if arrays[name].shape != shape:
            raise InputError(f"{path}: {name} of shape {arrays[name].shape}, expected {shape} ({axes}); copy the model again")
    return {name: arrays[name] for name in expected}
