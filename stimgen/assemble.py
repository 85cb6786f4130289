"""From made images to the pictures of a set, every one saved as PNG and measured as it was saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from protocols.provenance import hash_file
from protocols.stimulus_set import image_file_name
from stimgen.image_files import read_image, write_png
from stimgen.look import Viewing
from stimgen.make import Made
from stimgen.optimize import TRACE_EVERY
from stimgen.order import TARGET, TargetsFile
from stimgen.pool import UNKNOWN_LICENSE, NaturalPool


@dataclass(frozen=True)
class Picture:
    """One image on its way into a set, height x width x 3 in 0-1, and what its row says of it.

    `control_of` is the stim_id of the target image that it is a control of; `profile` the number of its photometric profile; `dose` the
    percentile of natural images that a target image was to reach, in `dose_roi` where its target is an ROI.
    """

    stim_id: str
    condition: str
    target: str
    method: str
    seed: int | None
    source_image: str | None
    image: Float[np.ndarray, "height width 3"]
    control_of: str | None = None
    profile: int | None = None
    dose: float | None = None
    dose_roi: str | None = None


def collect_targets(order: TargetsFile, made: Sequence[Made]) -> list[Picture]:
    """Return made images as pictures, numbered within their targets."""
    method = f"{order.image.parameterization.replace(':', '.')}_ascent"
    pictures, counted = [], dict.fromkeys((one.job.wanted.label for one in made), 0)
    for one in made:
        label = one.job.wanted.label
        counted[label] += 1
        stim_id, target = f"{TARGET}{label}{counted[label]:02d}", one.job.wanted.target
        asked = (target.dose, target.roi if target.dose is not None else None)
        pictures.append(Picture(stim_id, TARGET, label, method, one.job.seed, one.job.source, one.image, None, one.job.profile, *asked))
    return pictures


def collect_ascent(pictures: Sequence[Picture], made: Sequence[Made]) -> pd.DataFrame:
    """Return the drive of target images while they were made: `stim_id step drive`, z by the makers, mean of the steps since the last."""
    parts = []
    for picture, one in zip(pictures, made, strict=False):  # controls follow the target images
        steps = TRACE_EVERY * np.arange(1, len(one.trace) + 1)
        parts.append(pd.DataFrame({"stim_id": picture.stim_id, "step": steps, "drive": one.trace.astype(np.float64).round(4)}))
    return pd.concat(parts)


def name_control(picture: Picture, condition: str) -> str:
    """Return the stim_id of a target image's control of some kind."""
    return picture.stim_id.replace(TARGET, condition, 1)


def save_pictures(pictures: Sequence[Picture], folder: Path, pool: NaturalPool, viewing: Viewing) -> pd.DataFrame:
    """Write every picture as PNG and return the set's table, measured on the files as they were saved and are shown.

    `dose` and `dose_roi` are there where a target has a dose. `source` and `license` are those of the photograph that an image is, is
    made from, or is a control of such an image.
    """
    rows: list[dict[str, Any]] = []
    photographs = pool.table.set_index("stim_id")[["source", "license"]]
    sources = {picture.stim_id: picture.source_image for picture in pictures}
    for picture in pictures:
        path = folder / image_file_name(picture.stim_id)
        write_png(picture.image, path)
        light = viewing.measure_light(read_image(path, picture.image.shape[0]))
        source = sources.get(picture.source_image or "", picture.source_image)
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
                "width_px": picture.image.shape[1],
                "height_px": picture.image.shape[0],
                **light,
                "control_of": picture.control_of,
                "profile": picture.profile,
                "source": photographs["source"].get(source, source),
                "license": photographs["license"].get(source, None if source is None else UNKNOWN_LICENSE),
            }
        )
    table = pd.DataFrame(rows)
    doses = pd.DataFrame([(picture.dose, picture.dose_roi) for picture in pictures], columns=["dose", "dose_roi"])
    return pd.concat([table, doses], axis=1) if doses["dose"].notna().any() else table
