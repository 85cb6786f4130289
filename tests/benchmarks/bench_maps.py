"""Are planted maps recovered? `python -m tests.benchmarks.bench_maps [--folder KEPT]` prints two tables and draws a picture.

A brain of five ROIs with receptive fields of their own is planted on EfficientNet-Lite2, an encoding model on Lite0 is fitted to its noisy
responses, `stimgen sweep` makes an image for every voxel, and `stimgen similarity` says where each looks, by its image, and which ROI
it is nearest to. Beside it stand other ways to do either. Bounds: a median error of receptive-field centers below 10 % of the image;
90 % of voxels nearest to their own ROI by readouts.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from protocols.config import read_config
from protocols.provenance import hash_input
from protocols.tables import read_tsv
from stimgen.cortex import Cortex, draw_receptive_fields
from stimgen.encoding_model import EncodingModel
from stimgen.feature_cache import FeatureCache, extract_cached
from stimgen.pool import NaturalPool
from stimgen.receptive_field import ReceptiveField, locate_field, map_readout
from stimgen.similarity import find_nearest, profile_images, profile_readouts, share_own
from stimgen.similarity_study import COLUMNS
from stimgen.sweep_reading import extract_shard, find_rows, read_shown, read_sweep
from stimgen.sweep_store import SweepStore
from tests.benchmarks.field_maps import map_attribution, map_contrast, map_occlusion
from tests.benchmarks.planted_drive import DATA, EXAMPLES, run_once, set_threads
from tests.benchmarks.report import print_table

CORTEX = Path(__file__).parent / "cortex_maps.toml"
FIELD_ERROR, OWN_SHARE = 0.10, 0.90


@dataclass(frozen=True)
class Planted:
    """The folders of a planted brain, what was made of it, and where its voxels look (voxels x 2, x and y in 0-1, in the sweep's order)."""

    folder: Path
    model: EncodingModel
    features: np.ndarray
    store: SweepStore
    rows: np.ndarray
    centers: np.ndarray

    @property
    def rois(self) -> list[str]:
        """The ROI of every target."""
        return list(self.store.targets["roi"])


def plant(folder: Path, images: int, most: int | None, seed: int) -> Planted:
    """Make everything in `folder` by the public commands, unless it is there."""
    pool, model, cache = folder / "pool", folder / "lite0", folder / "cache"
    run_once(pool, "pool", "--images", str(DATA / "photos"), "--count", str(images), "--seed", str(seed))
    run_once(folder / "sub-01", "cortex", str(pool), "--config", str(CORTEX), "--subject", "01", "--tuning-seed", str(seed))
    fit = ("fit", str(EXAMPLES / "fit_lite0.toml"), "--responses", str(folder / "sub-01"), "--cache", str(cache))
    run_once(model, *fit)
    options = ("--model", str(model), "--pool", str(pool), "--cache", str(cache))
    run_once(folder / "sweep", "sweep", *options, *(("--max-voxels", str(most)) if most else ()))
    for by in ("readouts", "images"):
        run_once(folder / f"by-{by}", "similarity", *options, "--sweep", str(folder / "sweep"), "--by", by)
    loaded, store = EncodingModel.read(model), SweepStore.read(folder / "sweep")
    features = extract_cached(loaded.space, NaturalPool.read(pool).image_paths(), FeatureCache(cache))
    rows = find_rows(store, loaded, hash_input(model))
    cortex = read_config(CORTEX, Cortex)
    planted = Cortex(**{**vars(cortex), "tuning_seed": seed})
    fields = [draw_receptive_fields(planted, "01", roi) for roi in planted.rois]
    centers = np.concatenate([np.stack([field.x, field.y], axis=1) for field in fields])
    return Planted(folder, loaded, features, store, rows, centers[rows])


def measure_fields(planted: Planted, others: int) -> None:
    """Print errors of centers, by way and ROI; the slow ways see only every so manyth image, `others` in all."""
    table = read_tsv(planted.folder / "by-readouts" / "voxels.tsv", COLUMNS)
    by_readout = map_readout(planted.model.readout, planted.features, planted.model.space.layers)[planted.rows]
    everybody = np.arange(len(planted.rows))
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {
        "the image's features (stimgen similarity)": (everybody, table[["rf_x", "rf_y"]].to_numpy()),
        "no image: readouts, natural images": (everybody, _list_centers([locate_field(carried) for carried in by_readout])),
    }
    some = everybody[:: max(1, len(everybody) // others)] if others else everybody[:0]
    found |= {name: (some, centers) for name, centers in _try_others(planted, some).items()} if len(some) else {}
    rois = np.array(planted.rois)
    lines = []
    for name, (chosen, centers) in found.items():
        error = np.hypot(*(centers - planted.centers[chosen]).T)
        by_roi = [np.median(error[rois[chosen] == roi]) for roi in dict.fromkeys(rois)]
        held = "yes" if np.median(error) < FIELD_ERROR else "no"
        lines.append((name, len(chosen), *by_roi, np.median(error), float((error < FIELD_ERROR).mean()), held))
    columns = ("from", "voxels", *dict.fromkeys(rois), "median", "share < .10", "median < .10")
    print_table("error of receptive-field centers, medians, a fraction of the image's side", columns, lines)


def _try_others(planted: Planted, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Return the centers of the chosen targets by each of the other ways."""
    readout, space = planted.model.readout, planted.model.space
    fields: dict[str, list[ReceptiveField | None]] = {"integrated gradients": [], "occlusion": [], "contrast": []}
    images = planted.store.images.drop_duplicates("target_id").set_index("target_id")
    for number in chosen:
        record = images.loc[planted.store.targets["target_id"][number]]
        shown = read_shown(planted.store, str(record["shard"]), [str(record["image_id"])], planted.model)[0]
        slopes = torch.from_numpy(readout.coefficients[:, planted.rows[number]] / readout.feature_scale)

        def drive(seen: torch.Tensor, slopes: torch.Tensor = slopes) -> torch.Tensor:
            return space.extract(seen) @ slopes

        fields["integrated gradients"].append(locate_field(map_attribution(drive, shown)))
        fields["occlusion"].append(locate_field(map_occlusion(drive, shown)))
        fields["contrast"].append(locate_field(map_contrast(shown)))
    return {name: _list_centers(some) for name, some in fields.items()}


def _list_centers(fields: list[ReceptiveField | None]) -> np.ndarray:
    return np.array([[0.5, 0.5] if field is None else [field.x, field.y] for field in fields])


def measure_rois(planted: Planted) -> None:
    """Print the share of voxels whose nearest ROI is their own, by what is compared and ROI."""
    readout = planted.model.readout
    natural = readout.predict(planted.features)
    weights = readout.coefficients[:, planted.rows]
    reading = read_sweep(planted.store, planted.model, planted.rows)
    made = [extract_shard(planted.store, str(shard), list(some["image_id"]), planted.model) for shard, some in _group_shards(planted.store)]
    order = np.concatenate([some.index.to_numpy() for _, some in _group_shards(planted.store)])
    features = np.concatenate(made)[np.argsort(order)]
    z = (features - planted.features.mean(axis=0)) / (planted.features.std(axis=0) + 1e-6)
    mean = np.stack([z[reading.target_of_image == number].mean(axis=0) for number in range(len(planted.rows))])
    compared = {
        "readouts: predicted responses to natural images (the default)": profile_readouts(natural[:, planted.rows]),
        "readouts: raw weights": profile_readouts(weights),
        "images: responses of all voxels (--by images)": profile_images(
            reading.responses, natural[:, reading.seen_by], reading.target_of_image
        ),
        "images: features": profile_readouts(mean.T),
    }
    lines = []
    for name, profiles in compared.items():
        nearest = find_nearest(profiles, planted.rois)
        share = share_own(nearest, planted.rois)
        by_roi = [share_own(nearest, planted.rois, roi) for roi in dict.fromkeys(planted.rois)]
        lines.append((name, *by_roi, share, "yes" if share is not None and share >= OWN_SHARE else "no"))
    columns = ("compared", *dict.fromkeys(planted.rois), "all", f">= {OWN_SHARE:.2f}")
    print_table("share of voxels whose nearest ROI, themselves left out, is their own", columns, lines)
    for by in ("readouts", "images"):
        card = json.loads((planted.folder / f"by-{by}" / "similarity.json").read_text())
        sizes = ", ".join(f"{one['voxels']} {one['rois']}" for one in card["clusters"])
        print(f"\nclusters by {by}: adjusted Rand index with ROIs {card['adjusted_rand_with_rois']:.2f}; {sizes}")


def _group_shards(store: SweepStore) -> list[tuple[object, pd.DataFrame]]:
    return list(store.images.groupby("shard", sort=False))


def draw_retinotopy(planted: Planted, path: Path) -> None:
    """Draw true and recovered horizontal and vertical positions, and centers joined to where they truly are."""
    from matplotlib.figure import Figure

    table = read_tsv(planted.folder / "by-readouts" / "voxels.tsv", COLUMNS)
    found, rois = table[["rf_x", "rf_y"]].to_numpy(), np.array(planted.rois)
    names = list(dict.fromkeys(rois))
    figure = Figure(figsize=(4 * len(names), 8), layout="constrained")
    axes = figure.subplots(2, len(names))
    for column, roi in enumerate(names):
        own = rois == roi
        upper, lower = axes[0][column], axes[1][column]
        for axis, (name, color) in enumerate((("horizontal", "#0072B2"), ("vertical", "#D55E00"))):
            upper.plot(planted.centers[own, axis], found[own, axis], "o", color=color, markersize=4, label=name)
        upper.axline((0, 0), slope=1, color="gray", linewidth=0.5)
        error = np.median(np.hypot(*(found[own] - planted.centers[own]).T))
        upper.set(
            title=f"{roi}: median error {error:.2f}", xlabel="true", ylabel="from the image", xlim=(0, 1), ylim=(0, 1), aspect="equal"
        )
        for true, seen in zip(planted.centers[own], found[own], strict=True):
            lower.plot(*zip(true, seen, strict=True), color="gray", linewidth=0.8)
        lower.plot(*planted.centers[own].T, "o", color="black", markersize=5, label="true")
        lower.plot(*found[own].T, "o", color="#009E73", markersize=5, label="from the image")
        lower.set(title="centers in the image", xlim=(0, 1), ylim=(1, 0), aspect="equal")
    axes[0][0].legend()
    axes[1][0].legend()
    figure.savefig(path, dpi=90)
    print(f"\nwrote {path}")


def main() -> None:
    """Plant, make and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600, help="that the encoding model is fitted to")
    parser.add_argument("--max-voxels", type=int, default=None)
    parser.add_argument("--others", type=int, default=20, help="voxels that the slower ways are tried on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="keeps what is made, and reads it the next time")
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as passing:
        folder = arguments.folder or Path(passing)
        planted = plant(folder, arguments.images, arguments.max_voxels, arguments.seed)
        measure_fields(planted, arguments.others)
        measure_rois(planted)
        draw_retinotopy(planted, folder / "retinotopy.png")


if __name__ == "__main__":
    main()
