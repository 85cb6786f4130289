"""`stimgen sweep` as it is typed: what it prints and writes, what it refuses, and that a killed one goes on."""

import signal
import subprocess
import sys
import time

import pytest

from protocols.config import config_values, read_config
from protocols.provenance import Provenance
from stimgen.optimize import Ascent
from stimgen.sweep_settings import ASCENT, SweepSettings, resolve_paths
from stimgen.sweep_store import SweepStore
from tests.stimgen.conftest import run_stimgen
from tests.stimgen.small_sweep import find_shards, write_lab

SETTINGS = """
size_px = 32
ascent = { steps = 4, batch = 3, depth_share = 1.0, checkpoint_s = 0.01 }
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "sweep.toml").write_text(SETTINGS)
    return folder, write_lab(folder)


def list_words(lab, out, *more):
    folder, (pool, maker, judge) = lab
    given = {"--model": maker, "--judge": judge, "--pool": pool, "--settings": folder / "sweep.toml", "--out": out}
    return ["sweep", *(str(word) for pair in given.items() for word in pair), *map(str, more)]


def sweep(lab, out, *more):
    return run_stimgen(*list_words(lab, out, *more))


def test_a_sweep_is_written_whole(lab, tmp_path):
    done = sweep(lab, tmp_path / "out", "--max-voxels", 5, "--subject", "01", "--images", 2)
    assert done.status == 0, done.err
    assert f"wrote {tmp_path / 'out'}: 10 images of 5 targets" in done.out
    store = SweepStore.read(tmp_path / "out")
    assert list(store.targets["roi"]) == ["V3", "LO", "LO", "EBA", "EBA"]  # ROIs take turns
    assert store.images["judged"].notna().all()
    provenance = Provenance.read(tmp_path / "out")
    provenance.verify_outputs(tmp_path / "out")
    assert set(provenance.inputs) == {"model", "judge 1 judge", "pool", "settings"}
    assert not (tmp_path / ".out.work").exists()


def test_the_same_command_gives_the_same_shards(lab, tmp_path):
    for name in ("one", "other"):
        assert sweep(lab, tmp_path / name, "--roi", "LO").status == 0
    assert find_shards(tmp_path / "one") == find_shards(tmp_path / "other")


def test_what_the_settings_leave_out_is_the_sweeps_own_default(tmp_path):
    path = tmp_path / "sweep.toml"
    path.write_text("[ascent]\nsteps = 7\n")
    given = read_config(path, SweepSettings)
    assert given.ascent == Ascent(**{**ASCENT, "steps": 7})
    path.write_text("[image]\nphotographs = 'photos'\n")
    assert resolve_paths(read_config(path, SweepSettings)).image.photographs.is_absolute()
    assert config_values(SweepSettings())["ascent"]["depth_share"] < 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--min-r", 0.9), "no voxel has a cross-validated r of 0.9 or more; the best has 0.700; give a lower --min-r"),
        (("--roi", "FFA"), "--roi 'FFA': not in the model; it has V3, LO, EBA"),
        (("--subject", "07"), "--subject '07': not in the model; it has 01, 02"),
        (("--cluster", "many"), "--cluster 'many'"),
        (("--device", "tpu"), "device 'tpu' is not known; choose auto, cpu or cuda"),
    ],
)
def test_what_cannot_be_done_is_one_message(lab, tmp_path, more, message):
    refused = sweep(lab, tmp_path / "out", *more)
    assert refused.status == 1
    assert message in refused.err
    assert not (tmp_path / "out").exists()


def test_a_judge_on_the_same_network_is_refused(lab, tmp_path):
    _, (pool, maker, _) = lab
    refused = run_stimgen("sweep", "--model", maker, "--judge", maker, "--pool", pool, "--out", tmp_path / "out")
    assert refused.status == 1
    assert "the same network made the images" in refused.err


def test_a_folder_with_something_in_it_is_refused(lab, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    refused = sweep(lab, tmp_path)
    assert refused.status == 1
    assert "is not empty" in refused.err
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_unknown_setting_is_refused(lab, tmp_path):
    (tmp_path / "typo.toml").write_text("ascent = { step = 3 }")
    refused = sweep(lab, tmp_path / "out", "--settings", tmp_path / "typo.toml")
    assert refused.status == 1
    assert "unknown key 'ascent.step'; did you mean 'steps'?" in refused.err


@pytest.mark.slow
def test_a_killed_sweep_goes_on_to_the_same_bytes(lab, tmp_path):
    assert sweep(lab, tmp_path / "whole").status == 0
    words = [sys.executable, "-m", "stimgen", *list_words(lab, tmp_path / "killed")]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not list((tmp_path / ".killed.work").glob("*.zip")):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed").exists()
    assert sweep(lab, tmp_path / "killed").status == 0
    assert find_shards(tmp_path / "killed") == find_shards(tmp_path / "whole")
    assert not (tmp_path / ".killed.work").exists()
