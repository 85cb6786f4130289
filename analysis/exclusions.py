"""A RoiTable, what `analysis qc` measured, and rules fixed before scanning in; the table without the runs that the rules leave out, out."""

import dataclasses
from pathlib import Path

import pandas as pd

from analysis.flags import name_run
from analysis.qc_runs import RUN_COLUMNS
from protocols.errors import InputError
from protocols.protocol import Exclusions
from protocols.provenance import Provenance
from protocols.roi_table import RoiTable
from protocols.tables import read_tsv

TABLE = "qc.tsv"
_RUN = ["subject", "session", "run"]


def read_quality(folder: Path) -> pd.DataFrame:
    """Read `qc.tsv` of a complete folder that `analysis qc` wrote."""
    Provenance.read(folder).verify_outputs(folder)
    return read_tsv(folder / TABLE, RUN_COLUMNS)


def exclude_runs(table: RoiTable, rules: Exclusions, quality: pd.DataFrame | None) -> tuple[RoiTable, list[str]]:
    """Return the table without the runs and subjects that the rules leave out, and a sentence for each of them.

    On surfaces a run goes where one of its hemispheres breaks a rule.

    Raises
    ------
    InputError
        When a rule needs what was not measured, or nothing is left.
    """
    measured = [name for name in ("fd_mean_mm", "left_out") if getattr(rules, name) is not None]
    if measured and quality is None:
        raise InputError(f"the plan leaves out runs by {' and '.join(measured)}; name with --qc the folder that analysis qc wrote")
    keys = _name_runs(table.table)
    reasons = {} if quality is None else _judge_runs(quality, rules)
    unmeasured = sorted(set(keys) - set(_name_runs(quality))) if quality is not None and measured else []
    if unmeasured:
        raise InputError(f"{TABLE}: has no run {unmeasured[0]}, which the ROI table has; run analysis qc on all runs")
    kept = ~keys.isin(list(reasons))
    notes = [f"{name} was left out, as planned: {reasons[name]}" for name in dict.fromkeys(keys[~kept])]
    counts = keys[kept].groupby(table.table["subject"][kept]).nunique()
    few = [subject for subject in dict.fromkeys(table.table["subject"]) if counts.get(subject, 0) < rules.fewest_runs]
    kept &= ~table.table["subject"].isin(few)
    notes += [f"sub-{subject} was left out, as planned: {counts.get(subject, 0)} runs, fewer than {rules.fewest_runs}" for subject in few]
    if not kept.any():
        raise InputError(f"{table.where}: nothing is left after the planned exclusions: {'; '.join(notes)}")
    return (dataclasses.replace(table, table=table.table[kept]) if notes else table), notes


def _judge_runs(quality: pd.DataFrame, rules: Exclusions) -> dict[str, str]:
    """Return why each run that breaks a rule is left out."""
    share = quality["volumes_left_out"] / quality["volumes"]
    reasons: dict[str, str] = {}
    for name, moved, lost in zip(_name_runs(quality), quality["fd_mean_mm"], share, strict=True):
        if rules.fd_mean_mm is not None and moved > rules.fd_mean_mm:
            reasons[name] = f"mean displacement {moved:.2f} mm, above {rules.fd_mean_mm:g}"
        elif rules.left_out is not None and lost > rules.left_out:
            reasons[name] = f"{lost:.0%} of volumes left out, more than {rules.left_out:.0%}"
    return reasons


def _name_runs(table: pd.DataFrame) -> "pd.Series[str]":
    """Return each row's run in words."""
    rows = table[_RUN].astype(object).itertuples(index=False)
    names = [name_run(*row) for row in rows]
    return pd.Series(names, index=table.index, dtype=object)
