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


def find_z(bids: Path, task: str, contrast: str, out: Path, noise: str = "nilearn-ar1") -> np.ndarray:
    run_analysis("glm", bids, "--task", task, "--contrast", contrast, "--confounds", "none", "--noise", noise, "--out", out)
    (path,) = out.glob("sub-*/func/*_stat-z_statmap.nii.gz")
    return nibabel.load(path).get_fdata()


def test_haxby_houses_against_faces(measured: Path, tmp_path: Path) -> None:
    z = find_z(measured / "bids_haxby", "objectviewing", "house - face", tmp_path / "out")
    assert z.max() == pytest.approx(15.82, abs=0.05)
    assert z.min() == pytest.approx(-6.09, abs=0.05)
    assert (z > 3.1).sum() == 90


def test_haxby_by_our_noise_models_in_the_same_voxels(measured: Path, tmp_path: Path) -> None:
    """Their z is lower, since nilearn's AR(1) finds the noise less correlated than it is; the voxels are the same."""
    bids, contrast = measured / "bids_haxby", "house - face"
    nilearns = find_z(bids, "objectviewing", contrast, tmp_path / "nilearn")
    for noise in ("ar1", "ar1-white"):
        z = find_z(bids, "objectviewing", contrast, tmp_path / noise, noise)
        assert z.argmax() == nilearns.argmax()
        assert np.corrcoef(z[z != 0], nilearns[z != 0])[0, 1] > 0.96
        assert 12 < z.max() < nilearns.max()
        assert (nilearns[z > 3.1] > 3.1).mean() > 0.95


def test_v1_halves_agree(measured: Path, tmp_path: Path) -> None:
    """Split-half: contrasts of runs 1 and 3 against those of runs 2 and 4."""
    find_z(measured / "bids_v1figures", "figures", "large_frame - small_frame", tmp_path / "out")
    paths = sorted((tmp_path / "out").glob("sub-*/**/*_run-*_stat-effect_statmap.nii.gz"))
    effects = [nibabel.load(path).get_fdata() for path in paths]
    inside = np.all([effect != 0 for effect in effects], axis=0)
    odd, even = (np.mean([effects[number][inside] for number in half], axis=0) for half in ((0, 2), (1, 3)))
    assert np.corrcoef(odd, even)[0, 1] == pytest.approx(0.88, abs=0.02)


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
    options += ("--noise", "nilearn-ar1")
    printed = run_analysis("glm", measured / "bids_v1figures", *options)
    assert re.search(r"large_frame - small_frame.*17\.(58|59).*-13\.16.*233", printed)
