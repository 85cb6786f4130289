"""A UDP port as a source of presses: every datagram is one, its key is the datagram's text."""

import socket
import time
from collections.abc import Iterable

from experiment.listener import WAIT_S, Listener
from experiment.stage import Press
from protocols.errors import InputError

EVERYWHERE = "0.0.0.0"  # the scanner's computer is another one
_MOST_BYTES = 512


class UdpPort:
    """A UDP port of this computer, read by a blocking thread. Port 0 takes a free one; `number` says which.

    Raises
    ------
    InputError
        When the port cannot be opened.
    """

    def __init__(self, number: int, host: str = EVERYWHERE) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((host, number))
        except OSError as problem:
            self._socket.close()
            raise InputError(
                f"trigger udp:{number}: cannot be opened ({problem}); end the program that listens there, or give another port"
            ) from None
        self._socket.settimeout(WAIT_S)
        self.number: int = self._socket.getsockname()[1]
        self._listener = Listener(f"UDP port {self.number}", self._read)

    @property
    def failure(self) -> str | None:
        """Why listening stopped, should it have."""
        return self._listener.failure

    def poll(self) -> list[Press]:
        """Return the datagrams that arrived since the last poll, stamped in ns."""
        return self._listener.poll()

    def describe(self) -> str:
        """Return in words what is listened to."""
        return f"UDP port {self.number}"

    def close(self) -> None:
        """Stop the thread and close the port."""
        self._listener.close()
        self._socket.close()

    def _read(self) -> Iterable[Press]:
        try:
            text = self._socket.recv(_MOST_BYTES)
        except (TimeoutError, ConnectionResetError):  # the latter is how Windows tells of a datagram of ours that nobody took
            return []
        return [Press(time.monotonic_ns(), "udp", text.decode("utf-8", "replace").strip())]
