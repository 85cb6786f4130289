"""The BIDS index: every layout that is legal is found, and everything missing is named at once."""

import json
from pathlib import Path

import pytest

from analysis.dataset import BOLD, CONFOUNDS, MASK, find_runs, refuse_other_set
from protocols.errors import InputError
from tests.analysis.bids_folder import write_hemispheres, write_run

FMRIPREP = Path("derivatives") / "fmriprep"


def test_finds_runs_with_and_without_session_and_space(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-S2/func", "sub-S2_task-t_run-01")
    write_run(tmp_path, "sub-S2/func", "sub-S2_task-t_run-02", sidecar={"RepetitionTime": 2.0, "StartTime": 0.5})
    write_run(tmp_path, "sub-1/ses-a/func", "sub-1_ses-a_task-t")
    runs = find_runs(tmp_path, "t")
    assert [(run.name.subject, run.name.session, run.name.run) for run in runs] == [("1", "a", 1), ("S2", None, 1), ("S2", None, 2)]
    assert [(run.tr_s, run.slice_time_ref) for run in runs] == [(1.5, 0.5), (1.5, 0.5), (2.0, 0.25)]
    assert not any(run.surface for run in runs)


def test_one_space_is_taken_and_several_need_a_choice(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "_space-MNI")
    assert find_runs(tmp_path, "t")[0].stem == "sub-1_task-t_run-01_space-MNI"
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "_space-T1w")
    with pytest.raises(InputError, match=r"several spaces \(MNI, T1w\); choose one with --space$"):
        find_runs(tmp_path, "t")
    assert find_runs(tmp_path, "t", "T1w")[0].space == "T1w"
    with pytest.raises(InputError, match=r"in space 'fsaverage'; spaces there: MNI, T1w"):
        find_runs(tmp_path, "t", "fsaverage")


def test_native_is_bold_without_a_space_and_else_t1w(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "_space-T1w")
    assert find_runs(tmp_path, "t", "native")[0].space == "T1w"
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    with pytest.raises(InputError, match=r"several spaces \(\(none\), T1w\); choose one with --space \(--space native"):
        find_runs(tmp_path, "t")
    assert find_runs(tmp_path, "t", "native")[0].space is None


def test_resolutions_are_told_apart(tmp_path: Path) -> None:
    space = "_space-MNI152NLin2009cAsym"
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", f"{space}_res-2")
    (run,) = find_runs(tmp_path, "t", "MNI152NLin2009cAsym")
    assert run.stem == f"sub-1_task-t_run-01{space}_res-2"
    assert run.mask is not None
    assert run.mask.name == f"sub-1_task-t_run-01{space}_res-2_{MASK}"
    assert run.confounds.name == f"sub-1_task-t_run-01_{CONFOUNDS}"
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", f"{space}_res-1")
    with pytest.raises(InputError, match=r"several spaces \(MNI152NLin2009cAsym:res-1, MNI152NLin2009cAsym:res-2\)"):
        find_runs(tmp_path, "t", "MNI152NLin2009cAsym")
    assert find_runs(tmp_path, "t", "MNI152NLin2009cAsym:res-1")[0].resolution == "1"


def test_a_surface_gives_a_run_for_each_hemisphere(tmp_path: Path) -> None:
    write_hemispheres(tmp_path, "sub-1/ses-1/func", "sub-1_ses-1_task-t_run-1", "fsaverage5")
    left, right = find_runs(tmp_path, "t")
    assert [run.hemisphere for run in (left, right)] == ["L", "R"]
    assert left.stem == "sub-1_ses-1_task-t_run-01_hemi-L_space-fsaverage5"
    assert left.surface
    assert left.mask is None
    assert left.tr_s == 2.0
    assert left.confounds == right.confounds
    assert left.confounds.is_file()
    write_run(tmp_path, "sub-1/ses-1/func", "sub-1_ses-1_task-t_run-1", "_space-MNI")
    with pytest.raises(InputError, match=r"several spaces \(MNI, fsaverage5\)"):
        find_runs(tmp_path, "t")
    assert [run.surface for run in find_runs(tmp_path, "t", "fsaverage5")] == [True, True]
    assert [run.surface for run in find_runs(tmp_path, "t", "MNI")] == [False]


