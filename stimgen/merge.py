"""Several sets as one: which may stand together, and what the sidecar of all tells."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from protocols.errors import InputError
from protocols.stimulus_set import StimulusSet

_VIEWING = ("gamma", "curve", "size_deg", "background", "aperture_deg", "hole_deg", "edge_deg")
_BY_TARGET = ("diversity", "missed_bounds")
_LISTS = ("models", "judges")
_LOST = "drive_before_matching"


def check_mergeable(sets: Sequence[StimulusSet]) -> None:
    """Refuse sets that cannot be shown as one.

    Raises
    ------
    InputError
        When two share a stim_id (also where case is ignored), a size, or what they tell of the display differs.
    """
    for one, other in combinations(sets, 2):
        own = {stim_id.lower(): stim_id for stim_id in one.table["stim_id"]}
        shared = [stim_id for stim_id in other.table["stim_id"] if stim_id.lower() in own]
        if shared:
            raise InputError(
                f"{one.folder} and {other.folder}: {len(shared)} stim_id in both, the first is {shared[0]!r}; "
                "give the targets of one set other names and generate it anew, or select without them"
            )
        sizes = [_list_sizes(each) for each in (one, other)]
        if sizes[0] != sizes[1]:
            raise InputError(f"{one.folder} has images of {sizes[0]} px, {other.folder} of {sizes[1]} px; make both of one size")
        first, second = (each.description.get("photometry", {}) for each in (one, other))
        for key in _VIEWING:
            if first.get(key) != second.get(key):
                raise InputError(
                    f"{one.folder} was made for photometry.{key} = {first.get(key)}, {other.folder} for {second.get(key)}; "
                    "sets for different displays cannot stand together"
                )


def _list_sizes(stimulus_set: StimulusSet) -> str:
    table = stimulus_set.table
    return ", ".join(sorted({f"{width} x {height}" for width, height in zip(table["width_px"], table["height_px"], strict=True)}))


def merge_descriptions(sets: Sequence[StimulusSet]) -> dict[str, Any]:
    """Return the sidecar of all: the first set's, with the levels, targets, models and judges of every one."""
    described = [one.description for one in sets]
    merged: dict[str, Any] = {}
    for one in reversed(described):
        merged |= one
    levels = {level: text for one in reversed(described) for level, text in one.get("condition", {}).get("Levels", {}).items()}
    if levels:
        merged["condition"] = {**merged["condition"], "Levels": levels}
    for key in _BY_TARGET:
        merged[key] = {target: value for one in described for target, value in one.get(key, {}).items()}
    for key in _LISTS:
        merged[key] = list(dict.fromkeys(name for one in described for name in one.get(key, [])))
    told = [one["photometry"] for one in described if "photometry" in one]
    if told:
        merged["photometry"] = _merge_photometry(told)
    merged["merged_from"] = _name_apart(sets)
    return merged


def _name_apart(sets: Sequence[StimulusSet]) -> dict[str, str]:
    """Return each set's sha256 by its folder's name; sets of one name are numbered, as their recipes are."""
    named: dict[str, str] = {}
    for one in sets:
        name = one.folder.resolve().name
        number, free = 1, name
        while free in named:
            number += 1
            free = f"{name}{number}"
        named[free] = one.sha256
    return named


def _merge_photometry(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what holds for all: matched and wanted is what every set matched and wanted; the stripes allowed are those of the laxest."""
    common = {
        key: [name for name in told[0].get(key, []) if all(name in one.get(key, []) for one in told)] for key in ("matched", "wanted")
    }
    known = [one.get("natural_sd", {}) for one in told]
    spread = {look: float(np.mean([sd[look] for sd in known])) for look in known[0] if all(look in sd for sd in known)}
    merged = {**told[0], **common, "natural_sd": spread}
    merged.pop("most_striped", None)
    if all("most_striped" in one for one in told):  # a set without it has no limit
        merged["most_striped"] = max(float(one["most_striped"]) for one in told)
    if any(_LOST in one for one in told):
        merged[_LOST] = {target: drive for one in told for target, drive in one.get(_LOST, {}).items()}
    return merged
