"""An image made again is the saved one; what has changed since is told, and what cannot be found is refused."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from protocols.provenance import FILE_NAME, Provenance
from protocols.stimulus_set import StimulusSet
from stimgen.reproduce import list_other_versions
from tests.stimgen.conftest import run_stimgen

TARGETS = """
count = 2
size_px = 64
controls = ["natural", "rival", "scrambled", "shuffled", "fooling", "texture", "sham"]
targets = [{ roi = "V3" }, { roi = "LO" }]
ascent = { steps = 6, learning_rate = 0.5, batch = 3 }
"""


@pytest.fixture(scope="module")
def made(lab, tmp_path_factory):
    """A set with controls of all ways of making."""
    root = tmp_path_factory.mktemp("reproduce")
    (root / "targets.toml").write_text(TARGETS)
    finished = lab.generate(root / "set", "--judge", lab.judge, targets=root / "targets.toml")
    assert finished.status == 0, finished.err
    return root / "set"


def read_pixels(path):
    return np.asarray(Image.open(path))


def test_an_image_of_every_kind_is_made_again_to_the_last_bit(made, tmp_path):
    kinds = ["target", "natural", "rival", "scrambled", "shuffled", "fooling", "texture", "sham"]
    ids = [f"{kind}LO02" for kind in kinds]
    finished = run_stimgen("reproduce", made, *ids, "--out", tmp_path / "again")
    assert finished.status == 0, finished.err
    assert "other versions" not in finished.out
    for name in ids:
        file = f"stim-{name}_image.png"
        np.testing.assert_array_equal(read_pixels(tmp_path / "again" / file), read_pixels(made / file))
    assert len(list((tmp_path / "again").iterdir())) == len(ids)


def test_a_changed_pixel_shows_as_a_difference(made, tmp_path):
    copy = tmp_path / "sets" / "set"
    shutil.copytree(made, copy)
    path = copy / "stim-targetLO01_image.png"
    pixels = read_pixels(path).copy()
    pixels[3, 3, 0] = (int(pixels[3, 3, 0]) + 100) % 256
    Image.fromarray(pixels).save(path)
    inputs = [word for option, folder in _find_inputs(made) for word in (option, folder)]
    finished = run_stimgen("reproduce", copy, "targetLO01", *inputs)
    assert finished.status == 1
    assert "not reproduced within one level of 255: targetLO01 (" in finished.err
    assert (tmp_path / "sets" / "set-reproduced" / "stim-targetLO01_image.png").is_file()


def _find_inputs(made):
    sources = Provenance.read(made).config["sources"]
    return [("--model", made / sources["models"][0]), ("--judge", made / sources["judges"][0]), ("--pool", made / sources["pool"])]


def test_inputs_that_moved_are_named_with_the_option_that_gives_them(made, tmp_path):
    shutil.copytree(made, tmp_path / "a" / "b" / "set")
    finished = run_stimgen("reproduce", tmp_path / "a" / "b" / "set", "targetLO01")
    assert finished.status == 1
    assert "is not there any more; give its place with --pool" in finished.err


def test_another_model_is_refused(made, lab):
    finished = run_stimgen("reproduce", made, "targetLO01", "--model", lab.judge)
    assert finished.status == 1
    assert "is not the model 1 lite1 that the set was made from (its sha256 differs); give its place with --model" in finished.err


def test_an_image_that_is_not_in_the_set_is_refused(made):
    finished = run_stimgen("reproduce", made, "targetXX01")
    assert (finished.status, "has no stim_id 'targetXX01'" in finished.err) == (1, True)


def test_other_versions_are_told(made):
    provenance = Provenance.read(made)
    assert list_other_versions(provenance) == []
    older = Provenance(provenance.command, packages={**provenance.packages, "torch": "2.0.0"}, code_version="0.0.1")
    told = list_other_versions(older)
    assert told[0].startswith("voxdrive 0.0.1 (here ")
    assert told[1:] == [f"torch 2.0.0 (here {provenance.packages['torch']})"]


def test_a_set_of_an_earlier_version_is_refused(made, tmp_path):
    shutil.copytree(made, tmp_path / "set")
    path = tmp_path / "set" / FILE_NAME
    values = json.loads(path.read_text())
    del values["config"]["sources"]
    path.write_text(json.dumps(values))
    finished = run_stimgen("reproduce", tmp_path / "set", "targetLO01")
    assert (finished.status, "was made by an earlier version" in finished.err) == (1, True)


def test_the_provenance_tells_every_seed_and_no_absolute_path(made):
    provenance = Provenance.read(made)
    table = StimulusSet.read(made).table
    targets = table[table["condition"] == "target"]
    assert provenance.seeds == {"seed": 1, **dict(zip(targets["stim_id"], targets["seed"].astype(float).astype(int), strict=True))}
    assert all(not str(path).startswith("/") for path in provenance.config["sources"]["models"])
