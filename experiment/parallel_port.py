"""A pin of a parallel port as a source of presses: each time it rises is one. Read through pyparallel, as PsychoPy does on Linux.

The port has no queue of its own, so the thread reads the pin several times per millisecond; pulses shorter than that can be missed.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

from experiment.listener import Listener
from experiment.stage import Press
from protocols.errors import InputError

DEFAULT_PIN = 10  # acknowledge, where most trigger cables are wired to
_POLL_S = 0.0002
_STATUS_PINS = {10: "getInAcknowledge", 11: "getInBusy", 12: "getInPaperOut", 13: "getInSelected", 15: "getInError"}
_FIRST_DATA_PIN = 2
PINS = (*range(_FIRST_DATA_PIN, 10), *_STATUS_PINS)


class ParallelPort:
    """A pin of a parallel port, such as pin 10 of `/dev/parport0` (or of port 0), watched by a thread.

    Raises
    ------
    InputError
        When pyparallel is missing or the port cannot be opened.
    """

    def __init__(self, port: str, pin: int = DEFAULT_PIN) -> None:
        where = f"trigger parallel:{port}"
        try:
            import parallel  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except Exception as problem:  # where there is no implementation for a platform, pyparallel raises what it likes
            raise InputError(f"{where}: pyparallel cannot be imported ({problem}); pip install pyparallel") from None
        try:
            self._port = parallel.Parallel(int(port) if port.isdigit() else port)
            self._is_high = _choose_reader(self._port, pin)
            self._was_high = self._is_high()  # a line that is up already is no trigger
        except Exception as problem:
            raise InputError(
                f"{where}: cannot be opened ({problem}); on Linux: sudo rmmod lp; sudo modprobe ppdev; and be a member of group lp"
            ) from None
        self._what = f"pin {pin} of parallel port {port}"
        self._key = f"pin{pin}"
        self._listener = Listener(self._what, self._read)

    @property
    def failure(self) -> str | None:
        """Why listening stopped, should it have."""
        return self._listener.failure

    def poll(self) -> list[Press]:
        """Return the rising edges since the last poll, stamped in ns."""
        return self._listener.poll()

    def describe(self) -> str:
        """Return in words what is listened to."""
        return self._what

    def close(self) -> None:
        """Stop the thread and give the port back, which pyparallel does when nothing refers to it."""
        self._listener.close()
        del self._port, self._is_high

    def _read(self) -> Iterable[Press]:
        is_high = self._is_high()
        rose, self._was_high = is_high and not self._was_high, is_high
        if rose:
            return [Press(time.monotonic_ns(), "parallel", self._key)]
        time.sleep(_POLL_S)
        return []


def _choose_reader(port: Any, pin: int) -> Callable[[], bool]:
    """Return what reads `pin`; the data pins are turned into inputs first."""
    if pin in _STATUS_PINS:
        read = getattr(port, _STATUS_PINS[pin])
        return lambda: bool(read())
    port.setDataDir(0)
    return lambda: bool(port.getData() >> (pin - _FIRST_DATA_PIN) & 1)
