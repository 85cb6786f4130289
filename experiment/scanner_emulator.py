"""A scanner's triggers from another process, at the level of the operating system: X keys, serial bytes, or datagrams.

What the session hears is what it would hear from a device: nothing inside PsychoPy or pyserial is replaced.
"""

import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from experiment.pulse_schedule import PlannedPulse
from protocols.errors import InputError

_HELD_S = 0.01  # how long a key stays down; scanners' boxes send pulses of about that length
TRIGGER_BYTE = b"5"


def send_pulses(
    pulses: Sequence[PlannedPulse],
    send: Callable[[], None],
    delay_s: float,
    tell: Callable[[PlannedPulse, int | None], None],
) -> None:
    """Call `send` for every pulse delay_s after now plus its own time, on a global schedule.

    `tell` gets each pulse with the monotonic time in ns just before it was sent; None for a dropped one.
    """
    start_s = time.monotonic() + delay_s
    for pulse in pulses:
        time.sleep(max(0.0, start_s + pulse.send_s - time.monotonic()))
        sent_ns = None if pulse.kind == "dropped" else time.monotonic_ns()
        if sent_ns is not None:
            send()
        tell(pulse, sent_ns)


@contextmanager
def open_log(path: Path | None) -> Iterator[Callable[[PlannedPulse, int | None], None]]:
    """Yield what writes one line per pulse to a TSV file: volume, planned_s, sent_ns (monotonic clock) and kind; without a path, nothing.

    Raises
    ------
    InputError
        When the file cannot be written.
    """
    if path is None:
        yield lambda pulse, sent_ns: None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w", encoding="utf-8", newline="\n")
    except OSError as problem:
        raise InputError(f"{path}: the log cannot be written ({problem.strerror}); give another --log") from None
    with stream:
        stream.write("volume\tplanned_s\tsent_ns\tkind\n")
        yield lambda pulse, sent_ns: _write_line(stream, pulse, sent_ns)


@contextmanager
def open_key(key: str, display: str | None = None, held_s: float = _HELD_S) -> Iterator[Callable[[], None]]:
    """Yield a function that presses `key` on an X display through XTEST and lets it go `held_s` later.

    Raises
    ------
    InputError
        When the display does not answer, has no XTEST, or has no such key.
    """
    from Xlib import XK, X  # type: ignore[import-untyped]
    from Xlib.ext import xtest  # type: ignore[import-untyped]

    from experiment.x_display import open_x_display

    server = open_x_display(display)
    code = server.keysym_to_keycode(XK.string_to_keysym(key))
    if not server.has_extension("XTEST") or code == 0:
        missing = f"key {key!r}" if code == 0 else "XTEST"
        server.close()
        raise InputError(f"display {server.get_display_name()!r} has no {missing}; give another --key or --display")

    def press() -> None:
        for kind in (X.KeyPress, X.KeyRelease):
            xtest.fake_input(server, kind, code)
            server.flush()
            time.sleep(held_s if kind == X.KeyPress else 0)

    try:
        yield press
    finally:
        server.close()


@contextmanager
def open_serial(link: Path) -> Iterator[tuple[Callable[[], None], int]]:
    """Make a pseudo-terminal and the symbolic link `link` to it; yield what sends a byte there, and its descriptor.

    Raises
    ------
    InputError
        When something that is no leftover link stands at `link`.
    """
    import tty  # not on Windows, where the other ways of sending work

    if link.is_symlink() and not link.exists():
        link.unlink()  # a link to a pseudo-terminal of ours that is gone
    if link.exists() or link.is_symlink():
        raise InputError(f"{link}: exists already; give another --serial, or end the emulator that uses it")
    master, slave = os.openpty()
    tty.setraw(slave)  # bytes as they are: no echo, no line feeds turned into others
    device = os.ttyname(slave)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(device)
    os.close(slave)
    try:
        yield lambda: _write_byte(master), master
    finally:
        link.unlink(missing_ok=True)
        os.close(master)


@contextmanager
def open_udp(address: str) -> Iterator[Callable[[], None]]:
    """Yield a function that sends a datagram to `HOST:PORT`.

    Raises
    ------
    InputError
        When the address is not of that form, or the host is unknown.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--udp {address!r}: give HOST:PORT, such as 127.0.0.1:5005")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            where = (socket.gethostbyname(host), int(port))
            sender.connect(where)
        except (OSError, OverflowError) as problem:
            raise InputError(f"--udp {address!r}: cannot be reached ({problem}); give another HOST:PORT") from None
        yield lambda: _send_datagram(sender)


def wait_for_listener(master: int, listening: bool = True, timeout_s: float | None = None) -> bool:
    """Wait until a program opens the pseudo-terminal (or, with `listening` False, has closed it); False when time is up."""
    poller = select.poll()
    poller.register(master, select.POLLHUP)
    end_s = None if timeout_s is None else time.monotonic() + timeout_s
    while end_s is None or time.monotonic() < end_s:
        hung_up = any(flags & select.POLLHUP for _, flags in poller.poll(0))
        if hung_up != listening:
            return True
        time.sleep(0.02)
    return False


def _write_byte(master: int) -> None:
    with suppress(OSError):  # nobody listens (any more): a scanner does not mind either
        os.write(master, TRIGGER_BYTE)


def _send_datagram(sender: socket.socket) -> None:
    with suppress(OSError):
        sender.send(TRIGGER_BYTE)


def _write_line(stream: IO[str], pulse: PlannedPulse, sent_ns: int | None) -> None:
    sent = "n/a" if sent_ns is None else str(sent_ns)
    stream.write(f"{pulse.volume}\t{pulse.planned_s:.9f}\t{sent}\t{pulse.kind}\n")