def test_subjects_and_sessions_are_chosen(tmp_path: Path) -> None:
    for subject, session in (("1", "a"), ("1", "b"), ("2", "a")):
        write_run(tmp_path, f"sub-{subject}/ses-{session}/func", f"sub-{subject}_ses-{session}_task-t_run-01")
    (tmp_path / "sub-2/ses-a/func/sub-2_ses-a_task-t_run-01_events.tsv").unlink()
    assert len(find_runs(tmp_path, "t", subjects=["1"])) == 2
    assert [run.name.session for run in find_runs(tmp_path, "t", subjects=["sub-1"], sessions=["ses-b"])] == ["b"]
    with pytest.raises(InputError, match=r"has no subject '3', '4'; subjects there: 1, 2"):
        find_runs(tmp_path, "t", subjects=["1", "3", "4"])
    with pytest.raises(InputError, match=r"has no session 'c'; sessions there: a, b"):
        find_runs(tmp_path, "t", subjects=["1"], sessions=["c"])


def test_derivatives_may_lie_elsewhere(tmp_path: Path) -> None:
    write_run(tmp_path / "bids", "sub-1/func", "sub-1_task-t_run-01")
    (tmp_path / "bids" / FMRIPREP).rename(tmp_path / "prep")
    with pytest.raises(InputError, match="has no derivatives/fmriprep"):
        find_runs(tmp_path / "bids", "t")
    (run,) = find_runs(tmp_path / "bids", "t", derivatives=tmp_path / "prep")
    assert run.bold.is_file()


def test_everything_missing_is_named_in_one_table(tmp_path: Path) -> None:
    for run in ("01", "02", "03", "04", "06"):
        write_run(tmp_path, "sub-1/func", f"sub-1_task-t_run-{run}", "_space-T1w")
    func = tmp_path / FMRIPREP / "sub-1" / "func"
    (tmp_path / "sub-1" / "func" / "sub-1_task-t_run-01_events.tsv").unlink()
    (func / f"sub-1_task-t_run-02_space-T1w_{BOLD}").unlink()
    (func / f"sub-1_task-t_run-01_space-T1w_{MASK}").unlink()
    (func / f"sub-1_task-t_run-03_{CONFOUNDS}").unlink()
    (func / "sub-1_task-t_run-04_space-T1w_desc-preproc_bold.json").write_text(json.dumps({"RepetitionTime": 1500}))
    with pytest.raises(InputError) as refusal:
        find_runs(tmp_path, "t")
    lines = [line.split() for line in str(refusal.value).splitlines()]
    assert [line[:2] for line in lines[2:-1]] == [
        ["sub-1_task-t_run-01", "events"],
        ["sub-1_task-t_run-01", "brain"],
        ["sub-1_task-t_run-02", "BOLD"],
        ["sub-1_task-t_run-03", "confounds"],
        ["sub-1_task-t_run-04", "timing"],
        ["sub-1_task-t_run-05", "run"],
    ]
    assert "sub-1/func/sub-1_task-t_run-01_events.tsv" in lines[2]
    assert "RepetitionTime is 1500 s; write RepetitionTime, in seconds" in str(refusal.value)
    assert "or give --confounds none" in str(refusal.value)


def test_a_gap_in_the_runs_alone_is_no_reason_to_refuse(tmp_path: Path) -> None:
    for run in ("01", "03"):
        write_run(tmp_path, "sub-1/func", f"sub-1_task-t_run-{run}")
    assert [run.name.run for run in find_runs(tmp_path, "t")] == [1, 3]


