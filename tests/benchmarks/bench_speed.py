"""How fast is the ascent? `python -m tests.benchmarks.bench_speed --vwam CHECKOUT` prints four tables, every ratio from one run.

The reference loop is VWAM's own code on the network as its package gives it, called as its demo notebook calls it: one image of 500 px,
31,000 features, Adam on a complex spectrum. Ours climbs the same network at the same size for the same number of steps.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models import inception_v3

from protocols.config import parse_config
from stimgen.backbone import Backbone, load_backbone
from stimgen.encoding_model import EncodingModel, Readout
from stimgen.features import FeatureSpace, PooledLayer
from stimgen.goal import Goal
from stimgen.image import Fourier
from stimgen.judge import Scorer
from stimgen.make import Studio, plan_jobs, prepare_climb
from stimgen.objective import Ensemble
from stimgen.optimize import Ascent, Climb, begin, climb_on
from stimgen.order import plan_order
from stimgen.predictors import build_panel
from tests.benchmarks.bench_drive import CORTEX, NO_JITTER, build_studio, rate_by_maker
from tests.benchmarks.bench_reference import LITE0_FILTER, load_unfolded
from tests.benchmarks.peers import VWAM_PX, VWAM_STEPS, Rate, build_vwam_jitter, climb_vwam, import_vwam
from tests.benchmarks.planted_drive import plant_brain, set_threads
from tests.benchmarks.report import print_table

LEAST_SPEEDUP = 6
LEAST_SPEEDUP_TO_REACH = 10
REACHED = ("V3", "EBA", "RSC")
BUDGET = 2500  # features of a layer, as in the reference
POOL = 24  # random images that stand for the natural pool: only their predictions' scale is needed


def time_steps(step: Callable[[], None], steps: int) -> float:
    """Return the median seconds of a step, the first left out."""
    taken = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def prepare_reference(vwam: Any, module: nn.Module, layers: dict[str, Any], input_px: int) -> Callable[[], None]:
    """Return a function that takes one step of the reference loop."""
    model = vwam.VWAMModel(module)
    model.choose_layers(**layers)
    imagenet = transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    preprocess = transforms.Compose([transforms.Resize(input_px), transforms.CenterCrop(input_px), imagenet])
    jitter = build_vwam_jitter(VWAM_PX)
    shape = (1, 3, VWAM_PX, VWAM_PX)
    spectrum = (torch.randn(shape, dtype=torch.complex64) + torch.fft.fft2(torch.full(shape, 140 / 255))).requires_grad_(True)
    optimizer = torch.optim.Adam([spectrum], lr=2.5)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # its downsamplers are chosen on the first pass, as in the notebook
        model(torch.zeros(1, 3, input_px, input_px))
        weights = torch.randn(model.activations_flat.shape[1], generator=torch.Generator().manual_seed(0))

    def draw() -> Tensor:
        mixed: Tensor = vwam.linear_decorrelate_color(torch.abs(torch.fft.ifft2(spectrum)))
        return mixed

    def step() -> None:
        optimizer.zero_grad()
        model(preprocess(jitter(draw())))
        loss = -(weights * model.activations_flat).sum()
        loss.backward()
        optimizer.step()

    return step


def make_scorer_on(backbone: Backbone, carrying: int | None = None) -> Scorer:
    """Return a model of one ROI with random weights on a backbone's default layers (on the first `carrying` of them)."""
    shapes = backbone.trace()
    layers = []
    for name in backbone.default_layers:
        shape = shapes[name]
        if shape is not None:
            grid = max(1, min(shape[1], int((BUDGET / shape[0]) ** 0.5)))
            layers.append(PooledLayer(name=name, channels=shape[0], components=shape[0], grid=grid))
    space = FeatureSpace(backbone, tuple(layers))
    rng = np.random.default_rng(0)
    coefficients = rng.standard_normal((space.size, 1)).astype(np.float32)
    if carrying is not None:
        coefficients[space.layer_of_feature >= carrying] = 0
    readout = Readout(coefficients, np.zeros(1, np.float32), np.zeros(space.size, np.float32), np.ones(space.size, np.float32))
    voxels = pd.DataFrame(
        {"voxel_id": ["v1"], "subject": ["01"], "roi": ["ROI"], "cv_r": [0.5], "test_r": [0.5], "noise_ceiling": [np.nan]}
    )
    features = rng.standard_normal((POOL, space.size)).astype(np.float32)
    return Scorer("random", EncodingModel(space, readout, voxels, {}), readout.predict(features), features)


