"""A sweep on a cluster: the images of one process, and the same where a worker or the scheduler is killed on the way."""

import subprocess
import sys
import time

import pytest

from tests.protocols.test_cluster_processes import start_cluster, start_dask
from tests.stimgen.conftest import run_stimgen
from tests.stimgen.small_sweep import find_shards, write_lab

pytestmark = pytest.mark.slow
SETTINGS = """
size_px = 32
ascent = { steps = 40, batch = 3, depth_share = 1.0, checkpoint_s = 0.05 }
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The words of a command, and what it gives in this process."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "sweep.toml").write_text(SETTINGS)
    pool, maker, judge = write_lab(folder)
    given = {"--model": maker, "--judge": judge, "--pool": pool, "--settings": folder / "sweep.toml", "--cache": folder / "cache"}
    words = ["sweep", *(str(word) for pair in given.items() for word in pair)]
    done = run_stimgen(*words, "--out", folder / "here")
    assert done.status == 0, done.err
    return words, find_shards(folder / "here"), (folder / "here" / "images.tsv").read_bytes()


def begin(words, out, address):
    command = [sys.executable, "-m", "stimgen", *words, "--out", str(out), "--cluster", address]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_the_first_shard(process, work):
    while not list(work.glob("*.zip")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def test_two_workers_make_the_images_of_one_process(lab, tmp_path):
    words, shards, images = lab
    done = run_stimgen(*words, "--out", tmp_path / "out", "--cluster", "local:2")
    assert done.status == 0, done.err
    assert find_shards(tmp_path / "out") == shards
    assert (tmp_path / "out" / "images.tsv").read_bytes() == images


def test_a_killed_worker_loses_nothing_and_doubles_nothing(lab, tmp_path):
    words, shards, images = lab
    with start_cluster(tmp_path) as (address, _, worker):
        process = begin(words, tmp_path / "out", address)
        wait_for_the_first_shard(process, tmp_path / ".out.work")
        worker.kill()
        with start_dask("worker", address, "--nthreads", 1, "--no-dashboard", "--no-nanny"):
            out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "14 images of 14 targets" in out
    assert find_shards(tmp_path / "out") == shards
    assert (tmp_path / "out" / "images.tsv").read_bytes() == images


def test_a_sweep_whose_scheduler_went_away_goes_on_with_another(lab, tmp_path):
    words, shards, images = lab
    with start_cluster(tmp_path) as (address, scheduler, _):
        process = begin(words, tmp_path / "out", address)
        wait_for_the_first_shard(process, tmp_path / ".out.work")
        scheduler.kill()
        _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "scheduler does not answer any more" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / ".out.work").glob("*.tsv"))
    (tmp_path / "again").mkdir()
    with start_cluster(tmp_path / "again") as (address, _, _):
        process = begin(words, tmp_path / "out", address)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert find_shards(tmp_path / "out") == shards
    assert (tmp_path / "out" / "images.tsv").read_bytes() == images
