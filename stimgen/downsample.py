"""Choose how layers are read: a budget of features per layer in, a grid and principal components of its channels out.

Fine grids keep position, many components keep what is there; a budget can be spent on either. Of all ways to fill it, the one
whose features keep most of the layer's variance over natural images is chosen. No responses take part in the choice.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from protocols.errors import InputError
from stimgen.backbone import Backbone
from stimgen.features import FeatureSpace, PooledLayer, Pooling, pool_map, read_batch, split_batch

Basis = Literal["features", "weights"]
_GRIDS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)
_FINEST = 16  # places across an image of 8.4 degrees: half a degree each, the smallest receptive fields there are to be mapped


@dataclass
class Moments:
    """Running sums of one layer's pooled values over images and places: what its channels' covariance is computed from."""

    count: int = 0
    total: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    product: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))

    def add(self, pooled: Float[Tensor, "images channels grid grid"]) -> None:
        """Take in the pooled maps of some images."""
        rows = pooled.permute(0, 2, 3, 1).reshape(-1, pooled.shape[1])
        total, product = rows.sum(dim=0).double().cpu().numpy(), (rows.T @ rows).double().cpu().numpy()
        self.total, self.product = (total, product) if self.count == 0 else (self.total + total, self.product + product)
        self.count += len(rows)

    def covariance(self) -> Float[np.ndarray, "channels channels"]:
        """Return the covariance of the channels over images and places."""
        mean = self.total / self.count
        return self.product / self.count - np.outer(mean, mean)


def list_grids(channels: int, height: int, width: int, budget: int) -> list[int]:
    """Return the grids that a layer may be pooled to: no finer than its map, and at least one component within the budget.

    Where all channels fit at the layer's own size, that is the only one: nothing needs to be given up.
    """
    side = min(height, width)
    if height == width and channels * side**2 <= budget:
        return [side]
    whole = math.isqrt(budget // channels)  # the finest grid that keeps all channels
    finest = min(side, math.isqrt(budget), max(_FINEST, whole))
    return sorted({grid for grid in (*_GRIDS, min(whole, finest), side) if 1 <= grid <= finest})


def count_components(channels: int, grid: int, budget: int) -> int:
    """Return how many components fill the budget at a grid: at least one, at most the channels."""
    return max(1, min(channels, budget // grid**2))


def design_features(
    backbone: Backbone,
    layers: Sequence[str],
    budget: int,
    paths: Sequence[Path],
    pooling: Pooling = "average",
    basis: Basis = "features",
    progress: Iterable[int] | None = None,
    batch: int = 32,
) -> FeatureSpace:
    """Choose grid and components of every layer from natural images, `paths`; `progress` wraps the batches' starting indices.

    With all channels kept, features are channels; otherwise they are principal components, of the pooled features of the images
    (`basis` features) or of the weights of the layer's last convolution or linear map (weights). Among all grids the one is taken
    that keeps most variance: the sum of the components' variances, averaged over places.

    Raises
    ------
    InputError
        When a layer does not exist or is named twice, or its weights do not fit `basis`.
    """
    backbone.check_layers(layers)
    if len(set(layers)) != len(layers):
        raise InputError(f"layers {', '.join(layers)}: a layer is named twice; name each once")
    moments: dict[str, dict[int, Moments]] = {}
    for start in progress if progress is not None else range(0, len(paths), batch):
        with torch.no_grad():
            for images in split_batch(read_batch(backbone, paths[start : start + batch])):
                for name, one in backbone.activations(images, layers).items():
                    grids = list_grids(one.shape[1], one.shape[2], one.shape[3], budget)
                    known = moments.setdefault(name, {grid: Moments() for grid in grids})
                    for grid in grids:
                        known[grid].add(pool_map(one.float(), grid, pooling))
    chosen = [_choose_grid(backbone, name, moments.get(name, {}), budget, pooling, basis) for name in layers]
    return FeatureSpace(backbone, tuple(layer for layer, _ in chosen), {layer.name: found for layer, found in chosen if layer.is_reduced})


def _choose_grid(
    backbone: Backbone, name: str, moments: dict[int, Moments], budget: int, pooling: Pooling, basis: Basis
) -> tuple[PooledLayer, Float[np.ndarray, "channels components"]]:
    best: tuple[float, PooledLayer, npt.NDArray[np.float32]] | None = None
    for grid, seen in moments.items():
        covariance = seen.covariance()
        channels = len(covariance)
        components = count_components(channels, grid, budget)
        projection = np.eye(channels, components)
        if components < channels:
            projection = _find_components(covariance if basis == "features" else _weigh_channels(backbone, name, channels))[:, :components]
        kept = float(np.einsum("ck,cd,dk->", projection, covariance, projection, optimize=True))
        if best is None or kept > best[0]:
            layer = PooledLayer(name=name, channels=channels, grid=grid, components=components, pooling=pooling)
            best = kept, layer, projection.astype(np.float32)
    if best is None:
        raise InputError(f"layer {name!r}: no images to choose its features from; give some")
    return best[1], best[2]


def _find_components(covariance: Float[np.ndarray, "channels channels"]) -> Float[np.ndarray, "channels channels"]:
    """Return principal components as columns, the largest first, each with its largest entry positive (a fixed sign)."""
    _, vectors = np.linalg.eigh(covariance)
    vectors = vectors[:, ::-1]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    signed: npt.NDArray[np.float64] = vectors * np.sign(largest)
    return signed


def _weigh_channels(backbone: Backbone, name: str, channels: int) -> Float[np.ndarray, "channels channels"]:
    """Return W W' of the last convolution or linear map, in the layer or before it, with as many outputs as the layer has channels."""
    names = [other for other, _ in backbone.module.named_modules()]
    last = max(number for number, other in enumerate(names) if f"{other}.".startswith(f"{name}."))
    before = [backbone.module.get_submodule(other) for other in names[1 : last + 1]]
    weights = [one.weight for one in before if isinstance(one, nn.Conv2d | nn.Linear) and one.weight.shape[0] == channels]
    if not weights:
        raise InputError(f"layer {name!r}: neither in it nor before it is a convolution with {channels} outputs; set basis = 'features'")
    rows = weights[-1].detach().flatten(1).double().cpu().numpy()
    product: npt.NDArray[np.float64] = rows @ rows.T
    return product
