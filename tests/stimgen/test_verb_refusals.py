"""Bad input at the command line: status 1, one message that says what to do, no traceback, nothing lost."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protocols.provenance import Provenance, hash_file
from tests.stimgen.conftest import run_stimgen

ROOT = Path(__file__).resolve().parents[2]


def refused(finished):
    """Return the message of a refusal, which comes after any progress bars, after checking that it is one."""
    assert finished.status == 1, finished.out + finished.err
    assert "Traceback" not in finished.err
    _, error, message = finished.err.rpartition("error: ")
    assert error
    return message


@pytest.fixture
def stimuli(lab, tmp_path):
    """A copy of the lab's set that a test may break."""
    return Path(shutil.copytree(lab.stimuli, tmp_path / "set"))


def test_a_refusal_of_the_real_program_has_status_1_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "stimgen", "pool", "--images", str(tmp_path / "nowhere"), "--out", str(tmp_path / "pool")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == f"error: {tmp_path}/nowhere: no such folder\n"


def test_a_changed_pixel_is_found(stimuli):
    path = stimuli / "stim-targetLO01_image.png"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[3, 4, 1] ^= 1
    Image.fromarray(pixels).save(path)
    assert "image 'stim-targetLO01_image.png' does not match its sha256; copy the set again" in refused(run_stimgen("check", stimuli))


def test_a_missing_and_a_truncated_image_are_found(stimuli):
    path = stimuli / "stim-naturalV301_image.png"
    path.write_bytes(path.read_bytes()[:200])
    assert "'stim-naturalV301_image.png' cannot be decoded" in refused(run_stimgen("check", stimuli))
    path.unlink()
    assert "'stim-naturalV301_image.png' is missing; copy the set again" in refused(run_stimgen("check", stimuli))


def test_a_broken_rule_is_reported_after_the_table(stimuli):
    table = (stimuli / "stimuli.tsv").read_text().splitlines()
    place = table[0].split("\t").index("mean_luminance")
    cells = table[1].split("\t")
    cells[place] = "0.9"
    (stimuli / "stimuli.tsv").write_text("\n".join([table[0], "\t".join(cells), *table[2:]]) + "\n")
    provenance = Provenance.read(stimuli)
    outputs = {**provenance.outputs, "stimuli.tsv": hash_file(stimuli / "stimuli.tsv")}
    dataclasses.replace(provenance, outputs=outputs).write(stimuli)  # as if the command had written it so
    finished = run_stimgen("check", stimuli)
    assert "1 rule(s) broken\nrow 2: mean_luminance is" in refused(finished)
    assert "means by condition" in finished.out


def test_a_set_without_provenance_is_incomplete(stimuli):
    (stimuli / "provenance.json").unlink()
    assert "has no provenance.json, so it is incomplete" in refused(run_stimgen("check", stimuli))


def test_no_verb_writes_into_a_folder_that_holds_something(lab, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    words = {
        "pool": ("pool", "--count", 3),
        "cortex": ("cortex", lab.pool),
        "fit": ("fit", lab.root / "lite0.toml", "--responses", lab.responses[0]),
        "generate": ("generate", lab.targets, "--model", lab.maker, "--pool", lab.pool),
    }
    for command in words.values():
        assert f"{tmp_path}: is not empty; name another output folder" in refused(run_stimgen(*command, "--out", tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    predict = ("predict", lab.maker, lab.pool, "--out")
    assert "mine.txt: exists already; name another file, or give --overwrite" in refused(run_stimgen(*predict, tmp_path / "mine.txt"))
    assert "is a folder; name the TSV file itself" in refused(run_stimgen(*predict, tmp_path, "--overwrite"))
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'targets = [{ roi = "FFA" }]',
            "target 'FFA': 'FFA': neither an ROI of the model (V3, LO) nor a voxel; its voxels are named like '01_V3001'",
        ),
        ('targets = [{ roi = "V3" }]\ncuont = 3', "unknown key 'cuont'; did you mean 'count'"),
        ('targets = [{ roi = "V3" }]\n[ascent]\nlearning_rate = nan', "key 'ascent.learning_rate' is nan"),
        ('targets = [{ roi = "V3" }\n', "cannot be parsed"),
        ('targets = [{ roi = "V3" }]\ncount = 25\nsize_px = 64', "the natural pool has 24 images, but 1 targets need 25"),
        ('targets = [{ voxel = "01_V3099", name = "v" }]', "target 'v': '01_V3099': neither an ROI of the model (V3, LO) nor a voxel"),
        ('targets = [{ roi = "V3" }]\n[image]\nparameterization = "furier"', "image: parameterization 'furier' is not known"),
        ('targets = [{ quadrants = ["V3", "LO"] }, { up = ["V3", "LO"] }]', "targets: two are named 'V3upLOup'; give each its own 'name'"),
        ('targets = [{ roi = "V3", dose = 100 }]', "key 'targets[0].dose' is 100"),
    ],
)
def test_targets_that_cannot_be_made_are_refused(lab, text, message, tmp_path):
    (tmp_path / "targets.toml").write_text(text)
    assert message in refused(lab.generate(tmp_path / "set", targets=tmp_path / "targets.toml"))
    assert [path.name for path in tmp_path.iterdir()] == ["targets.toml"]


def test_the_maker_cannot_be_its_own_judge(lab, tmp_path):
    message = "judge on efficientnet_lite0: the same network made the images; fit the judge on another backbone"
    assert message in refused(lab.generate(tmp_path / "set", "--judge", lab.maker))
    assert not (tmp_path / "set").exists()


