"""A rehearsal's screen, scanner and participant: a simulated clock that jumps from refresh to refresh, and somebody who watches it.

The participant sees only what is flipped, as a person would, and answers through the same inputs as a keyboard.
"""

import heapq
import platform
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from experiment.stage import NS_PER_S, Frame, Press
from protocols.config import config
from protocols.errors import InputError
from protocols.probe import Probe
from protocols.protocol import Screen as ScreenSettings


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


class ClockTrigger:
    """A scanner on a rehearsal's simulated clock: pulses at start + delay + k TR on the clock `now_ns`; TR and delay in s."""

    def __init__(self, now_ns: Callable[[], int], tr_s: float, delay_s: float) -> None:
        self.failure: str | None = None
        self._now_ns, self._tr_s = now_ns, tr_s
        self._start_ns = now_ns() + round(delay_s * NS_PER_S)
        self._sent = 0

    def poll(self) -> list[Press]:
        """Return the pulses that are due."""
        pulses = []
        while (due_ns := self._start_ns + round(self._sent * self._tr_s * NS_PER_S)) <= self._now_ns():
            pulses.append(Press(due_ns, "clock", "pulse"))
            self._sent += 1
        return pulses

    def describe(self) -> str:
        """Return in words what is listened to."""
        return f"a simulated scanner with TR {self._tr_s:g} s"

    def close(self) -> None:
        """Do nothing: there is no device."""


class RehearsalScreen:
    """A screen without a window: each flip moves the simulated clock to the next refresh and shows the frame to the participant."""

    def __init__(self, settings: ScreenSettings, participant: SimulatedParticipant) -> None:
        self._settings, self._participant = settings, participant
        self._period_ns = round(NS_PER_S / settings.refresh_hz)
        self._now_ns = 0
        self._loaded: frozenset[str] = frozenset()

    @property
    def period_ns(self) -> int:
        """Time from one refresh to the next."""
        return self._period_ns

    def now_ns(self) -> int:
        """Return the simulated time."""
        return self._now_ns

    def preload(self, images: Mapping[str, np.ndarray]) -> None:
        """Remember which images may be shown."""
        self._loaded = frozenset(images)

    def predict_ns(self) -> int:
        """Return the time of the next refresh."""
        return self._now_ns + self._period_ns

    def flip(self, frame: Frame) -> int:
        """Move to the next refresh, show `frame` there, and return its time."""
        if frame.image is not None and frame.image not in self._loaded:
            raise InputError(f"image {frame.image!r} was not loaded before the run")
        self._now_ns += self._period_ns
        self._participant.watch(frame, self._now_ns)
        return self._now_ns

    def describe(self) -> dict[str, Any]:
        """Return what the events' sidecar says of the presentation."""
        return {
            "OperatingSystem": platform.platform(),
            "SoftwareName": "voxdrive rehearsal (no window, simulated clock, simulated participant)",
            "ScreenRefreshRate": self._settings.refresh_hz,
            "ScreenResolution": [self._settings.width_px, self._settings.height_px],
        }

    def close(self) -> None:
        """Do nothing: there is no window."""


def make_participant_rng(seed: int, stem: str) -> np.random.Generator:
    """Return the generator of one run's participant: every run of a session differs, and each can be had again."""
    return np.random.default_rng([seed, zlib.crc32(stem.encode())])
