"""Measured data: the figures that a correct first level finds in them."""

import re
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from tests.analysis.program import run_analysis

pytestmark = pytest.mark.realdata


def find_z(bids: Path, task: str, contrast: str, out: Path) -> np.ndarray:
    run_analysis("glm", bids, "--task", task, "--contrast", contrast, "--confounds", "none", "--out", out)
    (path,) = out.glob("sub-*/func/*_stat-z_statmap.nii.gz")
    return nibabel.load(path).get_fdata()


def test_haxby_houses_against_faces(measured: Path, tmp_path: Path) -> None:
    z = find_z(measured / "bids_haxby", "objectviewing", "house - face", tmp_path / "out")
    assert z.max() == pytest.approx(15.82, abs=0.05)
    assert z.min() == pytest.approx(-6.09, abs=0.05)
    assert (z > 3.1).sum() == 90


def test_haxby_falls_when_onsets_are_shifted(measured: Path, tmp_path: Path) -> None:
    bids = tmp_path / "bids"
    shutil.copytree(measured / "bids_haxby", bids, ignore=shutil.ignore_patterns("*_events.tsv"))
    for path in (measured / "bids_haxby").glob("sub-1/func/*_events.tsv"):
        events = pd.read_csv(path, sep="\t")
        events["onset"] += 3
        target = bids / "sub-1" / "func" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.parent.chmod(0o755)
        events.to_csv(target, sep="\t", index=False)
    assert find_z(bids, "objectviewing", "house - face", tmp_path / "out").max() == pytest.approx(9.5, abs=0.3)


def test_v1_figures(measured: Path, tmp_path: Path) -> None:
    z = find_z(measured / "bids_v1figures", "figures", "large_frame - small_frame", tmp_path / "out")
    assert z.max() == pytest.approx(17.59, abs=0.05)
    assert z.min() == pytest.approx(-13.16, abs=0.05)


def test_the_printed_table_says_the_same(measured: Path, tmp_path: Path) -> None:
    options = ("--task", "figures", "--contrast", "large_frame - small_frame", "--confounds", "none", "--out", tmp_path / "out")
    printed = run_analysis("glm", measured / "bids_v1figures", *options)
    assert re.search(r"large_frame - small_frame.*17\.(58|59).*-13\.16.*233", printed)
