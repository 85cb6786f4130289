"""A protocol, a stimulus table and a seed in; the trial lists of every run of every subject out. Pure: no file is touched."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment.order import choose_apart, choose_blanks, choose_probes, deal_images, order_images
from protocols.errors import InputError
from protocols.protocol import Protocol, Timing
from protocols.run_name import RunName
from protocols.stimulus_set import image_file_name
from protocols.trials import BLANK, RunPlan, TrialList

_ROUNDING = 1e-9  # of a volume: 300.0000000001 s is 300 s


@dataclass(frozen=True)
class Slot:
    """One trial of a run before it has an onset: an image (None for a blank), and whether a response is due."""

    image: str | None
    probe: bool = False


def plan_trials(protocol: Protocol, table: pd.DataFrame, set_sha256: str, subjects: int, seed: int) -> Iterator[TrialList]:
    """Plan every run: `subjects` subjects (01, 02, ...) x the protocol's sessions x runs, one TrialList each.

    Orders are drawn from `seed`, subject and session; cell transitions are evened out over all runs before. So the same
    arguments give the same lists, and asking for more subjects leaves the first ones as they are.

    Raises
    ------
    InputError
        When the set lacks a condition of the protocol, or its counts cannot be laid out by the protocol's rules.
    """
    if protocol.probe.kind == "one_back" and protocol.probe.fraction > 0 and protocol.timing.gap_s == 0:
        raise InputError("timing: with gap_s 0 a one-back repeat cannot be seen; set gap_s above 0, or probe kind 'fixation'")
    cell_of = find_cells(protocol, table)
    transitions = np.zeros((len(set(cell_of.values())),) * 2)
    for subject in range(1, subjects + 1):
        for session in range(1, protocol.timing.sessions + 1):
            slots = []
            rng = np.random.default_rng([seed, subject, session])
            for images in deal_images(_invert(cell_of), protocol.timing.repetitions, protocol.timing.runs, rng):
                sequence, transitions = order_images(images, cell_of, transitions, rng)
                slots.append(_add_trials(sequence, cell_of, protocol, rng))
            longest = max(len(run) for run in slots)
            plan = _plan_duration(protocol.timing, longest, set_sha256, seed)
            for run, trials in enumerate(slots, 1):
                name = RunName(label(subject, subjects), label(session), protocol.task, run)
                yield TrialList(name, _lay_out(trials, cell_of, protocol.timing), plan)


def label(number: int, highest: int = 99) -> str:
    """Return a BIDS label with leading zeros: 01, 02, ..."""
    return f"{number:0{max(2, len(str(highest)))}d}"


def find_cells(protocol: Protocol, table: pd.DataFrame) -> dict[str, str]:
    """Return each shown image's cell, `condition` or `condition_TARGET`: the trial_type of its trials.

    Raises
    ------
    InputError
        When the table has no image of one of the protocol's conditions.
    """
    present = list(dict.fromkeys(table["condition"]))
    for condition in protocol.conditions:
        if condition not in present:
            raise InputError(
                f"stimuli.tsv: has no image of condition {condition!r}, which protocol {protocol.task!r} shows; "
                f"it has {', '.join(map(repr, present))}; use a set with that condition or change 'conditions'"
            )
    shown = table[table["condition"].isin(protocol.conditions)]
    rows = zip(shown["stim_id"], shown["condition"], shown["target"], strict=True)
    return {stim_id: condition if target is None else f"{condition}_{target}" for stim_id, condition, target in rows}


def count_probes(protocol: Protocol, images: int) -> int:
    """Return how many probes a run of `images` image trials has."""
    return round(protocol.probe.fraction * images)


def _invert(cell_of: dict[str, str]) -> dict[str, list[str]]:
    cells: dict[str, list[str]] = {}
    for image, cell in cell_of.items():
        cells.setdefault(cell, []).append(image)
    return cells


def _add_trials(sequence: Sequence[str], cell_of: dict[str, str], protocol: Protocol, rng: np.random.Generator) -> list[Slot]:
    """Add the probes and the blanks to a sequence of images; an image and its one-back repeat are never parted."""
    count = count_probes(protocol, len(sequence))
    repeats = protocol.probe.kind == "one_back"
    probes = choose_probes(sequence, cell_of, count, rng) if repeats else choose_apart(len(sequence), count, rng)
    blanks = choose_blanks(len(sequence), protocol.timing.blanks_per_run, rng)
    slots: list[Slot] = []
    for position, image in enumerate(sequence):
        is_probe = position in probes
        slots.append(Slot(image, probe=is_probe and not repeats))
        if is_probe and repeats:
            slots.append(Slot(image, probe=True))
        if position in blanks:
            slots.append(Slot(None))
    return slots


def _plan_duration(timing: Timing, trials: int, set_sha256: str, seed: int) -> RunPlan:
    """Return the length of a run of `trials` trials, rounded up to whole volumes."""
    needed_s = timing.lead_in_s + trials * timing.trial_s + timing.lead_out_s
    volumes = math.ceil(needed_s / timing.tr_s - _ROUNDING)
    return RunPlan(duration_s=round(volumes * timing.tr_s, 6), tr_s=timing.tr_s, volumes=volumes, set_sha256=set_sha256, seed=seed)


def _lay_out(slots: Sequence[Slot], cell_of: dict[str, str], timing: Timing) -> pd.DataFrame:
    """Give the trials their onsets, on the grid lead_in_s + k trial_s."""
    images = [slot.image for slot in slots]
    return pd.DataFrame(
        {
            "onset": [round(timing.lead_in_s + index * timing.trial_s, 6) for index in range(len(slots))],
            "duration": timing.image_s,
            "trial_type": [BLANK if image is None else cell_of[image] for image in images],
            "stim_id": pd.Series(images, dtype=object),
            "stim_file": pd.Series([None if image is None else image_file_name(image) for image in images], dtype=object),
            "probe": [int(slot.probe) for slot in slots],
        }
    )
