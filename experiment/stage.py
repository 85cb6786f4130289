"""What a session needs of the world: a screen that flips and inputs that are heard. Real ones and rehearsed ones fit the same.

All times are nanoseconds of one monotonic clock (`time.monotonic_ns`, or the rehearsal's simulated clock).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

NS_PER_S = 1_000_000_000
ABORT_KEY = "escape"
ARM_KEY = "return"  # ends safe mode, in which triggers are ignored


@dataclass(frozen=True)
class Frame:
    """What is on the screen between two flips: an image (a stim_id) or none, the fixation dot, or a message instead."""

    image: str | None = None
    changed_dot: bool = False
    message: str = ""


@dataclass(frozen=True)
class Press:
    """A key, a serial byte, an edge of a parallel port, a datagram or a simulated pulse, with the time at which it happened."""

    time_ns: int
    source: Literal["keyboard", "serial", "parallel", "udp", "clock", "box"]
    key: str


class Screen(Protocol):
    """A display that shows one frame per refresh and says when it did."""

    @property
    def period_ns(self) -> int:
        """Time from one refresh to the next."""

    def now_ns(self) -> int:
        """Return the time on the session's clock."""

    def preload(self, images: Mapping[str, np.ndarray]) -> None:
        """Take every image (stim_id -> height x width x 3, uint8, in the size in which it is shown) before the trigger."""

    def read_drawn(self, image: str) -> np.ndarray | None:
        """Draw an image without the dot and return the back buffer: height x width x 3, uint8; None where there is no window."""

    def predict_ns(self) -> int:
        """Return the time at which the next flip will appear, unless it is missed."""

    def flip(self, frame: Frame) -> int:
        """Draw `frame`, wait for the next refresh, show it, and return the time at which it appeared."""

    def describe(self) -> dict[str, Any]:
        """Return what the events' sidecar says of the presentation: BIDS StimulusPresentation keys."""

    def close(self) -> None:
        """Give the display back."""


class Inputs(Protocol):
    """A source of presses that listens in its own time."""

    @property
    def failure(self) -> str | None:
        """Why it stopped, should it have stopped."""

    def poll(self) -> list[Press]:
        """Return what was heard since the last poll, in order of time."""

    def describe(self) -> str:
        """Return in words what is listened to."""

    def close(self) -> None:
        """Stop listening."""


def poll_all(inputs: Sequence[Inputs]) -> list[Press]:
    """Return what all inputs heard since the last poll, in order of time."""
    return sorted((press for one in inputs for press in one.poll()), key=lambda press: press.time_ns)
