"""One batch of a sweep: a description that can be sent to another machine in; a shard of images and a table of their scores out.

A batch is named by the sha256 of all that it depends on. What is finished is not made again, what was interrupted goes on from its last
state; both lie in the sweep's work folder, which every worker must see. A process opens models and pool once and keeps them.
"""

import hashlib
import io
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from jaxtyping import Float
from PIL import Image
from threadpoolctl import threadpool_limits

from protocols.errors import InputError
from protocols.tables import Columns, read_tsv, write_tsv
from stimgen.backbone import choose_device
from stimgen.console import track_batches
from stimgen.encoding_model import EncodingModel, find_weights
from stimgen.feature_cache import FeatureCache, extract_cached
from stimgen.goal import Goal
from stimgen.image_files import encode_png, read_square
from stimgen.jobs import Workplace
from stimgen.make import Job, Studio, prepare_climb
from stimgen.order import TargetsFile, Wanted
from stimgen.pool import NaturalPool
from stimgen.sources import Sources
from stimgen.sweep_readout import Folded, Reading, fold_targets, name_term
from stimgen.sweep_settings import SweepSettings
from stimgen.sweep_store import IMAGE_COLUMNS, write_shard
from stimgen.sweep_targets import SweepTarget
from stimgen.target import Target

SCORE_COLUMNS: Columns = {name: kind for name, kind in IMAGE_COLUMNS.items() if name != "shard"}
_TARGET = Target(voxel="sweep")  # what an order must name; goals say what is driven


@dataclass(frozen=True)
class Place:
    """Where a sweep's inputs and its work lie, by absolute paths that every worker sees."""

    sources: Sources
    inputs_sha256: str
    """Of all inputs: what was opened for other inputs at the same place is not used."""
    work: Path
    cache: Path
    code: str
    device: str


@dataclass(frozen=True)
class SweepImage:
    """One image to make: its target, its seed, and the natural image it starts from (None: noise)."""

    image_id: str
    target: SweepTarget
    seed: int
    start: Path | None
    source: str | None


@dataclass(frozen=True)
class SweepBatch:
    """Images that are made together; their targets need the same deepest layer."""

    name: str
    place: Place
    settings: SweepSettings
    images: tuple[SweepImage, ...]

    @property
    def shard(self) -> Path:
        """Where its images will be."""
        return self.place.work / f"{self.name}.zip"

    @property
    def scores(self) -> Path:
        """Where its table will be, written last."""
        return self.place.work / f"{self.name}.tsv"

    def read_scores(self) -> pd.DataFrame:
        """Return the finished batch's table, an image a row."""
        return read_tsv(self.scores, SCORE_COLUMNS)


@dataclass(frozen=True)
class Bench:
    """What a process has opened: the generating model, the judges, the natural pool."""

    maker: Reading
    judges: tuple[Reading, ...]
    pool: NaturalPool


def make_batch(batch: SweepBatch) -> int:
    """Make a batch's images, unless they are there; return how many there are.

    Whoever else is at the same batch, such as the process of a worker that was given up for lost, is waited for.

    Raises
    ------
    InputError
        When this computer does not see the work folder, or the model predicts NaN for an image.
    """
    if not batch.place.work.is_dir():
        raise InputError(
            f"{batch.place.work}: {platform.node()} does not see it; with --cluster OUT must lie in a folder that all computers share"
        )
    with FileLock(batch.place.work / f"{batch.name}.lock"), _on_one_core():
        if not batch.scores.is_file():
            _climb(batch)
    return len(batch.images)


@contextmanager
def _on_one_core() -> Iterator[None]:
    """Compute on one core: the last bits of a convolution depend on how many share it, and a sweep's images must not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=2)
def open_bench(place: Place) -> Bench:
    """Open models and pool; once for a process. The pool's features are computed by the first that needs them."""
    pool = NaturalPool.read(place.sources.pool)
    paths = pool.image_paths()
    maker, *judges = [_open_model(folder, place, paths) for folder in (*place.sources.models, *place.sources.judges)]
    return Bench(maker, tuple(judges), pool)


