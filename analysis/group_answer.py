"""A RoiTable, what is asked, and what is known of runs and images in; the group's tests with all that stands beside them out."""

import dataclasses

import pandas as pd

from analysis.asked import Asked, answer, pose
from analysis.checks import Known, check_table
from analysis.exclusions import exclude_runs
from analysis.flags import describe_flag, tabulate_flags
from analysis.group import GroupResult, Question
from analysis.lock import Plan
from analysis.self_test import SelfTest, run_self_test
from analysis.supplement import Supplement, collect_supplement, describe_subjects, note_few
from protocols.roi_table import RoiTable
from protocols.stimulus_set import StimulusSet


def answer_all(
    table: RoiTable, asked: Asked, quality: pd.DataFrame | None, stimuli: StimulusSet | None, draws: int = 0
) -> tuple[GroupResult, Supplement, RoiTable]:
    """Check the table, leave out what the plan leaves out, test, and collect what stands beside; return also the table that was tested.

    With `draws`, the plan is also tested that often with labels drawn at random.

    Raises
    ------
    InputError
        When a test cannot be made, or plan, table and set do not fit together.
    """
    flags = check_table(table, Known(stimuli.table if stimuli else None, quality, asked.runs))
    kept, left_out = exclude_runs(table, asked.plan.exclusions, quality) if asked.plan else (table, [])
    result = answer(kept, asked)
    told = asked.plan.contrasts if asked.plan else asked.further
    beside = collect_supplement(kept, [*told, *(asked.further if asked.plan else ())], asked.alpha, stimuli)
    self_test = _test_itself(kept, asked, draws) if draws else None
    summary = {
        **result.summary,
        "notes": [*left_out, *result.summary["notes"], *note_few(len(result.summary["subjects"]))],
        "subjects_alone": describe_subjects(beside, told),
        "flags": [describe_flag(flag) for flag in flags],
        "self_test": {**dataclasses.asdict(self_test), "words": self_test.describe(asked.alpha)} if self_test else None,
    }
    tables = {**beside.tables, **({"flags.tsv": tabulate_flags(flags)} if flags else {})}
    return dataclasses.replace(result, summary=summary), Supplement(tables), kept


def _test_itself(table: RoiTable, asked: Asked, draws: int) -> SelfTest:
    plan = asked.plan or Plan(task="")
    inside = table.table["roi"].isin(plan.rois or set(table.table["roi"]))
    question = pose(plan) if asked.plan else Question(asked.further, planned=False, alpha=asked.alpha)
    return run_self_test(dataclasses.replace(table, table=table.table[inside]), question, draws)
