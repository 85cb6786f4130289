"""A protocol, a stimulus table and a seed in; the trial lists of every run of every subject out. Pure: no file is touched."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from experiment.blocks import make_block_runs
from experiment.cells import find_catches, find_cells, select_own
from experiment.deal import deal_images, fill_runs
from experiment.order import list_letters, order_by_square, order_images
from experiment.slots import Slot, make_slots, split_trials
from protocols.errors import InputError
from protocols.protocol import Protocol
from protocols.run_name import RunName
from protocols.stimulus_set import image_file_name
from protocols.timing import Timing
from protocols.trials import BLANK, RunPlan, TrialList

_ROUNDING = 1e-9  # of a volume: 300.0000000001 s is 300 s
_WHOLE = 1e-6  # of a TR


def plan_trials(protocol: Protocol, table: pd.DataFrame, set_sha256: str, subjects: int, seed: int) -> Iterator[TrialList]:
    """Plan every run: `subjects` subjects (01, 02, ...) x the protocol's sessions x runs, one TrialList each.

    Orders are drawn from `seed`, subject and session; cell transitions are evened out over all runs before. So the same
    arguments give the same lists, and asking for more subjects leaves the first ones as they are.

    Raises
    ------
    InputError
        When the set lacks a condition of the protocol, or its counts cannot be laid out by the protocol's rules.
    """
    if protocol.probe.kind == "one_back" and (protocol.probe.count or protocol.probe.fraction) and protocol.timing.gap_s == 0:
        raise InputError("timing: with gap_s 0 a one-back repeat cannot be seen; set gap_s above 0, or probe kind 'fixation'")
    orders = _Orders(find_cells(protocol, table), seed)
    for subject in range(1, subjects + 1):
        name = label(subject, subjects)
        own = select_own(protocol, table, name)
        cell_of, catches = find_cells(protocol, own), find_catches(protocol, own)
        named = {**cell_of, **dict.fromkeys(catches, protocol.probe.catch_condition)}
        for session, slots in enumerate(_plan_subject(protocol, cell_of, catches, subject, orders, seed), 1):
            plan = _plan_duration(protocol.timing, slots, set_sha256, seed)
            for run, trials in enumerate(slots, 1):
                yield TrialList(RunName(name, label(session), protocol.task, run), lay_out(trials, named, protocol.timing), plan)


def label(number: int, highest: int = 99) -> str:
    """Return a BIDS label with leading zeros: 01, 02, ..."""
    return f"{number:0{max(2, len(str(highest)))}d}"


def describe_grid(protocol: Protocol) -> str | None:
    """Say how trials or blocks stand to the volumes, where they are no whole number of TRs; None where they are.

    Raises
    ------
    InputError
        When blocks are no whole number of TRs and the protocol does not allow it.
    """
    timing, blocks = protocol.timing, protocol.blocks
    length_s = timing.trial_s * (blocks.images_per_block if blocks else 1)
    trs = length_s / timing.tr_s
    if abs(trs - round(trs)) < _WHOLE:
        return None
    what = f"a {'block' if blocks else 'trial'} of {length_s:g} s is {trs:.4g} TRs of {timing.tr_s:g} s"
    if blocks and not timing.off_grid:
        raise InputError(
            f"{what}, so blocks begin at another moment of a volume each time; change images_per_block or tr_s, "
            "or allow it with --off-grid (in the protocol: timing.off_grid = true)"
        )
    return f"{what}: trials begin at several moments of a volume, which samples the response more finely"


class _Orders:
    """Orders the images of one run after the other, knowing those before: transitions so far, the Latin square's next row."""

    def __init__(self, cell_of: Mapping[str, str], seed: int) -> None:
        self._transitions = np.zeros((len(set(cell_of.values())),) * 2)
        self._names = list(dict.fromkeys(cell_of.values()))
        self._letters, self._row = list_letters(cell_of), seed

    def order(self, images: Sequence[str], cell_of: Mapping[str, str], timing: Timing, rng: np.random.Generator) -> list[str]:
        """Return a run's images in order."""
        if timing.order == "latin_square":
            sequence, rounds = order_by_square(images, cell_of, self._letters, self._row, rng)
            self._row += rounds
            return sequence
        sequence, self._transitions = order_images(images, cell_of, self._names, self._transitions, rng)
        return sequence


def _plan_subject(
    protocol: Protocol, cell_of: Mapping[str, str], catches: Sequence[str], subject: int, orders: _Orders, seed: int
) -> Iterator[list[list[Slot]]]:
    """Yield the slots of every run of one session after the other."""
    timing, cells, seen = protocol.timing, _invert(cell_of), set[str]()
    filled = _fill_sessions(protocol, cells, np.random.default_rng([seed, subject, 0])) if timing.trials_per_run else []
    for session in range(1, timing.sessions + 1):
        rng = np.random.default_rng([seed, subject, session])
        if protocol.blocks:
            yield make_block_runs(cells, catches, protocol, rng)
            continue
        dealt = filled[session - 1] if filled else deal_images(cells, timing.repetitions or 1, timing.runs, rng)
        slots = []
        for run, images in enumerate(dealt, 1):
            sequence = orders.order(images, cell_of, timing, rng)
            slots.append(make_slots(sequence, cell_of, catches, seen, protocol, run, rng))
        yield slots


def _fill_sessions(protocol: Protocol, cells: Mapping[str, Sequence[str]], rng: np.random.Generator) -> list[list[list[str]]]:
    """Return the images of every run of every session where the number of trials is given."""
    runs = protocol.timing.runs
    sizes = [split_trials(protocol, run)[0] for run in range(1, runs + 1)] * protocol.timing.sessions
    dealt = fill_runs(cells, sizes, rng)
    return [dealt[first : first + runs] for first in range(0, len(dealt), runs)]


def _invert(cell_of: Mapping[str, str]) -> dict[str, list[str]]:
    cells: dict[str, list[str]] = {}
    for image, cell in cell_of.items():
        cells.setdefault(cell, []).append(image)
    return cells


def _plan_duration(timing: Timing, runs: Sequence[Sequence[Slot]], set_sha256: str, seed: int) -> RunPlan:
    """Return the length of a session's runs, that of the longest, and how many volumes it takes."""
    longest_s = max(math.fsum(slot.length_s for slot in slots) for slots in runs)
    duration_s = timing.lead_in_s + longest_s + timing.lead_out_s
    volumes = math.ceil(duration_s / timing.tr_s - _ROUNDING)
    return RunPlan(duration_s=round(duration_s, 6), tr_s=timing.tr_s, volumes=volumes, set_sha256=set_sha256, seed=seed)


def lay_out(slots: Sequence[Slot], cell_of: Mapping[str, str], timing: Timing) -> pd.DataFrame:
    """Give the trials their onsets in seconds: one follows the other, the first at `lead_in_s`."""
    images = [slot.image for slot in slots]
    lengths = [slot.length_s for slot in slots]
    return pd.DataFrame(
        {
            "onset": [round(timing.lead_in_s + math.fsum(lengths[:index]), 6) for index in range(len(slots))],
            "duration": [slot.duration_s for slot in slots],
            "trial_type": [BLANK if image is None else cell_of[image] for image in images],
            "stim_id": pd.Series(images, dtype=object),
            "stim_file": pd.Series([None if image is None else image_file_name(image) for image in images], dtype=object),
            "probe": [int(slot.probe) for slot in slots],
        }
    )
