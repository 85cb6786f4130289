"""Can one of two similar regions be driven without the other? `python -m tests.benchmarks.bench_pairs` prints three tables.

Two pairs of ROIs with largely shared tuning are planted on EfficientNet-Lite2; images are made through Lite0. A quadrant is satisfied when
the true responses to the saved image lie on the asked sides of the mean of natural images (and, more strictly, by a margin).
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from protocols.config import parse_config
from stimgen.edit import measure_edit
from stimgen.image_files import read_image
from stimgen.jobs import Workplace
from stimgen.judge import predict_files
from stimgen.make import Made, Studio, make_images, plan_jobs
from stimgen.order import TargetsFile, plan_order
from stimgen.sham import make_shams
from tests.benchmarks.planted_drive import Brain, plant_brain, set_threads
from tests.benchmarks.report import print_table

CORTEX = Path(__file__).with_name("cortex_pairs.toml")
PAIRS = (("OFA", "FFA"), ("OPA", "PPA"))
MARGINS = (0.0, 0.5, 1.0)
WANTED_SHARE = 0.8
SIZE_PX, BATCH = 224, 8
Signs = dict[str, dict[str, int]]


def list_quadrants() -> tuple[list[dict[str, object]], list[dict[str, object]], Signs]:
    """Return the quadrant targets, the same by adding and subtracting weights alone, and the sign of each ROI in each."""
    bounded, plain, signs = [], [], {}
    for one, other in PAIRS:
        for first, second in itertools.product((1, -1), repeat=2):
            sides = {one: first, other: second}
            name = "".join(f"{roi}{'up' if sign > 0 else 'down'}" for roi, sign in sides.items())
            up, down = ([roi for roi, sign in sides.items() if sign == wanted] for wanted in (1, -1))
            bounded.append({"up": up, "down": down, "name": name})
            plain.append(_combine(sides, name))
            signs[name] = sides
    return bounded, plain, signs


def _combine(sides: dict[str, int], name: str) -> dict[str, object]:
    """Return the target that adds and subtracts weights: a response pattern far away pulls each ROI with the same force."""
    if len(set(sides.values())) == 2:
        up, down = sorted(sides, key=lambda roi: -sides[roi])
        return {"contrast": f"{up} - {down}", "name": name}
    return {"pattern": {roi: 100.0 * sign for roi, sign in sides.items()}, "name": name}


def climb(brain: Brain, targets: list[dict[str, object]], count: int, image: dict[str, object], steps: int) -> tuple[Studio, list[Made]]:
    """Make `count` images of every target."""
    values = {"targets": targets, "count": count, "size_px": SIZE_PX, "image": image, "ascent": {"steps": steps, "batch": BATCH}}
    order = parse_config(values, TargetsFile, "benchmark")
    studio = Studio(order, [brain.models["lite0"]], [], brain.pool, Workplace(brain.folder / "work"))
    return studio, make_images(studio, plan_jobs(studio, plan_order(order, studio.makers)), lambda images: None)


def to_tensor(made: list[Made]) -> Tensor:
    """Return made images as images x 3 x height x width."""
    return torch.from_numpy(np.stack([one.image for one in made])).permute(0, 3, 1, 2)


def read_sides(brain: Brain, voxels: np.ndarray, labels: list[str], signs: Signs) -> np.ndarray:
    """Return images x 2: each ROI's true z, positive on the side it was asked for."""
    rows = []
    for number, label in enumerate(labels):
        rows.append([sign * brain.average_roi(voxels[number : number + 1], roi)[0] for roi, sign in signs[label].items()])
    return np.array(rows)


def print_quadrants(found: dict[str, tuple[list[str], np.ndarray]]) -> None:
    """Print the share of images that satisfy their quadrant, by method and kind of quadrant."""
    rows = []
    for method, (labels, sides) in found.items():
        kinds = np.array(["mixed" if "up" in label and "down" in label else "same" for label in labels])
        for kind in ("same", "mixed", "all"):
            own = sides[kinds == kind] if kind != "all" else sides
            shares = [(own > margin).all(axis=1).mean() for margin in MARGINS]
            rows.append(
                (method, kind, len(own), *(f"{100 * share:.0f} %" for share in shares), own.min(axis=1).mean(), shares[0] >= WANTED_SHARE)
            )
    columns = ("method", "quadrants", "images", *(f"beyond {margin:g} z" for margin in MARGINS), "weaker side z", "at least 80 %")
    print_table("quadrants of pairs, by the planted truth: 'mixed' drives one region and suppresses the other", columns, rows)


