"""Start psychtoolbox's key queues; what psychtoolbox does to a plain user's interpreter on Linux is kept in here."""

import contextlib
import ctypes
import io
import os
import sys
from typing import Any

_COMPLAINT = "Failed to switch to realtime priority"  # of psychtoolbox's queue thread, the last thing it says at its start
_START_LIMIT_S = 5.0
_START_STEP_US = 20_000


def start_queues(queues: list[Any]) -> None:
    """Start psychtoolbox's key queues so that a user without real-time priority does not lose the interpreter.

    The one thread that serves all queues then complains on Python's stdout without holding Python's lock, and a write that
    gives the lock away in between aborts the process. Until it has complained this thread therefore keeps the lock (a PyDLL call
    does, and no other thread is let in), and what it says goes into a string, whose writing never gives it away.
    """
    complains = _lacks_real_time()
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(_START_LIMIT_S)
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            for queue in queues:
                queue.queue_start()
                if complains:
                    _hold_lock(said)
    finally:
        sys.setswitchinterval(interval_s)


def _lacks_real_time() -> bool:
    """Say whether this is Linux and this user's threads may not have real-time priority."""
    if sys.platform != "linux":
        return False
    scheduler, priority = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO) + 1))
    except PermissionError:
        return True
    os.sched_setscheduler(0, scheduler, priority)
    return False


def _hold_lock(said: io.StringIO) -> None:
    """Keep Python's lock until `said` holds the complaint, and a little longer; give up after `_START_LIMIT_S`."""
    sleep_us = ctypes.PyDLL(None).usleep
    for _ in range(round(_START_LIMIT_S * 1e6 / _START_STEP_US)):
        complete = _COMPLAINT in said.getvalue()
        sleep_us(_START_STEP_US)
        if complete:
            return
