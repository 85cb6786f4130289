"""A plan fixed before scanning: a Protocol and a StimulusSet in, a file whose hash tells whether anything of it was changed later, out.

What decides a claim is locked: contrasts with their families, ROIs, exclusions, alpha, the conditions shown, and the stimulus set with
each image's condition and target. What may have to change at the scanner (screen, trigger, timing) is not.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.image_responses import ImageResponses, split_sets
from protocols.config import config, config_values, parse_config
from protocols.errors import InputError
from protocols.protocol import Contrast, Exclusions, Protocol
from protocols.provenance import hash_input
from protocols.stimulus_set import StimulusSet
from protocols.tables import read_json, write_text

FORMAT_VERSION = 1
SUFFIX = ".lock.json"
_DIGITS = 12


@config
class Plan:
    """What is asked of the data: the part of a Protocol that decides claims, its ROIs named."""

    task: str
    title: str = ""
    conditions: tuple[str, ...] = ()
    rois: tuple[str, ...] = ()
    contrasts: tuple[Contrast, ...] = ()
    exclusions: Exclusions = Exclusions()
    alpha: float = 0.05


@config
class ImageSet:
    """The images of one condition and target."""

    condition: str
    target: str | None
    stim_ids: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    """A plan, the images it was made for, and when (UTC) and by which code it was locked.

    Attributes
    ----------
    set_sha256
        Of the set's `stimuli.tsv`.
    set_provenance_sha256
        Of its `provenance.json`: what folders that were made from the set know it by.
    """

    plan: Plan
    images: tuple[ImageSet, ...]
    set_sha256: str
    set_provenance_sha256: str
    created: str = ""
    code_version: str = ""

    @property
    def sha256(self) -> str:
        """The hash of everything but when and by which code."""
        text = json.dumps(self._locked(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the lock.

        Raises
        ------
        InputError
            When the file exists: a lock is never replaced.
        """
        if path.exists():
            raise InputError(f"{path}: exists already, and a lock is never replaced; name another file with --out")
        values = {
            "format_version": FORMAT_VERSION,
            "sha256": self.sha256,
            "created": self.created,
            "code_version": self.code_version,
            **self._locked(),
        }
        write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", path)

    @classmethod
    def read(cls, path: Path) -> "Lock":
        """Read a lock.

        Raises
        ------
        InputError
            When it cannot be read, or was edited: its content has another hash than it says.
        """
        values = read_json(path, "name the file that analysis lock wrote")
        if values.get("format_version") != FORMAT_VERSION:
            raise InputError(f"{path}: format_version {values.get('format_version')!r}; this version reads {FORMAT_VERSION}")
        absent = [key for key in ("sha256", "plan", "images", "set_sha256", "set_provenance_sha256") if key not in values]
        if absent:
            raise InputError(f"{path}: has no {absent[0]!r}, so it is no lock; name the file that analysis lock wrote")
        lock = cls(
            parse_config(values["plan"], Plan, f"{path}: plan"),
            tuple(parse_config(one, ImageSet, f"{path}: images") for one in values["images"]),
            str(values["set_sha256"]),
            str(values["set_provenance_sha256"]),
            str(values.get("created", "")),
            str(values.get("code_version", "")),
        )
        if lock.sha256 != values["sha256"]:
            raise InputError(
                f"{path}: was edited after locking: its content has sha256 {lock.sha256[:_DIGITS]}, it says "
                f"{str(values['sha256'])[:_DIGITS]}; take the file as it was locked"
            )
        return lock

    def _locked(self) -> dict[str, Any]:
        return {
            "plan": config_values(self.plan),
            "images": [config_values(one) for one in self.images],
            "set_sha256": self.set_sha256,
            "set_provenance_sha256": self.set_provenance_sha256,
        }


def name_lock(protocol: Path) -> Path:
    """Return where a protocol's lock is looked for: beside it, `roi_validation.lock.json` for `roi_validation.toml`."""
    return protocol.with_name(protocol.stem + SUFFIX)


def choose_plan(protocol: Protocol, rois: tuple[str, ...] = ()) -> Plan:
    """Return the part of a protocol that decides claims; `rois` stand in where the protocol names none."""
    return Plan(
        task=protocol.task,
        title=protocol.title,
        conditions=protocol.conditions,
        rois=protocol.rois or rois,
        contrasts=protocol.contrasts,
        exclusions=protocol.exclusions,
        alpha=protocol.alpha,
    )


