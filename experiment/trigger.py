"""Where a run's triggers come from: the words of a protocol or a command line in, one source that tells triggers from other presses out.

A run has one source. Each kind of device listens in a thread of its own (`listener.py`) and stamps on the monotonic clock; the
session only polls.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from experiment.emulated_scanner import EmulatedScanner
from experiment.keyboard import Keyboard
from experiment.parallel_port import DEFAULT_PIN, PINS, ParallelPort
from experiment.serial_port import DEFAULT_BAUD, SerialPort
from experiment.stage import ABORT_KEY, Inputs, Press
from experiment.udp_port import UdpPort
from protocols.errors import InputError

KINDS = ("keyboard", "serial", "parallel", "udp", "emulate")
FORMS = "keyboard:KEY, serial:DEVICE[,BAUD[,BYTE]], parallel:PORT[,PIN], udp:PORT[,TEXT] or emulate:TR_S"
_SECOND_SOURCE = re.compile(rf"[\s,;+&|]\s*({'|'.join(KINDS)}):")
_KEY_NAME = re.compile(r"\S|[\w-]+")
_LAST_UDP_PORT = 65_535


@dataclass(frozen=True)
class TriggerSource:
    """Where triggers come from, parsed from one of `FORMS`.

    `code` is the byte or the datagram's text that alone is a trigger; None: any is.
    """

    kind: str
    name: str
    baud: int = DEFAULT_BAUD
    code: str | None = None
    pin: int = DEFAULT_PIN

    @classmethod
    def parse(cls, text: str) -> "TriggerSource":
        """Parse a source as the protocol or the command line gives it.

        Raises
        ------
        InputError
            When it is none of the forms, or more than one source.
        """
        if _SECOND_SOURCE.search(text):
            raise InputError(f"trigger {text!r}: two sources at once; a run has one trigger source, choose one of them")
        kind, _, rest = text.partition(":")
        if kind not in KINDS or not rest:
            raise InputError(f"trigger {text!r}: give {FORMS}")
        parsers = {"keyboard": _parse_key, "serial": _parse_serial, "parallel": _parse_parallel, "udp": _parse_udp, "emulate": _parse_tr}
        return parsers[kind](text, rest)

    def matches(self, press: Press) -> bool:
        """Say whether `press` is a trigger."""
        if self.kind == "keyboard":
            return press.source == "keyboard" and press.key == self.name
        if self.kind == "emulate":
            return press.source in ("udp", "clock")  # from another process, or on a rehearsal's simulated clock
        return press.source == self.kind and self.code in (None, press.key)

    def refuse_collision(self, response_keys: Sequence[str]) -> None:
        """Refuse a trigger key that is also a response key, and either as the abort key.

        Raises
        ------
        InputError
            Naming the key.
        """
        trigger_keys = [self.name] if self.kind == "keyboard" else []
        if ABORT_KEY in (*trigger_keys, *response_keys):
            raise InputError(f"{ABORT_KEY!r} ends a run, so it can be neither the trigger's nor a response key; give another key")
        if set(trigger_keys) & set(response_keys):
            raise InputError(f"trigger keyboard:{self.name}: {self.name!r} is also a response key; give another key")

    def describe(self) -> str:
        """Return in words what a trigger is."""
        wanted = "any {}" if self.code is None else f"{{}} {self.code!r}"
        return {
            "keyboard": f"key {self.name!r}",
            "serial": f"{wanted.format('byte')} on {self.name} at {self.baud} baud",
            "parallel": f"pin {self.pin} of parallel port {self.name} going high",
            "udp": f"{wanted.format('datagram')} on UDP port {self.name}",
            "emulate": f"an emulated scanner with TR {self.name} s",
        }[self.kind]


def open_inputs(source: TriggerSource) -> list[Inputs]:
    """Open the keyboard (for responses and the abort key) and, where it is another device, the trigger's source.

    Raises
    ------
    InputError
        When one of them cannot be opened; none is left open then.
    """
    keyboard = Keyboard()
    try:
        return [keyboard, *open_device(source)]
    except InputError:
        keyboard.close()
        raise


def open_device(source: TriggerSource) -> list[Inputs]:
    """Open a trigger's own device; none where it is the keyboard.

    Raises
    ------
    InputError
        When it cannot be opened.
    """
    if source.kind == "serial":
        return [SerialPort(source.name, source.baud)]
    if source.kind == "parallel":
        return [ParallelPort(source.name, source.pin)]
    if source.kind == "udp":
        return [UdpPort(int(source.name))]
    return [EmulatedScanner(float(source.name))] if source.kind == "emulate" else []


def _parse_key(text: str, rest: str) -> TriggerSource:
    if not _KEY_NAME.fullmatch(rest):
        raise InputError(f"trigger {text!r}: give the name of one key, such as keyboard:5 or keyboard:space")
    return TriggerSource("keyboard", rest)


def _parse_serial(text: str, rest: str) -> TriggerSource:
    device, *options = rest.split(",")
    baud, byte = [*options, *[""] * 2][:2]
    if len(options) > 2 or not device or not (baud or "0").isdigit():
        raise InputError(f"trigger {text!r}: give serial:DEVICE[,BAUD[,BYTE]], such as serial:/dev/ttyUSB0,115200,5")
    return TriggerSource("serial", device, int(baud or DEFAULT_BAUD), byte or None)


def _parse_parallel(text: str, rest: str) -> TriggerSource:
    port, _, pin = rest.partition(",")
    if not port or not (pin or "10").isdigit() or int(pin or DEFAULT_PIN) not in PINS:
        raise InputError(f"trigger {text!r}: give parallel:PORT[,PIN] with an input pin (2-13 or 15), such as parallel:/dev/parport0,10")
    return TriggerSource("parallel", port, pin=int(pin or DEFAULT_PIN))


def _parse_udp(text: str, rest: str) -> TriggerSource:
    port, _, code = rest.partition(",")
    if not port.isdecimal() or not 0 < int(port) <= _LAST_UDP_PORT:
        raise InputError(f"trigger {text!r}: give udp:PORT[,TEXT] with a port of 1 to {_LAST_UDP_PORT}, such as udp:5005")
    return TriggerSource("udp", port, code=code.strip() or None)


def _parse_tr(text: str, rest: str) -> TriggerSource:
    try:
        valid = 0 < float(rest) < float("inf")
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"trigger {text!r}: the TR after 'emulate:' must be a number of seconds above 0, such as emulate:1.0")
    return TriggerSource("emulate", rest)
