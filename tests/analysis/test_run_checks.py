"""Whether runs fit together is found out from headers, for all runs at once."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from analysis.dataset import BOLD, CONFOUNDS, MASK, find_runs
from analysis.run_checks import check_lengths, describe_differences
from protocols.errors import InputError
from tests.analysis.bids_folder import SHAPE, VOLUMES, write_confounds, write_events, write_hemispheres, write_run

FUNC = Path("derivatives") / "fmriprep" / "sub-1" / "func"


def test_runs_may_differ_in_length(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "_space-T1w")
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-02", "_space-T1w", volumes=20)
    assert check_lengths(find_runs(tmp_path, "t")) == {
        "sub-1_task-t_run-01_space-T1w": VOLUMES,
        "sub-1_task-t_run-02_space-T1w": 20,
    }


def test_all_problems_of_all_runs_are_named(tmp_path: Path) -> None:
    stems = [f"sub-1_task-t_run-{run:02d}" for run in range(1, 8)]
    for stem in stems:
        write_run(tmp_path, "sub-1/func", stem, sidecar={"RepetitionTime": 1.5})
    func = tmp_path / FUNC
    write_events(tmp_path, "sub-1/func", stems[0], "1\t2\tface\n99\t2\tface\n")
    write_confounds(func / f"{stems[1]}_{CONFOUNDS}", VOLUMES - 1)
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), np.diag([1.0, 1, 2, 1])), func / f"{stems[2]}_{MASK}")
    (func / f"{stems[3]}_{BOLD}").write_bytes(b"")
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 2, VOLUMES), dtype=np.int16), np.eye(4)), func / f"{stems[4]}_{BOLD}")
    (func / f"{stems[5]}_{MASK}").write_bytes(b"none")
    (func / f"{stems[6]}_{CONFOUNDS}").write_bytes(b"a\tb\n1\n")
    runs = find_runs(tmp_path, "t")
    with pytest.raises(InputError) as refusal:
        check_lengths(runs)
    for message in (
        f"{stems[0]}_events.tsv row 3: event 'face' at 99 s is beyond the last volume",
        f"{stems[1]}_{CONFOUNDS}: 11 rows, but the BOLD has 12 volumes",
        f"{stems[2]}_{MASK}: is not on the grid of {stems[2]}_{BOLD} (the same shape, another affine)",
        f"{stems[3]}_{BOLD}: not a readable NIfTI file",
        f"{stems[4]}_{MASK}: is not on the grid of {stems[4]}_{BOLD} (shape (2, 3, 1) against (2, 3, 2))",
        f"{stems[4]}_{BOLD}: is not on the grid of {stems[0]}_{BOLD} (shape (2, 3, 2) against (2, 3, 1)); runs of a subject must share",
        f"{stems[5]}_{MASK}: not a readable NIfTI file",
        f"{stems[6]}_{CONFOUNDS} row 2: 1 cells, the header has 2",
    ):
        assert message in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 8


def test_subjects_may_differ_in_grid(tmp_path: Path) -> None:
    for subject, size in (("1", 1.0), ("2", 2.0)):
        write_run(tmp_path, f"sub-{subject}/func", f"sub-{subject}_task-t_run-01")
        folder = tmp_path / "derivatives" / "fmriprep" / f"sub-{subject}" / "func"
        affine = np.diag([size, size, size, 1])
        nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), affine), folder / f"sub-{subject}_task-t_run-01_{MASK}")
        nibabel.save(nibabel.Nifti1Image(np.ones((*SHAPE, 4), dtype=np.int16), affine), folder / f"sub-{subject}_task-t_run-01_{BOLD}")
        write_confounds(folder / f"sub-{subject}_task-t_run-01_{CONFOUNDS}", 4)
    assert list(check_lengths(find_runs(tmp_path, "t")).values()) == [4, 4]


def test_hemispheres_fit_together_and_have_the_vertices_of_their_space(tmp_path: Path) -> None:
    write_hemispheres(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "fsnative")
    stem = "sub-1_task-t_run-01_hemi-{}_space-fsnative"
    assert check_lengths(find_runs(tmp_path, "t")) == {stem.format("L"): VOLUMES, stem.format("R"): VOLUMES}
    write_hemispheres(tmp_path / "other", "sub-1/func", "sub-1_task-t_run-01", "fsnative", volumes=9)
    right = FUNC / f"{stem.format('R')}_bold.func.gii"
    (tmp_path / right).write_bytes((tmp_path / "other" / right).read_bytes())
    with pytest.raises(InputError, match=r"hemi-R_space-fsnative_bold.func.gii: 9 volumes, the other hemisphere has 12; copy both"):
        check_lengths(find_runs(tmp_path, "t"))
    write_hemispheres(tmp_path / "five", "sub-1/func", "sub-1_task-t_run-01", "fsaverage5")
    with pytest.raises(InputError, match=r"hemi-L_space-fsaverage5_bold.func.gii: has 10 vertices, fsaverage5 has 10242"):
        check_lengths(find_runs(tmp_path / "five", "t"))


def test_other_times_and_gaps_are_said(tmp_path: Path) -> None:
    for subject, session, run, tr_s in (
        *(("1", "a", run, 2.0) for run in (1, 2, 4)),
        *(("2", "a", run, 2.0) for run in (1, 2)),
        *(("2", "b", run, 2.0) for run in (3, 4)),
        ("3", "a", 1, 2.0),
        ("4", "a", 1, 1.5),
        ("5", "a", 1, 1.0),
        ("5", "a", 2, 2.0),
    ):
        stem = f"sub-{subject}_ses-{session}_task-t_run-{run:02d}"
        write_run(tmp_path, f"sub-{subject}/ses-{session}/func", stem, sidecar={"RepetitionTime": tr_s})
    assert describe_differences(find_runs(tmp_path, "t")) == [
        "sub-4: repetition time 1.5 s, of most subjects 2 s",
        "sub-5: repetition time 1 s and 2 s, of most subjects 2 s",
        "sub-1_ses-a_task-t_run-03: neither BOLD nor events, though there is run 4",
    ]
    assert describe_differences(find_runs(tmp_path, "t", subjects=["5"])) == ["sub-5: repetition time 1 s and 2 s"]
    assert describe_differences(find_runs(tmp_path, "t", subjects=["2", "3"])) == []
