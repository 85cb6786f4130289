"""The time before a run: instructions on the screen until the scanner's first kept trigger, or a refusal that says what came instead."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiment.pulse_tracker import BURST_S
from experiment.stage import ABORT_KEY, ARM_KEY, NS_PER_S, Frame, Inputs, Press, Screen, poll_all
from experiment.trigger import TriggerSource
from protocols.errors import InputError
from protocols.protocol import Protocol

_NAMED_IN_MESSAGE = 8


@dataclass(frozen=True)
class Begun:
    """The first kept trigger (None: aborted before it), all that was heard until then, and the triggers that safe mode ignored."""

    zero_ns: int | None
    heard: tuple[Press, ...]
    ignored: int = 0


def wait_for_trigger(screen: Screen, inputs: Sequence[Inputs], source: TriggerSource, protocol: Protocol, safe: bool = False) -> Begun:
    """Show the instructions until the first kept trigger. In `safe` mode triggers count only once the operator pressed Return.

    Raises
    ------
    InputError
        When no trigger comes within the protocol's time limit, or the source fails: what was listened to, what came instead.
    """
    for one in inputs:
        one.poll()  # what came before the screen was ready belongs to nothing
    deadline_ns = screen.now_ns() + round(protocol.trigger.timeout_s * NS_PER_S)
    heard: list[Press] = []
    triggers: list[Press] = []
    ignored, armed = 0, not safe
    while screen.now_ns() < deadline_ns:
        screen.flip(_make_message(protocol, armed))
        for press in poll_all(inputs):
            heard.append(press)
            if press.key == ABORT_KEY:
                return Begun(None, tuple(heard), ignored)
            armed = armed or press.key == ARM_KEY
            if source.matches(press) and not _bounces(press, triggers, protocol.timing.tr_s):
                ignored += not armed
                triggers += [press] if armed else []
        if len(triggers) > protocol.trigger.dummy_volumes:
            return Begun(triggers[protocol.trigger.dummy_volumes].time_ns, tuple(heard), ignored)
        failures = [one.failure for one in inputs if one.failure]
        if failures:
            raise InputError(f"trigger: {'; '.join(failures)}; mend it and start the run again (nothing was recorded)")
    raise InputError(_describe_silence(inputs, source, protocol, heard, len(triggers), ignored))


def _bounces(press: Press, triggers: Sequence[Press], tr_s: float) -> bool:
    """Say whether a trigger follows another so closely that it is the same one again: it must not count as a dummy volume."""
    return bool(triggers) and press.time_ns - triggers[-1].time_ns < min(BURST_S, tr_s / 4) * NS_PER_S


def _make_message(protocol: Protocol, armed: bool) -> Frame:
    state = "Waiting for the scanner" if armed else "Safe mode: triggers are ignored until the operator presses Return"
    return Frame(message=f"{protocol.instructions}\n\n{state}")


def _describe_silence(
    inputs: Sequence[Inputs], source: TriggerSource, protocol: Protocol, heard: Sequence[Press], came: int, ignored: int
) -> str:
    """Say what was listened to and what came instead of the trigger."""
    dummies = protocol.trigger.dummy_volumes
    others = [f"{press.source} {press.key!r}" for press in heard if not source.matches(press)]
    instead = ", ".join(dict.fromkeys(others[:_NAMED_IN_MESSAGE])) or "nothing else"
    count = f"only {came} of the {dummies + 1} triggers needed (dummy_volumes is {dummies})" if came else "no trigger"
    held = f"; safe mode ignored {ignored} triggers, press Return before the scanner starts" if ignored else ""
    return (
        f"{count} within {protocol.trigger.timeout_s:g} s; listened for {source.describe()} on "
        f"{'; '.join(one.describe() for one in inputs)}; heard instead: {instead}{held}; "
        "check the cable and --trigger, then start the run again (nothing was recorded)"
    )
