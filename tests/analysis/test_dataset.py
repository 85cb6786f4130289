"""The BIDS index: every layout that is legal is found, and everything missing is named at once."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from analysis.confounds import MOTION, read_confounds
from analysis.dataset import BOLD, CONFOUNDS, MASK, find_runs, read_events, refuse_other_set
from analysis.images import Grid, read_mask
from protocols.errors import InputError

VOLUMES = 12


def write_run(bids: Path, folder: str, stem: str, space: str = "", sidecar: dict[str, float] | None = None) -> None:
    """Write one run's files; `space` with its leading underscore."""
    derivative, raw = bids / "derivatives" / "fmriprep" / folder, bids / folder
    for place in (derivative, raw):
        place.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.zeros((2, 3, 1, VOLUMES), dtype=np.int16), np.eye(4))
    image.header.set_xyzt_units("mm", "msec")
    image.header.set_zooms((1, 1, 1, 1500))
    nibabel.save(image, derivative / f"{stem}{space}_{BOLD}")
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 1), dtype=np.uint8), np.eye(4)), derivative / f"{stem}{space}_{MASK}")
    (derivative / f"{stem}{space}_{BOLD.replace('.nii.gz', '.json')}").write_text(json.dumps(sidecar or {}))
    pd.DataFrame(np.ones((VOLUMES, 6)), columns=list(MOTION)).to_csv(derivative / f"{stem}_{CONFOUNDS}", sep="\t", index=False)
    (raw / f"{stem}_events.tsv").write_text("onset\tduration\ttrial_type\n1.5\t2\tface\n")


def test_finds_runs_with_and_without_session_and_space(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-S2/func", "sub-S2_task-t_run-01")
    write_run(tmp_path, "sub-S2/func", "sub-S2_task-t_run-02", sidecar={"RepetitionTime": 2.0, "StartTime": 0.5})
    write_run(tmp_path, "sub-1/ses-a/func", "sub-1_ses-a_task-t")
    runs = find_runs(tmp_path, "t")
    assert [(run.name.subject, run.name.session, run.name.run) for run in runs] == [("1", "a", 1), ("S2", None, 1), ("S2", None, 2)]
    assert [(run.tr_s, run.slice_time_ref) for run in runs] == [(1.5, 0.5), (1.5, 0.5), (2.0, 0.25)]


def test_one_space_is_taken_and_several_need_a_choice(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "_space-MNI")
    assert find_runs(tmp_path, "t")[0].stem == "sub-1_task-t_run-01_space-MNI"
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "_space-T1w")
    with pytest.raises(InputError, match=r"several spaces \(MNI, T1w\); choose one with --space"):
        find_runs(tmp_path, "t")
    assert find_runs(tmp_path, "t", "T1w")[0].space == "T1w"
    with pytest.raises(InputError, match=r"in space 'fsaverage'; spaces there: MNI, T1w"):
        find_runs(tmp_path, "t", "fsaverage")


def test_everything_missing_is_named_at_once(tmp_path: Path) -> None:
    for run in ("01", "02", "03"):
        write_run(tmp_path, "sub-1/func", f"sub-1_task-t_run-{run}")
    func = tmp_path / "derivatives" / "fmriprep" / "sub-1" / "func"
    (tmp_path / "sub-1" / "func" / "sub-1_task-t_run-01_events.tsv").unlink()
    (func / f"sub-1_task-t_run-02_{BOLD}").unlink()
    with pytest.raises(
        InputError, match=r"(?s)incomplete; missing:.*run-01_events.tsv.*preprocessed BOLD of sub-1_task-t_run-02_events.tsv"
    ):
        find_runs(tmp_path, "t")


def test_missing_masks_and_confounds_are_named(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    func = tmp_path / "derivatives" / "fmriprep" / "sub-1" / "func"
    (func / f"sub-1_task-t_run-01_{CONFOUNDS}").unlink()
    find_runs(tmp_path, "t", needs_confounds=False)
    (func / f"sub-1_task-t_run-01_{MASK}").unlink()
    with pytest.raises(InputError, match=r"(?s)missing files:.*brain_mask.*confounds_timeseries.*or give --confounds none"):
        find_runs(tmp_path, "t")


def test_unknown_task_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no derivatives/fmriprep"):
        find_runs(tmp_path, "t")
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    with pytest.raises(InputError, match="no preprocessed BOLD of task 'u'; tasks there: t"):
        find_runs(tmp_path, "u")


def test_events_in_another_subjects_folder_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    (tmp_path / "sub-1" / "func" / "sub-2_task-t_run-01_events.tsv").write_text("onset\tduration\ttrial_type\n1\t2\tface\n")
    with pytest.raises(InputError, match=r"sub-2_task-t_run-01_events.tsv: is of sub-2/func by its name, but stands elsewhere"):
        find_runs(tmp_path, "t")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "holds no events"),
        ("1\t0\tface\n", r"row 2: event 'face' at 1 s lasts 0 s"),
        ("1\t2\tface\n18.5\t2\thouse\n", r"row 3: event 'house' at 18.5 s is beyond the last volume of .*bold.nii.gz, at 18 s"),
        ("1,5\t2\tface\n", r"row 2: onset is '1,5', expected a number"),
    ],
)
def test_bad_events_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    (run,) = find_runs(tmp_path, "t")
    run.events.write_text("onset\tduration\ttrial_type\n" + rows)
    with pytest.raises(InputError, match=message):
        read_events(run, VOLUMES * run.tr_s)