def _open_model(folder: Path, place: Place, paths: Sequence[Path]) -> Reading:
    model = EncodingModel.read(folder, find_weights(folder, place.sources.weights), choose_device(place.device))
    space = model.space
    layers = "".join(space.identify_layer(layer) for layer in space.layers)
    kept = Workplace(place.work, place.code).keep(
        f"natural features {place.inputs_sha256} {layers}",
        lambda: torch.from_numpy(extract_cached(space, paths, FeatureCache(place.cache), track_batches("features"))),
    )
    return Reading(folder.name, model, kept.numpy())


def _climb(batch: SweepBatch) -> None:
    """Make the images of a batch, write their shard and then their scores."""
    bench = open_bench(batch.place)
    targets = list(dict.fromkeys(image.target for image in batch.images))
    folded = fold_targets(bench.maker, targets)
    workplace = Workplace(batch.place.work, batch.place.code)
    jobs = [_order_image(image, name_term(targets.index(image.target))) for image in batch.images]
    climb = prepare_climb(_furnish(batch.settings, folded, bench.pool, workplace), jobs)
    climbed = workplace.make(climb)
    arrays = climbed.images.permute(0, 2, 3, 1).numpy()
    pngs = [encode_png(array, image.image_id) for image, array in zip(batch.images, arrays, strict=True)]
    partial = batch.shard.with_name(f"{batch.shard.name}.partial")
    write_shard({image.image_id: png for image, png in zip(batch.images, pngs, strict=True)}, partial)
    partial.replace(batch.shard)
    write_tsv(_tabulate(batch, bench, folded, pngs), batch.scores)
    workplace.forget(climb)


def _furnish(settings: SweepSettings, folded: Folded, pool: NaturalPool, workplace: Workplace) -> Studio:
    """Return a studio that makes images by the batch's own targets alone."""
    order = TargetsFile(targets=(_TARGET,), size_px=settings.size_px, image=settings.image, ascent=settings.ascent)
    return Studio(order, [folded.scorer], (), pool, workplace)


def _order_image(image: SweepImage, term: str) -> Job:
    goal = Goal(image.target.target_id, factors={term: 1.0}, own={term: 1.0})
    return Job(Wanted(_TARGET, goal, 1), image.seed, image.start, image.source)


def _tabulate(batch: SweepBatch, bench: Bench, folded: Folded, pngs: Sequence[bytes]) -> pd.DataFrame:
    """Return the images with what the saved PNGs do for their own targets, by the model and by its judges."""
    targets = list(dict.fromkeys(image.target for image in batch.images))
    columns = np.array([targets.index(image.target) for image in batch.images])
    judged = [_rate_own(judge, fold_targets(judge, targets), pngs, columns) for judge in bench.judges]
    rows = {
        "image_id": [image.image_id for image in batch.images],
        "target_id": [image.target.target_id for image in batch.images],
        "seed": [image.seed for image in batch.images],
        "start": [image.source for image in batch.images],
        "sha256": [hashlib.sha256(png).hexdigest() for png in pngs],
        "predicted": _rate_own(bench.maker, folded, pngs, columns),
        "judged": _average_known(judged, len(pngs)),
    }
    return pd.DataFrame(rows).round({"predicted": 4, "judged": 4})


def _rate_own(reading: Reading, folded: Folded, pngs: Sequence[bytes], columns: np.ndarray) -> Float[np.ndarray, " images"]:
    """Return each image's drive of its own target, z; NaN where the model does not have it."""
    space = reading.model.space
    squares = [read_square(Image.open(io.BytesIO(png)), space.backbone.input_px) for png in pngs]
    images = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
    with torch.no_grad():
        features = space.extract(images.to(space.backbone.device)).float().cpu().numpy()
    own: np.ndarray = folded.rate(features)[np.arange(len(pngs)), columns]
    return own.astype(np.float64)


def _average_known(ratings: Sequence[np.ndarray], count: int) -> Float[np.ndarray, " images"]:
    """Return the mean of the judges that know each image's target; NaN where none does."""
    known = ~np.isnan(np.stack(ratings)) if ratings else np.zeros((0, count), dtype=bool)
    total = np.nansum(np.stack(ratings), axis=0) if ratings else np.zeros(count)
    mean: np.ndarray = np.where(known.any(axis=0), total / known.sum(axis=0).clip(min=1), np.nan)
    return mean
