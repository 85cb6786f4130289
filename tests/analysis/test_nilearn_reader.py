"""What nilearn 0.14.1's reader of BIDS folders does wrong without a word, and this one does not: both on the same folders."""

import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from analysis.confounds import MOTION, read_confounds
from analysis.dataset import CONFOUNDS, find_runs
from analysis.images import read_grid, read_mask
from tests.analysis.bids_folder import SHAPE, write_confounds, write_run

VOLUMES = 30
FMRIPREP = Path("derivatives") / "fmriprep"
OUTLIER = 14
VOXELS = {"1": (0, 0, 0), "2": (1, 2, 0)}


@pytest.fixture
def two_subjects(tmp_path: Path) -> Path:
    """Two subjects of two runs: other masks, repetition times and slice references, one outlying volume a run."""
    for subject, sidecar in (("1", {"RepetitionTime": 2.0, "StartTime": 1.0}), ("2", {"RepetitionTime": 1.0, "StartTime": 0.25})):
        for stem in (f"sub-{subject}_task-t_run-01", f"sub-{subject}_task-t_run-02"):
            write_run(tmp_path, f"sub-{subject}/func", stem, "_space-T1w", dict(sidecar), VOLUMES)
            displacement = np.where(np.arange(VOLUMES) == OUTLIER, 3.0, 0.1)
            more = {
                "framewise_displacement": displacement,
                "std_dvars": 1.0,
                "csf": displacement**2,
                "white_matter": np.arange(VOLUMES) % 7,
            }
            write_confounds(tmp_path / FMRIPREP / f"sub-{subject}" / "func" / f"{stem}_{CONFOUNDS}", VOLUMES, **more)
    for run in find_runs(tmp_path, "t"):
        mask = np.zeros(SHAPE, dtype=np.uint8)
        mask[VOXELS[run.name.subject]] = 1
        assert run.mask is not None
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), run.mask)
    return tmp_path


def ask_nilearn(bids: Path, **options: Any) -> tuple[list[Any], ...]:
    from nilearn.glm.first_level import first_level_from_bids

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return first_level_from_bids(bids, "t", "T1w", derivatives_folder=str(FMRIPREP), img_filters=[("desc", "preproc")], **options)


def test_every_subject_has_its_own_mask(two_subjects: Path) -> None:
    models, *_ = ask_nilearn(two_subjects, mask_img="derivatives", slice_time_ref=0.5)
    assert [np.argwhere(model.mask_img.get_fdata()).tolist() for model in models] == [[[0, 0, 0]], [[0, 0, 0]]]
    for run in find_runs(two_subjects, "t"):
        assert run.mask is not None
        assert np.argwhere(read_mask(run.mask, read_grid(run.bold), run.bold)).tolist() == [list(VOXELS[run.name.subject])]


def test_scrubbed_volumes_leave(two_subjects: Path) -> None:
    *_, confounds = ask_nilearn(
        two_subjects,
        slice_time_ref=0.5,
        confounds_strategy=("motion", "scrub"),
        confounds_motion="basic",
        confounds_scrub=0,
    )
    assert [table[0].shape for table in confounds] == [(VOLUMES, 6)] * 2  # every volume is there, and nothing says which to leave out
    for run in find_runs(two_subjects, "t"):
        kept = read_confounds(run, "scrub", VOLUMES).kept
        assert np.flatnonzero(~kept).tolist() == [OUTLIER]


def test_every_run_has_its_own_times(two_subjects: Path) -> None:
    models, *_ = ask_nilearn(two_subjects)
    assert {(model.t_r, model.slice_time_ref) for model in models} == {(2.0, 0.5)}
    assert [(run.tr_s, run.slice_time_ref) for run in find_runs(two_subjects, "t")] == [(2.0, 0.5)] * 2 + [(1.0, 0.25)] * 2


def test_a_volume_stands_for_its_middle_where_nothing_is_said(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "_space-T1w", {"RepetitionTime": 2.0})
    (model,), *_ = ask_nilearn(tmp_path)
    assert model.slice_time_ref == 0.0
    assert find_runs(tmp_path, "t")[0].slice_time_ref == 0.5


def test_confounds_are_those_that_were_asked_for(two_subjects: Path) -> None:
    *_, confounds = ask_nilearn(two_subjects, slice_time_ref=0.5)
    assert {"framewise_displacement", "std_dvars", "csf"} < set(confounds[0][0])
    run = find_runs(two_subjects, "t")[0]
    assert list(read_confounds(run, "none", VOLUMES).table) == []
    assert set(read_confounds(run, "motion6", VOLUMES).table) == set(MOTION)
