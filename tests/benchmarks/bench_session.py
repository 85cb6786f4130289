"""A whole NSD run in real time: window, a scanner in another process, a simulated participant.

python -m tests.benchmarks.bench_session [--max-trials N]: 300 s unless cut short. Whether the participant's d' lies in the interval
that the run reports is also looked at over many rehearsals of the same run.
"""

import argparse
import contextlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import NormalDist

from experiment.participant import Participant
from experiment.plan_folder import PlanFolder
from experiment.recorder import RunFiles
from protocols.events import Events
from protocols.run_name import RunName
from tests.benchmarks.display import open_display
from tests.benchmarks.report import print_table
from tests.experiment.conftest import find_bids_errors, make_set, run_command
from tests.experiment.published import FOLDER

CELLS = [("target", "V1"), ("target", "FFA"), ("natural", None)]


def make_plan(place: Path) -> Path:
    """Plan NSD's runs for a set of 300 images, each shown two or three times in all."""
    made = make_set(place / "set", images=100, width_px=100, cells=CELLS)
    with contextlib.redirect_stdout(io.StringIO()):
        command = ("plan", FOLDER / "nsd_core.toml", "--set", made.folder, "--subjects", 1, "--seed", 1, "--out", place / "plan")
        assert run_command(*command) == 0
    return place / "plan"


def choose_run(plan: Path) -> RunName:
    """Return the run in which as many images are old as new."""
    folder = PlanFolder.read(plan)
    return min(folder.names, key=lambda name: abs(folder.read_run(name).trials["probe"].sum() - 31))


def find_true_d_prime() -> float:
    """Return the simulated participant's d'."""
    z, manner = NormalDist().inv_cdf, Participant()
    return z(manner.hit_rate) - z(manner.false_alarm_rate)


def run_real(plan: Path, name: RunName, place: Path, max_trials: int | None) -> tuple[object, ...]:
    """Show one run in a window; return a row of the table."""
    options = ["--windowed", "--simulate-participant", "--trigger", "emulate:1.6", "--seed", "1"]
    options += ["--max-trials", str(max_trials)] if max_trials else []
    run = ["--subject", name.subject, "--run", str(name.run), "--bids", str(place / "bids")]
    command = [sys.executable, "-m", "experiment", "run", str(plan), *run, *options]
    subprocess.run(command, check=True, env={**os.environ, "HOME": str(place)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sidecar = Events.read(RunFiles(place / "bids", name).events).sidecar
    scanner, score = sidecar["ScannerTime"], sidecar["TaskScore"]
    error_ms = sidecar["LargestOnsetError"] * 1000
    volumes = f"{scanner['VolumesSeen']} ({len(scanner['VolumesLost'])} lost)"
    interval = " to ".join(f"{end:.2f}" for end in score["d_prime_interval"] or ())
    late = f"{sidecar['LateFlips']} of {sidecar['Flips']}"
    errors = len(find_bids_errors(place / "bids"))
    return sidecar["Duration"], volumes, scanner["ClockDriftPpm"], late, error_ms, score["d_prime"], interval, errors


def rehearse(plan: Path, name: RunName, place: Path, seeds: int) -> tuple[object, ...]:
    """Rehearse the run with many participants; return a row of the table."""
    true, inside, found = find_true_d_prime(), 0, []
    for seed in range(seeds):
        root = place / f"rehearsal{seed}"
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            assert run_command("run", plan, "--subject", "01", "--run", name.run, "--bids", root, "--rehearse", "--seed", seed) == 0
        score = Events.read(RunFiles(root, name).events).sidecar["TaskScore"]
        low, high = score["d_prime_interval"]
        inside += low <= true <= high
        found.append(score["d_prime"])
    return seeds, true, sum(found) / seeds, inside / seeds


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-trials", type=int)
    parser.add_argument("--rehearsals", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_display():
        place = Path(folder)
        plan = make_plan(place)
        name = choose_run(plan)
        columns = ("seconds", "volumes", "drift ppm", "late flips", "largest onset error ms", "d'", "its interval", "BIDS errors")
        title = f"NSD core, run {name.run}, in a window; true d' {find_true_d_prime():.2f}"
        print_table(title, columns, [run_real(plan, name, place, arguments.max_trials)])
        columns = ("rehearsals", "true d'", "mean d'", "share of intervals that hold it")
        print_table("The same run rehearsed", columns, [rehearse(plan, name, place, arguments.rehearsals)])


if __name__ == "__main__":
    main()
