"""A sweep: a model and what is asked for in, a plan of independent batches out; finished batches in, the sweep's store out."""

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from protocols.config import config_values
from protocols.errors import InputError
from protocols.provenance import hash_input
from stimgen.image_files import find_images
from stimgen.image_settings import check_image_settings, check_photographs
from stimgen.jobs import describe_ascent, split_batches
from stimgen.judge import check_judges
from stimgen.make import derive_seed
from stimgen.sources import record_sources
from stimgen.sweep_readout import choose_starts, survey_targets
from stimgen.sweep_settings import SweepSettings
from stimgen.sweep_store import SHARDS, SweepStore
from stimgen.sweep_targets import SweepTarget, choose_targets, list_targets
from stimgen.sweep_work import Bench, Place, SweepBatch, SweepImage, open_bench

Start = tuple[Path | None, str | None]


@dataclass(frozen=True)
class Wish:
    """What a person asks a sweep for: which targets, and how many images of each."""

    min_r: float
    most: int | None
    subjects: tuple[str, ...]
    rois: tuple[str, ...]
    parcels: bool
    images: int
    seed: int


@dataclass(frozen=True)
class Plan:
    """A sweep's targets (as in its `targets.tsv`), and its batches; how many voxels were left out since their prediction never varies."""

    targets: pd.DataFrame
    batches: tuple[SweepBatch, ...]
    constant: int


