"""One run performed: a plan, a run's name and options in; screen and inputs opened, the run played and recorded, all closed."""

import dataclasses
import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiment.frame_plan import Showing, compile_showings
from experiment.participant import invite_participant, watch_screen
from experiment.pixels import load_images
from experiment.plan_folder import PlanFolder
from experiment.proof import prove_images
from experiment.recorder import FORMAT_VERSION, Hook, Recorder, RunFiles
from experiment.response_box import open_box
from experiment.scanner_events import convert_events
from experiment.session import Observer, Outcome, Run
from experiment.sidecar import describe_outcome, describe_run, describe_software
from experiment.stage import NS_PER_S, Inputs, Screen
from experiment.trigger import TriggerSource, open_inputs
from experiment.trigger_recording import write_trigger_recording
from experiment.wait import Begun, wait_for_trigger
from protocols.errors import InputError
from protocols.events import Events
from protocols.protocol import Protocol
from protocols.tables import write_text
from protocols.trials import TrialList

_SWITCH_S = 0.0005  # another thread may hold Python's lock this long before a flip gets it


@dataclass(frozen=True)
class RunOptions:
    """How a run is shown. `trigger` and `timeout_s` override the protocol; `seed` draws the simulated participant.

    `safe`: triggers are ignored until the operator presses Return. `hook` is told of everything that happens. `stimuli_folder`
    goes before every stim_file. `simulate`: a real window and trigger, but a simulated participant.
    `any_refresh`: the display may have another refresh rate than the protocol says.
    """

    rehearse: bool = False
    trigger: str | None = None
    seed: int = 0
    max_trials: int | None = None
    windowed: bool = False
    screen: int = 0
    timeout_s: float | None = None
    screenshot: Path | None = None
    safe: bool = False
    hook: Hook | None = None
    stimuli_folder: str = ""
    simulate: bool = False
    any_refresh: bool = False


def perform_run(plan: PlanFolder, trials: TrialList, files: RunFiles, options: RunOptions, view: Observer) -> Outcome | None:
    """Wait for the trigger and play a run; return how it went, or None where it was aborted before it began.

    No event is written before the first trigger, so a run that never began can be started again.

    Raises
    ------
    InputError
        When screen, keyboard or trigger cannot be opened, no trigger comes, or the disk takes no more.
    """
    protocol = _override_timeout(plan.protocol, options.timeout_s)
    source = choose_source(protocol, options)
    showings = compile_showings(trials, protocol, options.max_trials, options.stimuli_folder)
    shown = dict.fromkeys(one.trial.stim_id for one in showings if one.trial.stim_id)
    images = load_images(plan.stimuli, shown, protocol.screen)
    with ExitStack() as stack:
        screen, open_listeners = _open_screen(protocol, source, options, files.name.stem, showings)
        stack.callback(screen.close)
        screen.preload(images)
        proof = prove_images(screen, images, protocol.screen.background)
        software = describe_software(plan.folder, options.rehearse or options.simulate)
        known = {**describe_run(plan, trials, showings, screen, source, proof), **software}
        _prepare_files(files, protocol, known)
        inputs = open_listeners()  # last, so that no trigger comes while anything else is still being prepared
        for one in inputs:
            stack.callback(one.close)
        stack.enter_context(_steady_python())
        begun = wait_for_trigger(screen, inputs, source, protocol, options.safe)
        if begun.zero_ns is None:
            return None
        is_short = len(showings) < len(trials.trials)
        end_s = _end_early(showings, protocol, trials) if is_short else trials.plan.duration_s
        with _recording(files, begun.zero_ns, options.hook) as recorder:
            run = Run(screen, inputs, source, protocol, showings, end_s, begun.zero_ns, recorder, view)
            outcome = run.play(begun.heard)
        notes = (*outcome.notes, *([recorder.hook_failure] if recorder.hook_failure else []))
        state = f"shortened to the first {len(showings)} trials" if is_short and outcome.state == "completed" else outcome.state
        outcome = dataclasses.replace(outcome, state=state, notes=notes)
        _write_finished(files, begun, outcome, known)
        return outcome


