"""Is every trigger heard, and how late is its stamp? `python -m tests.benchmarks.bench_triggers [--pulses 10000]` prints tables.

Another process sends pulses of 4 ms, as bytes on pseudo-terminals and as XTEST keys on an X server of this benchmark's own, and logs
when it sent each on the monotonic clock, which all processes of a machine share. Meanwhile the listening process is stalled for
250 ms again and again, asleep or in a busy Python loop, between stretches of frames at 60 Hz. Beside each of our listening threads,
the same pulses are read once per frame. The third table is the scanner's clock from faulty triggers, beside rounding from the
first one with the nominal TR.
"""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from experiment.child_process import take_precedence
from experiment.pulse_schedule import PlannedPulse, ScannerConfig, plan_pulses
from experiment.scanner_emulator import open_key, open_log, open_serial, send_pulses, wait_for_listener
from tests.benchmarks.report import print_table
from tests.benchmarks.scanner_clock import measure_scanner_time

PULSE_S = 0.004
EVERY_S = {"serial": 0.02, "key": 0.025}
BOUNDS_MS = {"serial": 1.0, "key": 5.0}  # of our 99th percentile
STALL_S, FRAME_S, FRAMES_BETWEEN = 0.25, 1 / 60, 15
DELAY_S = 1.0
COLUMNS = ("way", "pulses", "lost", "extra", "median ms", "p99 ms", "worst ms", "bound ms", "kept")


@dataclass(frozen=True)
class Latency:
    """How one way of listening did: pulses sent, lost and heard in excess, and the stamps' lateness in ms."""

    way: str
    sent: int
    lost: int
    extra: int
    late_ms: np.ndarray
    bound_ms: float | None

    @property
    def kept(self) -> bool:
        """Whether none was lost and the 99th percentile is within the bound, where there is one."""
        return self.bound_ms is None or (self.lost == 0 and self.extra == 0 and float(np.quantile(self.late_ms, 0.99)) <= self.bound_ms)

    def row(self) -> list[object]:
        """Return the table's row."""
        middle, high, worst = (float(value) for value in np.quantile(self.late_ms, [0.5, 0.99, 1])) if len(self.late_ms) else (np.nan,) * 3
        bound = self.bound_ms if self.bound_ms is not None else "-"
        return [self.way, self.sent, self.lost, self.extra, middle, high, worst, bound, self.kept if self.bound_ms is not None else "-"]


def match_stamps(way: str, sent_ns: np.ndarray, stamps_ns: np.ndarray, bound_ms: float | None = None) -> Latency:
    """Give stamps to pulses in order and count what is left over.

    Where pulses were lost, each stamp goes to the last pulse before it: that flatters ways that lose pulses, never ours.
    """
    if len(stamps_ns) == len(sent_ns):
        return Latency(way, len(sent_ns), 0, 0, (stamps_ns - sent_ns) / 1e6, bound_ms)
    before = np.searchsorted(sent_ns, stamps_ns, side="right") - 1
    matched, first = np.unique(before[before >= 0], return_index=True)
    late_ms = (stamps_ns[before >= 0][first] - sent_ns[matched]) / 1e6
    return Latency(way, len(sent_ns), len(sent_ns) - len(matched), len(stamps_ns) - len(matched), late_ms, bound_ms)


def play_frames(end: Callable[[], bool], each: Callable[[], None]) -> None:
    """Call `each` once per frame of 60 Hz, and stall for 250 ms after every fifteenth, in turn asleep and in a busy loop."""
    frame, stall = 0, 0
    due_s = time.monotonic()
    while not end():
        each()
        frame += 1
        if frame % FRAMES_BETWEEN == 0:
            stall += 1
            _stall(busy=stall % 2 == 0)
            due_s = time.monotonic()
        due_s += FRAME_S
        time.sleep(max(0.0, due_s - time.monotonic()))


def _stall(busy: bool) -> None:
    end_s, number = time.monotonic() + STALL_S, 0
    if not busy:
        time.sleep(STALL_S)
    while time.monotonic() < end_s:
        number = (number * 31 + 7) % 1_000_003


