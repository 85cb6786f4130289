"""A feature space: layers of a backbone, each pooled to a grid and reduced to components; images in, feature vectors out.

How each layer is read is frozen into the model's files, so that fitting and synthesis see the same features.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from protocols.config import config
from stimgen.backbone import Backbone
from stimgen.image_files import read_image

Pooling = Literal["average", "max"]
_AT_ONCE = 8  # images in a forward pass on the CPU: the maps of more do not fit into its cache
_MAX_WINDOW = 3  # side of the window whose maximum stands for its center before the map is averaged


@config
class PooledLayer:
    """How one layer is read: the map is pooled to `grid` x `grid` places, and its channels are reduced to `components`."""

    name: str
    channels: int = Field(ge=1)
    grid: int = Field(ge=1)
    components: int = Field(ge=1)
    pooling: Pooling = "average"

    @property
    def size(self) -> int:
        """Number of features: `components` x `grid` x `grid`, in this order."""
        return self.components * self.grid**2

    @property
    def is_reduced(self) -> bool:
        """Whether its features are principal components of its channels."""
        return self.components < self.channels


@dataclass(frozen=True)
class FeatureSpace:
    """Features of images: the pooled layers of one backbone, flattened and concatenated in order.

    `projections` holds the principal components (channels x components) of every layer that `is_reduced`.
    """

    backbone: Backbone
    layers: tuple[PooledLayer, ...]
    projections: Mapping[str, Float[np.ndarray, "_channels _components"]] = field(default_factory=dict)

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
        return torch.cat(list(self.extract_layers(images, self.layers).values()), dim=1)

    def extract_some(
        self, images: Float[Tensor, "images 3 height width"], layers: Sequence[PooledLayer], reduced_precision: bool = False
    ) -> Float[Tensor, "images some"]:
        """Return the features of some layers in one forward pass, which ends at the deepest of them; differentiable.

        With `reduced_precision` the network runs in bfloat16 where that is safe (PyTorch's autocast); pooling stays in float32.
        """
        made = self._extract_pass(images, layers, reduced_precision)
        return torch.cat([made[layer.name] for layer in layers], dim=1)

    def find_columns(self, layers: Sequence[PooledLayer]) -> npt.NDArray[np.int64]:
        """Return the indices of the features of some layers, in the order of `layers`."""
        starts = np.cumsum([0, *(layer.size for layer in self.layers)])
        places = [self.layers.index(layer) for layer in layers]
        return np.concatenate([np.arange(starts[place], starts[place + 1]) for place in places])

    def extract_layers(
        self, images: Float[Tensor, "images 3 height width"], layers: Sequence[PooledLayer]
    ) -> dict[str, Float[Tensor, "images _features"]]:
        """Return the features of some of the layers by name; all of them come out of the same forward passes."""
        passes = [self._extract_pass(some, layers) for some in split_batch(images)]
        return {layer.name: torch.cat([made[layer.name] for made in passes]) for layer in layers}

    def _extract_pass(
        self, images: Float[Tensor, "images 3 height width"], layers: Sequence[PooledLayer], reduced_precision: bool = False
    ) -> dict[str, Tensor]:
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=reduced_precision):
            maps = self.backbone.activations(images, [layer.name for layer in layers])
        return {layer.name: self._reduce(pool_map(maps[layer.name].float(), layer.grid, layer.pooling), layer) for layer in layers}

    def _reduce(self, pooled: Float[Tensor, "images channels grid grid"], layer: PooledLayer) -> Float[Tensor, "images features"]:
        if layer.is_reduced:
            projection = torch.from_numpy(self.projections[layer.name]).to(pooled)
            pooled = torch.einsum("nchw,ck->nkhw", pooled, projection)
        return pooled.flatten(1)

    def identify_layer(self, layer: PooledLayer) -> str:
        """Return a sha256 that names the layer's features: weights, preprocessing, pooling and components."""
        seen = self.backbone.preprocessing
        digest = sha256(repr((self.backbone.name, self.backbone.weights_sha256, seen, layer)).encode())
        if layer.is_reduced:
            digest.update(np.ascontiguousarray(self.projections[layer.name]).tobytes())
        return digest.hexdigest()


def pool_map(
    maps: Float[Tensor, "images channels height width"], grid: int, pooling: Pooling
) -> Float[Tensor, "images channels grid grid"]:
    """Pool maps to `grid` x `grid` places without aliasing; `grid` is never finer than the maps themselves (`list_grids`).

    Each place is a triangle-weighted average that overlaps its neighbors', so that a small shift of the image moves the features
    smoothly and position between places is kept. `max` takes the maximum of 3 x 3 units around every unit first (Zhang 2019,
    "Making convolutional networks shift-invariant again": a dense maximum, then a blur, then the stride).
    """
    if pooling == "max":
        maps = F.max_pool2d(maps, _MAX_WINDOW, stride=1, padding=_MAX_WINDOW // 2)
    return F.interpolate(maps, size=(grid, grid), mode="bilinear", antialias=True, align_corners=False)


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


def split_batch(images: Float[Tensor, "images 3 height width"]) -> Sequence[Float[Tensor, "_some 3 height width"]]:
    """Split a batch into forward passes: on a GPU it is one, on the CPU few images at a time are faster."""
    return torch.split(images, _AT_ONCE if images.device.type == "cpu" else max(len(images), 1))


def read_batch(backbone: Backbone, paths: Sequence[Path]) -> Float[Tensor, "images 3 input input"]:
    """Read image files at the backbone's input size, several at a time, on its device."""
    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(lambda path: read_image(path, backbone.input_px), paths)))
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(backbone.device)
