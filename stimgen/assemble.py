"""From made images to the pictures of a set: controls chosen, every picture saved as PNG and measured as it was saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from protocols.provenance import hash_file
from protocols.stimulus_set import image_file_name
from stimgen.controls import best_natural, phase_scramble
from stimgen.image_files import read_image, write_png
from stimgen.judge import Scorer, rate_goal
from stimgen.make import Made, derive_seed
from stimgen.order import NATURAL, SCRAMBLED, SHAM, TARGET, TargetsFile, Wanted
from stimgen.photometry import mean_luminance, rms_contrast
from stimgen.pool import NaturalPool


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


def collect_targets(order: TargetsFile, made: Sequence[Made]) -> list[Picture]:
    """Return made images as pictures, numbered within their targets."""
    method = f"{order.image.parameterization.replace(':', '.')}_ascent"
    pictures, counted = [], dict.fromkeys((one.job.wanted.label for one in made), 0)
    for one in made:
        label = one.job.wanted.label
        counted[label] += 1
        stim_id = f"{TARGET}{label}{counted[label]:02d}"
        pictures.append(Picture(stim_id, TARGET, label, method, one.job.seed, one.job.source, one.image))
    return pictures


def collect_shams(pictures: Sequence[Picture], shams: Sequence[Made]) -> list[Picture]:
    """Return sham edits as pictures, each named after the target image that it goes with."""
    return [
        Picture(picture.stim_id.replace(TARGET, SHAM, 1), SHAM, picture.target, "sham_edit", sham.job.seed, picture.stim_id, sham.image)
        for picture, sham in zip(pictures, shams, strict=True)
    ]


def choose_natural(order: TargetsFile, wanted: Sequence[Wanted], makers: Sequence[Scorer], pool: NaturalPool) -> list[Picture]:
    """Choose the pool's best images for every target by the makers' predictions."""
    scores = np.stack([rate_goal(one.goal, makers, [maker.pool for maker in makers]) for one in wanted], axis=1)
    labels = [one.label for one in wanted]
    count = max(one.count for one in wanted)
    chosen = best_natural(scores, labels, count, [str(source) for source in pool.table["source"]])
    paths, ids = pool.image_paths(), list(pool.table["stim_id"])
    pictures = []
    for one in wanted:
        for rank, index in enumerate(chosen[one.label][: one.count]):
            stim_id = f"{NATURAL}{one.label}{rank + 1:02d}"
            image = read_image(paths[index], order.size_px)
            pictures.append(Picture(stim_id, NATURAL, one.label, "best_of_pool", None, str(ids[index]), image))
    return pictures


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
