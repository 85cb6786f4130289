"""A feature space: layers of a backbone, each average-pooled to a grid fixed once; images in, feature vectors out.

The pooling keeps position (a grid, never a global average where the budget allows more) and is frozen into
the model file, so that fitting and synthesis see the same features.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from protocols.config import config
from protocols.errors import InputError
from stimgen.backbone import Backbone
from stimgen.image_files import read_image


@config
class PooledLayer:
    """One layer as it is read: its channels, and the side of the grid that its map is averaged to."""

    name: str
    channels: int
    grid: int

    @property
    def size(self) -> int:
        """Number of features."""
        return self.channels * self.grid**2


@dataclass(frozen=True)
class FeatureSpace:
    """Features of images: the pooled layers of one backbone, flattened and concatenated in order."""

    backbone: Backbone
    layers: tuple[PooledLayer, ...]

    @property
    def size(self) -> int:
        """Number of features."""
        return sum(layer.size for layer in self.layers)

    @property
    def layer_of_feature(self) -> npt.NDArray[np.int64]:
        """Index into `layers` of every feature."""
        return np.repeat(np.arange(len(self.layers)), [layer.size for layer in self.layers])

    def extract(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images features"]:
        """Return the features of images in 0-1; differentiable."""
        activations = self.backbone.activations(images, [layer.name for layer in self.layers])
        return torch.cat([_pool(activations[layer.name], layer.grid) for layer in self.layers], dim=1)


def design_features(backbone: Backbone, layers: Sequence[str], budget: int) -> FeatureSpace:
    """Choose every layer's grid: the finest that keeps at most `budget` features, never finer than the layer's own map.

    A budget below a layer's channel count keeps one value per channel: no layer is ever lost.

    Raises
    ------
    InputError
        When a layer does not exist, is named twice, or does not give a map (images x channels x height x width).
    """
    backbone.check_layers(layers)
    if len(set(layers)) != len(layers):
        raise InputError(f"layers {', '.join(layers)}: a layer is named twice; name each once")
    probe = torch.zeros(1, 3, backbone.input_px, backbone.input_px, device=backbone.device)
    with torch.no_grad():
        activations = backbone.activations(probe, layers)
    return FeatureSpace(backbone, tuple(_fit_grid(name, activations[name], budget) for name in layers))


def _fit_grid(name: str, activation: Tensor, budget: int) -> PooledLayer:
    if activation.ndim != 4:
        raise InputError(
            f"layer {name!r}: gives {tuple(activation.shape)}, not images x channels x height x width; choose a convolutional layer"
        )
    channels, height, width = activation.shape[1:]
    grid = min(math.isqrt(max(budget // channels, 1)), height, width)
    return PooledLayer(name=name, channels=channels, grid=grid)


def _pool(activation: Float[Tensor, "images channels height width"], grid: int) -> Float[Tensor, "images features"]:
    return F.adaptive_avg_pool2d(activation, grid).flatten(1)


def extract_files(
    space: FeatureSpace, paths: Sequence[Path], batch: int = 32, progress: Iterable[int] | None = None
) -> Float[np.ndarray, "images features"]:
    """Return the features of image files, read in batches; `progress` wraps the batches' starting indices."""
    features = np.empty((len(paths), space.size), dtype=np.float32)
    for start in progress if progress is not None else range(0, len(paths), batch):
        chosen = paths[start : start + batch]
        with torch.no_grad():
            features[start : start + len(chosen)] = space.extract(read_batch(space.backbone, chosen)).float().cpu().numpy()
    return features


def read_batch(backbone: Backbone, paths: Sequence[Path]) -> Float[Tensor, "images 3 input input"]:
    """Read image files at the backbone's input size, on its device."""
    images = np.stack([read_image(path, backbone.input_px) for path in paths])
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(backbone.device)
