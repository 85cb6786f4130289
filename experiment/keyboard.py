"""All keyboards as one source of presses, through psychtoolbox's key queues."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from experiment.key_queue import start_queues
from experiment.listener import Listener
from experiment.stage import NS_PER_S, Press
from protocols.errors import InputError

INSTALL_HINT = "install it with: pip install 'voxdrive[experiment]' and, on Debian or Ubuntu, apt-get install libjack-jackd2-0"
_POLL_S = 0.001  # the psychtoolbox queue's own waiting holds Python's lock, so the thread sleeps instead
_READINGS, _UNINTERRUPTED_NS = 10, 50_000
_NAMED_KEYS = {8: "backspace", 9: "tab", 10: "return", 13: "return", 27: "escape", 32: "space", 127: "delete"}


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
        indices, names, _ = hid.get_keyboard_indices()
        if not indices:
            raise InputError("keyboard: psychtoolbox finds no keyboard; plug one in (on Linux: is DISPLAY the right one?)")
        self._names = [str(name) for name in names]
        try:
            self._queues = [hid.Keyboard(index) for index in indices]
            start_queues(self._queues)
        except Exception as problem:
            raise InputError(f"keyboard: psychtoolbox's key queue cannot be opened ({problem}); close other programs that use it") from None
        self._listener = Listener("keyboard", self._read)

    @property
    def failure(self) -> str | None:
        """Why listening stopped, should it have."""
        return self._listener.failure

    def poll(self) -> list[Press]:
        """Return the keys that went down since the last poll, in order of time (ns)."""
        return self._listener.poll()

    def describe(self) -> str:
        """Return in words what is listened to."""
        return f"{len(self._names)} keyboard(s) ({', '.join(self._names)}) through psychtoolbox"

    def close(self) -> None:
        """Stop the thread and release the queues."""
        self._listener.close()
        for queue in self._queues:
            queue.queue_stop()
            queue._release_queue()

    def _read(self) -> Iterable[Press]:
        time.sleep(_POLL_S)
        return [press for queue in self._queues for press in self._collect(queue)]

    def _collect(self, queue: Any) -> Iterable[Press]:
        while isinstance(event := queue.queue_get_event(0)[0], dict):
            if event["Pressed"]:
                # psychtoolbox's clock is wall time here: only its distance to ours, now, is used, so a clock step cannot shift onsets
                yield Press(round(event["Time"] * NS_PER_S) + self._measure_distance_ns(), "keyboard", name_key(event))

    def _measure_distance_ns(self) -> int:
        """Return the monotonic clock less psychtoolbox's in ns; a busy session may come between the two, so the closest reading counts."""
        readings = []
        for _ in range(_READINGS):
            before_ns = time.monotonic_ns()
            theirs_ns = round(self._get_secs() * NS_PER_S)
            after_ns = time.monotonic_ns()
            readings.append((after_ns - before_ns, (before_ns + after_ns) // 2 - theirs_ns))
            if after_ns - before_ns < _UNINTERRUPTED_NS:
                break
        return min(readings)[1]


def name_key(event: dict[str, Any]) -> str:
    """Return a key's name: the character that it types, a name such as escape, or `keycode-N`."""
    character = int(event["CookedKey"])
    if character in _NAMED_KEYS:
        return _NAMED_KEYS[character]
    return chr(character) if 32 < character < 127 else f"keycode-{int(event['Keycode'])}"


def _import_psychtoolbox() -> tuple[Any, Callable[[], float]]:
    try:
        from psychtoolbox import GetSecs, hid
    except ImportError as problem:
        raise InputError(f"keyboard: psychtoolbox cannot be imported ({problem}); {INSTALL_HINT}") from None
    return hid, GetSecs
