"""A RoiTable, what is asked, and what is known of runs and images in; the group's tests with all that stands beside them out."""

import dataclasses

import pandas as pd

from analysis.asked import Asked, answer
from analysis.checks import Known, check_table
from analysis.exclusions import exclude_runs
from analysis.flags import describe_flag, tabulate_flags
from analysis.group import GroupResult
from analysis.supplement import Supplement, collect_supplement, describe_subjects, note_few
from protocols.roi_table import RoiTable
from protocols.stimulus_set import StimulusSet


def answer_all(
    table: RoiTable, asked: Asked, quality: pd.DataFrame | None, stimuli: StimulusSet | None
) -> tuple[GroupResult, Supplement, RoiTable]:
    """Check the table, leave out what the plan leaves out, test, and collect what stands beside; return also the table that was tested.

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
    summary = {
        **result.summary,
        "notes": [*left_out, *result.summary["notes"], *note_few(len(result.summary["subjects"]))],
        "subjects_alone": describe_subjects(beside, told),
        "flags": [describe_flag(flag) for flag in flags],
    }
    tables = {**beside.tables, **({"flags.tsv": tabulate_flags(flags)} if flags else {})}
    return dataclasses.replace(result, summary=summary), Supplement(tables), kept
