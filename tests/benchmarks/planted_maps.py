"""A sweep of a planted brain by the library's own ascent, and where its voxels truly look."""

import io
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from protocols.config import parse_config
from protocols.provenance import Provenance
from stimgen.cortex import Cortex, draw_receptive_fields
from stimgen.jobs import Workplace
from stimgen.judge import Scorer
from stimgen.make import Made, Studio, make_images, plan_jobs
from stimgen.order import TargetsFile, plan_order
from stimgen.pool import NaturalPool
from stimgen.sweep_store import SHARDS, SweepStore, write_shard


def true_centers(cortex: Cortex, subject: str) -> np.ndarray:
    """Return the center (x, y in 0-1) of every voxel's receptive field, voxels x 2, in the order of the cortex's ROIs."""
    fields = [draw_receptive_fields(cortex, subject, roi) for roi in cortex.rois]
    return np.concatenate([np.stack([field.x, field.y], axis=1) for field in fields])


def make_sweep(
    scorer: Scorer, pool: NaturalPool, out: Path, size_px: int, steps: int, count: int = 1, start: str = "natural"
) -> SweepStore:
    """Make `count` images for every predictable voxel and keep them as a sweep in `out`, unless it is there."""
    if (out / "provenance.json").exists():
        return SweepStore.read(out)
    targets = [{"each_voxel_of": roi} for roi in scorer.model.rois]
    settings = {"ascent": {"steps": steps, "batch": 8}, "image": {"start": start}, "photometry": {"matching": "none"}}
    order = parse_config({"targets": targets, "count": count, "size_px": size_px, "controls": [], **settings}, TargetsFile, "sweep")
    studio = Studio(order, [scorer], [], pool, Workplace(out.parent / f".{out.name}.work"))
    made = make_images(studio, plan_jobs(studio, plan_order(order, [scorer])), lambda stepped: None)
    write_sweep(scorer, made, out)
    return SweepStore.read(out)


def write_sweep(scorer: Scorer, made: list[Made], out: Path) -> None:
    """Write images with their targets' rows as a sweep of one shard."""
    voxels = scorer.model.voxels.set_index("voxel_id", drop=False)
    of_image = [str(one.job.wanted.target.voxel) for one in made]
    pngs = {f"image{number:05d}": _encode(one.image) for number, one in enumerate(made)}
    (out / SHARDS).mkdir(parents=True)
    write_shard(pngs, out / SHARDS / "0000.zip")
    shown = voxels.loc[list(dict.fromkeys(of_image))]
    targets = shown.rename(columns={"voxel_id": "target_id"})[["target_id", "subject", "roi", "cv_r", "noise_ceiling"]]
    rows = {
        "image_id": list(pngs),
        "target_id": of_image,
        "seed": [one.job.seed for one in made],
        "start": [one.job.source for one in made],
        "shard": "0000.zip",
        "sha256": [sha256(png).hexdigest() for png in pngs.values()],
        "predicted": [float(one.trace[-1]) for one in made],
        "judged": None,
    }
    layer = scorer.model.space.layers[-1].name
    SweepStore(out, targets.assign(layer=layer), pd.DataFrame(rows), {"size_px": made[0].image.shape[0]}).write(out)
    Provenance.collect("stimgen sweep", {}, {}).write(out)


def _encode(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()
