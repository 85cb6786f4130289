"""Triggers and keys: each source listens in a thread of its own and stamps on the monotonic clock; the session only polls.

Polling once per frame loses short keys and stamps them late (shared measurements: 7 of 40 lost); these threads do not.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from experiment.key_queue import start_queues
from experiment.stage import ABORT_KEY, NS_PER_S, Inputs, Press
from protocols.errors import InputError

_KEY_POLL_S = 0.001  # the psychtoolbox queue's own waiting holds Python's lock, so the thread sleeps instead
_CLOCK_DELAY_S = 1.0  # an emulated scanner starts this long after the session begins to listen
_NAMED_KEYS = {8: "backspace", 9: "tab", 10: "return", 13: "return", 27: "escape", 32: "space", 127: "delete"}
_DEFAULT_BAUD = 9600
INSTALL_HINT = "install it with: pip install 'voxdrive[experiment]' and, on Debian or Ubuntu, apt-get install libjack-jackd2-0"


@dataclass(frozen=True)
class TriggerSource:
    """Where triggers come from, parsed: `keyboard:KEY`, `serial:DEVICE[,BAUD[,BYTE]]` (any byte unless given), `emulate:TR_S`."""

    kind: str
    name: str
    baud: int = _DEFAULT_BAUD
    byte: str | None = None

    @classmethod
    def parse(cls, text: str) -> "TriggerSource":
        """Parse a source as the protocol or the command line gives it.

        Raises
        ------
        InputError
            When it is none of the three forms.
        """
        kind, _, rest = text.partition(":")
        if kind not in ("keyboard", "serial", "emulate") or not rest:
            raise InputError(f"trigger {text!r}: give keyboard:KEY, serial:DEVICE[,BAUD[,BYTE]] or emulate:TR_S")
        if kind == "serial":
            return _parse_serial(text, rest)
        if kind == "emulate":
            _parse_tr(text, rest)
        return cls(kind, rest)

    def matches(self, press: Press) -> bool:
        """Say whether `press` is a trigger."""
        if self.kind == "keyboard":
            return press.source == "keyboard" and press.key == self.name
        if self.kind == "serial":
            return press.source == "serial" and self.byte in (None, press.key)
        return press.source == "clock"

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
        if self.kind == "keyboard":
            return f"key {self.name!r}"
        if self.kind == "serial":
            return f"{'any byte' if self.byte is None else f'byte {self.byte!r}'} on {self.name} at {self.baud} baud"
        return f"an emulated scanner with TR {self.name} s"


class ClockTrigger:
    """An emulated scanner inside the program: pulses at start + delay + k TR on the clock `now_ns`."""

    def __init__(self, now_ns: Callable[[], int], tr_s: float, delay_s: float = _CLOCK_DELAY_S) -> None:
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
        return f"an emulated scanner with TR {self._tr_s:g} s"

    def close(self) -> None:
        """Do nothing: there is no device."""


class SerialPort:
    """A serial port (or a pseudo-terminal) read by a blocking thread; every byte is a press.

    Raises
    ------
    InputError
        When pyserial is missing or the port cannot be opened.
    """

    def __init__(self, device: str, baud: int = _DEFAULT_BAUD) -> None:
        try:
            import serial
        except ImportError as problem:
            raise InputError(f"trigger serial:{device}: pyserial cannot be imported ({problem}); install 'voxdrive[experiment]'") from None
        self.failure: str | None = None
        self._heard: deque[Press] = deque()
        self._what = f"{device} at {baud} baud"
        try:
            self._port = serial.Serial(device, baud, timeout=0.05)  # opening drops what came before
        except (serial.SerialException, OSError, ValueError) as problem:
            raise InputError(f"trigger serial:{device}: cannot be opened ({problem}); plug it in, or give another --trigger") from None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="serial trigger", daemon=True)
        self._thread.start()

    def poll(self) -> list[Press]:
        """Return the bytes that arrived since the last poll."""
        return _drain(self._heard)

    def describe(self) -> str:
        """Return in words what is listened to."""
        return self._what

    def close(self) -> None:
        """Stop the thread and close the port."""
        self._stop.set()
        self._thread.join(timeout=1)
        self._port.close()

    def _listen(self) -> None:
        try:
            while not self._stop.is_set():
                for byte in self._port.read(1):
                    self._heard.append(Press(time.monotonic_ns(), "serial", chr(byte) if 32 < byte < 127 else f"0x{byte:02x}"))
        except Exception as problem:  # an unplugged port raises what the driver likes; the session must learn of it and go on
            self.failure = f"{self._what} stopped: {problem}"


class Keyboard:
    """All keyboards, through psychtoolbox's key queues: its own thread stamps each key, ours collects them.

    One queue per keyboard: on X11 the default queue hears only the first one, and keys of XTEST (xdotool, remote
    desktops) come from a keyboard of their own.

    Raises
    ------
    InputError
        When psychtoolbox cannot be imported, or no keyboard can be opened. There is no silent fallback.
    """

    def __init__(self) -> None:
        hid, self._get_secs = _import_psychtoolbox()
        self.failure: str | None = None
        self._heard: deque[Press] = deque()
        indices, names, _ = hid.get_keyboard_indices()
        if not indices:
            raise InputError("keyboard: psychtoolbox finds no keyboard; plug one in (on Linux: is DISPLAY the right one?)")
        self._names = [str(name) for name in names]
        try:
            self._queues = [hid.Keyboard(index) for index in indices]
            start_queues(self._queues)
        except Exception as problem:
            raise InputError(f"keyboard: psychtoolbox's key queue cannot be opened ({problem}); close other programs that use it") from None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="keyboard", daemon=True)
        self._thread.start()

    def poll(self) -> list[Press]:
        """Return the keys that went down since the last poll."""
        return sorted(_drain(self._heard), key=lambda press: press.time_ns)

    def describe(self) -> str:
        """Return in words what is listened to."""
        return f"{len(self._names)} keyboard(s) ({', '.join(self._names)}) through psychtoolbox"

    def close(self) -> None:
        """Stop the thread and release the queues."""
        self._stop.set()
        self._thread.join(timeout=1)
        for queue in self._queues:
            queue.queue_stop()
            queue._release_queue()

    def _listen(self) -> None:
        try:
            while not self._stop.is_set():
                for queue in self._queues:
                    self._collect(queue)
                time.sleep(_KEY_POLL_S)
        except Exception as problem:
            self.failure = f"keyboard stopped: {problem}"

    def _collect(self, queue: Any) -> None:
        while isinstance(event := queue.queue_get_event(0)[0], dict):
            if event["Pressed"]:
                # psychtoolbox's clock is wall time here: only the age of the key is taken from it, so a clock step cannot shift onsets
                age_ns = max(0, round((self._get_secs() - event["Time"]) * NS_PER_S))
                self._heard.append(Press(time.monotonic_ns() - age_ns, "keyboard", name_key(event)))


def name_key(event: dict[str, Any]) -> str:
    """Return a key's name: the character that it types, a name such as escape, or `keycode-N`."""
    character = int(event["CookedKey"])
    if character in _NAMED_KEYS:
        return _NAMED_KEYS[character]
    return chr(character) if 32 < character < 127 else f"keycode-{int(event['Keycode'])}"


