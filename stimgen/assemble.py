"""From targets and models to a complete StimulusSet: images made, controls chosen, every PNG re-read and scored."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from protocols.config import config
from protocols.errors import InputError
from protocols.provenance import hash_file
from protocols.stimulus_set import JUDGED, PREDICTED, StimulusSet, image_file_name
from stimgen.controls import best_natural, phase_scramble
from stimgen.encoding_model import EncodingModel
from stimgen.image import Fourier
from stimgen.image_files import read_image, write_png
from stimgen.judge import Scorer, average_scores
from stimgen.objective import Drive, Target, fold_target
from stimgen.optimize import Ascent, Job, ascend
from stimgen.photometry import mean_luminance, rms_contrast
from stimgen.pool import NaturalPool

TARGET, NATURAL, SCRAMBLED = "target", "natural", "scrambled"


@config
class TargetsFile:
    """A targets TOML: what to make. Paths are relative to the folder the command is run in."""

    targets: tuple[Target, ...] = Field(min_length=1)
    count: int = Field(default=8, ge=1)
    """Images per target."""
    size_px: int = Field(default=256, ge=32)
    seed: int = Field(default=1, ge=0)
    pool: Path | None = None
    """Natural images for z units and controls; `--pool` overrides it."""
    controls: tuple[str, ...] = (NATURAL, SCRAMBLED)
    """Any of `natural` (the pool's best images for the target) and `scrambled` (phase-scrambled copies of the target's images)."""
    ascent: Ascent = Ascent()


@dataclass(frozen=True)
class Picture:
    """One image on its way into a set, height x width x 3 in 0-1, and what its row says of it."""

    stim_id: str
    condition: str
    target: str
    method: str
    seed: int | None
    source_image: str | None
    image: Float[np.ndarray, "height width 3"]


def count_images(order: TargetsFile, target: Target) -> int:
    """Return how many images are made for a target."""
    return target.count or order.count


def check_order(order: TargetsFile) -> None:
    """Refuse controls that are not known and targets whose names differ in nothing but capitals: they would share files on some disks."""
    unknown = [control for control in order.controls if control not in (NATURAL, SCRAMBLED)]
    if unknown:
        raise InputError(f"controls: {unknown[0]!r} is not known; choose from {NATURAL}, {SCRAMBLED}")
    labels = [target.label for target in order.targets]
    lower_case = [label.lower() for label in labels]
    repeated = [label for label in labels if lower_case.count(label.lower()) > 1]
    if repeated:
        raise InputError(f"targets: two are named {repeated[0]!r}; give each its own 'name'")


def check_targets(order: TargetsFile, models: Sequence[EncodingModel]) -> None:
    """Refuse a target whose ROI or voxel a model does not have or cannot predict, before any work is done."""
    for target in order.targets:
        for model in models:
            target.weigh_voxels(model)


def make_targets(order: TargetsFile, makers: Sequence[Scorer], on_step: Callable[[int], None]) -> list[Picture]:
    """Make the target images by gradient ascent through all makers at once."""
    jobs, titles = [], []
    for target in order.targets:
        drives: tuple[Drive, ...] = tuple(fold_target(target, maker.model, maker.pool) for maker in makers)
        for index in range(count_images(order, target)):
            seed = derive_seed(order.seed, target.label, index)
            jobs.append(Job(target.label, drives, seed))
            titles.append((f"{TARGET}{target.label}{index + 1:02d}", target.label, seed))
    images = ascend(jobs, [maker.model.space for maker in makers], Fourier(order.size_px), order.ascent, on_step)
    arrays = images.permute(0, 2, 3, 1).numpy()
    method = "fourier_ascent"
    return [
        Picture(stim_id, TARGET, label, method, seed, None, array) for (stim_id, label, seed), array in zip(titles, arrays, strict=True)
    ]


def choose_natural(order: TargetsFile, makers: Sequence[Scorer], pool: NaturalPool) -> list[Picture]:
    """Choose the pool's best images for every target by the makers' predictions."""
    scores = np.mean([np.stack([score_target(target, maker) for target in order.targets], axis=1) for maker in makers], axis=0)
    labels = [target.label for target in order.targets]
    count = max(count_images(order, target) for target in order.targets)
    chosen = best_natural(scores, labels, count, [str(source) for source in pool.table["source"]])
    paths, ids = pool.image_paths(), list(pool.table["stim_id"])
    pictures = []
    for target in order.targets:
        for rank, index in enumerate(chosen[target.label][: count_images(order, target)]):
            stim_id = f"{NATURAL}{target.label}{rank + 1:02d}"
            image = read_image(paths[index], order.size_px)
            pictures.append(Picture(stim_id, NATURAL, target.label, "best_of_pool", None, str(ids[index]), image))
    return pictures


def score_target(target: Target, scorer: Scorer) -> Float[np.ndarray, " images"]:
    """Score the pool for a target: an ROI or voxel by its own response, a contrast by its difference, in z units."""
    weights = target.weigh_voxels(scorer.model)
    terms = scorer.pool @ weights
    z = (terms - terms.mean(axis=0)) / terms.std(axis=0)
    factors = np.array([factor for _, factor in target.terms(scorer.model.rois)])
    own = z @ factors if target.contrast else z[:, 0]
    return np.asarray(own)


def scramble_targets(pictures: Sequence[Picture]) -> list[Picture]:
    """Phase-scramble every target image."""
    scrambled = []
    for picture in pictures:
        seed = derive_seed(picture.seed or 0, SCRAMBLED, 0)
        image = phase_scramble(picture.image, np.random.default_rng(seed))
        stim_id = picture.stim_id.replace(TARGET, SCRAMBLED, 1)
        scrambled.append(Picture(stim_id, SCRAMBLED, picture.target, "phase_scramble", seed, picture.stim_id, image))
    return scrambled


def save_pictures(pictures: Sequence[Picture], folder: Path) -> pd.DataFrame:
    """Write every picture as PNG and return the set's table, measured on the files as they were saved."""
    rows: list[dict[str, Any]] = []
    for picture in pictures:
        path = folder / image_file_name(picture.stim_id)
        write_png(picture.image, path)
        saved = read_image(path, picture.image.shape[0])
        rows.append(
            {
                "stim_id": picture.stim_id,
                "stim_file": path.name,
                "condition": picture.condition,
                "target": picture.target,
                "method": picture.method,
                "seed": picture.seed,
                "source_image": picture.source_image,
                "sha256": hash_file(path),
                "width_px": saved.shape[1],
                "height_px": saved.shape[0],
                "mean_luminance": mean_luminance(saved),
                "rms_contrast": rms_contrast(saved),
            }
        )
    return pd.DataFrame(rows)


