"""A response box on a serial port of its own: its bytes are keys, never triggers."""

import dataclasses

from experiment.serial_port import SerialPort
from experiment.stage import Inputs, Press
from experiment.trigger import TriggerSource
from protocols.errors import InputError


class ResponseBox:
    """Presses of a serial port that are answers, whatever the trigger's source is."""

    def __init__(self, port: Inputs) -> None:
        self._port = port

    @property
    def failure(self) -> str | None:
        """Why the box stopped, should it have."""
        return self._port.failure

    def poll(self) -> list[Press]:
        """Return the keys pressed since the last poll."""
        return [dataclasses.replace(press, source="box") for press in self._port.poll()]

    def describe(self) -> str:
        """Return in words what is listened to."""
        return f"a response box on {self._port.describe()}"

    def close(self) -> None:
        """Close the port."""
        self._port.close()


def open_box(text: str) -> list[Inputs]:
    """Open the response box `serial:DEVICE[,BAUD]`; none where the text is empty.

    Raises
    ------
    InputError
        When it is no serial port, or cannot be opened.
    """
    if not text:
        return []
    source = TriggerSource.parse(text)
    if source.kind != "serial":
        raise InputError(f"[probe] box {text!r}: give serial:DEVICE[,BAUD], or leave it out where the box is a keyboard")
    return [ResponseBox(SerialPort(source.name, source.baud))]
