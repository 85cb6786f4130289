"""What is asked of a RoiTable in (a plan, its lock, further contrasts); one GroupResult in which only the plan can be claimed, out.

With a lock, whatever it does not hold is exploratory: other contrasts, other ROIs. Exploratory tests take no part in the planned
families: they change no claim.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.decision import EXPLORATORY
from analysis.group import GroupResult, Question, analyze
from analysis.image_responses import average_runs, split_sets
from analysis.lock import Lock, Plan, choose_plan, name_lock, refuse_changed_plan, refuse_other_images
from protocols.config import config_values
from protocols.errors import InputError
from protocols.protocol import Contrast, Protocol, split_contrast
from protocols.provenance import FILE_NAME, Provenance
from protocols.roi_table import RoiTable

_ALPHA = 0.05  # of an exploratory test without a plan
UNLOCKED = "the plan was not locked before scanning (analysis lock): that it was made without the data rests on the authors' word"


@dataclass(frozen=True)
class Asked:
    """A plan (None: everything is exploratory), its lock where there is one, contrasts that were not planned, and runs per subject."""

    plan: Plan | None
    lock: Lock | None = None
    further: tuple[Contrast, ...] = ()
    runs: int | None = None

    @property
    def alpha(self) -> float:
        """The error allowed."""
        return self.plan.alpha if self.plan else _ALPHA


def ask(protocol: Path | None, lock: Path | None, expressions: Sequence[str]) -> Asked:
    """Read what is asked; a lock beside the protocol counts as if it had been named.

    Raises
    ------
    InputError
        When nothing is asked, a contrast does not parse or is planned already, or the protocol was changed after locking.
    """
    further = tuple(_parse(expression) for expression in dict.fromkeys(expressions))
    if lock is None and protocol is None:
        if not further:
            raise InputError("give --protocol or --lock, or --contrast for an exploratory test: what the plan lacks was not planned")
        return Asked(None, None, further)
    fixed = _read_lock(protocol, lock)
    plan = fixed.plan if fixed else Plan(task="")
    runs = None
    if protocol is not None:
        written = Protocol.read(protocol)
        runs = written.timing.runs * written.timing.sessions
        if fixed is None:
            plan = choose_plan(written)
        else:
            refuse_changed_plan(fixed, written, str(protocol))
    if not any(contrast.family == "primary" for contrast in plan.contrasts):
        raise InputError(f"{protocol or lock}: has no primary contrast, so nothing was planned to be tested; name one in [[contrasts]]")
    return Asked(plan, fixed, _refuse_planned(plan, further), runs)


def describe_asked(asked: Asked) -> dict[str, Any]:
    """Return what was asked as JSON values."""
    contrasts = [config_values(one) for one in (*(asked.plan.contrasts if asked.plan else ()), *asked.further)]
    return {
        "contrasts": contrasts,
        "alpha": asked.alpha,
        "planned": asked.plan is not None,
        "lock": asked.lock.sha256 if asked.lock else None,
    }


def pose(plan: Plan) -> Question:
    """Return a plan as the group analysis takes it."""
    return Question(plan.contrasts, planned=True, alpha=plan.alpha, title=plan.title or plan.task)


def answer(table: RoiTable, asked: Asked) -> GroupResult:
    """Test the plan in its ROIs; then, as exploratory, further contrasts everywhere and the planned ones in other ROIs.

    Raises
    ------
    InputError
        When the table has images that were not locked, none of the planned ROIs, or a test cannot be made.
    """
    if asked.plan is None:
        return analyze(table, Question(asked.further, planned=False, alpha=asked.alpha))
    plan = asked.plan
    if asked.lock is not None:
        refuse_other_images(asked.lock, table.table, table.where)
        _refuse_other_set(asked.lock, Path(table.where))
    inside = table.table["roi"].isin(plan.rois or set(table.table["roi"]))
    absent = [roi for roi in plan.rois if roi not in set(table.table["roi"])]
    if not inside.any():
        raise InputError(f"{table.where}: has none of the planned ROIs {', '.join(plan.rois)}; name their masks to analysis rois")
    result = analyze(dataclasses.replace(table, table=table.table[inside]), pose(plan))
    extra = [analyze(table, Question(asked.further, planned=False, alpha=plan.alpha))] if asked.further else []
    extra += _explore_rois(dataclasses.replace(table, table=table.table[~inside]), plan) if not inside.all() else []
    notes = [f"{', '.join(absent)} of the plan not measured: the families are smaller than planned"] if absent else []
    notes += [] if asked.lock else [UNLOCKED]
    return _append(result, extra, notes, asked.lock)


def _explore_rois(table: RoiTable, plan: Plan) -> list[GroupResult]:
    """Test the planned contrasts in ROIs that were not planned, those that apply there."""
    responses = average_runs(table, keep_gaps=True)
    applying = [one for one in plan.contrasts if any(split_sets(responses, one.expression, roi) for roi in responses.by_roi)]
    return [analyze(table, Question(tuple(applying), planned=False, alpha=plan.alpha))] if applying else []


def _append(result: GroupResult, extra: Sequence[GroupResult], notes: Sequence[str], lock: Lock | None) -> GroupResult:
    """Put exploratory tests below the planned ones, and further ROIs below the planned ROIs."""
    tests = [result.tests, *(one.tests[one.tests["family"] == EXPLORATORY] for one in extra)]
    matrix, rois = result.matrix, list(result.summary["rois"])
    for one in extra:
        matrix = pd.concat([matrix, one.matrix[~one.matrix["roi"].isin(rois)]], ignore_index=True)
        rois += [roi for roi in one.summary["rois"] if roi not in rois]
    locked = {"sha256": lock.sha256, "created": lock.created, "set_sha256": lock.set_sha256} if lock else None
    summary = {**result.summary, "rois": rois, "lock": locked, "notes": [*result.summary["notes"], *notes]}
    return dataclasses.replace(result, tests=pd.concat(tests, ignore_index=True), matrix=matrix, summary=summary)


def _read_lock(protocol: Path | None, lock: Path | None) -> Lock | None:
    """Read the lock that is named, or else one that lies beside the protocol."""
    if lock is not None:
        return Lock.read(lock)
    beside = name_lock(protocol) if protocol else None
    return Lock.read(beside) if beside and beside.is_file() else None


def _refuse_other_set(lock: Lock, table: Path) -> None:
    """Refuse a table whose folder says that it was made with another stimulus set."""
    if not (table.parent / FILE_NAME).is_file():
        return
    made_with = Provenance.read(table.parent).inputs.get("set")
    if made_with is not None and made_with != lock.set_provenance_sha256:
        raise InputError(
            f"{table}: was made with another stimulus set ({made_with[:12]}) than was locked ({lock.set_provenance_sha256[:12]}); "
            "make it with the set that was planned, or lock a plan of its own for this one"
        )


def _parse(expression: str) -> Contrast:
    try:
        split_contrast(expression)
    except ValueError as problem:
        raise InputError(f"--contrast: {problem}") from None
    return Contrast(name=expression, expression=expression)


def _refuse_planned(plan: Plan, further: tuple[Contrast, ...]) -> tuple[Contrast, ...]:
    planned = {contrast.expression: contrast.name for contrast in plan.contrasts}
    twice = [one.expression for one in further if one.expression in planned]
    if twice:
        raise InputError(f"--contrast: {twice[0]!r} is planned already, as {planned[twice[0]]!r}; take it out")
    return further
