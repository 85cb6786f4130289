"""The verb `glm` with its runs fitted by other processes: the same files, also where a worker is killed."""

from pathlib import Path

import pytest

from analysis import run_fits
from protocols.errors import InputError
from protocols.provenance import Provenance
from tests.analysis.program import run_analysis
from tests.analysis.small_study import TASK, RunOf, write_volumes_of

OPTIONS = ("--task", TASK, "--contrast", "a - b")


@pytest.fixture(scope="module")
def bids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster") / "bids"
    for seed, subject in enumerate(("01", "01", "02", "02")):
        write_volumes_of(folder, RunOf(f"sub-{subject}_task-{TASK}_run-{1 + seed % 2:02d}"), seed)
    return folder


@pytest.mark.slow
def test_other_processes_write_the_same_files(bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bids.parent)
    run_analysis("glm", "bids", *OPTIONS, "--out", tmp_path / "here")
    run_analysis("glm", "bids", *OPTIONS, "--cluster", "local:2", "--cache", tmp_path / "cache", "--out", tmp_path / "there")
    here, there = (Provenance.read(tmp_path / name) for name in ("here", "there"))
    assert len(here.outputs) > 30
    assert here.outputs == there.outputs
    assert (here.inputs, list(here.config)) == (there.inputs, list(there.config))


def test_a_cluster_that_is_none_is_refused_before_any_work(bids: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is neither local:N"):
        run_analysis("glm", bids, *OPTIONS, "--cluster", "2", "--out", tmp_path / "glm")
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_another_computer_kept_elsewhere_is_told(bids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_fits.RunStore, "keep", lambda *_: None)
    with pytest.raises(
        InputError, match=r"\.glm\.work/.*: sub-01_.*run-01.* was fitted, but its result is not here; all computers must share"
    ):
        run_analysis("glm", bids, *OPTIONS, "--out", tmp_path / "glm")
    assert not (tmp_path / "glm").exists()
