"""A run in real time without a window, to be killed: `python -m tests.benchmarks.kill_worker PLAN BIDS TRUTH`.

The screen paces itself at 60 Hz on the wall clock. Everything that happens is also told to the file TRUTH by the message hook,
with one write each that no kill can take back: what the recorder should have kept.
"""

import json
import os
import sys
import time

from experiment import rehearsal
from experiment.__main__ import app
from experiment.stage import Frame
from protocols.program import run_program

_told = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT | os.O_APPEND) if __name__ == "__main__" else -1


class WallClockScreen(rehearsal.RehearsalScreen):
    """A rehearsal's screen whose refreshes come when they are due; from the first image on each flip is told."""

    has_begun = False

    def now_ns(self) -> int:
        """Return the monotonic time."""
        return time.monotonic_ns()

    def predict_ns(self) -> int:
        """Return the next refresh."""
        return (time.monotonic_ns() // self.period_ns + 1) * self.period_ns

    def flip(self, frame: Frame) -> int:
        """Wait for the next refresh."""
        due_ns = self.predict_ns()
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        self.has_begun = self.has_begun or frame.image is not None
        if _told >= 0 and self.has_begun:
            os.write(_told, (json.dumps([frame.image, due_ns]) + "\n").encode())
        return due_ns


if __name__ == "__main__":
    rehearsal.RehearsalScreen = WallClockScreen
    plan, bids = sys.argv[1:3]
    run_program(lambda: app(["run", plan, "--subject", "01", "--bids", bids, "--rehearse", "--seed", "1"]))
