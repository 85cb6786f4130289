"""Go or no-go, without a display: a plan folder in, one finding per item out, each with what to do."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from experiment.geometry import fit_image, measure_screen
from experiment.keyboard import INSTALL_HINT
from experiment.plan import count_probes, find_cells
from experiment.plan_folder import PlanFolder
from experiment.trigger import TriggerSource
from protocols.errors import InputError
from protocols.protocol import Protocol
from protocols.provenance import Provenance
from protocols.trials import BLANK, TrialList

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


def check_counts(trials: TrialList, protocol: Protocol) -> None:
    """Check one run against the protocol's rules: grid, durations, blanks, probes, repeats.

    Raises
    ------
    InputError
        Naming the run and the rule.
    """
    where, timing, table = f"{trials.name.stem}_trials.tsv", protocol.timing, trials.trials
    images = table[table["trial_type"] != BLANK]
    probes = int(images["probe"].sum())
    extra = probes if protocol.probe.kind == "one_back" else 0
    expected = timing.lead_in_s + table.index * timing.trial_s
    problems = {
        f"onsets are not on the grid lead_in_s + k x {timing.trial_s:g} s": (abs(table["onset"] - expected) > _TOLERANCE_S).any(),
        f"durations are not image_s = {timing.image_s:g} s": (abs(table["duration"] - timing.image_s) > _TOLERANCE_S).any(),
        f"there are not {timing.blanks_per_run} blanks": len(table) - len(images) != timing.blanks_per_run,
        "the number of probes is not the protocol's": probes != count_probes(protocol, len(images) - extra),
        "an image follows itself without being a probe": _has_repeat(trials, protocol),
        "the run is shorter than its lead-out": table["onset"].max() + timing.trial_s + timing.lead_out_s
        > trials.plan.duration_s + _TOLERANCE_S,
    }
    broken = [problem for problem, is_broken in problems.items() if is_broken]
    if broken:
        raise InputError(f"{where}: {'; '.join(broken)}; a trial list is never edited by hand: run 'experiment plan' again")


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
    counts: Counter[tuple[str, str | None, str]] = Counter()
    for name in plan.names:
        trials = plan.read_run(name)
        check_counts(trials, plan.protocol)
        shown = trials.trials if plan.protocol.probe.kind == "fixation" else trials.trials[trials.trials["probe"] == 0]
        counts.update((name.subject, name.session, stim_id) for stim_id in shown["stim_id"] if stim_id is not None)
    images = find_cells(plan.protocol, plan.stimuli.table)
    for subject, session in sorted({(name.subject, str(name.session)) for name in plan.names}):
        for image in images:
            if counts[subject, session, image] != plan.protocol.timing.repetitions:
                raise InputError(
                    f"subject {subject}, session {session}: image {image!r} is shown {counts[subject, session, image]} times, the protocol "
                    f"says {plan.protocol.timing.repetitions}; run 'experiment plan' again"
                )
    return f"{len(plan.names)} runs keep the protocol's rules; planned for this stimulus set"


def _check_images(plan: PlanFolder) -> str:
    plan.stimuli.verify()
    return f"{len(plan.stimuli.table)} images present, decodable, unchanged"


def _check_length(plan: PlanFolder) -> str:
    for name in plan.names:
        run = plan.read_run(name).plan
        if abs(run.volumes * run.tr_s - run.duration_s) > _TOLERANCE_S or run.tr_s != plan.protocol.timing.tr_s:
            raise InputError(
                f"{name.stem}: {run.duration_s:g} s is not {run.volumes} volumes of TR {run.tr_s:g} s (the protocol's is "
                f"{plan.protocol.timing.tr_s:g} s); run 'experiment plan' again"
            )
    most = max(plan.read_run(name).plan.volumes for name in plan.names)
    wanted = most + plan.protocol.trigger.dummy_volumes
    return f"{most} volumes of {plan.protocol.timing.tr_s:g} s; set the scanner to at least {wanted} (dummies included)"


def _has_repeat(trials: TrialList, protocol: Protocol) -> bool:
    last: str | None = None
    for stim_id, probe in zip(trials.trials["stim_id"], trials.trials["probe"], strict=True):
        if stim_id is None:
            continue
        due = bool(probe) and protocol.probe.kind == "one_back"
        if (stim_id == last) != due:
            return True
        last = stim_id
    return False