def test_confounds_may_be_left_out(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    (tmp_path / FMRIPREP / "sub-1" / "func" / f"sub-1_task-t_run-01_{CONFOUNDS}").unlink()
    assert len(find_runs(tmp_path, "t", needs_confounds=False)) == 1


def test_a_missing_hemisphere_is_named(tmp_path: Path) -> None:
    write_hemispheres(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "fsaverage6")
    (tmp_path / FMRIPREP / "sub-1/func/sub-1_task-t_run-01_hemi-R_space-fsaverage6_bold.func.gii").unlink()
    with pytest.raises(InputError, match=r"run-01  hemisphere R  derivatives/.*_hemi-R_space-fsaverage6_bold.func.gii"):
        find_runs(tmp_path, "t")


def test_confounds_of_an_old_fmriprep_are_found(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    path = tmp_path / FMRIPREP / "sub-1" / "func" / f"sub-1_task-t_run-01_{CONFOUNDS}"
    path.rename(path.with_name(path.name.replace("timeseries", "regressors")))
    assert find_runs(tmp_path, "t")[0].confounds.is_file()


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


@pytest.mark.parametrize("other", ["sub-1_task-t_run-1", "sub-1_task-t_acq-b_run-01"])
def test_two_files_of_one_run_are_refused(tmp_path: Path, other: str) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    write_run(tmp_path, "sub-1/func", other)
    with pytest.raises(InputError, match=r"is of the same run as sub-1_task-t_.*; keep one of them"):
        find_runs(tmp_path, "t")
    (tmp_path / "sub-1" / "func" / f"{other}_events.tsv").unlink()
    with pytest.raises(InputError, match=r"bold.nii.gz: is of the same run as sub-1_task-t_.*bold.nii.gz"):
        find_runs(tmp_path, "t")


def test_events_of_another_stimulus_set_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    runs = find_runs(tmp_path, "t")
    refuse_other_set(runs, "abc", tmp_path)
    runs[0].events.with_suffix(".json").write_text(json.dumps({"Plan": {"StimulusSetSha256": "def"}}))
    with pytest.raises(InputError, match="another stimulus set was shown"):
        refuse_other_set(runs, "abc", tmp_path)


def test_sidecars_are_inherited_and_the_nearest_wins(tmp_path: Path) -> None:
    for run in ("1", "2"):
        write_run(tmp_path, "sub-1/ses-a/func", f"sub-1_ses-a_task-t_run-{run}", "_space-MNI")
    write_run(tmp_path, "sub-2/ses-a/func", "sub-2_ses-a_task-t_run-1", "_space-MNI")
    write_run(tmp_path, "sub-3/ses-a/func", "sub-3_ses-a_task-t_run-1", "_space-MNI", {"RepetitionTime": 0.8, "StartTime": 0.2})
    (tmp_path / "bold.json").write_text(json.dumps({"RepetitionTime": 9.0}))
    (tmp_path / "task-t_bold.json").write_text(json.dumps({"RepetitionTime": 3.0}))
    (tmp_path / "task-u_bold.json").write_text(json.dumps({"RepetitionTime": 4.0}))
    (tmp_path / "sub-1" / "sub-1_task-t_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    (tmp_path / "sub-1/ses-a/func/sub-1_ses-a_task-t_run-02_bold.json").write_text(json.dumps({"RepetitionTime": 2.5}))
    assert [run.tr_s for run in find_runs(tmp_path, "t")] == [2.0, 2.5, 3.0, 0.8]
    assert find_runs(tmp_path, "t")[3].slice_time_ref == pytest.approx(0.25)


def test_events_are_inherited_from_the_root(tmp_path: Path) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "_space-MNI")
    own = tmp_path / "sub-1" / "func" / "sub-1_task-t_run-01_events.tsv"
    own.rename(tmp_path / "task-t_events.tsv")
    assert find_runs(tmp_path, "t")[0].events == tmp_path / "task-t_events.tsv"
    (tmp_path / "task-t_events.tsv").rename(tmp_path / "task-u_events.tsv")
    with pytest.raises(InputError, match=r"run-01  events"):
        find_runs(tmp_path, "t")


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ({"RepetitionTime": "2"}, "RepetitionTime is '2', expected a number of seconds"),
        ({"RepetitionTime": 0}, "RepetitionTime is 0 s; write RepetitionTime"),
        ({"RepetitionTime": 2.0, "StartTime": 2.5}, "StartTime is 2.5 s, which is not within the repetition time of 2 s"),
    ],
)
def test_a_wrong_sidecar_is_refused(tmp_path: Path, sidecar: dict[str, object], message: str) -> None:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01", sidecar=sidecar)
    with pytest.raises(InputError, match=message):
        find_runs(tmp_path, "t")


def test_a_surface_without_repetition_time_is_refused(tmp_path: Path) -> None:
    write_hemispheres(tmp_path, "sub-1/func", "sub-1_task-t_run-01", "fsaverage5")
    for path in (tmp_path / FMRIPREP / "sub-1" / "func").glob("*hemi*.json"):
        path.unlink()
    with pytest.raises(InputError, match="give no repetition time; write RepetitionTime, in seconds"):
        find_runs(tmp_path, "t")