def prepare_ours(scorer: Scorer, images: int, size_px: int, targets: int = 1, **ascent: Any) -> Callable[[], None]:
    """Return a function that takes one step of our ascent with `images` images together."""
    goals = tuple(Goal(f"t{number % targets}", factors={"ROI": 1.0 + number % targets}, own={"ROI": 1.0}) for number in range(images))
    settings = parse_config({"steps": 10**6, **ascent}, Ascent, "benchmark")
    panel = build_panel([scorer], goals, Ensemble())
    climb = Climb(goals, tuple(range(images)), Fourier(size_px), None, panel, Ensemble(), settings)
    state = begin(climb)

    def step() -> None:
        one = Climb(**{**vars(climb), "ascent": Ascent(**{**vars(settings), "steps": state.step + 1})})
        climb_on(one, state)

    return step


def print_speed(vwam: Any, title: str, module: nn.Module, backbone: Backbone, layers: dict[str, Any], steps: int) -> float:
    """Print gradient-images a second of the reference loop (where it was given) and of ours; return the reference's seconds a step."""
    rows: list[tuple[object, ...]] = []
    reference = float("nan")
    if vwam is not None:
        reference = 1 / time_steps(prepare_reference(vwam, module, layers, backbone.input_px), steps)
        rows.append(("reference loop, 1 image", reference, 1.0, ""))
    everything, early = make_scorer_on(backbone), make_scorer_on(backbone, 3)
    for name, scorer, images, precision in (
        ("ours, float32, 1 image", everything, 1, "float32"),
        ("ours, float32, 8 images", everything, 8, "float32"),
        ("ours, bfloat16, 1 image", everything, 1, "bfloat16"),
        ("ours, bfloat16, 8 images", everything, 8, "bfloat16"),
        ("ours, bfloat16, 8 images, target of the 3 first layers", early, 8, "bfloat16"),
    ):
        speed = images / time_steps(prepare_ours(scorer, images, VWAM_PX, precision=precision), steps)
        rows.append((name, speed, speed / reference, speed / reference >= LEAST_SPEEDUP if vwam is not None else ""))
    columns = ("loop", "gradient-images / s", "over reference", f"at least {LEAST_SPEEDUP} times")
    print_table(f"{title}: images of {VWAM_PX} px, {torch.get_num_threads()} threads", columns, rows)
    return 1 / reference


def print_time_to_reach(vwam: Any, folder: Path, seconds_a_step: float, reference_steps: int) -> None:
    """Print how long each loop takes to the predicted response that the reference ends with after all its steps, on trained networks.

    Both climb the same encoding model. The reference's time is its number of steps times a step of its own loop; ours is what the steps
    took until the image, as it would be saved, is predicted to do as much. The defaults give up predicted for true drive.
    """
    brain = plant_brain(folder, CORTEX, 1000, 1)
    targets: list[dict[str, object]] = [{"roi": roi} for roi in REACHED]
    wanted = plan_order(build_studio(brain, targets, {}, {}).order, [brain.models["lite0"]])
    rate = rate_by_maker(brain, wanted)
    final = climb_vwam(vwam, rate, list(range(len(wanted))), reference_steps)
    with torch.no_grad():
        reference = rate((final * 255).round() / 255)
    whole, rows = reference_steps * seconds_a_step, []
    for name, ascent in (("defaults", {}), ("no jitter", {"jitter": NO_JITTER})):
        reached = time_to_reach(build_studio(brain, targets, {}, ascent), rate, reference)
        for label, z, seconds in zip(REACHED, reference.tolist(), reached, strict=True):
            rows.append((label, name, z, whole, seconds, whole / seconds, whole / seconds >= LEAST_SPEEDUP_TO_REACH))
    columns = (
        "target",
        "ours",
        "reference's final z",
        "reference s",
        "ours s an image",
        "times less",
        f"at least {LEAST_SPEEDUP_TO_REACH}",
    )
    print_table(f"time to the predicted response that the reference reaches in {reference_steps} steps, EfficientNet-Lite0", columns, rows)


