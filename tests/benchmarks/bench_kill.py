"""Kill a run at random moments and count what is lost: python -m tests.benchmarks.bench_kill [--kills 200]

Each run has images of .1 s with .1 s between, so that hardly a moment is without an event in flight.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from experiment.recorder import RunFiles
from experiment.recovery import find_run, has_begun, recover_run
from protocols.events import Events
from protocols.run_name import RunName
from tests.benchmarks.report import print_table
from tests.experiment.conftest import find_bids_errors, make_protocol, write_plan_folder

NAME = RunName("01", "01", "short", 1)
_LATEST_S = 3.0  # after the first image
_TIMING = {
    "tr_s": 0.1,
    "image_s": 0.1,
    "gap_s": 0.1,
    "lead_in_s": 0.0,
    "lead_out_s": 0.0,
    "runs": 2,
    "repetitions": 20,
    "blanks_per_run": 0,
}


@dataclass(frozen=True)
class Killed:
    """What a kill left: images begun on the screen, images over, rows recovered, and whether those are what was shown."""

    begun: int
    over: int
    rows: int
    valid: bool

    @property
    def lost(self) -> int:
        """Events lost that were not in flight."""
        return max(0, self.over - self.rows)


def make_plan(folder: Path) -> Path:
    """Write the plan of a run of a hundred quick trials."""
    with contextlib.redirect_stdout(io.StringIO()):
        return write_plan_folder(folder, make_protocol(timing=_TIMING, probe={"response_window_s": [0.02, 0.08]}))


def kill_once(plan: Path, folder: Path, delay_s: float) -> Killed:
    """Start a run, kill it `delay_s` after its first image, recover it, and compare."""
    truth, bids = folder / "truth.jsonl", folder / "bids"
    command = [sys.executable, "-m", "tests.benchmarks.kill_worker", str(plan), str(bids), str(truth)]
    said = folder / "said.txt"
    with said.open("wb") as stream:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream)
    try:
        _wait_for(truth, process, said)
        time.sleep(delay_s)
    finally:
        process.kill()
        process.wait()
    return compare(RunFiles(bids, NAME), [json.loads(line) for line in truth.read_text().splitlines()])


def compare(files: RunFiles, flips: list[list[object]]) -> Killed:
    """Recover a run and compare it with the flips that showed an image: [stim_id, time_ns]."""
    shown = list(_split(flips))
    begun, over = len(shown), len(shown) - 1  # the last one may have been in flight
    if not has_begun(find_run(files.journal)):
        return Killed(begun, over, 0, True)
    events, _ = recover_run(find_run(files.journal))
    read = Events.read(files.events).table
    expected = [stim_id for stim_id, _ in shown][: len(read)]
    zero_ns = json.loads(files.journal.read_text().split("\n", 1)[0])["time_ns"]
    onsets = np.array([(at - zero_ns) / 1e9 for _, at in shown][: len(read)])
    same = read["stim_id"].tolist() == expected and np.allclose(read["onset_clock"], onsets, atol=1e-6)
    return Killed(begun, over, len(read), bool(same and len(events.table) == len(read)))


def _split(flips: list[list[object]]) -> Iterator[tuple[str, int]]:
    """Yield each showing's image and first flip; flips without an image part them."""
    for stim_id, group in groupby(flips, key=lambda flip: flip[0]):
        if stim_id:
            yield str(stim_id), int(str(next(group)[1]))


def _wait_for(truth: Path, process: subprocess.Popen[bytes], said: Path) -> None:
    end_s = time.monotonic() + 60
    while not truth.exists() or not truth.stat().st_size:
        if process.poll() is not None or time.monotonic() > end_s:
            raise SystemExit(f"the run did not begin: {said.read_text()[-500:]}")
        time.sleep(0.005)


def run_kills(kills: int, parallel: int, seed: int, folder: Path) -> list[Killed]:
    """Kill `kills` runs, `parallel` at a time."""
    plan = make_plan(folder)
    delays = np.random.default_rng(seed).uniform(0, _LATEST_S, kills)
    places = [folder / f"kill{number}" for number in range(kills)]
    for place in places:
        place.mkdir()
    with contextlib.redirect_stdout(io.StringIO()), ThreadPoolExecutor(parallel) as pool:  # what recovery says, of all threads
        return list(pool.map(lambda one: kill_once(plan, *one), zip(places, delays, strict=True)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        killed = run_kills(arguments.kills, arguments.parallel, arguments.seed, Path(place))
        errors = sum(len(find_bids_errors(Path(place) / f"kill{number}" / "bids")) for number in range(0, arguments.kills, 20))
    columns = ("kills", "images begun", "images over", "rows recovered", "lost", "most in one run", "all valid", "BIDS errors")
    sums = [sum(getattr(one, name) for one in killed) for name in ("begun", "over", "rows", "lost")]
    row = (len(killed), *sums, max(one.lost for one in killed), all(one.valid for one in killed), errors)
    print_table("SIGKILL at random moments (lost: over when the kill came, and not in the recovered events)", columns, [row])


if __name__ == "__main__":
    main()
