"""What does equal photometry cost? `python -m tests.benchmarks.bench_photometry` prints five tables.

The default set for five planted ROIs is made three times: photometry held inside the optimization, matched afterwards, and left free.
Then images are made again from their rows, and a set of 1,000 images is checked.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from protocols.stimulus_set import StimulusSet
from stimgen.differences import LARGEST, compare_conditions, compare_targets
from stimgen.image_files import read_image
from stimgen.look import LOOKS
from stimgen.set_check import measure_set
from tests.benchmarks.bench_drive import CORTEX
from tests.benchmarks.fill_set import fill_set
from tests.benchmarks.planted_drive import Brain, bootstrap_mean, plant_brain, run_once, set_threads
from tests.benchmarks.report import print_table

MODES = ("inside", "afterwards", "none")
DEFAULT_CONTROLS = ("natural", "scrambled")
KINDS = ("predicted", "judged", "true")
WANTED_LOSS, CHECK_LIMIT_S = 0.1, 60


def make_set(brain: Brain, mode: str, arguments: argparse.Namespace) -> StimulusSet:
    """Make the set by the public command, unless it is there."""
    targets = brain.folder / f"photometry_{mode}.toml"
    rois = ", ".join(f'{{ roi = "{roi}" }}' for roi in brain.rois)
    controls = ", ".join(f'"{kind}"' for kind in (arguments.controls if mode == "inside" else DEFAULT_CONTROLS))
    targets.write_text(
        f"count = {arguments.count}\nsize_px = 224\ncontrols = [{controls}]\ntargets = [{rois}]\n"
        f'[ascent]\nsteps = {arguments.steps}\n[photometry]\nmatching = "{mode}"\n'
    )
    models = ("--model", brain.folder / "lite0", "--judge", brain.folder / "lite1", "--pool", brain.folder / "pool")
    out = brain.folder / f"photometry_{mode}"
    run_once(out, "generate", *map(str, (targets, *models, "--cache", brain.folder / "cache")))
    return StimulusSet.read(out)


def print_differences(made: dict[str, StimulusSet]) -> None:
    """Print the largest standardized differences, measured on the PNGs."""
    natural_sd = made["inside"].description["photometry"]["natural_sd"]
    rows = []
    for mode, stimulus_set in made.items():
        looks = measure_set(stimulus_set)
        for what, compare in (("conditions", compare_conditions), ("targets", compare_targets)):
            largest = compare(stimulus_set.table, looks, natural_sd)[list(LOOKS)].abs().max()
            held = bool((largest[["mean_luminance", "rms_contrast", "slope"]] <= LARGEST).all())
            rows.append((mode, what, *(float(largest[look]) for look in LOOKS), held))
    columns = ("matching", "between", *LOOKS, f"first three within {LARGEST:g}")
    print_table("largest standardized difference of any pair, after PNG", columns, rows)


def print_drive(brain: Brain, made: dict[str, StimulusSet]) -> None:
    """Print predicted, judged and true drive of the target images, and what each way of matching loses against none."""
    drives = {mode: read_drive(brain, stimulus_set) for mode, stimulus_set in made.items()}
    rows = []
    for mode, own in drives.items():
        free = drives["none"]
        losses = [1 - own[kind].mean() / free[kind].mean() for kind in KINDS]
        rows.append((mode, len(own), *(float(own[kind].mean()) for kind in KINDS), *(f"{100 * loss:.1f} %" for loss in losses)))
    columns = ("matching", "images", "predicted z", "judged z", "true z", "predicted lost", "judged lost", "true lost")
    print_table("drive of the images' own targets, mean over images", columns, rows)
    rows = []
    for mode in ("inside", "afterwards"):
        own, free = (drives[one].groupby("target", sort=False)["judged"].mean() for one in (mode, "none"))
        mean, low, high = bootstrap_mean((1 - own / free).to_numpy())
        rows.append((mode, f"{100 * mean:.1f} %", f"{100 * low:.1f} to {100 * high:.1f} %", mean < WANTED_LOSS))
    print_table("judged drive lost, targets resampled", ("matching", "lost", "95 %", "below 10 %"), rows)


def read_drive(brain: Brain, stimulus_set: StimulusSet) -> pd.DataFrame:
    """Return predicted, judged and true drive of every target image."""
    table = stimulus_set.table[stimulus_set.table["condition"] == "target"].reset_index(drop=True)
    voxels = brain.respond_files([stimulus_set.folder / name for name in table["stim_file"]])
    true = [brain.average_roi(voxels[row : row + 1], target)[0] for row, target in enumerate(table["target"])]
    predicted, judged = (pd.to_numeric(table[f"drive_{kind}"]) for kind in ("predicted", "judged"))
    return pd.DataFrame({"target": table["target"], "predicted": predicted, "judged": judged, "true": true})


def print_reproduced(brain: Brain, stimulus_set: StimulusSet, count: int, seed: int) -> None:
    """Make random images again in a process of their own, and print the differences by condition."""
    names = np.random.default_rng(seed).choice(stimulus_set.table["stim_id"], min(count, len(stimulus_set.table)), replace=False)
    again = brain.folder / "photometry_again"
    command = [sys.executable, "-m", "stimgen", "reproduce", str(stimulus_set.folder), *names, "--out", str(again)]
    subprocess.run([*command, "--cache", str(brain.folder / "cache")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    table = stimulus_set.table.set_index("stim_id").loc[names]
    levels = [
        255 * np.abs(read_image(stimulus_set.folder / name, 224) - read_image(again / name, 224)).max() for name in table["stim_file"]
    ]
    found = pd.Series(levels).groupby(table["condition"].to_numpy())
    rows = [(condition, len(own), float(own.max()), bool(own.max() <= 1.01)) for condition, own in found]
    print_table(f"{len(names)} random images made again from their rows", ("condition", "images", "largest, of 255", "within 1"), rows)


def print_check(brain: Brain, stimulus_set: StimulusSet, count: int) -> None:
    """Time `stimgen check` on a large set, start of the program included."""
    large = fill_set(stimulus_set, brain.pool.image_paths(), count, brain.folder / f"photometry_{count}")
    begun = time.perf_counter()
    command = [sys.executable, "-m", "stimgen", "check", str(large), "--out", str(brain.folder / f"check_{time.time_ns()}.png")]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    seconds = time.perf_counter() - begun
    print_table("stimgen check", ("images", "seconds", f"under {CHECK_LIMIT_S}"), [(count, seconds, seconds < CHECK_LIMIT_S)])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/bench_drive"), help="the brain and models of bench_drive, and the sets")
    parser.add_argument("--count", type=int, default=5, help="images per ROI")
    parser.add_argument("--steps", type=int, default=100)
    every = [*DEFAULT_CONTROLS, "median", "worst", "rival", "shuffled", "fooling", "texture"]
    parser.add_argument(
        "--controls", nargs="*", default=every, help="of the set whose photometry is held inside; the others have the default"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    brain = plant_brain(arguments.folder, CORTEX, 1000, arguments.seed)
    made = {mode: make_set(brain, mode, arguments) for mode in MODES}
    print_differences(made)
    print_drive(brain, made)
    print_reproduced(brain, made["inside"], 20, arguments.seed)
    print_check(brain, made["inside"], 1000)


if __name__ == "__main__":
    main()
