"""A RoiTable, what is asked, and what is known of runs and images in; the group's tests with all that stands beside them out."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.asked import Asked, answer, pose
from analysis.checks import Known, check_table
from analysis.curve import trace_curve
from analysis.exclusions import exclude_runs
from analysis.flags import describe_flag, tabulate_flags
from analysis.group import GroupResult, Question
from analysis.self_test import EVENTS, SelfTest, count_claims, run_self_test
from analysis.shift_files import Shifted
from analysis.supplement import Supplement, collect_supplement, describe_subjects, note_few
from protocols.cluster import Workers
from protocols.errors import InputError
from protocols.roi_table import RoiTable
from protocols.stimulus_set import StimulusSet


@dataclass(frozen=True)
class Further:
    """What is done besides: draws of a self-test, RoiTables of the same data made with other choices (by name), and shifted events.

    `workers` do the draws of the self-test; this process, where there are none.
    """

    draws: int = 0
    variants: Mapping[str, RoiTable] = field(default_factory=dict)
    shifted: Shifted | None = None
    workers: Workers | None = None


def answer_all(
    table: RoiTable, asked: Asked, quality: pd.DataFrame | None, stimuli: StimulusSet | None, further: Further | None = None
) -> tuple[GroupResult, Supplement, RoiTable]:
    """Check the table, leave out what the plan leaves out, test, and collect what stands beside; return also the table that was tested.

    `further` asks for a self-test, and for the same plan in tables that were made with other choices.

    Raises
    ------
    InputError
        When a test cannot be made, or plan, table and set do not fit together.
    """
    further = further or Further()
    flags = check_table(table, Known(stimuli.table if stimuli else None, quality, asked.runs))
    kept, left_out = _exclude(table, asked, quality)
    result = answer(kept, asked)
    told = asked.plan.contrasts if asked.plan else asked.further
    beside = collect_supplement(kept, [*told, *(asked.further if asked.plan else ())], asked.alpha, stimuli)
    question, planned = _pose(kept, asked)
    self_test = run_self_test(planned, question, further.draws, further.workers) if further.draws else None
    shift_test = _test_shifted(further.shifted, table, asked, quality) if further.shifted else None
    summary = {
        **result.summary,
        "notes": [*left_out, *result.summary["notes"], *note_few(len(result.summary["subjects"]))],
        "subjects_alone": describe_subjects(beside, told),
        "flags": [describe_flag(flag) for flag in flags],
        "self_test": _describe(self_test, asked),
        "shift_test": _describe(shift_test, asked),
    }
    tables = {**beside.tables, **({"flags.tsv": tabulate_flags(flags)} if flags else {})}
    if further.variants:
        excluded = {name: _exclude(one, asked, quality)[0] for name, one in further.variants.items()}
        tables["curve.tsv"] = trace_curve(planned, {name: _pose(one, asked)[1] for name, one in excluded.items()}, question)
    return dataclasses.replace(result, summary=summary), Supplement(tables), kept


def _pose(table: RoiTable, asked: Asked) -> tuple[Question, RoiTable]:
    """Return what is asked, and the table's rows of the ROIs that it is asked in."""
    if asked.plan is None:
        return Question(asked.further, planned=False, alpha=asked.alpha), table
    inside = table.table["roi"].isin(asked.plan.rois or set(table.table["roi"]))
    return pose(asked.plan), dataclasses.replace(table, table=table.table[inside])


def _exclude(table: RoiTable, asked: Asked, quality: pd.DataFrame | None) -> tuple[RoiTable, list[str]]:
    """Leave out what the plan leaves out, and say what."""
    return exclude_runs(table, asked.plan.exclusions, quality) if asked.plan else (table, [])


def _test_shifted(shifted: Shifted, table: RoiTable, asked: Asked, quality: pd.DataFrame | None) -> SelfTest:
    """Ask the plan of every draw in which BOLD was slid against events."""
    if asked.plan is None:
        raise InputError("--shifted: needs a plan (--protocol or --lock); without a plan nothing is ever claimed")
    shifted.refuse_other_runs(table)
    return count_claims((_pose(_exclude(one, asked, quality)[0], asked)[1] for one in shifted.draws()), pose(asked.plan), EVENTS)


def _describe(test: SelfTest | None, asked: Asked) -> dict[str, Any] | None:
    return {**dataclasses.asdict(test), "words": test.describe(asked.alpha)} if test else None