def test_a_validating_model_may_not_judge(lab, tmp_path):
    message = "judge on efficientnet_lite1: the same network made the images; fit the judge on another backbone"
    assert message in refused(lab.generate(tmp_path / "set", "--judge", lab.judge, "--validate", lab.judge))
    assert list(tmp_path.iterdir()) == []


def test_a_gate_that_refuses_ends_without_a_set(lab, tmp_path):
    targets = tmp_path / "targets.toml"
    targets.write_text(lab.targets.read_text() + '[gate]\naction = "refuse"\nmost_high_frequency = 0\n')
    message = refused(lab.generate(tmp_path / "set", "--judge", lab.judge, targets=targets))
    told = "3 images do not pass the gate (V3 1, LO 1, V3overLO 1); make them with more models or steps, or set gate.action to flag"
    assert message.startswith(f"{told}; what was written so far stays in {tmp_path}/.set.incomplete-")
    assert message.count("\n") == 1
    assert not (tmp_path / "set").exists()
    targets.write_text(targets.read_text().replace("refuse", "flag"))
    finished = lab.generate(tmp_path / "set", "--judge", lab.judge, targets=targets)
    assert finished.status == 0
    assert "3 images do not pass the gate (V3 1, LO 1, V3overLO 1): column 'gate' marks them" in finished.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('backbone = "lite0"', "backbone 'lite0' is not known; the nearest names are efficientnet_lite0"),
        ('layers = ["_blocks.77"]', "layer '_blocks.77': efficientnet_lite0 has no such layer; did you mean"),
        ('layers = ["_blocks"]', "layer '_blocks': efficientnet_lite0 does not run it"),
        ('layers = ["_blocks.99*"]', "layers '_blocks.99*': matches no layer of efficientnet_lite0 that runs and gives maps"),
        ("folds = 1", "key 'folds' is 1"),
        ('weights = "nowhere.pth"', "weights nowhere.pth: no such file"),
        ("tset_fraction = 0.5", "unknown key 'tset_fraction'; did you mean 'test_fraction'"),
    ],
)
def test_a_fit_that_cannot_be_done_is_refused(lab, change, message, tmp_path):
    key = change.partition(" ")[0]
    lines = [line for line in (lab.root / "lite0.toml").read_text().splitlines() if not line.startswith(f"{key} ")]
    (tmp_path / "fit.toml").write_text("\n".join([*lines, change]))
    finished = run_stimgen("fit", tmp_path / "fit.toml", "--responses", lab.responses[0], "--out", tmp_path / "model")
    assert message in refused(finished)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.toml"]


def test_responses_that_cannot_be_used_are_refused(lab, tmp_path):
    fit = ("fit", lab.root / "lite0.toml", "--out", tmp_path / "model", "--responses")
    assert "subject '01': two responses folders have this name" in refused(
        run_stimgen(*fit, lab.responses[0], "--responses", lab.responses[0])
    )
    broken = shutil.copytree(lab.responses[0], tmp_path / "sub-05")
    image = next((broken / "images").glob("*.png"))
    image.write_bytes(image.read_bytes()[:100])
    assert f"{image}: does not match its sha256 in provenance.json; copy the folder again" in refused(run_stimgen(*fit, broken))
    Provenance("somebody's own program").write(broken)  # without hashes
    assert f"{image}: cannot be decoded as an image" in refused(run_stimgen(*fit, broken))
    image.unlink()
    assert f"image '{image.name}' is missing; copy the folder again" in refused(run_stimgen(*fit, broken))
    (broken / "provenance.json").unlink()
    assert "has no provenance.json, so it is incomplete" in refused(run_stimgen(*fit, broken))


def test_a_model_of_other_weights_is_refused_at_predict(lab, tmp_path):
    model = Path(shutil.copytree(lab.maker, tmp_path / "model"))
    card = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps({**card, "weights_sha256": "0" * 64}))
    finished = run_stimgen("predict", model, lab.pool, "--out", tmp_path / "p.tsv")
    assert "fitted on weights 000000000000..., those at hand are" in refused(finished)


def test_images_that_are_not_there_are_refused_at_predict(lab, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_text("hello")
    for name, message in (("nowhere", "no such file or folder"), ("empty", "holds no images"), ("broken.png", "cannot be decoded")):
        finished = run_stimgen("predict", lab.maker, tmp_path / name, "--out", tmp_path / "p.tsv")
        assert message in refused(finished)


def test_a_cortex_needs_two_reference_images_and_known_layers(lab, tmp_path):
    one = tmp_path / "one"
    one.mkdir()
    shutil.copyfile(lab.pool / "nat00001.png", one / "a.png")
    assert "z units need at least 2 reference images" in refused(run_stimgen("cortex", one, "--out", tmp_path / "r"))
    config = tmp_path / "cortex.toml"
    config.write_text('rois = [{ name = "A", layer = "_blocks.99", rf_sd = 0.1, peak_mm = [4, 0, 0] }]')
    finished = run_stimgen("cortex", lab.pool, "--config", config, "--out", tmp_path / "r")
    assert "layer '_blocks.99': efficientnet_lite2 has no such layer" in refused(finished)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_may_not_be_written_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    assert "permission denied" in refused(run_stimgen("pool", "--count", 2, "--out", tmp_path / "pool"))
