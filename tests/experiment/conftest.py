"""Small stimulus sets, protocols and plans; a display of its own for the tests that need a real window."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiment.__main__ import app
from protocols.config import parse_config
from protocols.output_folder import staged_folder
from protocols.program import run_program
from protocols.protocol import Protocol
from protocols.provenance import Provenance, hash_file
from protocols.stimulus_set import StimulusSet, image_file_name

CELLS = [("target", "FFA"), ("target", "V3"), ("natural", None)]
NEEDED_PROGRAMS = ("Xvfb", "xauth", "xdotool")


def make_protocol(**changes: object) -> Protocol:
    """Return a short protocol; `changes` override keys, `timing__image_s=1.0` those of a table."""
    values: dict = {
        "task": "short",
        "conditions": ["target", "natural"],
        "timing": {"tr_s": 0.8, "image_s": 1.0, "gap_s": 1.0, "lead_in_s": 2.0, "lead_out_s": 3.0, "runs": 2, "repetitions": 2},
        "screen": {"width_px": 320, "height_px": 240, "width_cm": 40, "distance_cm": 100, "size_deg": 3.0},
        "probe": {"fraction": 0.2, "response_window_s": [0.2, 1.5]},
    }
    values["timing"]["blanks_per_run"] = 1
    for key, value in changes.items():
        table, _, name = key.partition("__")
        if name:
            values.setdefault(table, {})[name] = value
        else:
            values[key] = value
    return parse_config(values, Protocol, "test protocol")


def make_table(cells: list[tuple[str, str | None]], images: int) -> pd.DataFrame:
    """Return a stimulus table with `images` images in each cell."""
    rows = [(f"{condition}{target or ''}{number}", condition, target) for condition, target in cells for number in range(images)]
    table = pd.DataFrame(rows, columns=["stim_id", "condition", "target"]).astype(object)
    return table.where(table.notna(), None)


def make_set(out: Path, images: int = 2, width_px: int = 42, cells: list[tuple[str, str | None]] = CELLS) -> StimulusSet:
    """Write a set of noise images."""
    rng = np.random.default_rng(5)
    with staged_folder(out, Provenance.collect("test", {}, {})) as folder:
        table = make_table(cells, images)
        table["stim_file"] = table["stim_id"].map(image_file_name)
        for name in table["stim_file"]:
            Image.fromarray(rng.integers(0, 256, (width_px, width_px, 3), dtype=np.uint8)).save(folder / name)
        table = table.assign(method="noise", seed=5, source_image=None, width_px=width_px, height_px=width_px)
        table = table.assign(mean_luminance=0.5, rms_contrast=0.2, sha256=[hash_file(folder / name) for name in table["stim_file"]])
        StimulusSet(folder, table, {}).write(folder)
    return StimulusSet.read(out)


def write_plan_folder(tmp_path: Path, protocol: Protocol, **set_options: object) -> Path:
    """Write a set and the plan of two subjects; return the plan's folder."""
    make_set(tmp_path / "set", **set_options)
    protocol.write(tmp_path / "protocol.json")
    arguments = [
        "plan",
        tmp_path / "protocol.json",
        "--set",
        tmp_path / "set",
        "--subjects",
        "2",
        "--seed",
        "3",
        "--out",
        tmp_path / "plan",
    ]
    code = run_command(*arguments)
    assert code == 0
    return tmp_path / "plan"


def run_command(*arguments: object) -> int:
    """Run `experiment ARGUMENTS` in this process as the console script does; return its exit status."""
    with pytest.raises(SystemExit) as ended:
        run_program(lambda: app([str(argument) for argument in arguments]))
    return int(ended.value.code or 0)


def find_bids_errors(root: Path) -> list[dict]:
    """Return what the BIDS validator calls an error."""
    command = [Path(sys.executable).with_name("bids-validator-deno"), "--json", root]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    issues = json.loads(checked.stdout)["issues"]["issues"]
    return [issue for issue in issues if issue["severity"] == "error"]


@pytest.fixture
def experiment(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`experiment` as a function: arguments in; exit status, stdout and stderr out."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_command(*arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan folder: two subjects, two runs, six images."""
    return write_plan_folder(tmp_path, make_protocol())


@dataclasses.dataclass
class Display:
    """An X server of one test."""

    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = dataclasses.field(default_factory=list)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """Start `python ARGUMENTS` on this display, every warning an error."""
        command = [sys.executable, "-W", "error", *(str(argument) for argument in arguments)]
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def press(self, *keys: str) -> None:
        """Press keys as another program would."""
        subprocess.run(["xdotool", "key", "--delay", "30", *keys], env=self.environment, check=True)


@pytest.fixture
def display(tmp_path: Path) -> Iterator[Display]:
    """An Xvfb of the test's own, on a free display number, with a HOME of its own."""
    missing = [program for program in NEEDED_PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt-get install xvfb xauth xdotool")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "800x600x24", "+extension", "GLX", "+render", "-noreset"]
    server = subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    with os.fdopen(reading) as stream:
        number = stream.readline().strip()
    home = tmp_path / "home"
    home.mkdir()
    given = Display({**os.environ, "DISPLAY": f":{number}", "HOME": str(home)})
    try:
        yield given
    finally:
        for process in given.started:
            process.kill()
            process.communicate()
        server.terminate()
        server.wait()
