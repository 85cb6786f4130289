"""A serial port as a source of presses: every byte is one, stamped by a thread that waits for it."""

import time
from collections.abc import Iterable

from experiment.listener import WAIT_S, Listener
from experiment.stage import Press
from protocols.errors import InputError

DEFAULT_BAUD = 9600


class SerialPort:
    """A serial port (or a pseudo-terminal) read by a blocking thread; every byte is a press.

    Raises
    ------
    InputError
        When pyserial is missing or the port cannot be opened.
    """

    def __init__(self, device: str, baud: int = DEFAULT_BAUD) -> None:
        try:
            import serial
        except ImportError as problem:
            raise InputError(f"trigger serial:{device}: pyserial cannot be imported ({problem}); install 'voxdrive[experiment]'") from None
        self._what = f"{device} at {baud} baud"
        try:
            self._port = serial.Serial(device, baud, timeout=WAIT_S)  # opening drops what came before
        except (serial.SerialException, OSError, ValueError) as problem:
            raise InputError(f"trigger serial:{device}: cannot be opened ({problem}); plug it in, or give another --trigger") from None
        self._listener = Listener(self._what, self._read)

    @property
    def failure(self) -> str | None:
        """Why listening stopped, should it have."""
        return self._listener.failure

    def poll(self) -> list[Press]:
        """Return the bytes that arrived since the last poll, stamped in ns."""
        return self._listener.poll()

    def describe(self) -> str:
        """Return in words what is listened to."""
        return self._what

    def close(self) -> None:
        """Stop the thread and close the port."""
        self._listener.close()
        self._port.close()

    def _read(self) -> Iterable[Press]:
        arrived = self._port.read(1)
        time_ns = time.monotonic_ns()
        return [Press(time_ns, "serial", chr(byte) if 32 < byte < 127 else f"0x{byte:02x}") for byte in arrived]