def open_inputs(source: TriggerSource, now_ns: Callable[[], int]) -> list[Inputs]:
    """Open the keyboard (for responses and the abort key) and, where it is another device, the trigger's source."""
    device: list[Inputs] = []
    if source.kind == "serial":
        device.append(SerialPort(source.name, source.baud))
    elif source.kind == "emulate":
        device.append(ClockTrigger(now_ns, float(source.name)))
    return [Keyboard(), *device]


def _import_psychtoolbox() -> tuple[Any, Callable[[], float]]:
    try:
        from psychtoolbox import GetSecs, hid
    except ImportError as problem:
        raise InputError(f"keyboard: psychtoolbox cannot be imported ({problem}); {INSTALL_HINT}") from None
    return hid, GetSecs


def _parse_serial(text: str, rest: str) -> TriggerSource:
    device, *options = rest.split(",")
    baud, byte = [*options, *[""] * 2][:2]
    if len(options) > 2 or not device or not (baud or "0").isdigit():
        raise InputError(f"trigger {text!r}: give serial:DEVICE[,BAUD[,BYTE]], such as serial:/dev/ttyUSB0,115200,5")
    return TriggerSource("serial", device, int(baud or _DEFAULT_BAUD), byte or None)


def _parse_tr(text: str, rest: str) -> None:
    try:
        valid = 0 < float(rest) < float("inf")
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"trigger {text!r}: the TR after 'emulate:' must be a number of seconds above 0, such as emulate:1.0")


def _drain(heard: deque[Press]) -> list[Press]:
    return [heard.popleft() for _ in range(len(heard))]
