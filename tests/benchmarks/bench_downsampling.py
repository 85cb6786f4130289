"""What does keeping position buy? `python -m tests.benchmarks.bench_downsampling` prints two tables.

A brain of position-tuned voxels is planted on EfficientNet-Lite2; encoding models on EfficientNet-Lite0 are fitted to its noisy
responses, with the reference downsampling (adaptive max pooling to at most 2,500 values a layer, all channels) and with this project's,
at the same number of features in every layer. Held-out r is against responses to new photographs.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from protocols.config import parse_config
from stimgen.backbone import Backbone, load_backbone
from stimgen.cortex import Cortex, draw_receptive_fields
from stimgen.downsample import design_features
from stimgen.features import FeatureSpace, PooledLayer, extract_files, read_batch
from stimgen.planted import pool_files, respond_all
from stimgen.pool import cut_crops, find_photographs
from stimgen.ridge import RidgeFit, RidgePlan, correlate, fit_ridge, split_groups
from stimgen.solvers import Search
from tests.benchmarks.bench_real import DATA
from tests.benchmarks.planted_fields import locate_fields
from tests.benchmarks.report import print_table

BUDGET = 2500
GAIN, FIELD_ERROR = 0.02, 0.10
ROIS = {
    "V3": ("_blocks.3", 0.06),
    "LO": ("_blocks.10", 0.08),
    "EBA": ("_blocks.14", 0.10),
    "FFA": ("_blocks.19", 0.12),
    "RSC": ("_blocks.20", 0.12),
}
READ = {
    "early": ("_blocks.0", "_blocks.2"),
    "mid": ("_blocks.4", "_blocks.7", "_blocks.10"),
    "late": ("_blocks.14", "_blocks.15", "_bn1"),
}
READ["all"] = tuple(layer for layers in READ.values() for layer in layers)
NOISE_SD = 0.7  # of the responses to an image, after averaging its trials
NONE = np.array([], dtype=np.int64)


@dataclass(frozen=True)
class Study:
    """Images with their photographs, true and measured responses (images x voxels), and the ROI of each voxel."""

    paths: list[Path]
    groups: list[str]
    true: np.ndarray
    measured: np.ndarray
    roi_of_voxel: np.ndarray
    centers: np.ndarray
    is_test: np.ndarray


def plant(folder: Path, images: int, voxels: int, seed: int) -> Study:
    """Cut crops into `folder`, plant position-tuned voxels, and measure their responses with noise."""
    rng = np.random.default_rng(seed)
    paths, groups = [], []
    for number, (source, image) in enumerate(cut_crops(find_photographs(DATA / "photos"), images, 256, rng)):
        paths.append(folder / f"crop{number:05d}.png")
        groups.append(source)
        image.save(paths[-1])
    rois = [{"name": roi, "layer": layer, "rf_sd": sd, "peak_mm": [40, -60, 0]} for roi, (layer, sd) in ROIS.items()]
    cortex = parse_config({"voxels_per_roi": voxels, "spread": 0.5, "tuning_seed": seed, "rois": rois}, Cortex, "cortex")
    pooled = pool_files(cortex, ["01"], paths)["01"]
    true = respond_all(cortex, "01", pooled, pooled)
    fields = [draw_receptive_fields(cortex, "01", roi) for roi in cortex.rois]
    centers = np.concatenate([np.stack([field.x, field.y], axis=1) for field in fields])
    measured = (true + NOISE_SD * rng.standard_normal(true.shape)).astype(np.float32)
    roi_of_voxel = np.repeat(list(ROIS), voxels)
    return Study(paths, groups, true, measured, roi_of_voxel, centers, split_groups(groups, 0.2, rng))


def extract_reference(backbone: Backbone, study: Study) -> tuple[tuple[PooledLayer, ...], np.ndarray]:
    """Return the reference features: the finest square grid whose maxima, in all channels, keep to the budget."""
    layers, rows = [], []
    for start in range(0, len(study.paths), 32):
        with torch.no_grad():
            maps = backbone.activations(read_batch(backbone, study.paths[start : start + 32]), READ["all"])
        grids = {name: int((BUDGET / one.shape[1]) ** 0.5) for name, one in maps.items()}
        layers = [PooledLayer(name=name, channels=one.shape[1], components=one.shape[1], grid=grids[name]) for name, one in maps.items()]
        rows.append(np.concatenate([F.adaptive_max_pool2d(one, grids[name]).flatten(1).numpy() for name, one in maps.items()], axis=1))
    return tuple(layers), np.concatenate(rows)


def extract_ours(
    backbone: Backbone, study: Study, reference: tuple[PooledLayer, ...], pooling: str, basis: str
) -> tuple[tuple[PooledLayer, ...], np.ndarray]:
    """Return this project's features, every layer with the reference's number of features as its budget."""
    train = [path for path, held in zip(study.paths, study.is_test, strict=True) if not held][:256]
    spaces = [design_features(backbone, [layer.name], layer.size, train, pooling, basis) for layer in reference]  # type: ignore[arg-type]
    layers = tuple(layer for space in spaces for layer in space.layers)
    projections = {name: found for space in spaces for name, found in space.projections.items()}
    return layers, extract_files(FeatureSpace(backbone, layers, projections), study.paths)


def fit_layers(study: Study, layers: tuple[PooledLayer, ...], features: np.ndarray, names: tuple[str, ...]) -> tuple[RidgeFit, np.ndarray]:
    """Fit some of the layers; return the fit and their features."""
    layer_of_feature = np.repeat(np.arange(len(layers)), [layer.size for layer in layers])
    chosen = [number for number, layer in enumerate(layers) if layer.name in names]
    columns = np.isin(layer_of_feature, chosen)
    some = features[:, columns]
    renumbered = np.searchsorted(chosen, layer_of_feature[columns])
    plan = RidgePlan(3, Search(np.logspace(-4, 3, 15), np.ones((1, 1))), [list(range(len(chosen)))])
    return fit_ridge(some, np.arange(len(some)), study.measured, renumbered, study.groups, study.is_test, plan, NONE), some


def main() -> None:
    """Print held-out r and receptive-field errors of both downsamplings, by layers read and ROI."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--voxels", type=int, default=40, help="per ROI")
    parser.add_argument("--variants", action="store_true", help="also max pooling, and components of the layers' weights")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = plant(Path(folder), arguments.images, arguments.voxels, arguments.seed)
        backbone = load_backbone("efficientnet_lite0")
        reference = extract_reference(backbone, study)
        sets = {"reference": reference, "ours": extract_ours(backbone, study, reference[0], "average", "features")}
        if arguments.variants:
            sets["ours, max"] = extract_ours(backbone, study, reference[0], "max", "features")
            sets["ours, weights"] = extract_ours(backbone, study, reference[0], "average", "weights")
    shapes = [
        (one.name, f"{one.components} x {one.grid}^2", f"{other.components} x {other.grid}^2", one.size, other.size)
        for one, other in zip(reference[0], sets["ours"][0], strict=True)
    ]
    print_table("features", ("layer", "reference", "ours", "reference size", "our size"), shapes)
    compare(study, sets)


