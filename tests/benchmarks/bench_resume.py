"""Is anything lost when `stimgen generate` is killed? `python -m tests.benchmarks.bench_resume` kills it ten times and compares bytes.

The same command is run once undisturbed, and once killed (SIGKILL) at random moments and given again until it ends.
"""

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.bench_drive import CORTEX
from tests.benchmarks.planted_drive import plant_brain
from tests.benchmarks.report import print_table

TARGETS = """
count = 4
size_px = 128
targets = [{ roi = "V3" }, { quadrants = ["EBA", "FFA"] }, { roi = "RSC", dose = 99.0, name = "RSC99" }]
ascent = { steps = 60, batch = 4, checkpoint_s = 0.5 }
"""


def start(folder: Path, targets: Path, out: Path) -> subprocess.Popen[bytes]:
    """Start the command."""
    models = ["--model", str(folder / "lite0"), "--judge", str(folder / "lite1"), "--pool", str(folder / "pool")]
    command = [sys.executable, "-m", "stimgen", "generate", str(targets), *models, "--cache", str(folder / "cache"), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_often(begin: Callable[[], "subprocess.Popen[bytes]"], moments: list[float]) -> list[float]:
    """Start the command once per moment (seconds), kill it then, and let it end at last; return the moments at which it was killed."""
    killed = []
    for moment in moments:
        process = begin()
        try:
            process.wait(moment)
            return killed  # it came to its end before its time
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed.append(moment)
    if begin().wait():
        sys.exit("the killed command failed in the end")
    return killed


def main() -> None:
    """Print what was killed when, and whether every file is the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out/bench_drive"), help="the brain and models of bench_drive")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    folder = arguments.folder
    plant_brain(folder, CORTEX, 1000, 1)
    targets = folder / "resume.toml"
    targets.write_text(TARGETS)
    stamp = time.strftime("%H%M%S")
    undisturbed, disturbed = folder / f"resume-{stamp}-a", folder / f"resume-{stamp}-b"
    began = time.perf_counter()
    if start(folder, targets, undisturbed).wait():
        sys.exit("the undisturbed command failed")
    whole = time.perf_counter() - began
    rng = random.Random(arguments.seed)
    moments = [rng.uniform(0.15, 0.3) * whole for _ in range(arguments.kills)]
    killed = kill_often(lambda: start(folder, targets, disturbed), moments)
    names = sorted(path.name for path in undisturbed.glob("*.png"))
    same = [name for name in names if (disturbed / name).read_bytes() == (undisturbed / name).read_bytes()]
    rows = [(len(killed), ", ".join(f"{moment:.1f}" for moment in killed), whole, f"{len(same)} of {len(names)}", same == names)]
    columns = ("kills", "after s", "undisturbed s", "identical PNGs", "all")
    print_table("stimgen generate, killed and given again", columns, rows)


if __name__ == "__main__":
    main()
