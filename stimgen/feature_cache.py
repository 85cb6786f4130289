"""Features that were computed once are read from disk afterwards; image files in, feature vectors out.

Each layer of a feature space has a folder named by the sha256 of what its features depend on (weights, preprocessing, pooling,
components), holding `features.f32`, float32 rows, and `images.txt`, the sha256 of each row's image file. Rows are appended batch by
batch, so an interrupted command continues where it stopped; a row counts once its image's line is complete.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from jaxtyping import Float

from protocols.config import config_values
from protocols.provenance import hash_file
from protocols.tables import name_failed_file, write_text
from stimgen.features import FeatureSpace, PooledLayer, read_batch

BATCH = 32
_DIGEST = 64  # hexadecimal digits of a sha256
_VALUE_BYTES = 4

Track = Callable[[range], Iterable[int]]


@dataclass(frozen=True)
class LayerRows:
    """The cached rows of one layer, in the folder `folder`; `width` features a row."""

    folder: Path
    width: int

    def index(self) -> dict[str, int]:
        """Return the row of each image by its sha256."""
        lines = self._lines()
        return {digest: row for row, digest in enumerate(lines)}

    def read(self, rows: npt.NDArray[np.int64]) -> Float[np.ndarray, "rows features"]:
        """Return rows from the memory-mapped file; what another command is writing behind them, or left unfinished, is passed over."""
        shape = (int(rows.max()) + 1, self.width)
        stored = np.memmap(self.folder / "features.f32", dtype="<f4", mode="r", shape=shape)
        chosen: npt.NDArray[np.float32] = stored[rows]
        return chosen

    def append(self, digests: Sequence[str], rows: Float[np.ndarray, "rows features"]) -> None:
        """Add rows; those of images that another process has added meanwhile are passed over."""
        with FileLock(self.folder / "lock"):
            lines = self._lines()
            known = set(lines)
            new = [row for row, digest in enumerate(digests) if digest not in known]
            data = np.ascontiguousarray(rows[new], dtype="<f4").tobytes()
            self._write("features.f32", len(lines) * self.width * _VALUE_BYTES, data)
            self._write("images.txt", len(lines) * (_DIGEST + 1), "".join(f"{digests[row]}\n" for row in new).encode())

    def _lines(self) -> list[str]:
        path = self.folder / "images.txt"
        text = path.read_text(encoding="ascii") if path.is_file() else ""
        stored = self.folder / "features.f32"
        complete = min(len(text) // (_DIGEST + 1), (stored.stat().st_size if stored.is_file() else 0) // (self.width * _VALUE_BYTES))
        return text.split("\n")[:complete]

    def _write(self, name: str, start: int, data: bytes) -> None:
        """Write at `start` and end the file there: what an interrupted command left behind is overwritten."""
        path = self.folder / name
        path.touch()
        with name_failed_file(path), path.open("r+b") as stream:
            stream.seek(start)
            stream.write(data)
            stream.truncate()
            stream.flush()
            os.fsync(stream.fileno())


@dataclass(frozen=True)
class FeatureCache:
    """A folder of cached features of any networks and layers; it only grows, and may be deleted at any time."""

    folder: Path

    def open_layer(self, space: FeatureSpace, layer: PooledLayer) -> LayerRows:
        """Return the rows of one layer of a space; makes their folder."""
        key = space.identify_layer(layer)
        folder = self.folder / key[:2] / key
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "layer.json").exists():
            described = {"backbone": space.backbone.name, "weights_sha256": space.backbone.weights_sha256, **config_values(layer)}
            write_text(json.dumps(described, indent=2) + "\n", folder / "layer.json")
        return LayerRows(folder, layer.size)


def extract_cached(
    space: FeatureSpace, paths: Sequence[Path], cache: FeatureCache, track: Track = iter
) -> Float[np.ndarray, "images features"]:
    """Return the features of image files, computing only what the cache does not hold; `track` wraps the batches' starting indices."""
    digests = [hash_file(path) for path in paths]
    stored = {layer.name: cache.open_layer(space, layer) for layer in space.layers}
    known = {name: rows.index() for name, rows in stored.items()}
    path_of = dict(zip(digests, paths, strict=True))
    missing = [digest for digest in path_of if any(digest not in index for index in known.values())]
    layers = [layer for layer in space.layers if any(digest not in known[layer.name] for digest in missing)]
    for start in track(range(0, len(missing), BATCH)) if missing else ():
        batch = missing[start : start + BATCH]
        with torch.no_grad():
            made = space.extract_layers(read_batch(space.backbone, [path_of[digest] for digest in batch]), layers)
        for name, features in made.items():
            stored[name].append(batch, features.float().cpu().numpy())
    return _gather(space, digests, stored)


def _gather(space: FeatureSpace, digests: Sequence[str], stored: dict[str, LayerRows]) -> Float[np.ndarray, "images features"]:
    features = np.empty((len(digests), space.size), dtype=np.float32)
    start = 0
    for layer in space.layers:
        index = stored[layer.name].index()
        rows = np.array([index[digest] for digest in digests], dtype=np.int64)
        features[:, start : start + layer.size] = stored[layer.name].read(rows)
        start += layer.size
    return features
