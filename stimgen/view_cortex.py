"""A model and a sweep made with it in, the page of its cortex out: what belongs together is checked, predicted and put together."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from protocols.errors import InputError
from protocols.provenance import hash_input
from protocols.stimulus_set import StimulusSet
from stimgen.console import extract_images
from stimgen.cortex_page import WHOLE_PARCEL, CortexView, Places, describe_cortex, write_data
from stimgen.cortex_pictures import Track, write_images, write_natural, write_page
from stimgen.encoding_model import EncodingModel
from stimgen.feature_cache import FeatureCache
from stimgen.pool import NaturalPool
from stimgen.surface_files import Surfaces
from stimgen.sweep_store import CARD, TARGETS, SweepStore
from stimgen.voxel_maps import compare_conditions, compare_rois, map_voxels
from stimgen.voxel_places import find_points, find_vertices


@dataclass(frozen=True)
class Given:
    """What a page is made from: all read and checked, but for the places of voxels."""

    title: str
    model: EncodingModel
    store: SweepStore
    pool: NaturalPool
    surfaces: Surfaces | None = None
    stimuli: StimulusSet | None = None


def check_model(store: SweepStore, folder: Path) -> None:
    """Refuse a sweep that was made with another model, where the sweep tells with which.

    Raises
    ------
    InputError
        When the hash of the model is not the one that the sweep recorded.
    """
    recorded = store.recall_hash("model")
    if recorded is not None and recorded != hash_input(folder):
        raise InputError(f"{store.folder / CARD}: the sweep was made with another model than {folder}; give the model it was made with")


def find_pool(store: SweepStore, given: Path | None, find_default: Callable[[], Path]) -> Path:
    """Return the folder of the sweep's natural pool: the given one, the one that the sweep's recipe names, or the default pool.

    Raises
    ------
    InputError
        When it is not the pool of the sweep, whose z units it defines, or is not where the recipe says.
    """
    recorded = store.card.get("sources", {}).get("pool")
    folder = given or (store.folder / recorded if recorded else find_default())
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, although the sweep names it as its natural pool; say where it is with --pool")
    expected = store.recall_hash("pool")
    if expected is not None and expected != hash_input(folder):
        raise InputError(f"{folder}: is not the natural pool that the sweep was made with; give that one with --pool")
    return folder


def choose_subjects(model: EncodingModel, subjects: Sequence[str]) -> EncodingModel:
    """Return the model with the voxels of some subjects only; of all, where none is named.

    Raises
    ------
    InputError
        When the model has no voxel of a subject.
    """
    if not subjects:
        return model
    known = list(dict.fromkeys(model.voxels["subject"]))
    for subject in subjects:
        if subject not in known:
            raise InputError(f"--subject {subject}: the model has voxels of {', '.join(known)}")
    kept = model.voxels["subject"].isin(list(subjects)).to_numpy()
    return EncodingModel(model.space, model.readout.select(np.flatnonzero(kept)), model.voxels[kept], model.card)


def write_cortex(given: Given, cache: FeatureCache | None, folder: Path, track: Track = iter) -> CortexView:
    """Write the page, its data and its pictures into `folder`; return what it shows.

    Raises
    ------
    InputError
        When targets of the sweep are not in the model, voxels have no place, or a shard is damaged.
    """
    view = _put_together(given, cache)
    write_data(describe_cortex(view), folder)
    chosen = view.maps.best[view.maps.best >= 0]
    write_natural(given.pool.image_paths(), _to_numbers(chosen), folder)
    write_images(given.store, view.images, folder, track)
    write_page(given.title, folder)
    return view


def _to_numbers(values: np.ndarray) -> Iterable[int]:
    numbers: list[int] = np.unique(values).tolist()
    return numbers


def _put_together(given: Given, cache: FeatureCache | None) -> CortexView:
    model, pool = given.model, given.pool
    images = _find_voxels(given.store, model.voxels)
    places = _place(model.voxels, given.surfaces)
    maps = map_voxels(model, extract_images(model.space, pool.image_paths(), cache))
    contrasts = [compare_rois(model, maps)]
    if given.stimuli is not None:
        table = given.stimuli.table
        paths = [given.stimuli.image_path(stim_id) for stim_id in table["stim_id"]]
        responses = model.readout.predict(extract_images(model.space, paths, cache))
        contrasts.insert(0, compare_conditions(maps, responses, list(table["condition"]), list(table["target"])))
    layers = tuple(layer.name for layer in model.space.layers)
    return CortexView(given.title, model.voxels, places, layers, maps, images, list(pool.table["stim_id"]), contrasts)


def _place(voxels: pd.DataFrame, surfaces: Surfaces | None) -> Places:
    if surfaces is None:
        return Places(None, None, *find_points(voxels))
    return Places(surfaces, find_vertices(voxels, surfaces), None)


def _find_voxels(store: SweepStore, voxels: pd.DataFrame) -> pd.DataFrame:
    """Return the shown subjects' images with their `subject`, `roi` and `voxel`: the row of the model's voxel, -1 for a whole parcel's."""
    rows = pd.Series(np.arange(len(voxels)), index=voxels["voxel_id"])
    shown = store.targets[store.targets["subject"].isin(set(voxels["subject"]))].set_index("target_id")
    parcels = set(zip(voxels["subject"], voxels["roi"], strict=True)) if store.card.get("parcels") else set()
    for target_id, subject, roi in zip(shown.index, shown["subject"], shown["roi"], strict=True):
        if target_id not in rows.index and (subject, roi) not in parcels:
            raise InputError(
                f"{store.folder / TARGETS}: target {target_id!r} is no voxel of the model; give the model that the sweep was made with"
            )
    images = store.images[store.images["target_id"].isin(shown.index)].reset_index(drop=True)
    target = images["target_id"]
    voxel = target.map(rows).fillna(WHOLE_PARCEL).astype(np.int64)
    return images.assign(voxel=voxel, subject=target.map(shown["subject"]), roi=target.map(shown["roi"]))
