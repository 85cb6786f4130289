"""What matching afterwards costs is measured on the images before and after, and told; nothing is lost where photometry was held."""

import numpy as np
import pytest

from protocols.stimulus_set import StimulusSet
from stimgen.jobs import Workplace
from stimgen.judge import rate_goal
from stimgen.loss import measure_loss
from stimgen.make import Job, Made, Studio
from stimgen.natural_controls import predict_arrays
from stimgen.order import plan_order
from tests.stimgen.conftest import make_order

TARGETS = """
count = 1
size_px = 64
targets = [{ roi = "V3" }]
controls = []
ascent = { steps = 8, learning_rate = 0.5 }
photometry = { matching = "afterwards" }
"""


def test_drives_are_those_before_and_after(natural, makers, tmp_path):
    order = make_order({"roi": "V3"}, count=2)
    studio = Studio(order, makers, [], natural, Workplace(tmp_path / "work"))
    (wanted,) = plan_order(order, makers)
    before, after = (list(np.random.default_rng(seed).uniform(0, 1, (2, 32, 32, 3)).astype(np.float32)) for seed in (1, 2))
    made = [Made(Job(wanted, index, None, None), after[index], 0, False, before[index]) for index in range(2)]
    lost = measure_loss(studio, [], made)["V3"]
    for time, images in (("before", before), ("after", after)):
        drive = rate_goal(wanted.goal, makers, [predict_arrays(maker, images) for maker in makers]).mean()
        assert lost[f"predicted_{time}"] == pytest.approx(drive, abs=1e-3)
    assert set(lost) == {"predicted_before", "predicted_after"}  # no judge
    held = [Made(one.job, one.image, 0, False) for one in made]
    assert measure_loss(studio, [], held) == {}


def test_the_command_tells_what_matching_afterwards_cost(lab, tmp_path):
    (tmp_path / "targets.toml").write_text(TARGETS)
    finished = lab.generate(tmp_path / "set", "--judge", lab.judge, targets=tmp_path / "targets.toml")
    assert finished.status == 0, finished.err
    told = StimulusSet.read(tmp_path / "set").description["photometry"]
    drive = told["drive_before_matching"]["V3"]
    line = f"predicted {drive['predicted_before']:.2f} -> {drive['predicted_after']:.2f}, judged {drive['judged_before']:.2f}"
    assert f"target V3: drive lost by matching afterwards: {line}" in finished.out
    assert told["matching"] == "afterwards"