def test_events_of_another_stimulus_set_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    runs = find_runs(tmp_path, "t")
    refuse_other_set(runs, "abc", tmp_path)
    runs[0].events.with_suffix(".json").write_text(json.dumps({"Plan": {"StimulusSetSha256": "def"}}))
    with pytest.raises(InputError, match="another stimulus set was shown"):
        refuse_other_set(runs, "abc", tmp_path)


def make_confounds(path: Path, **more: object) -> pd.DataFrame:
    table = pd.DataFrame(np.random.default_rng(0).standard_normal((VOLUMES, 6)), columns=list(MOTION)).assign(**more)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return table


def test_motion24_fills_the_first_derivative_and_is_demeaned(tmp_path: Path) -> None:
    table = make_confounds(tmp_path / "c.tsv", framewise_displacement=np.nan, non_steady_state_outlier00=np.eye(VOLUMES)[0])
    chosen = read_confounds(tmp_path / "c.tsv", "motion24", VOLUMES)
    assert chosen.shape == (VOLUMES, 25)
    derivative = table["rot_y"].diff()
    derivative[0] = derivative[1]
    np.testing.assert_allclose(chosen["rot_y_derivative1"], derivative - derivative.mean())
    np.testing.assert_allclose(chosen["rot_y_derivative1_power2"], derivative**2 - (derivative**2).mean())
    assert chosen["non_steady_state_outlier00"].tolist() == [1.0] + [0.0] * (VOLUMES - 1)
    assert read_confounds(tmp_path / "c.tsv", "motion6", VOLUMES).shape == (VOLUMES, 7)
    assert read_confounds(tmp_path / "absent.tsv", "none", VOLUMES).shape == (VOLUMES, 0)


def test_bad_confounds_are_refused(tmp_path: Path) -> None:
    make_confounds(tmp_path / "c.tsv", trans_z=[0.0] * 5 + [np.nan] + [1.0] * (VOLUMES - 6))
    with pytest.raises(InputError, match=r"c.tsv row 7: n/a in a motion parameter"):
        read_confounds(tmp_path / "c.tsv", "motion6", VOLUMES)
    with pytest.raises(InputError, match=r"12 rows, but the BOLD has 13 volumes"):
        read_confounds(tmp_path / "c.tsv", "motion6", VOLUMES + 1)


def test_a_mask_on_another_grid_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 4), dtype=np.uint8), np.diag([2.0, 2, 2, 1])), path)
    assert read_mask(path, Grid((2, 3, 4), np.diag([2.0, 2, 2, 1])), Path("bold.nii.gz")).all()
    with pytest.raises(InputError, match=r"mask.nii.gz: is not on the grid of bold.nii.gz \(the same shape, another affine\)"):
        read_mask(path, Grid((2, 3, 4), np.diag([2.0, 2, 3, 1])), Path("bold.nii.gz"))
    with pytest.raises(InputError, match=r"shape \(2, 3, 4\) against \(2, 3, 5\)"):
        read_mask(path, Grid((2, 3, 5), np.diag([2.0, 2, 2, 1])), Path("bold.nii.gz"))


def test_damaged_and_empty_images_are_refused(tmp_path: Path) -> None:
    grid = Grid((2, 3, 4), np.eye(4))
    (tmp_path / "text.nii.gz").write_bytes(b"not a gzip file")
    with pytest.raises(InputError, match=r"text.nii.gz: not a readable NIfTI file"):
        read_mask(tmp_path / "text.nii.gz", grid, Path("bold.nii.gz"))
    path = tmp_path / "cut.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).uniform(size=(20, 30, 40)), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:-6000])
    with pytest.raises(InputError, match=r"cut.nii.gz: is damaged"):
        read_mask(path, Grid((20, 30, 40), np.eye(4)), Path("bold.nii.gz"))
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4)), np.eye(4)), tmp_path / "empty.nii.gz")
    with pytest.raises(InputError, match=r"empty.nii.gz: is empty"):
        read_mask(tmp_path / "empty.nii.gz", grid, Path("bold.nii.gz"))