def plan_even(pulses: int, every_s: float) -> list[PlannedPulse]:
    """Return a schedule of pulses with 1 ms of jitter, so that no phase of a frame is left out."""
    return plan_pulses(ScannerConfig(tr_s=every_s, volumes=pulses, jitter_s=0.001), np.random.default_rng(1))


def send(kind: str, pulses: int, folder: Path) -> None:
    """Be the sender's process; a scanner is no program that waits for others, so it takes precedence where it may."""
    take_precedence()
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(open_log(folder / "sent.tsv"))
        if kind == "key":
            press = stack.enter_context(open_key("5", held_s=PULSE_S))
        else:
            ports = [stack.enter_context(open_serial(folder / name)) for name in ("ours", "polled")]
            for _, master in ports:
                wait_for_listener(master)

            def press() -> None:
                for put, _ in ports:
                    put()

        send_pulses(plan_even(pulses, EVERY_S[kind]), press, DELAY_S, write)
        if kind == "serial":
            for _, master in ports:
                wait_for_listener(master, listening=False)


def poll_keys(folder: Path) -> None:
    """Be the process that asks PsychoPy's Keyboard once per frame, until a file says that all was sent; write its stamps in s."""
    from psychopy import logging
    from psychopy.hardware.keyboard import Keyboard
    from psychtoolbox import GetSecs, hid

    indices, names, _ = hid.get_keyboard_indices()
    board = Keyboard(device=next(one for one, name in zip(indices, names, strict=True) if "XTEST" in str(name)), backend="ptb")
    found: dict[str, list[float]] = {"pressed": [], "released": []}
    seen: list[object] = []  # kept, so that no other key gets the identity of one of them

    def look() -> None:
        pressed = board.getKeys(["5"], waitRelease=False, clear=False)
        released = board.getKeys(["5"], waitRelease=True)
        now_s = time.monotonic()
        to_monotonic_s = logging.defaultClock.getLastResetTime() + now_s - GetSecs()
        found["pressed"].extend(key.tDown + to_monotonic_s for key in pressed if not any(key is one for one in seen[-20:]))
        found["released"].extend(key.tDown + to_monotonic_s for key in released)
        seen.extend(pressed)

    (folder / "polling").touch()
    play_frames((folder / "done").exists, look)
    (folder / "polled.json").write_text(json.dumps(found))


def start(role: str, kind: str, pulses: int, folder: Path, display: str | None = None) -> subprocess.Popen[bytes]:
    """Start this file in another process."""
    environment = {**os.environ, **({"DISPLAY": display, "HOME": str(folder)} if display else {})}
    command = [sys.executable, "-m", "tests.benchmarks.bench_triggers", "--role", role, "--kind", kind]
    return subprocess.Popen([*command, "--pulses", str(pulses), "--folder", str(folder)], env=environment)


def measure_serial(pulses: int) -> list[Latency]:
    """Listen to one pseudo-terminal by the thread, and read its twin once per frame."""
    import serial

    from experiment.serial_port import SerialPort

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sender = start("send", "serial", pulses, folder)
        _wait_until((folder / "polled").exists)
        ours, twin = SerialPort(str(folder / "ours")), serial.Serial(str(folder / "polled"), timeout=0)
        heard: list[int] = []
        polled: list[int] = []
        end_s = time.monotonic() + DELAY_S + pulses * EVERY_S["serial"] + 1.0

        def look() -> None:
            heard.extend(press.time_ns for press in ours.poll())
            polled.extend([time.monotonic_ns()] * len(twin.read(1024)))

        with steady_python():
            play_frames(lambda: time.monotonic() > end_s, look)
        ours.close()
        twin.close()
        sender.wait()
        sent = read_sent(folder)
    return [
        match_stamps("serial: process *", sent, np.array(heard), BOUNDS_MS["serial"]),
        match_stamps("serial: read once per frame", sent, np.array(polled)),
        measure_sender("serial", sent),
    ]