def predict_rois(brain: Brain, name: str, count: int) -> np.ndarray:
    """Return the maker's z of every ROI for images that were saved under a name, images x ROIs."""
    maker = brain.models["lite0"]
    paths = sorted((brain.folder / "images" / name).glob("*.png"))[:count]
    predicted: np.ndarray = maker.score(predict_files(maker.model, paths)).to_numpy()
    return predicted


def print_edits(brain: Brain, targets: list[dict[str, object]], signs: Signs, count: int, steps: int) -> None:
    """Print edits of photographs by their size: satisfied, drive, and sham edits of equal size."""
    rows = []
    mixed = [target for target in targets if "up" in str(target["name"]) and "down" in str(target["name"])]
    for largest in (0.02, 0.04, 0.08):
        image = {"parameterization": "edit", "largest": largest, "photographs": str(brain.folder / "pool")}
        studio, made = climb(brain, mixed, count, image, steps)
        labels = [one.job.wanted.label for one in made]
        starts = torch.from_numpy(np.stack([read_image(one.job.start, SIZE_PX) for one in made if one.job.start is not None]))
        shams = make_shams(studio, made, lambda images: None)
        responses = [brain.respond(to_tensor(some), f"edit{largest:g}{kind}") for kind, some in (("target", made), ("sham", shams))]
        before = brain.respond(starts.permute(0, 3, 1, 2), f"edit{largest:g}start")
        sides = [read_sides(brain, voxels, labels, signs) for voxels in (*responses, before)]
        sizes = [float(measure_edit(to_tensor(some), starts.permute(0, 3, 1, 2)).mean()) for some in (made, shams)]
        shift = np.abs(sides[1] - sides[2])
        foretold = [predict_rois(brain, f"edit{largest:g}{kind}", len(made)) for kind in ("sham", "start")]
        predicted = float(np.abs(foretold[0] - foretold[1]).mean())
        weaker = [some.min(axis=1).mean() for some in (sides[2], sides[0])]
        satisfied, small = (f"{100 * share:.0f} %" for share in ((sides[0] > 0).all(axis=1).mean(), (shift < 0.1).mean()))
        rows.append((f"{largest:g}", len(made), sizes[0], *weaker, satisfied, sizes[1], predicted, shift.mean(), small))
    columns = (
        "largest",
        "images",
        "edit rms",
        "weaker side before",
        "after",
        "satisfied",
        "sham rms",
        "changes predicted z by",
        "true z by",
        "by under .1",
    )
    print_table("edits of photographs towards the mixed quadrants, and sham edits of equal size (true z)", columns, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/bench_pairs"), help="where the brain, the models and the images are kept")
    parser.add_argument("--crops", type=int, default=1000)
    parser.add_argument("--count", type=int, default=6, help="images per quadrant")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    brain = plant_brain(arguments.folder, CORTEX, arguments.crops, arguments.seed, ("lite0",))
    tuning = [np.corrcoef(*(brain.average_roi(brain.natural, roi) for roi in pair))[0, 1] for pair in PAIRS]
    print_table(
        "tuning of the pairs: correlation over natural images",
        ("pair", "r"),
        [("-".join(p), r) for p, r in zip(PAIRS, tuning, strict=True)],
    )
    bounded, plain, signs = list_quadrants()
    found = {}
    for method, targets in (("ours: bounds on both sides", bounded), ("weights added and subtracted", plain)):
        _, made = climb(brain, targets, arguments.count, {}, arguments.steps)
        labels = [one.job.wanted.label for one in made]
        voxels = brain.respond(to_tensor(made), "quadrants" + method[:4])
        found[method] = (labels, read_sides(brain, voxels, labels, signs))
    print_quadrants(found)
    print_edits(brain, bounded, signs, arguments.count, arguments.steps)


if __name__ == "__main__":
    main()
