"""Contrasts and events in, voxel-wise comparisons of condition regressors out.

`--contrast` compares trial types as they stand in the events. A protocol's contrasts speak of an ROI's own images, so each
becomes one map per ROI: `target - other` is, for FFA, images made for FFA against images made for the other ROIs.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from protocols.errors import InputError
from protocols.protocol import OTHER, Contrast, split_contrast
from protocols.trials import BLANK

TARGET = "target"


@dataclass(frozen=True)
class MapContrast:
    """Mean of the regressors `plus` minus mean of the regressors `minus`; `label` names the files."""

    label: str
    expression: str
    plus: tuple[str, ...]
    minus: tuple[str, ...]


def parse_expressions(expressions: Sequence[str], trial_types: Iterable[str]) -> list[MapContrast]:
    """Turn `--contrast` expressions into comparisons of trial types.

    Raises
    ------
    InputError
        When an expression does not parse or names no trial type of any run.
    """
    known = sorted(set(trial_types))
    made = []
    for expression in expressions:
        try:
            plus, minus = split_contrast(expression)
        except ValueError as problem:
            raise InputError(f"--contrast: {problem}") from None
        unknown = [term for term in plus + minus if term not in known]
        if unknown:
            raise InputError(f"--contrast {expression!r}: no trial type {unknown[0]!r}; the events have {', '.join(known)}")
        made.append(MapContrast(_label(expression), expression, tuple(plus), tuple(minus)))
    return made


def expand_planned(contrasts: Sequence[Contrast], stimuli: pd.DataFrame) -> list[MapContrast]:
    """Turn a protocol's contrasts into one comparison per ROI that images were made for (`stimuli` has condition and target)."""
    rois = list(dict.fromkeys(target for target in stimuli["target"] if target is not None))
    have = set(name_conditions(stimuli))
    made = []
    for contrast in contrasts:
        plus, minus = split_contrast(contrast.expression)
        for roi in rois:
            sides = [tuple(name for term in terms for name in _regressors_of(term, roi, rois)) for terms in (plus, minus)]
            if all(side and have.issuperset(side) for side in sides):
                made.append(MapContrast(_label(f"{contrast.name}_{roi}"), f"{contrast.expression}, {roi}", *sides))
    return made


def name_conditions(stimuli: pd.DataFrame) -> list[str]:
    """Return each image's condition regressor: its condition, with its target where it has one."""
    pairs = zip(stimuli["condition"], stimuli["target"], strict=True)
    return [condition if target is None else f"{condition}_{target}" for condition, target in pairs]


def assign_conditions(events: pd.DataFrame, stimuli: pd.DataFrame | None, where: str) -> pd.DataFrame:
    """Return the events that get a regressor, with its name in column `regressor`; blanks are the baseline and get none.

    Raises
    ------
    InputError
        When an event's stim_id is not in the stimulus set.
    """
    shown = events[events["trial_type"] != BLANK].reset_index(drop=True)
    if stimuli is None:
        return shown.assign(regressor=shown["trial_type"])
    names = dict(zip(stimuli["stim_id"], name_conditions(stimuli), strict=True))
    for row, stim_id in enumerate(shown["stim_id"]):
        if stim_id is not None and stim_id not in names:
            raise InputError(
                f"{where}: event at {shown['onset'][row]:g} s shows {stim_id!r}, which the stimulus set lacks; name the set that was shown"
            )
    pairs = zip(shown["stim_id"], shown["trial_type"], strict=True)
    return shown.assign(regressor=[names[stim_id] if stim_id is not None else trial_type for stim_id, trial_type in pairs])


def _regressors_of(term: str, roi: str, rois: Sequence[str]) -> list[str]:
    if term == OTHER:
        return [f"{TARGET}_{other}" for other in rois if other != roi]
    return [f"{term}_{roi}"]


def _label(text: str) -> str:
    """Return a BIDS label: `house - face` becomes `houseMinusFace`."""
    words = re.sub(r"\+", " plus ", re.sub(r"-", " minus ", text))
    parts = [part for part in re.split(r"[^0-9A-Za-z]+", words) if part]
    return parts[0] + "".join(part[0].upper() + part[1:] for part in parts[1:])