def listen_to_keys(folder: Path) -> None:
    """Be the process that listens to keys as a session does, until a file says that all was sent; write its stamps in ns."""
    from experiment.keyboard import Keyboard

    ours = Keyboard()
    heard: list[int] = []
    (folder / "listening").touch()
    with steady_python():
        play_frames((folder / "done").exists, lambda: heard.extend(press.time_ns for press in ours.poll()))
    ours.close()
    (folder / "heard.json").write_text(json.dumps(heard))


def measure_keys(pulses: int) -> list[Latency]:
    """Listen to an X server's keys by our thread in one process, and by PsychoPy once per frame in another, stalled alike."""
    with tempfile.TemporaryDirectory() as name, start_display() as display:
        folder = Path(name)
        readers = [start(role, "key", pulses, folder, display) for role in ("poll", "listen")]
        for file, reader in zip(("polling", "listening"), readers, strict=True):
            _wait_until((folder / file).exists, reader)
        start("send", "key", pulses, folder, display).wait()
        time.sleep(0.5)
        (folder / "done").touch()
        for reader in readers:
            reader.wait(30)
        sent = read_sent(folder)
        heard = np.array(json.loads((folder / "heard.json").read_text()))
        theirs = {way: np.array(stamps) * 1e9 for way, stamps in json.loads((folder / "polled.json").read_text()).items()}
    return [
        match_stamps("key: thread *", sent, heard, BOUNDS_MS["key"]),
        match_stamps("key: PsychoPy per frame, waitRelease=False", sent, theirs["pressed"]),
        match_stamps("key: PsychoPy per frame, waitRelease=True", sent, theirs["released"]),
        measure_sender("key", sent),
    ]


@contextlib.contextmanager
def steady_python() -> Iterator[None]:
    """Let other threads run as a session does."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@contextlib.contextmanager
def start_display() -> Iterator[str]:
    """Yield the name of an X server of our own."""
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "640x480x24", "+extension", "GLX", "+render", "-noreset"]
    server = subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as stream:
        number = stream.readline().strip()
    try:
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()


def read_sent(folder: Path) -> np.ndarray:
    """Return the clock times in ns at which pulses were sent."""
    return pd.read_csv(folder / "sent.tsv", sep="\t")["sent_ns"].to_numpy()


def measure_sender(kind: str, sent_ns: np.ndarray) -> Latency:
    """Return how late the sender was against its own schedule: what this machine does to a process that only waits."""
    due_ns = np.array([pulse.send_s for pulse in plan_even(len(sent_ns), EVERY_S[kind])]) * 1e9
    late_ms = (sent_ns - due_ns) / 1e6
    return Latency(f"{kind}: the sender itself, late against its plan", len(sent_ns), 0, 0, late_ms - late_ms.min(), None)


def _wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None, timeout_s: float = 60) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s or (process is not None and process.poll() is not None):
            raise RuntimeError("the other process is not ready")
        time.sleep(0.01)


def main() -> None:
    """Run the three parts, or be one of the other processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pulses", type=int, default=10_000, help="pulses per kind of device")
    parser.add_argument("--seeds", type=int, default=200, help="runs per row of the third table")
    parser.add_argument("--role", choices=("all", "send", "poll", "listen"), default="all", help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=("serial", "key"), default="serial", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "send":
        return send(arguments.kind, arguments.pulses, arguments.folder)
    roles = {"poll": poll_keys, "listen": listen_to_keys}
    if arguments.role in roles:
        return roles[arguments.role](arguments.folder)
    title = "scanner time beside rounding from the first trigger with the nominal TR; runs of 400 volumes, worst over runs"
    columns = ("scanner", "runs", "index wrong", "onset ms", "drift ppm", "rounding: index wrong", "onset ms")
    print_table(title, columns, measure_scanner_time(arguments.seeds))
    found = measure_serial(arguments.pulses)
    if shutil.which("Xvfb"):
        found += measure_keys(arguments.pulses)
    print_table("triggers of 4 ms while the listening process stalls for 250 ms; ours marked *", COLUMNS, [one.row() for one in found])
    print(f"\nnone lost and within the bounds: {'yes' if all(one.kept for one in found) else 'NO'}")
    return None


if __name__ == "__main__":
    main()
