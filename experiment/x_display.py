"""A connection to an X server, or a refusal in words: what python-xlib raises and leaves open stays in here."""

import gc
import os
import warnings
from typing import Any

from protocols.errors import InputError


def open_x_display(name: str | None = None) -> Any:
    """Return an Xlib Display of `name` (by default $DISPLAY); close it after use.

    Raises
    ------
    InputError
        When no name is known, or no X server answers there.
    """
    from Xlib.display import Display  # type: ignore[import-untyped]
    from Xlib.error import DisplayError  # type: ignore[import-untyped]

    wanted = name or os.environ.get("DISPLAY")
    if not wanted:
        raise InputError("no display: DISPLAY is not set")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # python-xlib leaves the sockets open of the connections that failed
        try:
            return Display(wanted)
        except (DisplayError, OSError, AssertionError) as problem:
            reason = str(problem)
        gc.collect()
    raise InputError(f"no display: {wanted!r} does not answer ({reason})")