def _write_finished(files: RunFiles, begun: Begun, outcome: Outcome, known: dict[str, Any]) -> None:
    """Put the events in scanner time in the place of those written as they happened, and write the triggers' recording."""
    zero_ns = begun.zero_ns or 0
    described = {**known, **describe_outcome(outcome, outcome.scanner.nominal_tr_s), "TriggersIgnoredInSafeMode": begun.ignored}
    Events(files.name, convert_events(outcome.events, outcome.scanner, zero_ns), described).write(files.root)
    write_trigger_recording(files.root, files.name, [(one - zero_ns) / NS_PER_S for one in outcome.triggers_ns])


def choose_source(protocol: Protocol, options: RunOptions) -> TriggerSource:
    """Return the trigger's source: the rehearsal's clock, the option, or the protocol's.

    Raises
    ------
    InputError
        When the trigger's key is also a response key or the abort key.
    """
    text = f"emulate:{protocol.timing.tr_s:g}" if options.rehearse else options.trigger or protocol.trigger.source
    source = TriggerSource.parse(text)
    source.refuse_collision(protocol.probe.keys)
    return source


def _open_screen(
    protocol: Protocol, source: TriggerSource, options: RunOptions, stem: str, showings: Sequence[Showing]
) -> tuple[Screen, Callable[[], Sequence[Inputs]]]:
    """Open the screen; return it with the function that opens the inputs, to be called when the images are loaded."""
    participant = invite_participant(protocol.probe, showings, options.seed, stem)
    if options.rehearse:
        from experiment.rehearsal import ClockTrigger, RehearsalScreen

        simulated = RehearsalScreen(protocol.screen)
        phase = np.random.default_rng(options.seed).random()  # a scanner knows nothing of the screen's refresh
        clock = (simulated.now_ns, protocol.timing.tr_s, 1 + phase / protocol.screen.refresh_hz)
        return watch_screen(simulated, participant), lambda: [participant, ClockTrigger(*clock)]
    from experiment.display_check import check_refresh
    from experiment.screen import PsychoPyScreen

    window = PsychoPyScreen(protocol.screen, options.windowed, options.screen, options.screenshot)
    try:
        if not options.any_refresh:
            check_refresh(window.measured_hz, protocol.screen.refresh_hz, window.is_paced)
    except InputError as refusal:
        window.close()
        refusal.add_note("or give --any-refresh: onsets stay within half a frame of the plan, whatever the rate")
        raise
    if options.simulate:
        return watch_screen(window, participant), lambda: [participant, *open_inputs(source)]
    return window, lambda: [*open_inputs(source), *open_box(protocol.probe.box)]


def _prepare_files(files: RunFiles, protocol: Protocol, known: dict[str, Any]) -> None:
    """Write what is known before the trigger: writing it afterwards would hold up the first frames."""
    protocol.write(files.protocol)
    write_text(json.dumps(known, indent=2) + "\n", files.prepared)


@contextmanager
def _recording(files: RunFiles, zero_ns: int, hook: Hook | None) -> Iterator[Recorder]:
    """Yield the run's recorder; close it whatever happens, and report what the disk refused."""
    recorder = Recorder(files, zero_ns, hook)
    try:
        recorder.note("start", zero_ns, format_version=FORMAT_VERSION, run=files.name.stem)
        yield recorder
    finally:
        recorder.close()
    recorder.check()


@contextmanager
def _steady_python() -> Iterator[None]:
    """Keep garbage collection and other threads from holding up a flip."""
    interval = sys.getswitchinterval()
    gc.collect()
    gc.disable()
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.enable()


def _override_timeout(protocol: Protocol, timeout_s: float | None) -> Protocol:
    if timeout_s is None:
        return protocol
    return dataclasses.replace(protocol, trigger=dataclasses.replace(protocol.trigger, timeout_s=timeout_s))


def _end_early(showings: Sequence[Showing], protocol: Protocol, trials: TrialList) -> float:
    """Return when a shortened run ends: with the last trial's response window and gap."""
    last = showings[-1]
    answered_s = max(last.onset_s + protocol.probe.response_window_s[1], last.offset_s + protocol.timing.gap_s)
    return min(trials.plan.duration_s, answered_s)
