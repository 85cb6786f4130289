"""TrialList: a round trip keeps it, and trials that cannot be shown are refused by row."""

import dataclasses

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError
from protocols.run_name import RunName
from protocols.trials import BLANK, COLUMNS, RunPlan, TrialList
from tests.protocols.strategies import make_table, text_cells
from tests.protocols.test_run_name import run_names

PLAN = RunPlan(duration_s=12.0, tr_s=1.5, volumes=8, set_sha256="a" * 64, seed=3)
ROWS = [
    (0.5, 2.0, "target", "face01", "stim-face01_image.png", 0),
    (4.0, 2.0, BLANK, None, None, 0),
    (8.0, 2.0, "natural", "n1", "n.png", 1),
]
NAME = RunName("01", "02", "t", 1)
WHERE = "sub-01_ses-02_task-t_run-01_trials.tsv"


@st.composite
def any_trial_lists(draw):
    rows, clock = [], 0.0
    for _ in range(draw(st.integers(0, 4))):
        onset = clock + draw(st.floats(0, 100))
        duration = draw(st.floats(0.01, 100))
        clock = onset + duration
        condition = draw(text_cells.filter(lambda text: text != BLANK))
        shown = draw(st.booleans())
        stimulus = (condition, draw(text_cells), draw(text_cells)) if shown else (BLANK, None, None)
        rows.append((onset, duration, *stimulus, draw(st.integers(0, 1))))
    plan = RunPlan(
        duration_s=clock + 1,
        tr_s=draw(st.floats(0.1, 10)),
        volumes=draw(st.integers(1, 999)),
        set_sha256="0f" * 32,
        seed=draw(st.integers()),
    )
    return TrialList(draw(run_names), make_table(COLUMNS, rows), plan)


@given(trial_list=any_trial_lists())
def test_write_then_read_is_identity(trial_list, tmp_path):
    read = TrialList.read(trial_list.write(tmp_path))
    pd.testing.assert_frame_equal(read.trials, trial_list.trials)
    assert (read.name, read.plan) == (trial_list.name, trial_list.plan)


def test_a_blank_trial_has_none_for_its_stimulus_after_reading(tmp_path):
    read = TrialList.read(TrialList(NAME, make_table(COLUMNS, ROWS), PLAN).write(tmp_path))
    assert read.trials["stim_id"].tolist() == ["face01", None, "n1"]


@pytest.mark.parametrize(
    ("row", "column", "cell", "expected"),
    [
        (0, "onset", -0.5, "row 2: onset must be 0 or later and duration positive; plan the run again"),
        (1, "duration", 0.0, "row 3: onset must be 0 or later and duration positive; plan the run again"),
        (1, "onset", 2.0, "row 3: begins before the trial above it ends; plan the run again"),
        (2, "onset", 0.0, "row 4: begins before the trial above it ends; plan the run again"),
        (1, "trial_type", "target", "row 3: a 'blank' trial has no stim_id, and every other trial has one"),
        (2, "stim_id", None, "row 4: a 'blank' trial has no stim_id, and every other trial has one"),
        (0, "trial_type", BLANK, "row 2: a 'blank' trial has no stim_id, and every other trial has one"),
        (2, "stim_file", None, "row 4: stim_id and stim_file stand together or are both n/a"),
        (2, "probe", 2, "row 4: probe is 2, expected 0 or 1"),
        (2, "probe", "yes", "row 4: probe is 'yes', expected a number"),
        (2, "onset", "n/a", "row 4: onset is 'n/a', expected a number"),
    ],
)
def test_each_broken_rule_is_named_with_its_row(row, column, cell, expected):
    table = make_table(COLUMNS, ROWS).astype(object)
    table.loc[row, column] = cell
    with pytest.raises(InputError) as refusal:
        TrialList(NAME, table, PLAN)
    assert str(refusal.value) == f"{WHERE} {expected}"


def test_a_trial_after_the_end_of_the_run_is_refused():
    with pytest.raises(InputError) as refusal:
        TrialList(NAME, make_table(COLUMNS, ROWS), dataclasses.replace(PLAN, duration_s=9.5))
    assert str(refusal.value) == f"{WHERE}: the last trial ends at 10 s, the run at 9.5 s; plan the run again"


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_is_needed(column):
    with pytest.raises(InputError, match=rf"_trials\.tsv: missing column {column}; found "):
        TrialList(NAME, make_table(COLUMNS, ROWS).drop(columns=column), PLAN)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"tr_s"', '"tr"', "unknown key 'tr'; did you mean 'tr_s'?"),
        ('"format_version": 1', '"format_version": 2', "key 'format_version' is 2: Input should be 1"),
        ('"volumes": 8', '"volumes": 0', "key 'volumes' is 0: Input should be greater than or equal to 1"),
        ("{", "", "cannot be read"),
    ],
)
def test_a_broken_sidecar_is_refused(old, new, expected, tmp_path):
    path = TrialList(NAME, make_table(COLUMNS, ROWS), PLAN).write(tmp_path)
    sidecar = path.with_suffix(".json")
    sidecar.write_text(sidecar.read_text().replace(old, new))
    with pytest.raises(InputError) as refusal:
        TrialList.read(path)
    assert expected in str(refusal.value)
    assert str(refusal.value).startswith(str(sidecar))


def test_a_missing_sidecar_is_refused(tmp_path):
    path = TrialList(NAME, make_table(COLUMNS, ROWS), PLAN).write(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"_trials\.json: cannot be read .*; copy the plan again"):
        TrialList.read(path)
