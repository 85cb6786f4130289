"""A scanner's triggers from another process, at the level of the operating system: X keys, or bytes on a pseudo-terminal.

What the session hears is what it would hear from a device: nothing inside PsychoPy or pyserial is replaced.
"""

import os
import select
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from protocols.errors import InputError

_HELD_S = 0.01  # how long a key stays down; scanners' boxes send pulses of about that length
TRIGGER_BYTE = b"5"


def send_pulses(send: Callable[[], None], tr_s: float, volumes: int, delay_s: float, tell: Callable[[int], None]) -> None:
    """Call `send` at start + delay_s + k tr_s for every volume, on a global schedule; `tell` gets the count after each."""
    start_s = time.monotonic() + delay_s
    for volume in range(volumes):
        time.sleep(max(0.0, start_s + volume * tr_s - time.monotonic()))
        send()
        tell(volume + 1)


@contextmanager
def open_key(key: str, display: str | None = None) -> Iterator[Callable[[], None]]:
    """Yield a function that presses `key` on an X display through XTEST.

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
            time.sleep(_HELD_S if kind == X.KeyPress else 0)

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
