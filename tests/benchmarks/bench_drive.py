"""Do images drive a brain that took no part in making or judging them? `python -m tests.benchmarks.bench_drive` prints three tables.

Voxels and ROIs are planted on EfficientNet-Lite2; images are made through an encoding model on Lite0 and judged by one on Lite1, both
fitted to noisy responses to natural crops. Every method climbs the same objective through the same model; every image is saved as an
8-bit PNG and shown to the planted brain. Peers' own code is called from checkouts (`--vwam`, `--horama`); without one it is left out.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor

from protocols.config import parse_config
from stimgen.gate import Gate, judge_images
from stimgen.goal import Goal
from stimgen.image_files import read_image
from stimgen.jobs import Workplace
from stimgen.judge import predict_files, rate_goal
from stimgen.maco import measure_magnitude
from stimgen.make import Studio, derive_seed, make_images, plan_jobs
from stimgen.order import TargetsFile, Wanted, plan_order
from stimgen.photometry import high_frequency_share
from stimgen.predictors import build_panel
from tests.benchmarks.peers import VWAM_STEPS, climb_horama_maco, climb_vwam, import_horama, import_vwam
from tests.benchmarks.planted_drive import Brain, bootstrap_mean, plant_brain, set_threads
from tests.benchmarks.report import print_table

CORTEX = Path(__file__).with_name("cortex_drive.toml")
LATE = 2  # of the five ROIs, how many are late
SIZE_PX, STEPS, BATCH = 224, 128, 8
HORAMA_STEPS, HORAMA_PX = 128, 512
SOME_VOXELS = 3  # of each ROI, for methods that are not made for all targets
NO_JITTER = {"shift": 0.0, "scale": 0.0, "rotation_deg": 0.0}
MILD = {"shift": 0.04, "scale": 0.1, "rotation_deg": 10.0}
OURS = "ours (the defaults)"

# name: settings of [image] and [ascent] that differ from the defaults
METHODS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    OURS: ({}, {}),
    "plain 1/f Fourier": ({"start": "noise"}, {"jitter": MILD}),
    "ours from noise": ({"start": "noise"}, {}),
    "pixels": ({"start": "noise", "parameterization": "pixels"}, {"jitter": NO_JITTER}),
    "MACO, Adam .05": ({"start": "noise", "parameterization": "maco"}, {}),
    "MACO with a budget of 3, from a photograph": ({"parameterization": "maco", "budget": 3.0}, {}),
}
ON_ALL = (OURS, "plain 1/f Fourier")  # the others are made for some of the targets
VARIANTS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "mild jitter": ({}, {"jitter": MILD}),
    "decay 1.5": ({"decay": 1.5}, {}),
    "half the steps": ({}, {"steps": STEPS // 2}),
    "two views": ({}, {"views": 2}),
    "naturalness .2": ({}, {"naturalness": 0.2}),
    "depth share .95": ({}, {"depth_share": 0.95}),
    "bfloat16": ({}, {"precision": "bfloat16"}),
}


@dataclass(frozen=True)
class Outcome:
    """Images of one method for some of the targets (rows into the list of targets), and seconds."""

    rows: np.ndarray
    images: Tensor
    seconds: float


def list_targets(brain: Brain, voxels: int) -> list[dict[str, object]]:
    """Return a target per ROI and per planted voxel: of each ROI the first `voxels` that the makers can predict."""
    table = brain.models["lite0"].model.voxels
    targets: list[dict[str, object]] = [{"roi": roi} for roi in brain.rois]
    for roi in brain.rois:
        chosen = table["voxel_id"][(table["roi"] == roi) & (table["cv_r"] > 0)][:voxels]
        targets += [{"voxel": str(voxel), "name": str(voxel).replace("_", "")} for voxel in chosen]
    return targets


def build_studio(brain: Brain, targets: list[dict[str, object]], image: dict[str, object], ascent: dict[str, object]) -> Studio:
    """Return the studio that a targets file with these settings would have."""
    values = {
        "targets": targets,
        "count": 1,
        "size_px": SIZE_PX,
        "image": image,
        "ascent": {"steps": STEPS, "batch": BATCH, **ascent},
    }
    order = parse_config(values, TargetsFile, "benchmark")
    return Studio(order, [brain.models["lite0"]], [], brain.pool, Workplace(brain.folder / "work"))


def climb_ours(
    brain: Brain, targets: list[dict[str, object]], rows: np.ndarray, settings: tuple[dict[str, object], dict[str, object]]
) -> Outcome:
    """Make one image for each of some targets as `stimgen generate` does."""
    studio = build_studio(brain, [targets[row] for row in rows], *settings)
    start = time.perf_counter()
    made = make_images(studio, plan_jobs(studio, plan_order(studio.order, studio.makers)), lambda images: None)
    order = {one.job.wanted.label: torch.from_numpy(one.image.copy()) for one in made}
    labels = [one.label for one in plan_order(studio.order, studio.makers)]
    images = torch.stack([order[label] for label in labels]).permute(0, 3, 1, 2)
    return Outcome(rows, images, time.perf_counter() - start)


def choose_natural(brain: Brain, wanted: list[Wanted], rows: np.ndarray) -> dict[str, Outcome]:
    """Return for some targets the natural image that the maker predicts to do best, and one drawn at random."""
    rng, maker, paths = np.random.default_rng(1), brain.models["lite0"], brain.pool.image_paths()
    best = [int(rate_goal(wanted[row].goal, [maker], [maker.pool]).argmax()) for row in rows]
    chosen = {"best natural image, by prediction": best, "natural images at random": rng.integers(0, len(paths), len(rows)).tolist()}
    images = {name: np.stack([read_image(paths[index], SIZE_PX) for index in some]) for name, some in chosen.items()}
    return {name: Outcome(rows, torch.from_numpy(some).permute(0, 3, 1, 2), 0.0) for name, some in images.items()}


def _keep(folder: Path, measured: dict[str, pd.DataFrame]) -> None:
    """Write the figures of every image, a file per method."""
    folder.mkdir(exist_ok=True)
    for name, table in measured.items():
        table.to_csv(folder / f"{name.replace('/', ' per ')}.tsv", sep="\t", index=False)


def _read_former(folder: Path, measured: list[str]) -> list[pd.DataFrame]:
    """Return the figures of methods that an earlier run in the same folder measured and this one did not (peers take long)."""
    tables = [pd.read_csv(path, sep="\t") for path in sorted(folder.glob("*.tsv"))]
    return [table for table in tables if str(table["method"][0]) not in measured]


def rate_by_maker(brain: Brain, wanted: list[Wanted]) -> Callable[[Tensor], Tensor]:
    """Return the objective of a list of targets, one image each (or several views of one target's image)."""
    goals = [one.goal for one in wanted]
    panel = build_panel([brain.models["lite0"]], goals, TargetsFile(targets=(wanted[0].target,)).ensemble)
    from stimgen.objective import rate_wishes, stack_goals

    wishes = stack_goals(goals, panel.terms)

    def rate(images: Tensor) -> Tensor:
        z = panel.predictors[0].read(images, True)[0][0]
        own = (
            wishes
            if len(goals) == len(images)
            else dataclasses.replace(wishes, **{key: value.expand(len(images), -1) for key, value in vars(wishes).items()})
        )
        return rate_wishes(z, z, own)

    return rate


def climb_peers(brain: Brain, wanted: list[Wanted], few: np.ndarray, arguments: argparse.Namespace) -> dict[str, Outcome]:
    """Run the peers on some of the targets; their settings take many times longer."""
    found = {}
    if arguments.vwam:
        utils, start, images = import_vwam(arguments.vwam), time.perf_counter(), []
        for batch in np.array_split(few, max(1, len(few) // BATCH)):
            rate = rate_by_maker(brain, [wanted[row] for row in batch])
            images.append(climb_vwam(utils, rate, [derive_seed(1, wanted[row].label, 0) for row in batch], arguments.vwam_steps))
        found["VWAM's parameterization and settings"] = Outcome(few, torch.cat(images), time.perf_counter() - start)
    if arguments.horama:
        module, start, images = import_horama(arguments.horama), time.perf_counter(), []
        paths = brain.pool.image_paths()[::5]
        crops = torch.from_numpy(np.stack([read_image(path, HORAMA_PX) for path in paths])).permute(0, 3, 1, 2)
        magnitude = measure_magnitude(crops).abs()
        rois = few[: len(brain.rois)]
        for row in rois:
            rate = rate_by_maker(brain, [wanted[row]])
            seed = derive_seed(1, wanted[row].label, 0)
            images.append(climb_horama_maco(module, rate, magnitude, seed, HORAMA_STEPS, HORAMA_PX, SIZE_PX))
        found["Horama's MACO and settings"] = Outcome(rois, torch.cat(images), time.perf_counter() - start)
    return found


def read_truth(brain: Brain, targets: list[dict[str, object]], voxels: np.ndarray) -> np.ndarray:
    """Return each target's true z (column) for images (row)."""
    columns = []
    ids = list(brain.models["lite0"].model.voxels["voxel_id"])
    for target in targets:
        columns.append(brain.average_roi(voxels, str(target["roi"])) if "roi" in target else voxels[:, ids.index(str(target["voxel"]))])
    return np.stack(columns, axis=1)


def measure(brain: Brain, targets: list[dict[str, object]], wanted: list[Wanted], name: str, outcome: Outcome) -> pd.DataFrame:
    """Return a row per image: method, target, true z of its own target, predicted and judged, percentile, ratio, gate."""
    label = "".join(letter for letter in name if letter.isalnum())
    voxels = brain.respond(outcome.images, label)
    truth = read_truth(brain, [targets[row] for row in outcome.rows], voxels)
    paths = sorted((brain.folder / "images" / label).glob("*.png"))[: len(outcome.rows)]
    responses = {model: predict_files(scorer.model, paths) for model, scorer in brain.models.items()}
    rows = []
    for place, row in enumerate(outcome.rows):
        goal = wanted[row].goal
        image = read_image(paths[place], outcome.images.shape[-1])
        one = [judge_one(brain, goal, {model: some[place : place + 1] for model, some in responses.items()}, high_frequency_share(image))]
        rows.append({"method": name, "target": wanted[row].label, "row": row, "true": truth[place, place], **one[0]})
    return pd.DataFrame(rows)


def judge_one(brain: Brain, goal: Goal, responses: dict[str, np.ndarray], high_frequency: float) -> dict[str, object]:
    """Return what the gate says of one image."""
    maker, judge = brain.models["lite0"], brain.models["lite1"]
    predicted, judged = (rate_goal(goal, [one], [responses[name]]) for name, one in (("lite0", maker), ("lite1", judge)))
    natural = rate_goal(goal, [judge], [judge.pool])
    table = judge_images(predicted, judged, natural, np.array([high_frequency]), Gate(), compare=True)
    return {**dict(table.iloc[0]), "high_frequency": high_frequency}


def print_drive(brain: Brain, targets: list[dict[str, object]], found: pd.DataFrame, best: np.ndarray) -> None:
    """Print true z by method and ROI with intervals, and how often it is above the best natural image."""
    roi_of = np.array([name_roi(brain, target) for target in targets])
    late = np.isin(roi_of, brain.rois[-LATE:])
    rows = []
    for method, group in found.groupby("method", sort=False):
        at = group["row"].to_numpy()
        true = group["true"].to_numpy()
        mean, low, high = bootstrap_mean(true)
        by_roi = [true[roi_of[at] == roi].mean() if (roi_of[at] == roi).any() else np.nan for roi in brain.rois]
        above = true > best[at]
        rows.append(
            (method, len(at), *by_roi, mean, f"{low:.2f}-{high:.2f}", group["drive_predicted"].mean(), group["drive_judged"].mean(),
             group["high_frequency"].mean(), f"{100 * above[~late[at]].mean():.0f} %", f"{100 * above[late[at]].mean():.0f} %")
        )  # fmt: skip
    natural = [best[roi_of == roi].mean() for roi in brain.rois]
    mean, low, high = bootstrap_mean(best)
    rows.append(("best natural image, by the truth", len(best), *natural, mean, f"{low:.2f}-{high:.2f}", "", "", "", "", ""))
    columns = ("method", "targets", *brain.rois, "true z", "95 %", "predicted", "judged", "high freq.", "above natural, early", "late")
    print_table("true z of the image's own target; share of targets above the best natural image of the pool", columns, rows)


def print_judge(found: pd.DataFrame) -> None:
    """Print how well judged and predicted drive rank true drive, and what passes the gate."""
    rows = []
    counts = found.groupby("row")["method"].nunique()
    balanced = found[found["row"].isin(counts.index[counts >= counts.max() - 2])]  # peers are made for few targets
    groups = [("all images", found), ("targets of nearly all methods", balanced)]
    for title, group in [*groups, *((str(name), one) for name, one in found.groupby("method", sort=False))]:
        ranks = [float(spearmanr(group[column], group["true"]).statistic) for column in ("drive_judged", "drive_predicted")]
        passed = f"{100 * (group['gate'] == 'pass').mean():.0f} %"
        rows.append(
            (title, len(group), *ranks, group["drive_ratio"].mean(), group["drive_ratio"].min(), group["high_frequency"].max(), passed)
        )
    within = [one[["drive_judged", "drive_predicted", "true"]].corr("spearman")["true"] for _, one in balanced.groupby("row")]
    judged, predicted = pd.DataFrame(within)[["drive_judged", "drive_predicted"]].mean()
    rows.append(("within a target, mean of targets", len(within), judged, predicted, "", "", "", ""))
    columns = ("images", "number", "Spearman judged", "Spearman predicted", "ratio", "least ratio", "most high freq.", "pass the gate")
    print_table("judged and predicted drive against true drive", columns, rows)


def name_roi(brain: Brain, target: dict[str, object]) -> str:
    """Return the ROI that a target lies in."""
    if "roi" in target:
        return str(target["roi"])
    table = brain.models["lite0"].model.voxels
    return str(table["roi"][table["voxel_id"] == target["voxel"]].iloc[0])


def main() -> None:
    """Print the tables and write every image's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/bench_drive"), help="where the brain, the models and the images are kept")
    parser.add_argument("--crops", type=int, default=1000)
    parser.add_argument("--voxels", type=int, default=12, help="per ROI")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--vwam", type=Path, help="checkout of github.com/MShinkle/VWAM")
    parser.add_argument("--horama", type=Path, help="checkout of github.com/serre-lab/Horama")
    parser.add_argument("--variants", action="store_true", help="also settings next to the defaults")
    parser.add_argument("--only", nargs="*", help="methods to run; figures of the others come from earlier runs in the folder")
    parser.add_argument("--vwam-steps", type=int, default=VWAM_STEPS, help="of the demo notebook's 1,000")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    brain = plant_brain(arguments.folder, CORTEX, arguments.crops, arguments.seed)
    targets = list_targets(brain, arguments.voxels)
    wanted = plan_order(build_studio(brain, targets, {}, {}).order, [brain.models["lite0"]])
    best = read_truth(brain, targets, brain.natural).max(axis=0)
    methods = {**METHODS, **(VARIANTS if arguments.variants else {})}
    per_roi = arguments.voxels
    places = np.arange(len(targets)) - len(brain.rois)
    some = np.flatnonzero((places < 0) | (places % per_roi < SOME_VOXELS))
    few = np.flatnonzero((places < 0) | ((places % per_roi == 0) & (places // per_roi % 2 == 0)))
    peers = climb_peers(brain, wanted, few, arguments)
    ours = {
        name: climb_ours(brain, targets, np.arange(len(targets)) if name in ON_ALL else some, settings)
        for name, settings in methods.items()
        if arguments.only is None or name in arguments.only
    }
    outcomes = {**ours, **peers, **choose_natural(brain, wanted, some)}
    measured = {name: measure(brain, targets, wanted, name, outcome) for name, outcome in outcomes.items()}
    found = pd.concat([*_read_former(arguments.folder / "figures", list(measured)), *measured.values()])
    _keep(arguments.folder / "figures", measured)
    print_drive(brain, targets, found, best)
    print_judge(found)
    print_table("seconds an image", ("method", "s"), [(name, one.seconds / len(one.rows)) for name, one in outcomes.items()])


if __name__ == "__main__":
    main()
