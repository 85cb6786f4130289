"""Go or no-go, without a display: a plan folder in, one finding per item out, each with what to do."""

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from experiment.cells import find_cells, select_own
from experiment.geometry import fit_image, measure_screen
from experiment.keyboard import INSTALL_HINT
from experiment.plan_folder import PlanFolder
from experiment.rules import check_presentations, check_run
from experiment.trigger import TriggerSource
from protocols.errors import InputError
from protocols.protocol import Protocol
from protocols.provenance import Provenance

_WANTED_BYTES = 1_000_000_000  # a session leaves a few megabytes; less than this means a disk about to fill up
_TOLERANCE_S = 1e-6


@dataclass(frozen=True)
class Finding:
    """One item of the list: whether it is go, what was found, and for a no-go what to do."""

    item: str
    go: bool
    found: str


def examine(item: str, look: Callable[[], str]) -> Finding:
    """Return what `look` found; an `InputError` that it raises is the no-go and its remedy."""
    try:
        return Finding(item, True, look())
    except InputError as problem:
        return Finding(item, False, str(problem))


def check_plan(folder: Path) -> Iterator[Finding]:
    """Check everything that needs no display. Where the plan cannot be read, only that is found."""
    complete = examine("plan complete", lambda: _check_complete(folder))
    yield complete
    yield examine("PsychoPy", find_psychopy)
    yield examine("psychtoolbox", find_psychtoolbox)
    yield examine("disk space", lambda: check_disk(folder))
    if not complete.go:
        return
    plan = PlanFolder.read(folder)
    yield examine("trial lists", lambda: _check_trials(plan))
    yield examine("images", lambda: _check_images(plan))
    yield examine("run length", lambda: _check_length(plan))
    yield examine("visual angle", lambda: check_angle(plan))
    yield examine("trigger", lambda: check_trigger(plan.protocol))


def check_angle(plan: PlanFolder) -> str:
    """Check that every image fits on the screen; return the angles.

    Raises
    ------
    InputError
        When one does not.
    """
    screen = plan.protocol.screen
    width_deg, height_deg = measure_screen(screen)
    for width, height in set(zip(plan.stimuli.table["width_px"], plan.stimuli.table["height_px"], strict=True)):
        shown = fit_image(int(width), int(height), screen)
        if shown[0] > screen.width_px or shown[1] > screen.height_px:
            raise InputError(
                f"[screen] size_deg {screen.size_deg:g} makes an image {shown[0]} x {shown[1]} px, the screen has {screen.width_px} x "
                f"{screen.height_px} px ({width_deg:.1f} x {height_deg:.1f} deg); lower size_deg or correct the screen's measures"
            )
    return f"images {screen.size_deg:g} deg on a screen of {width_deg:.1f} x {height_deg:.1f} deg"


def check_trigger(protocol: Protocol) -> str:
    """Check the trigger's source against the response keys.

    Raises
    ------
    InputError
        When they collide, or the serial port does not exist.
    """
    source = TriggerSource.parse(protocol.trigger.source)
    source.refuse_collision(protocol.probe.keys)
    if source.kind == "serial" and not Path(source.name).exists():
        raise InputError(f"[trigger] source: {source.name} does not exist; plug the trigger box in, or give 'experiment run' a --trigger")
    return f"{source.describe()}; responses {', '.join(protocol.probe.keys)}"


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
    """Import psychtoolbox and return its version.

    Raises
    ------
    InputError
        When it cannot be imported; the usual cause is a missing libjack.
    """
    try:
        import psychtoolbox  # noqa: F401
    except ImportError as problem:
        raise InputError(f"psychtoolbox cannot be imported ({problem}); {INSTALL_HINT}") from None
    return metadata.version("psychtoolbox")


def _check_complete(folder: Path) -> str:
    provenance = Provenance.read(folder)
    provenance.verify_outputs(folder)
    PlanFolder.read(folder)
    return f"{len(provenance.outputs)} files, unchanged"


def _check_trials(plan: PlanFolder) -> str:
    runs = [plan.read_run(name) for name in plan.names]
    for run in runs:
        check_run(run, plan.protocol)
    for subject in sorted({name.subject for name in plan.names}):
        cell_of = find_cells(plan.protocol, select_own(plan.protocol, plan.stimuli.table, subject))
        check_presentations([run for run in runs if run.name.subject == subject], plan.protocol, cell_of)
    return f"{len(plan.names)} runs keep the protocol's rules; planned for this stimulus set"


def _check_images(plan: PlanFolder) -> str:
    plan.stimuli.verify()
    return f"{len(plan.stimuli.table)} images present, decodable, unchanged"


def _check_length(plan: PlanFolder) -> str:
    for name in plan.names:
        run = plan.read_run(name).plan
        if run.volumes != math.ceil(run.duration_s / run.tr_s - _TOLERANCE_S) or run.tr_s != plan.protocol.timing.tr_s:
            raise InputError(
                f"{name.stem}: {run.duration_s:g} s is not {run.volumes} volumes of TR {run.tr_s:g} s (the protocol's is "
                f"{plan.protocol.timing.tr_s:g} s); run 'experiment plan' again"
            )
    longest = max((plan.read_run(name).plan for name in plan.names), key=lambda run: run.volumes)
    volumes = longest.volumes + plan.protocol.trigger.dummy_volumes
    return (
        f"{longest.duration_s:g} s, {longest.volumes} volumes of {longest.tr_s:g} s; the scanner needs at least {volumes}, dummies included"
    )
