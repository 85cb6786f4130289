"""A real PsychoPy window, real keys and a real serial port, each test on an X server of its own."""

import json
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from experiment.recorder import RunFiles
from protocols.events import Events
from protocols.run_name import RunName
from tests.experiment.conftest import find_bids_errors, make_protocol, write_plan_folder

pytestmark = pytest.mark.display
NAME = RunName("01", "01", "short", 1)
SCREEN = {"width_px": 320, "height_px": 240, "width_cm": 40, "distance_cm": 100, "size_deg": 3.0}

REFUSED = """
from experiment.screen import PsychoPyScreen
from protocols.errors import InputError
from protocols.protocol import Screen
for options in ({"windowed": True, "index": 3}, {"windowed": False}):
    try:
        PsychoPyScreen(Screen(width_px=320, height_px=240), **options)
    except InputError as problem:
        print(problem)
"""

SLOW = """
import sys
from experiment import screen
screen._TOO_FAST = 1e9  # as if a vertical blank held the flips back, at another rate than the protocol's
sys.argv = ["experiment", *sys.argv[1:]]
from experiment.__main__ import main
main()
"""

PATCH = """
import numpy as np
from experiment.screen import PsychoPyScreen
from experiment.stage import Frame
from protocols.protocol import Screen
screen = PsychoPyScreen(Screen(width_px=320, height_px=240, photodiode="top_right", photodiode_deg=2.0), windowed=True)
screen.preload({"a": np.full((64, 64, 3), 200, np.uint8)})
for frame in (Frame("a"), Frame()):
    screen._draw(frame)
    drawn = screen._read_back_buffer()
    side = round(2 * 100 * np.tan(np.radians(1)) * 320 / 40)
    corner = drawn[:side, -side:]
    print(frame.image, corner.min(), corner.max(), drawn[side:, -side:].max(), drawn[:side, : -side].max())
    screen._window.clearBuffer()
screen.close()
"""

LISTEN = """
import dataclasses

from experiment.screen import PsychoPyScreen
from experiment.wait import wait_for_trigger
from experiment.keyboard import Keyboard
from experiment.trigger import TriggerSource
from protocols.config import parse_config
from protocols.errors import InputError
from protocols.protocol import Protocol

timing = {"tr_s": 0.4, "image_s": 1, "gap_s": 1, "runs": 1, "repetitions": 1}
trigger = {"source": "keyboard:5", "timeout_s": 3.0, "dummy_volumes": 2}
protocol = parse_config({"task": "t", "conditions": ["c"], "timing": timing, "trigger": trigger}, Protocol, "test")
screen, keyboard = PsychoPyScreen(protocol.screen, windowed=True), Keyboard()
print("ready", flush=True)
try:
    wait_for_trigger(screen, [keyboard], TriggerSource("keyboard", "5"), protocol)
except InputError as problem:
    print(problem, flush=True)
protocol = dataclasses.replace(protocol, trigger=dataclasses.replace(protocol.trigger, timeout_s=40.0))
begun = wait_for_trigger(screen, [keyboard], TriggerSource("keyboard", "5"), protocol)
zero_ns, heard = begun.zero_ns, begun.heard
print("triggers", *(press.time_ns for press in heard if press.key == "5"))
keyboard.close()
screen.close()
"""


