"""Go or no-go of the computer: libraries, clock, load, compositor, disk, the trigger's device, the data set to record in."""

import importlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from importlib import metadata, util
from itertools import pairwise
from pathlib import Path

from experiment.bids_root import find_stimuli
from experiment.finding import Finding, Remark, examine
from experiment.keyboard import INSTALL_HINT
from experiment.plan_folder import PlanFolder
from experiment.recorder import RunFiles
from experiment.response_box import open_box
from experiment.trigger import TriggerSource, open_device
from experiment.x_display import open_x_display
from protocols.errors import InputError
from protocols.protocol import Protocol

_WANTED_BYTES = 1_000_000_000  # a session leaves a few megabytes; less than this means a disk about to fill up
_CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
_COARSE_CLOCKS = ("jiffies", "acpi_pm", "refined-jiffies")
_COARSEST_NS = 100_000
_READINGS = 2000


def check_machine(folder: Path) -> Iterator[Finding]:
    """Look at what a run needs of any computer, whatever the plan."""
    yield examine("PsychoPy", find_psychopy)
    yield examine("psychtoolbox", find_psychtoolbox)
    yield examine("disk space", lambda: check_disk(folder))
    yield examine("clock", check_clock)
    yield examine("load", check_load)
    yield examine("compositor", check_compositor)


def find_psychopy() -> str:
    """Return PsychoPy's version.

    Raises
    ------
    InputError
        When it is not installed.
    """
    if util.find_spec("psychopy") is None:
        raise InputError(f"PsychoPy is not installed; {INSTALL_HINT}")
    return metadata.version("psychopy")


def find_psychtoolbox() -> str:
    """Import psychtoolbox with its key queues, as the session does, and return its version: there is no other backend to fall back on.

    Raises
    ------
    InputError
        When it cannot be imported; the usual cause is a missing libjack.
    """
    try:
        importlib.import_module("psychtoolbox")
        hid = importlib.import_module("psychtoolbox.hid")
    except ImportError as problem:
        raise InputError(f"psychtoolbox cannot be imported ({problem}); {INSTALL_HINT}") from None
    if not hasattr(hid, "Keyboard"):
        raise InputError(f"psychtoolbox has no key queues (hid.Keyboard); {INSTALL_HINT}")
    return f"{metadata.version('psychtoolbox')}: keys come from its queues, nothing else is fallen back on"


def check_disk(folder: Path) -> str:
    """Check that the disk has room for the data.

    Raises
    ------
    InputError
        When less than a gigabyte is free.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < _WANTED_BYTES:
        raise InputError(f"{there}: {free / 1e9:.2f} GB free; free at least {_WANTED_BYTES / 1e9:g} GB before the participant lies down")
    return f"{free / 1e9:.0f} GB free"


def check_clock() -> str | Remark:
    """Measure the monotonic clock's steps, and on Linux name its source.

    Raises
    ------
    InputError
        When it steps by more than a tenth of a millisecond, or backwards.
    """
    readings = [time.monotonic_ns() for _ in range(_READINGS)]
    steps = [after - before for before, after in pairwise(readings)]
    if min(steps) < 0:
        raise InputError("clock: the monotonic clock went backwards; restart the computer, and use another if it stays so")
    finest = min((step for step in steps if step > 0), default=10**9)
    if finest > _COARSEST_NS:
        raise InputError(f"clock: the monotonic clock moves in steps of {finest / 1e6:.1f} ms; events cannot be timed on this computer")
    source = _CLOCK_SOURCE.read_text().strip() if _CLOCK_SOURCE.exists() else ""
    words = f"monotonic, in steps of {finest / 1000:.1f} us{f', from {source}' if source else ''}"
    return Remark(f"{words}: a slow source; choose tsc where the computer has it") if source in _COARSE_CLOCKS else words


def check_load() -> str | Remark:
    """Say how busy the computer is."""
    if not hasattr(os, "getloadavg"):
        return "not told by this system"
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    words = f"{load:.1f} programs wait for {cores} processor(s)"
    return Remark(f"{words}: end what else runs before the scan") if load > cores else words


def check_compositor() -> str | Remark:
    """Look for a compositing manager on the X display.

    Raises
    ------
    InputError
        When one runs: it can halve the frame rate and delays every flip.
    """
    if not sys.platform.startswith("linux"):
        return Remark(f"{sys.platform} composes windows itself: show runs in full screen")
    if not os.environ.get("DISPLAY"):
        return Remark("no display: not looked for")
    try:
        display = open_x_display()
    except InputError as problem:
        return Remark(f"not looked for: {problem}")
    try:
        selection = display.intern_atom(f"_NET_WM_CM_S{display.get_default_screen()}")
        owner = display.get_selection_owner(selection)
    finally:
        display.close()
    if owner:
        raise InputError("compositor: a compositing manager runs; switch desktop effects off (it can halve the rate and delays every flip)")
    return "none runs"


def check_trigger(protocol: Protocol) -> str | Remark:
    """Check the trigger's source against the response keys, and open its device.

    Raises
    ------
    InputError
        When they collide, or the device cannot be opened.
    """
    source = TriggerSource.parse(protocol.trigger.source)
    source.refuse_collision(protocol.probe.keys)
    words = f"{source.describe()}; responses {', '.join(protocol.probe.keys)}"
    if source.kind == "serial" and not Path(source.name).exists() and not sys.platform.startswith("win"):
        raise InputError(f"[trigger] source: {source.name} does not exist; plug the trigger box in, or give 'experiment run' a --trigger")
    for device in (*open_device(source), *open_box(protocol.probe.box)):
        device.close()
    if source.kind == "emulate":
        return Remark(f"{words}: no scanner is listened to")
    return words


def check_data_set(plan: PlanFolder, root: Path, subject: str | None, session: str | None) -> str | Remark:
    """Check that a plan's runs can be recorded below `root`.

    Raises
    ------
    InputError
        When it cannot be written to, has other stimuli, or every run asked for is recorded.
    """
    there = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK) or not there.is_dir():
        raise InputError(f"{there}: cannot be written to; choose another --bids, or change its permissions")
    if root.exists():
        find_stimuli(root, plan)
    wanted = [name for name in plan.names if subject in (None, name.subject) and session in (None, name.session)]
    recorded = [name.stem for name in wanted if RunFiles(root, name).exist()]
    if wanted and len(recorded) == len(wanted):
        raise InputError(f"{root}: all {len(wanted)} runs are recorded already; give another --bids, --subject or --session")
    words = f"{root}: {len(wanted) - len(recorded)} of {len(wanted)} runs are free"
    return Remark(f"{words}; recorded: {', '.join(recorded[:3])}{' ...' if len(recorded) > 3 else ''}") if recorded else words
