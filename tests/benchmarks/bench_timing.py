"""Onsets of 2 s on / 2 s off in a real window, ours beside naive waiting: python -m tests.benchmarks.bench_timing [--minutes 10]

Without a vertical blank (Xvfb) both flip on the same virtual 60 Hz refresh. The naive program draws, flips, waits the image's
duration, flips, waits the gap: what a PsychoPy script with core.wait does.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiment.frame_plan import Showing
from experiment.recorder import Recorder, RunFiles
from experiment.screen import PsychoPyScreen
from experiment.session import Run, Status
from experiment.stage import NS_PER_S, Frame
from experiment.task import ShownTrial
from experiment.trigger import TriggerSource
from protocols.protocol import Screen
from protocols.run_name import RunName
from tests.benchmarks.display import open_display
from tests.benchmarks.report import print_table
from tests.experiment.conftest import make_protocol

SETTINGS = Screen(width_px=1024, height_px=768)
_LEAD_S, _TRIAL_S, _SHOWN_S = 2.0, 4.0, 2.0
_IMAGES = 20


class Unseen:
    """Nobody watches the operator's view."""

    def is_due(self) -> bool:
        """Say no."""
        return False

    def show(self, status: Status) -> None:
        """Show nothing."""


def make_images() -> dict[str, np.ndarray]:
    """Return noise images of 425 px."""
    rng = np.random.default_rng(1)
    return {f"a{number}": rng.integers(0, 256, (425, 425, 3), dtype=np.uint8) for number in range(_IMAGES)}


def show_ours(screen: PsychoPyScreen, trials: int, place: Path) -> list[float]:
    """Play the trials through the session; return the onsets in s from the first one planned."""
    showings = []
    for number in range(trials):
        begin_s = _LEAD_S + number * _TRIAL_S
        showings.append(Showing(begin_s, begin_s + _SHOWN_S, ShownTrial("natural", f"a{number % _IMAGES}", None, False), False))
    files = RunFiles(place, RunName("01", "01", "timing", 1))
    zero_ns = screen.now_ns()
    recorder = Recorder(files, zero_ns)
    try:
        end_s = _LEAD_S + trials * _TRIAL_S
        Run(screen, [], TriggerSource.parse("keyboard:5"), make_protocol(), showings, end_s, zero_ns, recorder, Unseen()).play()
    finally:
        recorder.close()
    lines = [json.loads(line) for line in files.journal.read_text().splitlines()]
    return [line["time_s"] - _LEAD_S for line in lines if line["what"] == "onset"]


def show_naively(screen: PsychoPyScreen, trials: int) -> list[float]:
    """Draw, flip, wait, trial after trial; return the onsets in s from the first."""
    onsets = []
    for number in range(trials):
        onsets.append(screen.flip(Frame(f"a{number % _IMAGES}")))
        time.sleep(_SHOWN_S)
        screen.flip(Frame())
        time.sleep(_TRIAL_S - _SHOWN_S)
    return [(onset - onsets[0]) / NS_PER_S for onset in onsets]


def describe(name: str, onsets_s: Sequence[float]) -> tuple[object, ...]:
    """Return a row of the table: slip from first to last onset and errors against the schedule, in ms."""
    errors_ms = (np.asarray(onsets_s) - np.arange(len(onsets_s)) * _TRIAL_S) * 1000
    tail_ms = errors_ms[-max(1, len(errors_ms) // 10) :]
    slope_ms = float(np.polyfit(np.arange(len(errors_ms)), errors_ms, 1)[0] * (len(errors_ms) - 1))
    worst_ms = float(np.percentile(np.abs(errors_ms), 99))
    return name, len(onsets_s), slope_ms, float(np.median(tail_ms)), worst_ms, float(np.abs(errors_ms).max())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    trials = max(3, round(parser.parse_args().minutes * 60 / _TRIAL_S))
    with open_display(), tempfile.TemporaryDirectory() as place:
        screen = PsychoPyScreen(SETTINGS, windowed=True)
        screen.preload(make_images())
        rows = [describe("ours", show_ours(screen, trials, Path(place))), describe("naive waiting", show_naively(screen, trials))]
        screen.close()
    columns = ("program", "images", "slip ms", "error at the end ms", "99th percentile ms", "largest ms")
    half_ms = 1000 / SETTINGS.refresh_hz / 2
    print_table(f"{trials * _TRIAL_S / 60:.1f} minutes of 2 s on / 2 s off; half a frame is {half_ms:.2f} ms", columns, rows)


if __name__ == "__main__":
    main()
