"""A protocol and a stimulus table in; which images are shown, to whom, and as what: the cells of the design, the catch images.

A cell is what the analysis compares: a condition and, where an image was made for one, its target ROI. Its name is the
trial_type of its trials.
"""

import dataclasses

import pandas as pd

from protocols.errors import InputError
from protocols.protocol import Protocol

SUBJECTS = "subjects"  # column of a set: for whom an image was made, labels with spaces between


def resolve_conditions(protocol: Protocol, table: pd.DataFrame) -> Protocol:
    """Return the protocol with its conditions named: where it names none, every condition of the set but the catch images."""
    if protocol.conditions:
        return protocol
    catch = protocol.probe.catch_condition if protocol.probe.kind == "catch" else None
    present = tuple(one for one in dict.fromkeys(table["condition"]) if one != catch)
    return dataclasses.replace(protocol, conditions=present)


def find_cells(protocol: Protocol, table: pd.DataFrame) -> dict[str, str]:
    """Return each shown image's cell, `condition` or `condition_TARGET`: the trial_type of its trials.

    Raises
    ------
    InputError
        When the table has no image of one of the protocol's conditions.
    """
    for condition in protocol.conditions:
        _refuse_absent(condition, "shows", protocol, table)
    shown = table[table["condition"].isin(protocol.conditions)]
    rows = zip(shown["stim_id"], shown["condition"], shown["target"], strict=True)
    return {stim_id: condition if target is None else f"{condition}_{target}" for stim_id, condition, target in rows}


def find_catches(protocol: Protocol, table: pd.DataFrame) -> list[str]:
    """Return the catch images of a protocol whose task has them.

    Raises
    ------
    InputError
        When the set has none.
    """
    if protocol.probe.kind != "catch":
        return []
    condition = protocol.probe.catch_condition
    _refuse_absent(condition, "shows as catch images ('--catch FOLDER' adds them)", protocol, table)
    return [str(one) for one in table["stim_id"][table["condition"] == condition]]


def select_own(protocol: Protocol, table: pd.DataFrame, subject: str) -> pd.DataFrame:
    """Return the rows that a subject may be shown: with `own_images`, those that name the subject or nobody.

    Raises
    ------
    InputError
        When the set does not say for whom its images were made.
    """
    if not protocol.own_images:
        return table
    if SUBJECTS not in table.columns:
        raise InputError(
            f"stimuli.tsv: has no column {SUBJECTS!r}, which own_images = true needs; use a set made per subject, or take it out"
        )
    named = [subject in str(one).split() if isinstance(one, str) and one != "n/a" else True for one in table[SUBJECTS]]
    return table[named].reset_index(drop=True)


def _refuse_absent(condition: str, purpose: str, protocol: Protocol, table: pd.DataFrame) -> None:
    present = list(dict.fromkeys(table["condition"]))
    if condition not in present:
        raise InputError(
            f"stimuli.tsv: has no image of condition {condition!r}, which protocol {protocol.task!r} {purpose}; "
            f"it has {', '.join(map(repr, present))}; use a set with that condition or change 'conditions'"
        )