def finish(process, timeout_s=90):
    """Wait for a process; return status, stdout, stderr."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


def wait_until(condition, timeout_s=60):
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s")


def has_rows(files, count):
    return files.events.is_file() and files.events.read_text().count("\n") > count


def journal_of(files):
    return [json.loads(line) for line in files.journal.read_text().splitlines()]


def test_back_buffer_is_the_image_for_odd_and_even_sizes_and_every_corruption_is_found(display):
    code, out, err = finish(display.start("-m", "tests.benchmarks.bench_pixels", "--here"))
    assert code == 0, out + err
    assert out.split("all", 1)[1].split()[:2] == ["100", "100"]


def test_screens_that_are_not_there_or_of_another_size_are_refused(display):
    code, out, err = finish(display.start("-c", REFUSED))
    assert code == 0, err
    assert "screen 3 does not exist; found 0: 800 x 600 px; give another --screen" in out.splitlines()
    assert "the window is 800 x 600 px, the protocol's [screen] says 320 x 240" in out


def test_another_refresh_than_the_protocol_s_is_refused_unless_allowed(display, plan, tmp_path):
    command = ("run", plan, "--subject", "01", "--bids", tmp_path / "bids", "--windowed", "--trigger", "emulate:0.8", "--max-trials", 1)
    code, _, err = finish(display.start("-c", SLOW, *command))
    assert (code, "[screen] refresh_hz says 60" in err, "--any-refresh" in err) == (1, True, True)
    code, out, err = finish(display.start("-c", SLOW, *command, "--any-refresh"))
    assert code == 0, err
    assert "shortened to the first 1 trials" in out


def test_photodiode_patch_is_white_with_an_image_and_black_without(display):
    code, out, err = finish(display.start("-c", PATCH))
    assert code == 0, err
    assert out.splitlines() == ["a 255 255 127 127", "None 0 0 127 127"]


def test_check_compares_every_image_and_hears_an_injected_key(display, tmp_path):
    plan = write_plan_folder(tmp_path, make_protocol(), width_px=43)  # shown in 42 px: resampled
    process = display.start("-m", "experiment", "check", plan, "--display", "--windowed", "--json", tmp_path / "check.json")
    code, out, err = finish(process)
    assert code == 0, out + err
    found = {finding["item"]: finding["found"] for finding in json.loads((tmp_path / "check.json").read_text())["findings"]}
    assert found["window"] == "320 x 240 px, as the protocol says"
    assert "an injected key was heard" in found["keyboard"]
    assert found["pixels"].startswith("6 images drawn, every pixel as in the file; files of another size are resampled")


def test_serial_trigger_from_another_process_key_and_abort(display, tmp_path):
    protocol = make_protocol(timing__lead_in_s=1.0, timing__repetitions=6, screen=SCREEN)
    plan = write_plan_folder(tmp_path, protocol)
    link, files = tmp_path / "scanner", RunFiles(tmp_path / "bids", NAME)
    scanner = display.start("-m", "experiment", "emulate-scanner", "--tr", "0.8", "--volumes", "9", "--serial", link)
    wait_until(link.exists)
    arguments = [
        "--subject",
        "01",
        "--bids",
        tmp_path / "bids",
        "--trigger",
        f"serial:{link}",
        "--windowed",
        "--screenshot",
        tmp_path / "shot.png",
    ]
    process = display.start("-m", "experiment", "run", plan, *arguments)
    wait_until(lambda: files.journal.is_file() and '"onset"' in files.journal.read_text())
    time.sleep(0.4)
    display.press("1")
    wait_until(lambda: has_rows(files, 2))
    display.press("Escape")
    code, out, err = finish(process)
    assert code == 0, err
    assert "aborted" in out
    assert finish(scanner)[0] == 0
    events = Events.read(files.events)
    journal = journal_of(files)
    assert events.sidecar["RunState"] == "aborted"
    assert len(events.table) == sum(record["what"] == "onset" for record in journal) >= 2
    assert events.table["response"][0] == "1"
    assert 0.3 < events.table["response_time"][0] < 1.0
    triggers = [record["time_s"] for record in journal if record["what"] == "trigger"]
    assert np.diff(triggers) == pytest.approx(0.8, abs=0.05)
    assert events.sidecar["StimulusPresentation"]["SoftwareName"] == "PsychoPy"
    assert abs(events.table["onset"][0] - 1.0) < 0.1
    assert find_bids_errors(tmp_path / "bids") == []
    shot = np.asarray(Image.open(tmp_path / "shot.png"))
    shown = np.asarray(Image.open(plan / "stimuli" / events.table["stim_file"][0]))
    assert shot.shape == (240, 320, 3)
    assert (shot[99:110, 139:181] == shown[:11]).all()  # above the dot


def test_key_trigger_from_another_process_and_silence(display):
    process = display.start("-c", LISTEN)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    display.press("t")
    message = process.stdout.readline()
    listened = "no trigger within 3 s; listened for key '5' on 2 keyboard(s) (Virtual core XTEST keyboard, Xvfb keyboard)"
    assert message.startswith(listened)
    assert "heard instead: keyboard 't'; check the cable" in message
    scanner = display.start("-m", "experiment", "emulate-scanner", "--tr", "0.4", "--volumes", "8", "--key", "5", "--delay", "0")
    code, out, err = finish(process)
    assert code == 0, err
    assert finish(scanner)[0] == 0
    times_ns = [int(word) for word in out.split()[1:]]
    assert len(times_ns) == 3  # two dummies and the first kept one
    assert np.diff(times_ns) / 1e9 == pytest.approx(0.4, abs=0.05)


def test_kill_leaves_every_closed_row_on_disk_and_the_journal_gives_the_rest(display, tmp_path, experiment):
    timing = {"tr_s": 0.5, "image_s": 0.3, "gap_s": 0.3, "lead_in_s": 0.5, "runs": 1, "repetitions": 9, "blanks_per_run": 2}
    plan = write_plan_folder(
        tmp_path, make_protocol(timing=timing, screen=SCREEN, probe={"fraction": 0.2, "response_window_s": [0.2, 0.5]})
    )
    files = RunFiles(tmp_path / "bids", NAME)
    arguments = ["--subject", "01", "--bids", tmp_path / "bids", "--trigger", "emulate:0.5", "--windowed"]
    process = display.start("-m", "experiment", "run", plan, *arguments)
    wait_until(lambda: has_rows(files, 4))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    rows = files.events.read_text().splitlines()[1:]
    assert len(rows) >= 4
    shown = sum('"what": "onset"' in line for line in files.journal.read_text().splitlines())
    assert shown - len(rows) <= 2  # the trial on screen, and the one whose window was still open
    assert json.loads(files.prepared.read_text())["RunState"].startswith("unfinished")
    code, out, _ = experiment("recover", files.journal)
    assert code == 0, out
    assert len(Events.read(files.events).table) == shown
    assert Events.read(files.events).table["trial_type"].tolist()[: len(rows)] == [row.split("\t")[2] for row in rows]
