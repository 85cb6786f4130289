"""A simulated participant, who sees only what is flipped, as a person would, and answers through the same inputs as a keyboard."""

import heapq
import zlib
from collections.abc import Collection, Sequence
from typing import Any, cast

import numpy as np

from experiment.frame_plan import Showing
from experiment.stage import NS_PER_S, Frame, Press, Screen
from protocols.config import config
from protocols.probe import Probe


@config
class Participant:
    """How the simulated participant does: probability of a hit and of a false alarm per trial, and reaction times."""

    hit_rate: float = 0.9
    false_alarm_rate: float = 0.02
    median_reaction_s: float = 0.55
    reaction_spread: float = 0.25
    """Standard deviation of the logarithm of reaction times."""


class SimulatedParticipant:
    """Watches frames, notices what the task asks for, and presses a key some time later.

    `catches` are the catch images' stim_ids, `seen` those of images known from runs before.
    """

    def __init__(
        self,
        probe: Probe,
        rng: np.random.Generator,
        manner: Participant | None = None,
        catches: Collection[str] = (),
        seen: Collection[str] = (),
    ) -> None:
        self.failure: str | None = None
        self._catches, self._seen = frozenset(catches), set(seen)
        self._probe, self._rng, self._manner = probe, rng, manner or Participant()
        self._pressing: list[tuple[int, str]] = []
        self._now_ns = 0
        self._last_image: str | None = None
        self._last = Frame()

    def watch(self, frame: Frame, time_ns: int) -> None:
        """See `frame` appear at `time_ns`."""
        self._now_ns = time_ns
        if frame != self._last and frame.image is not None:
            self._decide(self._notices(frame, frame.image), time_ns)
            self._last_image = frame.image
            self._seen.add(frame.image)
        self._last = frame

    def poll(self) -> list[Press]:
        """Return the keys pressed by now."""
        presses = []
        while self._pressing and self._pressing[0][0] <= self._now_ns:
            time_ns, key = heapq.heappop(self._pressing)
            presses.append(Press(time_ns, "keyboard", key))
        return presses

    def describe(self) -> str:
        """Return in words what is listened to."""
        return "a simulated participant"

    def close(self) -> None:
        """Do nothing: there is no device."""

    def _notices(self, frame: Frame, image: str) -> bool:
        """Say whether what the task asks for is on the screen."""
        kind = self._probe.kind
        due = {"fixation": frame.changed_dot, "catch": image in self._catches, "old_new": image in self._seen, "rating": True}
        return due.get(kind, image == self._last_image)

    def _decide(self, due: bool, time_ns: int) -> None:
        chance, reaction = self._rng.random(), self._rng.lognormal(np.log(self._manner.median_reaction_s), self._manner.reaction_spread)
        yes = chance < (self._manner.hit_rate if due else self._manner.false_alarm_rate)
        old = self._probe.old_keys
        keys = [key for key in self._probe.keys if not old or (key in old) == yes]
        key = str(self._rng.choice(keys))
        if yes or old:  # in the old/new task every image is answered
            heapq.heappush(self._pressing, (time_ns + round(reaction * NS_PER_S), key))


class _WatchedScreen:
    def __init__(self, screen: Screen, participant: SimulatedParticipant) -> None:
        self._screen, self._participant = screen, participant

    def flip(self, frame: Frame) -> int:
        time_ns = self._screen.flip(frame)
        self._participant.watch(frame, time_ns)
        return time_ns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._screen, name)


def watch_screen(screen: Screen, participant: SimulatedParticipant) -> Screen:
    """Return a screen whose flips a simulated participant sees; everything else is the screen's own."""
    return cast(Screen, _WatchedScreen(screen, participant))


def invite_participant(probe: Probe, showings: Sequence[Showing], seed: int, stem: str) -> SimulatedParticipant:
    """Return the participant of one run (its BIDS `stem`): every run of a session differs, and each can be had again."""
    rng = np.random.default_rng([seed, zlib.crc32(stem.encode())])
    probes = {one.trial.stim_id for one in showings if one.trial.stim_id and one.trial.probe}
    first = {one.trial.stim_id: one.trial.probe for one in reversed(showings)}
    known = {stim_id for stim_id, is_probe in first.items() if stim_id and is_probe}  # old when they first appear: from runs before
    return SimulatedParticipant(probe, rng, catches=probes, seen=known)
