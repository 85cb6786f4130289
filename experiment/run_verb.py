"""The verb `run`: one run of a plan in; BIDS events, frame times, a journal and the resolved protocol out."""

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from protocols.errors import InputError
from protocols.run_name import RunName

if TYPE_CHECKING:
    from experiment.perform import RunOptions
    from experiment.plan_folder import PlanFolder
    from experiment.recorder import RunFiles
    from experiment.session import Outcome
    from protocols.trials import TrialList


def run(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="Plan folder made by 'experiment plan'.")],
    subject: Annotated[str, typer.Option(help="Subject label, such as 01.")],
    bids: Annotated[Path, typer.Option(metavar="ROOT", help="BIDS data set to record in.")],
    session: Annotated[str, typer.Option(help="Session label.")] = "01",
    run_number: Annotated[int, typer.Option("--run", min=1, help="Run number.")] = 1,
    rehearse: Annotated[
        bool, typer.Option(help="No window: simulated clock, scanner and participant (--trigger is not used); takes seconds.")
    ] = False,
    trigger: Annotated[
        list[str] | None,
        typer.Option(
            help="keyboard:KEY, serial:DEVICE[,BAUD[,BYTE]], parallel:PORT[,PIN], udp:PORT[,TEXT] or emulate:TR_S; else the protocol's."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the simulated participant's answers.")] = 0,
    max_trials: Annotated[int | None, typer.Option(min=1, help="End after this many trials.")] = None,
    windowed: Annotated[bool, typer.Option(help="A window of the protocol's size instead of the full screen.")] = False,
    screen: Annotated[int, typer.Option(min=0, help="Which screen, from 0.")] = 0,
    timeout_s: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds to wait for the first trigger; the protocol's otherwise.")
    ] = None,
    screenshot: Annotated[Path | None, typer.Option(help="Save the first image's frame, as drawn, to this PNG.")] = None,
    safe: Annotated[bool, typer.Option("--safe", help="Ignore triggers until the operator presses Return.")] = False,
    practice: Annotated[
        bool, typer.Option("--practice", help="A few trials without the scanner, with the score; kept apart in sourcedata/practice.")
    ] = False,
    simulate: Annotated[
        bool, typer.Option("--simulate-participant", help="A real window and trigger, answered by a simulated participant.")
    ] = False,
    any_refresh: Annotated[bool, typer.Option("--any-refresh", help="Go on where the display's refresh is not the protocol's.")] = False,
    hook: Annotated[
        str | None,
        typer.Option(metavar="MODULE:FUNCTION", help="Told of every trigger, onset, key as FUNCTION(what, time_ns, values)."),
    ] = None,
) -> None:
    """Show one run, locked to the scanner, and write its BIDS events as they happen. Escape ends it and keeps all of it.

    Example: experiment run plan/ --subject 01 --session 01 --run 1 --bids bids/ --trigger serial:/dev/ttyUSB0
    """
    from experiment.bids_root import prepare_root
    from experiment.hook import load_hook
    from experiment.perform import RunOptions
    from experiment.plan_folder import PlanFolder
    from experiment.practice import prepare_practice
    from experiment.recorder import RunFiles

    folder = PlanFolder.read(plan)
    files = RunFiles(bids, RunName(subject, session, folder.protocol.task, run_number))
    trials = folder.read_run(files.name)
    options = RunOptions(
        rehearse, choose_trigger(trigger), seed, max_trials, windowed, screen, timeout_s, screenshot, safe, load_hook(hook)
    )
    if practice:
        files, options = prepare_practice(files, trials, folder.protocol, options)
    refuse_recorded(files, folder)
    folder.stimuli.verify()
    prefix = "" if practice else prepare_root(bids, folder)
    options = dataclasses.replace(options, stimuli_folder=prefix, simulate=simulate, any_refresh=any_refresh)
    outcome = _record(folder, trials, files, options, practice)
    if outcome is None:
        typer.echo("aborted before the first trigger: nothing was recorded, the run can be started again")
    else:
        _print_outcome(outcome, files)


def _record(folder: "PlanFolder", trials: "TrialList", files: "RunFiles", options: "RunOptions", practice: bool) -> "Outcome | None":
    """Perform the run under the operator's eyes; whoever was shown anything is a participant, however it ended."""
    from experiment.bids_root import add_participant
    from experiment.operator_view import OperatorView
    from experiment.perform import perform_run

    try:
        with OperatorView(f"sub-{files.name.subject} run-{files.name.run}") as view:
            return perform_run(folder, trials, files, options, view)
    except InputError as refusal:
        if files.exist():
            refusal.add_note(f"once that is mended: experiment recover {files.journal}")
        raise
    finally:
        if files.exist() and not practice:  # a run that never began leaves no participant behind
            with contextlib.suppress(OSError):  # a full disk was told of already, and `recover` adds the participant
                add_participant(files.root, files.name.subject)


def choose_trigger(given: "list[str] | None") -> str | None:
    """Return the one source given on the command line, or None.

    Raises
    ------
    InputError
        When there are two.
    """
    if given and len(given) > 1:
        raise InputError(f"--trigger {' and '.join(given)}: two sources at once; a run has one trigger source, choose one of them")
    return given[0] if given else None


def refuse_recorded(files: "RunFiles", plan: "PlanFolder") -> None:
    """Refuse a run that is on disk, naming the next one of the plan that is not.

    Raises
    ------
    InputError
        When the run's events or journal exist.
    """
    if not files.exist():
        return
    name = files.name
    planned = [one for one in plan.names if (one.subject, one.session) == (name.subject, name.session)]
    free = [one.run for one in planned if not dataclasses.replace(files, name=one).exist()]
    found = files.events if files.events.exists() else files.journal
    advice = f"the next free run is --run {free[0]}" if free else f"every run of session {name.session} is recorded"
    raise InputError(f"{found}: exists already, and a run is never overwritten; {advice}")


def _print_outcome(outcome: "Outcome", files: "RunFiles") -> None:
    score = outcome.score
    reaction = f", median reaction {score.median_reaction_s:.3f} s" if score.median_reaction_s is not None else ""
    d_prime = f", d' {score.d_prime:.2f}" if score.d_prime is not None else ""
    typer.echo(
        f"{files.name.stem}: {outcome.state}; {outcome.trials_shown} trials, {outcome.scanner.volumes_seen} volumes, "
        f"{outcome.late_flips} of {outcome.flips} flips late, largest onset error {outcome.largest_onset_error_s * 1000:.1f} ms; "
        f"hits {score.hits}/{score.probes}, false alarms {score.false_alarms}{d_prime}{reaction}"
    )
    fit = outcome.scanner
    typer.echo(
        f"scanner: {fit.volumes_seen} volumes seen, {len(fit.lost)} lost, {fit.doubled} doubled, {fit.late} late; TR {fit.tr_s:.6f} s "
        f"({fit.drift_ppm:+.1f} ppm), first trigger {fit.start_delay_s * 1000:+.1f} ms from its volume"
    )
    if fit.tr_changed_at is not None:
        typer.echo(f"note: from volume {fit.tr_changed_at} on the scanner's TR is not the protocol's {fit.nominal_tr_s:g} s")
    for note in outcome.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"wrote {files.events}")