def lock_plan(protocol: Protocol, stimuli: StimulusSet, where: str) -> Lock:
    """Fix a plan for a set; `where` names the protocol in refusals. Where it names no ROIs, they are those that images were made for.

    Raises
    ------
    InputError
        When no primary contrast is planned, a contrast names a condition that the set lacks or applies to no ROI, or no ROI is known.
    """
    plan = choose_plan(protocol, tuple(stimuli.rois))
    if not any(contrast.family == "primary" for contrast in plan.contrasts):
        raise InputError(f"{where}: has no primary contrast, so nothing is planned to be tested; name one in [[contrasts]]")
    if not plan.rois:
        raise InputError(f"{where}: names no ROIs, and the set's images were made for none; add rois = [...]")
    responses = describe_images(group_images(stimuli.table, plan.conditions))
    for contrast in plan.contrasts:
        try:
            applies = [roi for roi in plan.rois if split_sets(responses, contrast.expression, roi) is not None]
        except InputError as problem:
            raise InputError(f"{where}: contrast {contrast.name!r}: {str(problem).replace('the ROI table', str(stimuli.folder))}") from None
        if not applies:
            raise InputError(f"{where}: contrast {contrast.name!r} applies to none of {', '.join(plan.rois)}: no images on both sides")
    return Lock(plan, group_images(stimuli.table, plan.conditions), stimuli.sha256, hash_input(stimuli.folder))


def group_images(table: pd.DataFrame, conditions: tuple[str, ...]) -> tuple[ImageSet, ...]:
    """Return the images of each condition and target of `stimuli.tsv`, in order; of all conditions where none are named."""
    sets: dict[tuple[str, str | None], list[str]] = {}
    for stim_id, condition, target in zip(table["stim_id"], table["condition"], table["target"], strict=True):
        if condition in (conditions or (condition,)):
            sets.setdefault((condition, target), []).append(stim_id)
    return tuple(ImageSet(condition=key[0], target=key[1], stim_ids=tuple(ids)) for key, ids in sets.items())


def describe_images(sets: tuple[ImageSet, ...]) -> ImageResponses:
    """Return the images as the group analysis sees them, without any response yet."""
    rows = [(stim_id, one.condition, one.target) for one in sets for stim_id in one.stim_ids]
    images = pd.DataFrame(rows, columns=["stim_id", "condition", "target"]).set_index("stim_id")
    return ImageResponses({}, images, ())


def describe_changes(locked: Plan, now: Plan) -> list[str]:
    """Return a sentence for each thing that differs between two plans."""
    old, new = config_values(locked), config_values(now)
    changes = [
        f"{name}: locked {json.dumps(old[name])}, now {json.dumps(new[name])}"
        for name in old
        if name not in ("contrasts", "title") and old[name] != new[name]
    ]
    before, after = ({one["name"]: one for one in values["contrasts"]} for values in (old, new))
    changes += [f"contrast {name!r}: taken out" for name in before if name not in after]
    changes += [f"contrast {name!r}: added" for name in after if name not in before]
    for name in (name for name in before if name in after):
        changes += [
            f"contrast {name!r}: {key} locked {before[name][key]!r}, now {after[name][key]!r}"
            for key in ("expression", "family")
            if before[name][key] != after[name][key]
        ]
    return changes


def refuse_changed_plan(lock: Lock, protocol: Protocol, where: str) -> None:
    """Refuse a protocol that was changed after locking.

    Raises
    ------
    InputError
        With a line for each change.
    """
    changes = describe_changes(lock.plan, choose_plan(protocol, lock.plan.rois))
    if changes:
        lines = "\n  ".join(changes)
        raise InputError(
            f"{where}: the plan was changed after it was locked ({lock.created or 'no date'}):\n  {lines}\n"
            "restore it; or ask what was not planned with --contrast, which is exploratory"
        )


def refuse_other_images(lock: Lock, table: pd.DataFrame, where: str) -> None:
    """Refuse a RoiTable's rows about images that were not locked, or that had another condition or target then.

    Raises
    ------
    InputError
        Naming the first such image.
    """
    known = {stim_id: (one.condition, one.target) for one in lock.images for stim_id in one.stim_ids}
    shown = table.drop_duplicates(["stim_id", "condition", "target"])
    for stim_id, condition, target in zip(shown["stim_id"], shown["condition"], shown["target"], strict=True):
        if lock.plan.conditions and condition not in lock.plan.conditions:
            continue
        if stim_id not in known:
            raise InputError(f"{where}: {stim_id!r} is not in the stimulus set that was locked; analyze the set that was planned")
        if known[stim_id] != (condition, target):
            then, now = (" for ".join(str(part) for part in pair if part) for pair in (known[stim_id], (condition, target)))
            raise InputError(
                f"{where}: {stim_id!r} is {now}, it was locked as {then}; make the ROI table again with the set that was shown"
            )
