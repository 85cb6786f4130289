"""A thread that listens to one device and keeps what it hears: every kind of device below stamps in here, none waits for a frame.

Polling once per frame loses short keys and stamps late; a thread of its own does neither.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable

from experiment.child_process import take_precedence
from experiment.stage import Press

WAIT_S = 0.05  # how long a device may block before the thread looks whether it should end
_JOIN_S = 1.0


class Listener:
    """Call `read` again and again in a thread; each call waits at most `WAIT_S` seconds and returns what came, stamped."""

    def __init__(self, what: str, read: Callable[[], Iterable[Press]]) -> None:
        self.failure: str | None = None
        self._what, self._read = what, read
        self._heard: deque[Press] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=what, daemon=True)
        self._thread.start()

    def poll(self) -> list[Press]:
        """Return what was heard since the last poll, in order of time (ns)."""
        heard = [self._heard.popleft() for _ in range(len(self._heard))]
        return sorted(heard, key=lambda press: press.time_ns)

    def close(self) -> None:
        """End the thread; the device can be closed afterwards."""
        self._stop.set()
        self._thread.join(timeout=_JOIN_S)

    def _listen(self) -> None:
        take_precedence()
        try:
            while not self._stop.is_set():
                self._heard.extend(self._read())
        except Exception as problem:  # an unplugged device raises what its driver likes; the session must learn of it and go on
            self.failure = f"{self._what} stopped: {problem}"
