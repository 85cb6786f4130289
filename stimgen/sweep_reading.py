"""A sweep read through its model: what every image does to all voxels, and where each target looks, by its images."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from protocols.errors import InputError
from stimgen.encoding_model import EncodingModel
from stimgen.image_files import read_square
from stimgen.receptive_field import SIDE, ReceptiveField, locate_field, map_image
from stimgen.sweep_store import SHARDS, SweepStore

MOST_SEEN = 2000  # voxels whose responses to every image are kept
_AT_ONCE = 8


@dataclass(frozen=True)
class SweepReading:
    """What a sweep's images do.

    Attributes
    ----------
    target_of_image
        The row of the sweep's targets that each image was made for.
    seen_by
        The model's rows of the voxels whose responses are kept: all, or of thousands every so manyth.
    responses
        Their predicted responses.
    fields
        Per target, by all its images together; None where they carry no drive.
    """

    target_of_image: Int[np.ndarray, " images"]
    seen_by: Int[np.ndarray, " seen"]
    responses: Float[np.ndarray, "images seen"]
    fields: list[ReceptiveField | None]


def find_rows(store: SweepStore, model: EncodingModel, model_sha256: str) -> npt.NDArray[np.int64]:
    """Return the model's row of every target of a sweep.

    Raises
    ------
    InputError
        When the sweep is another model's or of parcels, or a target is no voxel of the model.
    """
    if store.recall_hash("model") not in (None, model_sha256):
        name = (store.card.get("model") or {}).get("name", "n/a")
        raise InputError(f"{store.folder}: was made with another model ({name}); give the one it was made with")
    if store.card.get("parcels"):
        raise InputError(f"{store.folder}: its targets are parcels; voxels are compared, so give a sweep made without --parcels")
    row_of = {voxel_id: row for row, voxel_id in enumerate(model.voxels["voxel_id"])}
    unknown = [target for target in store.targets["target_id"] if target not in row_of]
    if unknown:
        raise InputError(
            f"{store.folder}: target {unknown[0]!r} is no voxel of the model, whose voxels are named like {next(iter(row_of))!r}; "
            "give the model that the sweep was made with"
        )
    return np.array([row_of[target] for target in store.targets["target_id"]], dtype=np.int64)


def read_sweep(
    store: SweepStore, model: EncodingModel, rows: Int[np.ndarray, " targets"], on_images: Callable[[int], None] = lambda images: None
) -> SweepReading:
    """Read every image once: predict voxels' responses, and add up the maps of where each target's drive comes from.

    `rows` are the model's rows of the targets; `on_images` is told how many images were read.

    Raises
    ------
    InputError
        When a shard is missing or damaged, or lacks an image.
    """
    target_row = {target: number for number, target in enumerate(store.targets["target_id"])}
    target_of_image = store.images["target_id"].map(target_row).to_numpy(dtype=np.int64)
    seen_by = np.unique(np.linspace(0, len(model.voxels) - 1, min(len(model.voxels), MOST_SEEN)).round().astype(np.int64))
    seen = model.readout.select(seen_by)
    responses = np.empty((len(store.images), len(seen_by)), dtype=np.float32)
    carried = np.zeros((len(store.targets), SIDE, SIDE))
    for shard, images in store.images.groupby("shard", sort=False):
        features = extract_shard(store, str(shard), list(images["image_id"]), model)
        responses[images.index] = seen.predict(features)
        for place, own in zip(images.index, features, strict=True):
            target = target_of_image[place]
            carried[target] += map_image(model.readout, int(rows[target]), own, model.space.layers)
        on_images(len(images))
    return SweepReading(target_of_image, seen_by, responses, [locate_field(one) for one in carried])


def extract_shard(store: SweepStore, shard: str, image_ids: Sequence[str], model: EncodingModel) -> Float[np.ndarray, "images features"]:
    """Return the features of some images of a shard.

    Raises
    ------
    InputError
        When the shard is missing or damaged, or lacks an image.
    """
    shown = read_shown(store, shard, image_ids, model)
    with torch.no_grad():
        return np.concatenate([model.space.extract(some).float().cpu().numpy() for some in torch.split(shown, _AT_ONCE)])


def read_shown(store: SweepStore, shard: str, image_ids: Sequence[str], model: EncodingModel) -> Float[Tensor, "images 3 input input"]:
    """Return some images of a shard as the model's network sees them; see `extract_shard`."""
    pngs, where = store.read_shard(shard), store.folder / SHARDS / shard
    squares = [_decode(pngs.get(image_id), model.space.backbone.input_px, f"{where} {image_id}") for image_id in image_ids]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).to(model.space.backbone.device)


def _decode(png: bytes | None, size_px: int, where: str) -> Float[np.ndarray, "size size 3"]:
    try:
        return read_square(Image.open(io.BytesIO(png or b"")).convert("RGB"), size_px)
    except OSError as problem:
        raise InputError(f"{where}: no readable image ({problem}); copy the sweep again") from None
