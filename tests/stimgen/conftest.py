"""Networks that load once, one laboratory (pool, planted brain, two models, a set) for all tests of the verbs, and a way to call them.

Beside it, for the parts of making a set: a small natural pool, two tiny models as its makers, and an order.
"""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from protocols.config import parse_config
from stimgen.__main__ import main
from stimgen.backbone import load_backbone
from stimgen.judge import make_scorer
from stimgen.order import TargetsFile
from stimgen.pool import NaturalPool
from tests.stimgen.tiny import make_tiny_model

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
ascent = { steps = 12, learning_rate = 1.0 }
"""
WISHES = """
count = 1
size_px = 64
controls = []
targets = [
    { quadrants = ["V3", "LO"], level = 0.5 },
    { roi = "V3", dose = 80, name = "V3dose" },
    { roi = "V3", hold = ["LO"], hold_within = 40, name = "V3held" },
]
ascent = { steps = 4, learning_rate = 0.5, batch = 2 }
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


def make_order(*targets, **settings):
    """Return what a targets file of these targets asks for: small images, few steps, photometry left free."""
    free = {"matching": "none"}
    return parse_config(
        {"targets": targets, "size_px": 32, "ascent": {"steps": 2}, "photometry": free, **settings}, TargetsFile, "targets.toml"
    )


@pytest.fixture
def natural(tmp_path):
    """A pool of 12 images of 4 sources."""
    rng = np.random.default_rng(1)
    folder = tmp_path / "natural"
    folder.mkdir()
    ids = [f"n{index:02d}" for index in range(12)]
    for name in ids:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    sources = [f"photo{index // 3}" for index in range(12)]
    table = pd.DataFrame({"stim_id": ids, "image_file": [f"{name}.png" for name in ids], "source": sources, "license": "CC0"})
    return NaturalPool(folder, table)


@pytest.fixture
def makers(natural):
    """Two tiny models on networks of their own, with their predictions for the pool."""
    return [make_scorer(f"m{seed}", make_tiny_model(seed=seed), natural.image_paths()) for seed in (0, 1)]


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
    def wishes(self):
        """Targets of the other kinds: quadrants, a dose, a hold."""
        return self.root / "wishes.toml"

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
    for name, text in (("cortex", CORTEX), ("lite0", FIT), ("lite1", FIT), ("targets", TARGETS), ("wishes", WISHES)):
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
