"""A user's function that is told of everything that happens in a run: messages for an eye tracker or a physiology recorder.

    def send(what: str, time_ns: int, values: dict) -> None: ...

`what` is start, trigger, onset, offset, key, late, skipped, failure or end; `time_ns` is `time.monotonic_ns` when it happened;
`values` are the rest of the journal's line, such as stim_id and trial_type of an onset. The function runs in a thread of its own,
in order, within milliseconds; should it raise, it is told nothing more, the run goes on, and the sidecar says so.
"""

import importlib
import sys
from pathlib import Path

from experiment.recorder import Hook
from protocols.errors import InputError


def load_hook(name: str | None) -> Hook | None:
    """Return the function `MODULE:FUNCTION` (the module may lie in the working folder), or None for None.

    Raises
    ------
    InputError
        When there is no such module or function.
    """
    if name is None:
        return None
    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        hook = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as problem:
        raise InputError(f"--hook {name}: cannot be loaded ({problem}); give MODULE:FUNCTION, such as eyetracker:send") from None
    if not callable(hook):
        raise InputError(f"--hook {name}: is no function; give MODULE:FUNCTION, such as eyetracker:send")
    checked: Hook = hook
    return checked