def time_to_reach(studio: Studio, rate: Rate, wanted_z: Tensor) -> list[float]:
    """Return the seconds an image until each target's image is rated `wanted_z`; NaN where the steps end before."""
    climb = prepare_climb(studio, plan_jobs(studio, plan_order(studio.order, studio.makers)))
    state = begin(climb)
    taken, reached = 0.0, [float("nan")] * len(wanted_z)
    while state.step < studio.order.ascent.steps and any(np.isnan(reached)):
        start = time.perf_counter()
        climb_on(Climb(**{**vars(climb), "ascent": Ascent(**{**vars(climb.ascent), "steps": state.step + 1})}), state)
        taken += time.perf_counter() - start
        with torch.no_grad():
            now = rate((climb.parameterization.decode(state.parameters) * 255).round() / 255)
        reached = [taken / len(now) if np.isnan(old) and new >= z else old for old, new, z in zip(reached, now, wanted_z, strict=True)]
    return reached


def print_costs(backbone: Backbone, steps: int) -> None:
    """Print ms per image and step against batch size, image size and number of targets."""
    scorer = make_scorer_on(backbone)
    rows = []
    for images in (1, 2, 4, 8, 16, 32):
        rows.append((f"{images} images of 256 px, 1 target", 1000 * time_steps(prepare_ours(scorer, images, 256), steps) / images))
    for size in (128, 224, 384, 512):
        rows.append((f"8 images of {size} px, 1 target", 1000 * time_steps(prepare_ours(scorer, 8, size), steps) / 8))
    for targets in (2, 4, 8):
        rows.append((f"8 images of 256 px, {targets} targets", 1000 * time_steps(prepare_ours(scorer, 8, 256, targets), steps) / 8))
    print_table(f"{backbone.name}, float32: cost of a step", ("batch", "ms an image"), rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vwam", type=Path, help="checkout of github.com/MShinkle/VWAM")
    parser.add_argument("--folder", type=Path, default=Path("out/bench_drive"), help="the brain and models of bench_drive")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--reference-steps", type=int, default=VWAM_STEPS, help="of the reference, for the last table")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--network", choices=("lite0", "inception"), help="one of the two")
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    vwam = import_vwam(arguments.vwam) if arguments.vwam else None
    if vwam is None:
        print("the reference was not given (--vwam CHECKOUT): ratios to it are left out")
    torch.manual_seed(1)
    if arguments.network != "lite0":
        with tempfile.TemporaryDirectory() as folder:
            module = inception_v3(weights=None, init_weights=False, transform_input=False).eval()
            path = Path(folder) / "random.pth"
            torch.save(module.state_dict(), path)
            layers = {"depth": 1, "filter_strings": ["dropout", "AuxLogits"]}
            print_speed(vwam, "inception_v3, random weights", module, load_backbone("inception_v3", path), layers, arguments.steps)
    if arguments.network != "inception":
        backbone = load_backbone("efficientnet_lite0")
        layers = {"depth": 2, "filter_strings": LITE0_FILTER}
        seconds = print_speed(vwam, "efficientnet_lite0", load_unfolded(), backbone, layers, arguments.steps)
        print_costs(backbone, arguments.steps)
        if vwam is not None:
            print_time_to_reach(vwam, arguments.folder, seconds, arguments.reference_steps)


if __name__ == "__main__":
    main()