def compare(study: Study, sets: dict[str, tuple[tuple[PooledLayer, ...], np.ndarray]]) -> None:
    """Print one row per group of layers and downsampling."""
    rows = []
    for group, names in READ.items():
        base: np.ndarray = np.zeros(0)
        for title, (layers, features) in sets.items():
            fit, some = fit_layers(study, layers, features, names)
            truth = correlate(study.true[study.is_test], fit.test_predictions)
            read = tuple(layer for layer in layers if layer.name in names)
            error = np.sqrt(((locate_fields(fit.readout, some, read) - study.centers) ** 2).sum(axis=1))
            base = fit.test_r if title == "reference" else base
            means = [fit.test_r[study.roi_of_voxel == roi].mean() for roi in ROIS]
            gain = fit.test_r.mean() - base.mean()
            bounds = "" if title == "reference" else ("yes" if gain >= GAIN and np.median(error) < FIELD_ERROR else "no")
            rows.append((group, title, *means, fit.test_r.mean(), gain, truth.mean(), np.median(error), error.mean(), bounds))
    columns = ("layers", "downsampling", *ROIS, "all", "gain", "r with truth", "field error: median", "mean", "gain >= .02, error < .10")
    print_table("held-out r with measured responses; error of receptive-field centers as a fraction of the image", columns, rows)


if __name__ == "__main__":
    main()
