"""A serial port as a source of presses: every byte is one, stamped by a process of its own that waits for it."""

import subprocess
from collections.abc import Iterable
from importlib import util

from experiment.child_process import end_child, start_child
from experiment.listener import Listener
from experiment.serial_reader import READY
from experiment.stage import Press
from protocols.errors import InputError

DEFAULT_BAUD = 9600


class SerialPort:
    """A serial port (or a pseudo-terminal) read by another process (`serial_reader.py`), whose stamps a thread collects.

    Raises
    ------
    InputError
        When pyserial is missing or the port cannot be opened.
    """

    def __init__(self, device: str, baud: int = DEFAULT_BAUD) -> None:
        if util.find_spec("serial") is None:
            raise InputError(f"trigger serial:{device}: pyserial is not installed; install 'voxdrive[experiment]'")
        self._what = f"{device} at {baud} baud"
        self._closing = False
        self._child = start_child(["experiment.serial_reader", device, str(baud)], subprocess.PIPE)
        said = self._read_line()
        if said != READY:
            end_child(self._child)
            raise InputError(
                f"trigger serial:{device}: cannot be opened ({said or 'its process ended'}); plug it in, or give another --trigger"
            )
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
        """End the process, which gives the port back, and the thread."""
        self._closing = True
        self._child.terminate()
        self._listener.close()
        end_child(self._child)

    def _read_line(self) -> str:
        return self._child.stdout.readline().decode().strip() if self._child.stdout is not None else ""

    def _read(self) -> Iterable[Press]:
        line = self._read_line()
        time_ns, _, byte = line.partition(" ")
        if time_ns.isdigit() and byte.isdigit():
            number = int(byte)
            return [Press(int(time_ns), "serial", chr(number) if 32 < number < 127 else f"0x{number:02x}")]
        if self._closing:
            return []
        raise OSError(line or "its process ended")
