"""Networks that load once, one laboratory (pool, planted brain, two models, a set) for all tests of the verbs, and a way to call them."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from stimgen.__main__ import main
from stimgen.backbone import load_backbone

PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "photos"
CORTEX = """
voxels_per_roi = 4
noise_sd = 0.3
rois = [
    { name = "V3", layer = "_blocks.1", rf_sd = 0.2, peak_mm = [28, -84, 16] },
    { name = "LO", layer = "_blocks.3", rf_sd = 0.3, peak_mm = [44, -76, 0] },
]
"""
FIT = """
backbone = "efficientnet_{network}"
layers = ["_blocks.0", "_blocks.2"]
budget = 400
folds = 2
log10_penalties = [-2.0, 2.0, 5]
"""
TARGETS = """
count = 1
size_px = 64
targets = [{ roi = "V3" }, { roi = "LO" }, { contrast = "V3 - LO", name = "V3overLO" }]
ascent = { steps = 6, learning_rate = 1.0 }
"""


@dataclass(frozen=True)
class Finished:
    """What came of a command: exit status, and what it printed."""

    status: int
    out: str
    err: str


def run_stimgen(*arguments):
    """Run the command line in this process, as the console script does."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["stimgen", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = before
    return Finished(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """Keep computed features out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("VOXDRIVE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def lite0():
    """EfficientNet-Lite0 with its ImageNet weights."""
    return load_backbone("efficientnet_lite0")


@pytest.fixture(scope="session")
def photos():
    """The folder of 250 photographs with the class in the name."""
    if not PHOTOS.is_dir():
        pytest.skip(f"{PHOTOS}: the measured data are not here")
    return PHOTOS


@dataclass(frozen=True)
class Lab:
    """Folders of one end-to-end run. Tests read them; whoever changes a file copies the folder first."""

    root: Path
    printed: dict[str, str]

    @property
    def pool(self):
        return self.root / "pool"

    @property
    def responses(self):
        return [self.root / "responses" / "sub-01", self.root / "responses" / "sub-02"]

    @property
    def maker(self):
        return self.root / "lite0"

    @property
    def judge(self):
        return self.root / "lite1"

    @property
    def targets(self):
        return self.root / "targets.toml"

    @property
    def stimuli(self):
        return self.root / "stimuli"

    def generate(self, out, *more, targets=None):
        """Run `stimgen generate` with this lab's model and pool."""
        models = ("--model", self.maker, "--pool", self.pool)
        return run_stimgen("generate", targets or self.targets, *models, "--out", out, *more)


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """Everything from photographs to a stimulus set, by the commands a lab would type."""
    root = tmp_path_factory.mktemp("lab")
    for name, text in (("cortex", CORTEX), ("lite0", FIT), ("lite1", FIT), ("targets", TARGETS)):
        (root / f"{name}.toml").write_text(text.replace("{network}", name))
    made = Lab(root, {})
    shown = [word for folder in made.responses for word in ("--responses", folder)]
    steps = {
        "pool": ("pool", "--count", 24, "--size-px", 64, "--out", made.pool),
        "cortex": (
            "cortex",
            made.pool,
            "--config",
            root / "cortex.toml",
            "--subject",
            "01",
            "--subject",
            "02",
            "--out",
            root / "responses",
        ),
        "lite0": ("fit", root / "lite0.toml", *shown, "--out", made.maker),
        "lite1": ("fit", root / "lite1.toml", *shown, "--out", made.judge),
    }
    for name, arguments in steps.items():
        finished = run_stimgen(*arguments)
        assert finished.status == 0, finished.err
        made.printed[name] = finished.out
    finished = made.generate(made.stimuli, "--judge", made.judge)
    assert finished.status == 0, finished.err
    made.printed["generate"] = finished.out
    return made