def score_set(table: pd.DataFrame, folder: Path, makers: Sequence[Scorer], judges: Sequence[Scorer]) -> pd.DataFrame:
    """Add `predicted_<roi>` and `judged_<roi>` columns, from the PNGs re-read from disk."""
    paths = [folder / name for name in table["stim_file"]]
    scored = table
    for prefix, scorers in ((PREDICTED, makers), (JUDGED, judges)):
        if scorers:
            scores = average_scores([scorer.score(paths) for scorer in scorers])
            scored = pd.concat([scored, scores.astype(np.float64).round(4).add_prefix(prefix)], axis=1)
    return scored


def describe_set(order: TargetsFile, makers: Sequence[Scorer], judges: Sequence[Scorer], pool_size: int) -> dict[str, Any]:
    """Return the set's sidecar: the columns' meanings, and which models made and judged it."""
    units = "z units of the natural pool"
    return {
        "condition": {
            "Description": "Kind of image",
            "Levels": {
                TARGET: "made by gradient ascent to drive the target",
                NATURAL: "the pool's best natural images for the target, by prediction",
                SCRAMBLED: "phase-scrambled copy of the target image named in source_image",
            },
        },
        "target": {"Description": "ROI (or voxel, or contrast) the image was made or chosen for"},
        "source_image": {"Description": "Image of the pool, or stim_id of the set, that the image comes from"},
        "mean_luminance": {"Description": "Mean linear luminance of the sRGB image", "Units": "0-1"},
        "rms_contrast": {"Description": "Standard deviation of luminance over its mean"},
        "predicted_<roi>": {"Description": "Response predicted by the generating models", "Units": units},
        "judged_<roi>": {"Description": "Response predicted by models that took no part in making the images", "Units": units},
        "models": [maker.name for maker in makers],
        "judges": [judge.name for judge in judges],
        "pool_images": pool_size,
        "size_px": order.size_px,
    }


def build_set(
    pictures: Sequence[Picture], folder: Path, makers: Sequence[Scorer], judges: Sequence[Scorer], description: dict[str, Any]
) -> StimulusSet:
    """Save, score and describe all pictures in `folder`."""
    table = score_set(save_pictures(pictures, folder), folder, makers, judges)
    stimulus_set = StimulusSet(folder, table, description)
    stimulus_set.write(folder)
    return stimulus_set


def derive_seed(seed: int, label: str, index: int) -> int:
    """Return a seed that depends on the set's seed, the target and the image, not on the order of making."""
    return int(np.random.SeedSequence([seed, zlib.crc32(label.encode()), index]).generate_state(1)[0])
