"""The trials of a run before they have onsets: an ordered sequence of images in, probes and blanks added; pure and seeded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiment.order import choose_apart, choose_blanks, choose_probes, cut_into_streaks
from protocols.errors import InputError
from protocols.protocol import Protocol

_DRAWS = 1000  # streaks are drawn anew until none parts an image from its repeat

_Unit = list[tuple[str | None, bool]]  # trials that no blank may part: image (or None), and whether a response is due


@dataclass(frozen=True)
class Slot:
    """One trial: an image (None for a blank), whether a response is due, how long it is shown and how long it takes in all."""

    image: str | None
    duration_s: float
    length_s: float
    probe: bool = False


def count_probes(protocol: Protocol, images: int) -> int:
    """Return how many probes a run of `images` image trials has, repeats and catch images not counted among these."""
    probe = protocol.probe
    if probe.kind in ("rating", "old_new"):
        raise ValueError("every image of a rating or old_new task is answered")  # no caller asks
    return probe.count if probe.count is not None else round(probe.fraction * images)


def split_trials(protocol: Protocol, run: int) -> tuple[int, int]:
    """Return how many of a run's `trials_per_run` are images, and how many repeats or catch images are added to them.

    Raises
    ------
    InputError
        When there is no room for an image.
    """
    timing, probe = protocol.timing, protocol.probe
    trials = (timing.trials_per_run or 0) - timing.count_blanks(run)
    adds = probe.kind in ("one_back", "catch")
    share = round(trials * probe.fraction / (1 + probe.fraction))
    added = (probe.count if probe.count is not None else share) if adds else 0
    if trials - added < 1:
        raise InputError(
            f"timing: trials_per_run {timing.trials_per_run} leaves no image beside {timing.count_blanks(run)} blanks and {added} probes"
        )
    return trials - added, added


def make_slots(
    sequence: Sequence[str],
    cell_of: Mapping[str, str],
    catches: Sequence[str],
    seen: set[str],
    protocol: Protocol,
    run: int,
    rng: np.random.Generator,
) -> list[Slot]:
    """Add probes, blanks and jitter to a sequence of images; an image and its one-back repeat are never parted.

    `seen` holds what the subject saw before, and gets what this run shows.

    Raises
    ------
    InputError
        When the counts cannot be laid out by the protocol's rules.
    """
    timing = protocol.timing
    units = _add_probes(sequence, cell_of, catches, seen, protocol, run, rng)
    blank: _Unit = [(None, False)]
    after = _place_blanks([len(unit) for unit in units], protocol, run, rng)
    flat = blank * timing.blanks_first
    for position, unit in enumerate(units):
        flat += unit + blank * after.get(position, 0)
    flat += blank * timing.blanks_last
    jitter = [timing.jitter_s[place % len(timing.jitter_s)] if timing.jitter_s else 0.0 for place in range(len(flat))]
    lengths = [timing.trial_s + float(one) for one in (rng.permutation(jitter) if timing.jitter_s else jitter)]
    return [Slot(image, timing.image_s, length, probe) for (image, probe), length in zip(flat, lengths, strict=True)]


def _add_probes(
    sequence: Sequence[str],
    cell_of: Mapping[str, str],
    catches: Sequence[str],
    seen: set[str],
    protocol: Protocol,
    run: int,
    rng: np.random.Generator,
) -> list[_Unit]:
    """Return the run's image trials in units that no blank may part."""
    kind = protocol.probe.kind
    if kind in ("rating", "old_new"):
        units: list[_Unit] = []
        for image in sequence:
            units.append([(image, kind == "rating" or image in seen)])
            seen.add(image)
        return units
    count = (
        split_trials(protocol, run)[1] if protocol.timing.trials_per_run and kind != "fixation" else count_probes(protocol, len(sequence))
    )
    if kind == "one_back":
        probes = choose_probes(sequence, cell_of, count, rng)
        return [[(image, False), (image, True)] if place in probes else [(image, False)] for place, image in enumerate(sequence)]
    probes = choose_apart(len(sequence), count, rng)
    if kind == "fixation":
        return [[(image, place in probes)] for place, image in enumerate(sequence)]
    drawn = iter([str(one) for _ in range(count // len(catches) + 1) for one in rng.permutation(list(catches))])
    units = []
    for place, image in enumerate(sequence):
        units += [[(image, False)], [(next(drawn), True)]] if place in probes else [[(image, False)]]
    return units


def _place_blanks(sizes: Sequence[int], protocol: Protocol, run: int, rng: np.random.Generator) -> dict[int, int]:
    """Return how many blanks follow each unit; `sizes` are the units' lengths in trials."""
    timing, blanks = protocol.timing, protocol.timing.count_blanks(run)
    if timing.streak is None:
        return dict.fromkeys(choose_blanks(len(sizes), blanks, rng), 1)
    ends = {int(end): unit for unit, end in enumerate(np.cumsum(sizes))}
    for _ in range(_DRAWS):
        cuts = [int(end) for end in np.cumsum(cut_into_streaks(sum(sizes), timing.streak, blanks, rng))]
        if all(cut in ends for cut in cuts):
            after = dict.fromkeys((ends[cut] for cut in cuts[:-1]), 1)
            return {**after, len(sizes) - 1: blanks - len(after)}
    raise InputError(f"timing: streaks of {timing.streak[0]} to {timing.streak[1]} would part images from their repeats; widen 'streak'")