def plan_sweep(place: Place, wish: Wish, settings: SweepSettings) -> Plan:
    """Choose targets and starts, and group images whose targets need the same deepest layer into batches.

    Raises
    ------
    InputError
        When the model, the judges or the pool do not have what is asked for.
    """
    check_image_settings(settings.image)
    place.work.mkdir(parents=True, exist_ok=True)
    bench = open_bench(place)
    check_judges([bench.maker.model], [judge.model for judge in bench.judges])
    table = choose_targets(bench.maker.model.voxels, wish.min_r, wish.most, wish.subjects, wish.rois, wish.parcels)
    targets = list_targets(table, wish.parcels)
    survey = survey_targets(bench.maker, targets, settings.ascent.depth_share)
    varies = ~np.isnan(survey.z).any(axis=0)
    if not varies.any():
        raise InputError(f"{bench.maker.name}: predicts the same response to every natural image; fit the model again")
    starts = _choose_starts(bench, survey.z[:, varies], settings, wish.images)
    kept = [target for target, whether in zip(targets, varies, strict=True) if whether]
    images = _list_images(kept, starts, wish)
    depth = survey.depth[varies]
    batches = _group(images, depth, max(1, settings.ascent.batch // wish.images), place, settings)
    layers = [survey.layers[number] for number in depth]
    return Plan(table[varies].assign(layer=layers).reset_index(drop=True), tuple(batches), int((~varies).sum()))


def write_sweep(plan: Plan, card: Mapping[str, Any], folder: Path) -> SweepStore:
    """Write the finished batches as a store into `folder`: a shard per batch.

    Raises
    ------
    InputError
        When a batch that a worker has finished is not here.
    """
    missing = [batch for batch in plan.batches if not batch.scores.is_file()]
    if missing:
        work = missing[0].place.work
        raise InputError(
            f"{work}: {len(missing)} batches that workers finished are not there; choose OUT in a folder that all computers share"
        )
    (folder / SHARDS).mkdir()
    tables = []
    for number, batch in enumerate(plan.batches):
        shutil.copyfile(batch.shard, folder / SHARDS / f"{number:04d}.zip")
        tables.append(batch.read_scores().assign(shard=f"{number:04d}.zip"))
    row = {target_id: number for number, target_id in enumerate(plan.targets["target_id"])}
    images = pd.concat(tables, ignore_index=True)
    images = images.iloc[np.argsort(images["target_id"].map(row), kind="stable")]
    store = SweepStore(folder, plan.targets, images, dict(card))
    store.write(folder)
    return store


def describe_sweep(plan: Plan, place: Place, wish: Wish, settings: SweepSettings, out: Path) -> dict[str, Any]:
    """Return the sweep's card: what it was asked for, and how model, judges and pool are found and known again."""
    bench = open_bench(place)

    def name_model(folder: Path, reading: Any) -> dict[str, str]:
        backbone = reading.model.space.backbone
        return {"name": folder.name, "sha256": hash_input(folder), "backbone": backbone.name, "weights_sha256": backbone.weights_sha256}

    sources = place.sources
    return {
        "targets": len(plan.targets),
        "images_per_target": wish.images,
        "size_px": settings.size_px,
        "min_r": wish.min_r,
        "parcels": wish.parcels,
        "seed": wish.seed,
        "model": name_model(sources.models[0], bench.maker),
        "judges": [name_model(folder, one) for folder, one in zip(sources.judges, bench.judges, strict=True)],
        "pool": {"name": sources.pool.name, "sha256": hash_input(sources.pool), "images": len(bench.pool.table)},
        "sources": config_values(record_sources(sources, out)),
        "settings": config_values(settings),
    }


def _choose_starts(bench: Bench, z: np.ndarray, settings: SweepSettings, count: int) -> list[list[Start]]:
    """Return each target's starts: photographs in turn, the pool's best for it, or noise."""
    image = settings.image
    if image.photographs is not None:
        paths = [path.resolve() for path in find_images(image.photographs)]
        check_photographs(paths, bench.maker.model.space.backbone.input_px)
        turns = [paths[number % len(paths)] for number in range(z.shape[1] * count)]
        return [[(path, path.stem) for path in turns[row * count : (row + 1) * count]] for row in range(z.shape[1])]
    if image.start == "noise":
        return [[(None, None)] * count for _ in range(z.shape[1])]
    paths, names = bench.pool.image_paths(), list(bench.pool.table["stim_id"])
    chosen = choose_starts(z, [str(source) for source in bench.pool.table["source"]], count)
    return [[(paths[index], str(names[index])) for index in own] for own in chosen.T]


def _list_images(targets: Sequence[SweepTarget], starts: Sequence[Sequence[Start]], wish: Wish) -> list[list[SweepImage]]:
    """Return each target's images. Their ids are file names: letters and digits of the target's id, numbered where that is not enough."""
    names = [re.sub("[^0-9A-Za-z_-]", "-", target.target_id) for target in targets]
    repeats = Counter(name.lower() for name in names)
    names = [name if repeats[name.lower()] == 1 else f"{name}-{row}" for row, name in enumerate(names)]
    return [
        [
            SweepImage(f"{name}_{number}", target, derive_seed(wish.seed, target.target_id, number), *start)
            for number, start in enumerate(own)
        ]
        for name, target, own in zip(names, targets, starts, strict=True)
    ]


def _group(
    images: Sequence[Sequence[SweepImage]], depth: np.ndarray, at_once: int, place: Place, settings: SweepSettings
) -> list[SweepBatch]:
    """Return batches of `at_once` targets that need the same deepest layer, the deepest first: they take longest."""
    batches = []
    for deepest in sorted(set(depth.tolist()), reverse=True):
        rows = np.flatnonzero(depth == deepest)
        for some in split_batches(len(rows), at_once):
            own = tuple(image for index in some for image in images[rows[index]])
            batches.append(SweepBatch(_identify(own, place, settings), place, settings, own))
    return batches


def _identify(images: Sequence[SweepImage], place: Place, settings: SweepSettings) -> str:
    """Return the sha256 of all that a batch's images and scores depend on."""
    values = config_values(settings)
    values["ascent"] = describe_ascent(settings.ascent)
    values["image"] = {
        key: value for key, value in values["image"].items() if key not in ("photographs", "mask")
    }  # inputs, by their sha256
    described = [(one.image_id, one.target.target_id, one.target.voxel_id, one.seed, one.source) for one in images]
    depends = [values, described, place.inputs_sha256, place.code, torch.__version__]
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
