"""What a small sweep needs on disk: a pool of random images, and models on tiny networks that another process can open by name."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from protocols.config import parse_config
from protocols.provenance import Provenance, hash_input
from stimgen.backbone import load_backbone
from stimgen.encoding_model import EncodingModel, Readout
from stimgen.networks import Preprocessing
from stimgen.sources import Sources
from stimgen.sweep import Wish
from stimgen.sweep_settings import SweepSettings
from stimgen.sweep_work import Place
from tests.stimgen.tiny import TinyNet, make_space

LAYERS = ("first", "second", "third")
SEEN = Preprocessing(input_px=8, mean=(0, 0, 0), std=(1, 1, 1))
ROIS = ("V3", "V3", "V3", "LO", "LO", "EBA", "EBA", "EBA", "EBA")
ACCURACY = (0.5, 0.2, 0.05, 0.6, 0.3, -0.1, 0.4, 0.1, 0.7)
LAYER_OF_VOXEL = (0, 0, 1, 1, 1, 2, 2, 2, 2)  # the deepest layer that carries it


class OtherNet(TinyNet):
    """Another network, for judges."""

    def __init__(self):
        super().__init__(1)


def write_pool(folder, count=12):
    """Write random images; each is its own source."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"n{number:02d}.png")
    return folder


def build_model(network="TinyNet", seed=0, subjects=("01",)):
    """Return a model whose voxels are carried by one layer and those before it; an extra column tells where voxels lie."""
    module = "tests.stimgen.small_sweep" if network == "OtherNet" else "tests.stimgen.tiny"
    backbone = load_backbone(f"{module}:{network}", preprocessing=SEEN)
    space = make_space(backbone, LAYERS, 24)
    tables = []
    for subject in subjects:
        ids = [f"{subject}_{roi}{row}" for row, roi in enumerate(ROIS)]
        tables.append(pd.DataFrame({"voxel_id": ids, "subject": subject, "roi": ROIS, "cv_r": ACCURACY}))
    voxels = pd.concat(tables, ignore_index=True).assign(test_r=0.5, noise_ceiling=np.nan)
    voxels["i"] = np.arange(len(voxels))
    rng = np.random.default_rng(seed)
    coefficients = rng.standard_normal((space.size, len(voxels))).astype(np.float32)
    coefficients[space.layer_of_feature[:, None] > np.tile(LAYER_OF_VOXEL, len(subjects))] = 0
    readout = Readout(
        coefficients,
        rng.standard_normal(len(voxels)).astype(np.float32),
        rng.standard_normal(space.size).astype(np.float32),
        rng.uniform(0.5, 2, space.size).astype(np.float32),
    )
    return EncodingModel(space, readout, voxels, {"settings": {}})


def write_model(folder, model):
    """Write a model as `stimgen fit` does."""
    folder.mkdir(parents=True)
    model.write(folder)
    Provenance.collect("stimgen fit", {}, {}).write(folder)
    return folder


def write_lab(folder):
    """Write a pool, a model and a judge on another network; return their folders."""
    maker = write_model(folder / "maker", build_model(subjects=("01", "02")))
    judge = write_model(folder / "judge", build_model("OtherNet", seed=1))
    return write_pool(folder / "pool"), maker, judge


def make_place(folder, pool, maker, *judges):
    """Return where a sweep's inputs and its work lie."""
    sources = Sources(models=(maker,), judges=judges, pool=pool)
    named = "".join(hash_input(path) for path in (pool, maker, *judges))
    return Place(sources, named, folder / "work", folder / "cache", "code", "cpu")


def make_settings(**ascent):
    """Return settings of a few steps on small images; layers that carry nothing are left out, no others."""
    given = {"steps": 3, "learning_rate": 0.5, "depth_share": 1.0, **ascent}
    return parse_config({"size_px": 32, "ascent": given}, SweepSettings, "sweep.toml")


def make_wish(**changes):
    """Return a wish for every predictable voxel."""
    plain = {"min_r": 0.1, "most": None, "subjects": (), "rois": (), "parcels": False, "images": 1, "seed": 1}
    return Wish(**{**plain, **changes})


def find_shards(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every shard of a sweep by name."""
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").glob("*.zip"))}
