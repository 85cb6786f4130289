"""How do time and memory grow? `python -m tests.benchmarks.bench_scale [--full]` prints four tables.

Responses folders and features are simulated on disk and fitted in a process of their own, by the code that `stimgen fit` runs once it has
features: averaging of repetitions, ridge with nested cross-validation, intervals, tables. First, seconds per doubling of images, voxels
and features. Second, the largest fit (`--full`: 10,000 images x 20,000 voxels x 30,000 features), which must keep below 12 GB. Third,
the memory that `stimgen/memory.py` foretells. Fourth, features from the cache against features computed.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from protocols.config import read_config
from protocols.output_folder import staged_folder
from protocols.provenance import Provenance
from protocols.responses import Responses
from protocols.tables import write_tsv
from stimgen.backbone import load_backbone
from stimgen.design_cache import design_cached
from stimgen.feature_cache import FeatureCache, extract_cached
from stimgen.features import FeatureSpace, PooledLayer
from stimgen.fit import fit_subjects
from stimgen.fit_settings import FitSettings
from stimgen.memory import estimate_fit_bytes
from stimgen.subject_data import average_repetitions, index_images
from tests.benchmarks.bench_real import DATA
from tests.benchmarks.report import print_table
from tests.stimgen.tiny import make_tiny_backbone

BASE = (500, 1000, 2000)  # images, voxels, features
AXES = ("images", "voxels", "features")
FULL = (10_000, 20_000, 30_000)
LARGEST_GB = 12
LEAST_SPEEDUP = 20
LARGEST_ERROR = 0.25  # of the foretold memory, above what is needed; below it never is
FORETOLD = ((3000, 2000, 6000), (2000, 12_000, 6000), (1500, 2000, 40_000))
LAYERS, LATENT, REPEATS = 8, 50, 2
EXAMPLE = Path(__file__).parents[1] / "examples" / "fit_lite0.toml"


def simulate(folder: Path, images: int, voxels: int, features: int) -> Path:
    """Write a responses folder, and features that share fifty dimensions with the responses, block by block."""
    rng = np.random.default_rng(1)
    latent = rng.standard_normal((images, LATENT), dtype=np.float32)
    _write_mixture(folder / "features.npy", latent, features, np.arange(images), rng)
    out = folder / "sub-01"
    with staged_folder(out, Provenance.collect("bench_scale", {}, {}), overwrite=False) as staged:
        (staged / "images").mkdir()
        names = [f"images/i{number:05d}.png" for number in range(images)]
        for number, name in enumerate(names):
            Image.fromarray(np.frombuffer(number.to_bytes(12, "big"), dtype=np.uint8).reshape(2, 2, 3)).save(staged / name)
        ids = [Path(name).stem for name in names]
        write_tsv(pd.DataFrame({"stim_id": ids, "image_file": names}), staged / "images.tsv")
        write_tsv(pd.DataFrame({"stim_id": ids * REPEATS, "session": "01", "run": 1}), staged / "trials.tsv")
        voxel_ids = [f"v{number}" for number in range(voxels)]
        roi = [f"roi{number % 20}" for number in range(voxels)]
        write_tsv(pd.DataFrame({"voxel_id": voxel_ids, "roi": roi, "hemisphere": "L", "i": 0, "j": 0, "k": 0}), staged / "voxels.tsv")
        _write_mixture(staged / "betas.npy", latent, voxels, np.tile(np.arange(images), REPEATS), rng)
    return out


def _write_mixture(path: Path, latent: np.ndarray, columns: int, rows: np.ndarray, rng: np.random.Generator) -> None:
    loadings = rng.standard_normal((LATENT, columns), dtype=np.float32) / LATENT**0.5
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(rows), columns))
    for start in range(0, len(rows), 500):
        some = rows[start : start + 500]
        array[start : start + 500] = latent[some] @ loadings + rng.standard_normal((len(some), columns), dtype=np.float32)
    array.flush()


def measure(folder: Path, folds: int) -> dict[str, float]:
    """Fit what `simulate` wrote; return seconds, peak memory in GB, and what of it is the responses' memory map."""
    features = np.load(folder / "features.npy")
    edges = np.linspace(0, features.shape[1], LAYERS + 1).astype(int)
    sizes = np.diff(edges).tolist()
    layers = tuple(PooledLayer(name=f"layer{number}", channels=size, components=size, grid=1) for number, size in enumerate(sizes))
    start = time.perf_counter()
    responses = Responses.read(folder / "sub-01")
    subjects = [average_repetitions(responses)]
    averaged = time.perf_counter()
    paths, indices = index_images(subjects)
    found = fit_subjects(FitSettings(folds=folds), FeatureSpace(make_tiny_backbone(), layers), features[: len(paths)], subjects, indices)
    done = time.perf_counter()
    return {
        "average_s": averaged - start,
        "fit_s": done - averaged,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "map_gb": responses.betas.nbytes / 1e9,
        "test_r": float(found.model.voxels["test_r"].mean()),
    }


