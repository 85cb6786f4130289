"""A rehearsal's screen and scanner: a simulated clock that jumps from refresh to refresh, and pulses on that clock."""

import platform
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiment.stage import NS_PER_S, Frame, Press
from protocols.errors import InputError
from protocols.protocol import Screen as ScreenSettings


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
    """A screen without a window: each flip moves the simulated clock to the next refresh."""

    def __init__(self, settings: ScreenSettings) -> None:
        self._settings = settings
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

    def read_drawn(self, image: str) -> None:
        """Return None: nothing is drawn in a rehearsal."""

    def predict_ns(self) -> int:
        """Return the time of the next refresh."""
        return self._now_ns + self._period_ns

    def flip(self, frame: Frame) -> int:
        """Move to the next refresh, show `frame` there, and return its time."""
        if frame.image is not None and frame.image not in self._loaded:
            raise InputError(f"image {frame.image!r} was not loaded before the run")
        self._now_ns += self._period_ns
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
