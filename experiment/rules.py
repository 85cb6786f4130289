"""Whether trial lists keep their protocol's rules: counts, grid, streaks, blocks, probes, repeats, equal presentations."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
import pandas as pd

from experiment.slots import count_probes, split_trials
from protocols.errors import InputError
from protocols.protocol import Protocol
from protocols.timing import Blocks
from protocols.trials import BLANK, TrialList

_TOLERANCE_S = 2e-6  # onsets are rounded to microseconds


def check_run(trials: TrialList, protocol: Protocol) -> None:
    """Check one run against the protocol's rules.

    Raises
    ------
    InputError
        Naming the run and the rules that it breaks.
    """
    table = trials.trials
    broken = [*_find_grid_faults(table, protocol), *_find_repeats(table, protocol), *_find_wrong_end(trials, protocol)]
    broken += _find_block_faults(table, protocol, protocol.blocks) if protocol.blocks else _find_count_faults(trials, protocol)
    if broken:
        raise InputError(
            f"{trials.name.stem}_trials.tsv: {'; '.join(broken)}; a trial list is never edited by hand: run 'experiment plan' again"
        )


def check_presentations(runs: Sequence[TrialList], protocol: Protocol, cell_of: Mapping[str, str]) -> None:
    """Check how often one subject sees each image of `cell_of`, over `runs`, all of that subject's.

    Raises
    ------
    InputError
        Naming the subject, the session and the image.
    """
    timing, subject = protocol.timing, runs[0].name.subject
    if timing.repetitions is not None:
        for session in sorted({str(run.name.session) for run in runs}):
            counts = count_presentations([run for run in runs if str(run.name.session) == session], protocol)
            wrong = [image for image in cell_of if counts[image] != timing.repetitions]
            if wrong:
                raise InputError(
                    f"subject {subject}, session {session}: image {wrong[0]!r} is shown {counts[wrong[0]]} times, the protocol "
                    f"says {timing.repetitions}; run 'experiment plan' again"
                )
    elif timing.trials_per_run is not None:
        counts = count_presentations(runs, protocol)
        shown = [counts[image] for image in cell_of]
        if max(shown) - min(shown) > 1:
            raise InputError(
                f"subject {subject}: images are shown {min(shown)} to {max(shown)} times, not equally; run 'experiment plan' again"
            )


def count_presentations(runs: Sequence[TrialList], protocol: Protocol) -> Counter[str]:
    """Return how often each image is shown; one-back repeats and catch images are not counted."""
    counts: Counter[str] = Counter()
    for run in runs:
        counts.update(_drop_added(run.trials, protocol)["stim_id"].dropna())
    return counts


def _drop_added(table: pd.DataFrame, protocol: Protocol) -> pd.DataFrame:
    """Leave out blanks and the trials that the task adds to the images."""
    adds = protocol.probe.kind in ("one_back", "catch")
    return table[(table["trial_type"] != BLANK) & ~((table["probe"] == 1) & adds)]


def _find_grid_faults(table: pd.DataFrame, protocol: Protocol) -> Iterator[str]:
    timing = protocol.timing
    if len(table) and abs(table["onset"][0] - timing.lead_in_s) > _TOLERANCE_S:
        yield f"the first trial is not at lead_in_s = {timing.lead_in_s:g} s"
    block_s = protocol.blocks.images_per_block * timing.trial_s if protocol.blocks else timing.image_s
    is_long = (table["trial_type"] == BLANK) & (protocol.blocks is not None)
    expected_s = np.where(is_long, block_s, timing.image_s)
    if (abs(table["duration"] - expected_s) > _TOLERANCE_S).any():
        yield f"durations are not image_s = {timing.image_s:g} s"
    lengths = np.diff(table["onset"]) - np.where(is_long, block_s, timing.trial_s)[:-1]
    allowed = sorted(set(timing.jitter_s)) or [0.0]
    nearest = np.array([min(allowed, key=lambda one: abs(one - length)) for length in lengths])
    if (abs(lengths - nearest) > _TOLERANCE_S).any():
        yield f"onsets are not on the grid of trials of {timing.trial_s:g} s" + (f" with jitter {allowed}" if timing.jitter_s else "")
    elif timing.jitter_s:
        counts = [int((nearest == value).sum()) / timing.jitter_s.count(value) for value in allowed]
        if max(counts) - min(counts) > 2:  # the last trial's gap shows in no onset, and one value may come once more
            yield "the values of jitter_s are not equally frequent"


def _find_wrong_end(trials: TrialList, protocol: Protocol) -> Iterator[str]:
    timing, table = protocol.timing, trials.trials
    last_s = table["onset"].iloc[-1] + max(table["duration"].iloc[-1], timing.trial_s if not protocol.blocks else 0)
    if last_s + timing.lead_out_s > trials.plan.duration_s + _TOLERANCE_S:
        yield "the run is shorter than its lead-out"


def _find_count_faults(trials: TrialList, protocol: Protocol) -> Iterator[str]:
    table, timing, run = trials.trials, protocol.timing, trials.name.run
    blank = (table["trial_type"] == BLANK).to_numpy()
    wanted = timing.count_blanks(run) + timing.blanks_first + timing.blanks_last
    if blank.sum() != wanted:
        yield f"there are not {wanted} blanks"
    if not blank[: timing.blanks_first].all() or not blank[len(blank) - timing.blanks_last :].all():
        yield f"the first {timing.blanks_first} and last {timing.blanks_last} trials are not all blank"
    if timing.trials_per_run is not None and len(table) != timing.trials_per_run + timing.blanks_first + timing.blanks_last:
        yield f"there are not {timing.trials_per_run} trials between the first and last blanks"
    if timing.streak is not None:
        streaks = [len(list(group)) for is_blank, group in groupby(blank) if not is_blank]
        if any(not timing.streak[0] <= streak <= timing.streak[1] for streak in streaks):
            yield f"streaks of images are {min(streaks)} to {max(streaks)} trials long, not {timing.streak[0]} to {timing.streak[1]}"
    images = len(_drop_added(table, protocol))
    if int(table["probe"].sum()) != _expect_probes(table, protocol, images, run):
        yield "the number of probes is not the protocol's"


def _expect_probes(table: pd.DataFrame, protocol: Protocol, images: int, run: int) -> int:
    kind = protocol.probe.kind
    if kind == "rating":
        return images
    if kind == "old_new":  # what was seen in runs before is checked by nobody here; in this run at least every later showing is old
        return max(int(table["probe"].sum()), int(table["stim_id"].dropna().duplicated().sum()))
    if protocol.timing.trials_per_run is not None and kind != "fixation":
        return split_trials(protocol, run)[1]
    return count_probes(protocol, images)


def _find_repeats(table: pd.DataFrame, protocol: Protocol) -> Iterator[str]:
    last: str | None = None
    for stim_id, probe in zip(table["stim_id"], table["probe"], strict=True):
        if stim_id is None:
            continue
        if (stim_id == last) != (bool(probe) and protocol.probe.kind == "one_back"):
            yield "an image follows itself without being a probe"
            return
        last = stim_id


def _find_block_faults(table: pd.DataFrame, protocol: Protocol, blocks: Blocks) -> Iterator[str]:
    kinds = _read_blocks(table, protocol, blocks)
    if kinds is None:
        yield f"images of a cell do not stand in blocks of {blocks.images_per_block}"
        return
    padded = len(kinds) - 2 * blocks.padding
    inner = kinds[blocks.padding : blocks.padding + padded]
    counts = Counter(inner)
    if set(counts.values()) != {blocks.blocks_per_cell} or (BLANK in counts) != blocks.baseline:
        yield f"there are not {blocks.blocks_per_cell} blocks of each kind"
    if blocks.counterbalanced and blocks.baseline and blocks.padding:
        follows = Counter(zip(kinds[blocks.padding - 1 :], inner, strict=False))
        if len(follows) != len(counts) ** 2 or len(set(follows.values())) != 1:
            yield "blocks do not follow one another equally often"
    if protocol.probe.kind in ("one_back", "fixation", "catch"):
        images = sum(kind != BLANK for kind in kinds) * blocks.images_per_block
        if int(table["probe"].sum()) != count_probes(protocol, images):
            yield "the number of probes is not the protocol's"


def _read_blocks(table: pd.DataFrame, protocol: Protocol, blocks: Blocks) -> list[str] | None:
    """Return the kind of each block of a run, or None where the trials do not make blocks."""
    kinds, place = [], 0
    catch = protocol.probe.catch_condition if protocol.probe.kind == "catch" else None
    types = list(table["trial_type"])
    while place < len(types):
        size = 1 if types[place] == BLANK else blocks.images_per_block
        block = {kind for kind in types[place : place + size] if kind != catch}
        if len(block) != 1 or len(types[place : place + size]) != size:
            return None
        kinds.append(block.pop())
        place += size
    return kinds
