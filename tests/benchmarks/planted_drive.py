"""A planted brain with known truth for measuring synthesis: natural crops, encoding models, and what images really do.

The brain is planted on EfficientNet-Lite2, images are made with Lite0 and judged with Lite1, so that the network that decides took part
in neither. Everything is built once into a folder and read from there afterwards.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protocols.config import read_config
from stimgen.__main__ import main as run_stimgen
from stimgen.cortex import Cortex
from stimgen.encoding_model import EncodingModel
from stimgen.feature_cache import FeatureCache
from stimgen.image_files import write_png
from stimgen.judge import Scorer, make_scorer
from stimgen.planted import pool_files, respond_all
from stimgen.pool import NaturalPool

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SUBJECT = "01"


@dataclass(frozen=True)
class Brain:
    """A planted brain, its natural pool, and the models fitted to its noisy responses."""

    folder: Path
    cortex: Cortex
    pool: NaturalPool
    natural: np.ndarray
    """True z of every voxel for every image of the pool, images x voxels."""
    reference: dict[str, np.ndarray]
    models: dict[str, Scorer]

    @property
    def rois(self) -> list[str]:
        """ROI names, early to late."""
        return [roi.name for roi in self.cortex.rois]

    def voxels_of(self, roi: str) -> np.ndarray:
        """Return the indices of an ROI's voxels."""
        start = self.rois.index(roi) * self.cortex.voxels_per_roi
        return np.arange(start, start + self.cortex.voxels_per_roi)

    def average_roi(self, voxels: np.ndarray, roi: str) -> np.ndarray:
        """Return the ROI's mean true response to images, in z units of the pool."""
        own = self.natural[:, self.voxels_of(roi)].mean(axis=1)
        z: np.ndarray = (voxels[:, self.voxels_of(roi)].mean(axis=1) - own.mean()) / own.std()
        return z

    def respond(self, images: Tensor, name: str) -> np.ndarray:
        """Save images (0-1) as 8-bit PNGs and return the true z of every voxel, images x voxels."""
        folder = self.folder / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, image in enumerate(images):
            paths.append(folder / f"{number:03d}.png")
            write_png(image.permute(1, 2, 0).numpy(), paths[-1])
        return self.respond_files(paths)

    def respond_files(self, paths: list[Path]) -> np.ndarray:
        """Return the true z of every voxel for image files."""
        return respond_all(self.cortex, SUBJECT, self.reference, pool_files(self.cortex, [SUBJECT], paths)[SUBJECT])


def plant_brain(folder: Path, cortex: Path, crops: int, seed: int, networks: tuple[str, ...] = ("lite0", "lite1")) -> Brain:
    """Build the pool, the noisy responses and the models in `folder` by the public commands, unless they are there."""
    run_once(folder / "pool", "pool", "--images", str(DATA / "photos"), "--count", str(crops), "--seed", str(seed))
    planting = ("cortex", str(folder / "pool"), "--config", str(cortex), "--subject", SUBJECT, "--tuning-seed", str(seed))
    run_once(folder / "responses", *planting)
    cache = folder / "cache"
    for network in networks:
        settings = str(EXAMPLES / f"fit_{network}.toml")
        run_once(folder / network, "fit", settings, "--responses", str(folder / "responses"), "--cache", str(cache))
    planted = read_config(cortex, Cortex)
    planted = Cortex(**{**vars(planted), "tuning_seed": seed})
    pool = NaturalPool.read(folder / "pool")
    stored = folder / "reference.npz"
    if not stored.exists():
        np.savez(stored, **pool_files(planted, [SUBJECT], pool.image_paths())[SUBJECT])
    reference = dict(np.load(stored))
    natural = respond_all(planted, SUBJECT, reference, reference)
    kept = FeatureCache(cache)
    models = {name: make_scorer(name, EncodingModel.read(folder / name), pool.image_paths(), kept) for name in networks}
    return Brain(folder, planted, pool, natural, reference, models)


def run_once(out: Path, *arguments: str) -> None:
    """Run a stimgen command that writes `out`, unless it is complete."""
    if (out / "provenance.json").exists():
        return
    before, sys.argv = sys.argv, ["stimgen", *arguments, "--out", str(out)]
    try:
        run_stimgen()
    except SystemExit as ended:
        if ended.code:
            raise
    finally:
        sys.argv = before


def bootstrap_mean(values: np.ndarray, seed: int = 0, draws: int = 2000) -> tuple[float, float, float]:
    """Return the mean of targets' values with its 95 % interval (targets resampled)."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def set_threads(count: int | None) -> None:
    """Use `count` threads, or PyTorch's own choice."""
    if count:
        torch.set_num_threads(count)
