"""RunName: BIDS names are written and read back; names that are none are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError
from protocols.run_name import RunName
from tests.protocols.strategies import labels

run_names = st.builds(RunName, labels, st.none() | labels, labels, st.integers(1, 200))


@given(name=run_names, suffix=st.sampled_from(["events.tsv", "trials.tsv", "space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"]))
def test_a_name_is_read_from_the_path_that_it_makes(name, suffix, tmp_path):
    path = name.path(tmp_path, suffix)
    assert RunName.parse(path.name) == name
    assert RunName.parse(str(path)) == name
    assert path.parent == tmp_path / name.folder


def test_the_stem_and_folder_are_those_of_bids():
    name = RunName("01", "a2", "roivalidation", 3)
    assert name.stem == "sub-01_ses-a2_task-roivalidation_run-03"
    assert name.folder.as_posix() == "sub-01/ses-a2/func"
    assert RunName("01", None, "rest", 1).folder.as_posix() == "sub-01/func"


@pytest.mark.parametrize(
    ("file_name", "expected"),
    [
        ("sub-01_task-rest_bold.nii.gz", RunName("01", None, "rest", 1)),
        ("sub-01_task-rest_acq-hi_run-02_bold.nii.gz", RunName("01", None, "rest", 2)),
        ("sub-01_ses-2_task-rest_dir-AP_rec-x_run-10_bold.json", RunName("01", "2", "rest", 10)),
    ],
)
def test_the_run_is_found_behind_entities_that_are_not_ours(file_name, expected):
    assert RunName.parse(file_name) == expected


@pytest.mark.parametrize(
    "file_name",
    ["events.tsv", "sub-01_run-01_events.tsv", "sub-_task-x_run-01", "01_task-x", "sub-01_task-x-y_events.tsv", "sub-01_task-x.tsv"],
)
def test_a_name_that_is_not_of_bids_is_refused(file_name):
    with pytest.raises(InputError) as refusal:
        RunName.parse(file_name)
    assert str(refusal.value) == f"{file_name}: not a BIDS run name such as sub-01_ses-01_task-validation_run-01_events.tsv"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("0 1", "01", "t", 1), "subject '0 1': a BIDS label has letters and digits only; rename it"),
        (("01", "", "t", 1), "session '': a BIDS label has letters and digits only; rename it"),
        (("01", None, "t_x", 1), "task 't_x': a BIDS label has letters and digits only; rename it"),
        (("01", None, "t", 0), "run 0: runs are numbered from 1"),
    ],
)
def test_a_part_that_is_not_of_bids_is_refused(parts, expected):
    with pytest.raises(InputError) as refusal:
        RunName(*parts)
    assert str(refusal.value) == expected