def run(size: tuple[int, int, int], folds: int) -> dict[str, Any]:
    """Simulate one size and measure it in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder), *size)
        command = [sys.executable, "-m", __spec__.name, "--measure", folder, "--folds", str(folds)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured: dict[str, Any] = json.loads(answer.splitlines()[-1])
    return measured


def double(folds: int, doublings: int) -> None:
    """Print seconds and memory as each of the three sizes doubles."""
    first, rows = run(BASE, folds), []
    for axis, name in enumerate(AXES):
        before = first
        for power in range(doublings + 1):
            size = tuple(value * 2**power if number == axis else value for number, value in enumerate(BASE))
            found = first if power == 0 else run(size, folds)  # type: ignore[arg-type]
            ratio = "" if power == 0 else f"{found['fit_s'] / before['fit_s']:.2f}"
            rows.append((name, *size, found["average_s"], found["fit_s"], ratio, found["peak_gb"], found["peak_gb"] < LARGEST_GB))
            before = found
    columns = ("doubled", *AXES, "averaging s", "fit s", "ratio", "peak GB", f"below {LARGEST_GB} GB")
    print_table(f"seconds per doubling: {REPEATS} repetitions, {folds} folds, nested", columns, rows)


def fit_full(folds: int) -> None:
    """Print seconds and memory of the largest fit."""
    found = run(FULL, folds)
    row = (*FULL, folds, found["average_s"], found["fit_s"], found["peak_gb"], found["test_r"], found["peak_gb"] < LARGEST_GB)
    columns = (*AXES, "folds", "averaging s", "fit s", "peak GB", "mean test r", f"below {LARGEST_GB} GB")
    print_table(f"the largest fit, {REPEATS} repetitions", columns, [row])
    _print_foretold([(FULL, found)])


def foretell() -> None:
    """Print the memory that is foretold and the memory that is needed, for sizes that differ in what takes most of it."""
    _print_foretold([(size, run(size, 2)) for size in FORETOLD])


def _print_foretold(measured: list[tuple[tuple[int, int, int], dict[str, Any]]]) -> None:
    rows = []
    for (images, voxels, features), found in measured:
        needed, foretold = found["peak_gb"] - found["map_gb"], estimate_fit_bytes(images, features, voxels) / 1e9
        rows.append((images, voxels, features, needed, foretold, foretold / needed, 1 <= foretold / needed <= 1 + LARGEST_ERROR))
    columns = (*AXES, "needed GB", "foretold GB", "ratio", "never less, at most 1.25")
    print_table("memory foretold, without the pages of the responses' file", columns, rows)


def read_cache(count: int) -> None:
    """Print seconds from image files to features, computed and from the cache."""
    settings = read_config(EXAMPLE, FitSettings)
    backbone = load_backbone(settings.backbone)
    paths = sorted((DATA / "photos").glob("*"))
    paths = [path for path in paths if path.suffix in (".jpg", ".png")][:count]
    made = []
    with tempfile.TemporaryDirectory() as folder:
        cache, seconds = FeatureCache(Path(folder)), []
        for _ in range(2):
            start = time.perf_counter()
            space = design_cached(backbone, backbone.default_layers, settings, paths, cache)
            made.append(extract_cached(space, paths, cache))
            seconds.append(time.perf_counter() - start)
    ratio = seconds[0] / seconds[1]
    row = (len(paths), space.size, *seconds, ratio, np.array_equal(*made), ratio >= LEAST_SPEEDUP)
    columns = ("photographs", "features", "first s", "second s", "ratio", "same values", f"at least {LEAST_SPEEDUP} times")
    print_table(f"features of {settings.backbone}, computed and from the cache", columns, [row])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="also the largest fit: half an hour on two cores, 12 GB")
    parser.add_argument("--only", choices=("double", "full", "memory", "cache"), help="one of the tables")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--doublings", type=int, default=2)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.folds)))
        return
    tables = {
        "cache": lambda: read_cache(250),
        "memory": foretell,
        "double": lambda: double(arguments.folds, arguments.doublings),
        "full": lambda: fit_full(arguments.folds),
    }
    for name, show in tables.items():
        if arguments.only == name or (not arguments.only and (name != "full" or arguments.full)):
            show()


if __name__ == "__main__":
    main()
