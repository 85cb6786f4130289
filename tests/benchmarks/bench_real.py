"""What do real responses allow? `python -m tests.benchmarks.bench_real` prints two tables.

`categories81`: 81 object categories in 696 voxels, predicted from 20 given network components, nested 9-fold cross-validation; the
figures to reach are those of the data's own README. `objects92`: features of a late layer of EfficientNet-Lite0 against the
dissimilarities of human inferior temporal cortex.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from sklearn.model_selection import KFold

from stimgen.backbone import load_backbone
from stimgen.features import FeatureSpace, PooledLayer, extract_files
from stimgen.ridge import RidgePlan, build_solver, center_folds, correlate, predict_nested
from stimgen.solvers import Search
from stimgen.standardize import standardize
from tests.benchmarks.report import print_table

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TO_REACH = {"PPA": 0.63, "LOC": 0.62, "OFA": 0.54, "EVC": 0.54, "OPA": 0.49, "FFA": 0.23}
PENALTIES = np.logspace(-4, 3, 15)
LITE0_MAPS = {"_blocks.4": (40, 28), "_blocks.10": (112, 14), "_blocks.14": (192, 7), "_blocks.15": (320, 7), "_bn1": (1280, 7)}


def cross_validate(
    features: np.ndarray, responses: np.ndarray, folds: int, seed: int, share: list[np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nested cross-validated r of every column, over all images at once and with each fold's mean removed."""
    layer_of_feature = np.zeros(features.shape[1], dtype=np.int64)
    images = np.arange(len(features))
    plan = RidgePlan(folds, Search(PENALTIES, np.ones((1, 1))), [[0]])
    solver = build_solver(features, images, standardize(features, images, layer_of_feature), layer_of_feature, plan)
    groups = np.empty(len(features), dtype=np.int64)
    for number, (_, left_out) in enumerate(KFold(folds, shuffle=True, random_state=seed).split(features)):
        groups[left_out] = number  # images of one fold stay together in the inner folds, too
    predicted, fold = predict_nested(solver, images, responses, [str(group) for group in groups], folds, share)
    return correlate(responses, predicted), correlate(center_folds(responses, fold), center_folds(predicted, fold))


def predict_categories() -> None:
    """Print mean voxel r of every ROI from the given components, over ten shuffles of the folds, and with shuffled responses."""
    folder = DATA / "categories81"
    components = np.load(folder / "alexnet.npy").astype(np.float32)
    betas = np.load(folder / "betas.npy").astype(np.float32)
    roi_of_voxel = pd.read_csv(folder / "voxels.tsv", sep="\t")["roi"].to_numpy()
    by_roi = {roi: np.flatnonzero(roi_of_voxel == roi) for roi in dict.fromkeys(roi_of_voxel)}
    for title, share in (("a penalty per voxel", None), ("a penalty per ROI", list(by_roi.values()))):
        scores = np.array([cross_validate(components, betas, 9, seed, share) for seed in range(10)])  # seeds x 2 x voxels
        mixed = [betas[np.random.default_rng(seed).permutation(len(betas))] for seed in range(10)]
        chance = np.array([cross_validate(components, one, 9, seed, share) for seed, one in enumerate(mixed)])
        rows = []
        for roi, least in TO_REACH.items():
            inside = by_roi[roi]
            plain, within = scores[:, :, inside].mean(axis=2).T
            reached = round(float(plain.mean()), 2) >= least
            rows.append(
                (roi, len(inside), plain.mean(), plain.min(), plain.max(), within.mean(), chance[:, 1][:, inside].mean(), least, reached)
            )
        columns = ("ROI", "voxels", "mean r", "lowest", "highest", "r within folds", "shuffled, within", "to reach", "reached")
        print_table(f"categories81: nested 9-fold r, mean over voxels, 10 shuffles of the folds, {title}", columns, rows)


def compare_objects() -> None:
    """Print, by layer of lite0, the correlation with human IT and the cross-validated r of its first scaling dimension."""
    folder = DATA / "objects92"
    paths = sorted((folder / "images").glob("*.png"))
    human = np.load(folder / "human_it_rdms.npy").mean(axis=(0, 1))
    upper = np.triu_indices(len(paths), 1)
    backbone = load_backbone("efficientnet_lite0")
    dimension = _scale(human)
    rows = []
    for name, (channels, side) in LITE0_MAPS.items():
        for grid in sorted({1, min(3, side)}):
            layer = PooledLayer(name=name, channels=channels, components=channels, grid=grid)
            features = extract_files(FeatureSpace(backbone, (layer,)), paths)
            z = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
            similarity = spearmanr(pdist(z, "correlation"), human[upper]).statistic
            r = [cross_validate(features, dimension, 10, seed)[0][0] for seed in range(5)]
            rows.append((name, grid, layer.size, np.mean(r), min(r), similarity))
    print_table(
        "objects92: human IT, lite0 (to reach: r .9, similarity .25)",
        ("layer", "grid", "features", "r of 1st dimension", "lowest of 5", "similarity (Spearman)"),
        rows,
    )
    best_r, best_similarity = max(row[3] for row in rows), max(row[5] for row in rows)
    print(f"r of at least .9: {'yes' if best_r >= 0.9 else 'no'} ({best_r:.3f}); similarity of at least .25: "
          f"{'yes' if best_similarity >= 0.25 else 'no'} ({best_similarity:.3f})")  # fmt: skip


def _scale(distances: np.ndarray) -> np.ndarray:
    """Return the first dimension of classical multidimensional scaling, images x 1."""
    symmetric = squareform(squareform(distances, checks=False))
    center = np.eye(len(symmetric)) - 1 / len(symmetric)
    values, vectors = np.linalg.eigh(-0.5 * center @ symmetric**2 @ center)
    return (vectors[:, [-1]] * np.sqrt(values[-1])).astype(np.float32)


def main() -> None:
    """Print both tables."""
    predict_categories()
    compare_objects()


if __name__ == "__main__":
    main()
