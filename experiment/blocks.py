"""Runs of blocks or miniblocks: images per cell in, the slots of every run of a session out; pure and seeded."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiment.order import order_blocks
from experiment.slots import Slot, count_probes
from protocols.errors import InputError
from protocols.protocol import Protocol
from protocols.timing import Blocks

_FEWEST = 3
_BASELINE = ""  # no cell has an empty name


class Deck:
    """Cards of one cell: every image is drawn once before any is drawn again, and none twice in a row."""

    def __init__(self, images: Sequence[str], rng: np.random.Generator) -> None:
        self._images, self._rng = list(images), rng
        self._left: list[str] = []
        self._last: str | None = None

    def draw(self, count: int) -> list[str]:
        """Return `count` images."""
        hand: list[str] = []
        while len(hand) < count:
            if not self._left:
                shuffled = [str(one) for one in self._rng.permutation(self._images)]
                self._left = sorted(shuffled, key=lambda one: one not in hand)  # what is in the hand comes last off the pile
                if self._left[-1] == self._last:
                    self._left.insert(0, self._left.pop())
            self._last = self._left.pop()
            hand.append(self._last)
        return hand


def make_block_runs(
    cells: Mapping[str, Sequence[str]], catches: Sequence[str], protocol: Protocol, rng: np.random.Generator
) -> list[list[Slot]]:
    """Return the slots of every run of a session.

    Raises
    ------
    InputError
        When the blocks cannot be counterbalanced, or there are more probes than blocks.
    """
    blocks = protocol.blocks
    if blocks is None:
        raise ValueError("the protocol has no [blocks]")
    for cell, images in cells.items():
        if len(images) < _FEWEST:
            raise InputError(f"stimuli.tsv: {cell!r} has {len(images)} image(s), blocks need {_FEWEST} of each cell, or one follows itself")
    decks = {cell: Deck(images, rng) for cell, images in cells.items()}
    return [_make_run(decks, catches, protocol, blocks, rng) for _ in range(protocol.timing.runs)]


def _make_run(
    decks: Mapping[str, Deck], catches: Sequence[str], protocol: Protocol, blocks: Blocks, rng: np.random.Generator
) -> list[Slot]:
    order = order_kinds(list(decks), blocks, rng)
    images = [place for place, kind in enumerate(order) if kind != _BASELINE]
    count = count_probes(protocol, len(images) * blocks.images_per_block)
    if count > len(images):
        raise InputError(f"probe: {count} probes for {len(images)} blocks of images; a block has one at most, lower 'count' or 'fraction'")
    probed = {int(place) for place in rng.choice(images, size=count, replace=False)} if count else set()
    slots: list[Slot] = []
    for place, kind in enumerate(order):
        if kind == _BASELINE:
            length_s = blocks.images_per_block * protocol.timing.trial_s
            slots.append(Slot(None, length_s, length_s))
        else:
            slots += _make_block(decks[kind].draw(blocks.images_per_block), place in probed, catches, protocol, rng)
    return slots


def order_kinds(cells: Sequence[str], blocks: Blocks, rng: np.random.Generator) -> list[str]:
    """Return the kinds of a run's blocks in order, baseline ('') and padding included."""
    kinds = [*cells, *([_BASELINE] if blocks.baseline else [])]
    padding = [_BASELINE] * blocks.padding
    if blocks.counterbalanced:
        order = order_blocks(kinds, blocks.blocks_per_cell, _BASELINE if blocks.baseline and padding else None, rng)
    else:
        order = [str(kind) for kind in rng.permutation(kinds * blocks.blocks_per_cell)]
    return [*padding, *order, *padding]


def _make_block(images: Sequence[str], probed: bool, catches: Sequence[str], protocol: Protocol, rng: np.random.Generator) -> list[Slot]:
    """Return a block's slots; its probe, if it has one, is a repeat of the image before, a catch image, or a change of the dot."""
    timing, kind = protocol.timing, protocol.probe.kind
    shown, last = list(images), len(images) - 1
    # never the last place: the next block may begin with that image; nor one whose repeat would come a third time
    places = [place for place in range(1, last) if images[place + 1] != images[place - 1]] or [last]
    place = int(rng.choice(places)) if probed else -1
    if probed and kind == "one_back" and last > 0:
        shown[place] = shown[place - 1]
    elif probed and kind == "catch":
        shown[place] = str(rng.choice(list(catches)))
    return [Slot(image, timing.image_s, timing.trial_s, index == place) for index, image in enumerate(shown)]
