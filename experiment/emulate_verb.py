"""The verb `emulate-scanner`: a TR, a number of volumes and faults in; keys, serial bytes or datagrams out, from a process of its own."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from experiment.console import progress_console
from protocols.errors import InputError

if TYPE_CHECKING:
    from experiment.pulse_schedule import PlannedPulse


def emulate_scanner(
    tr: Annotated[float, typer.Option(min=0.001, help="Seconds between triggers.")],
    volumes: Annotated[int, typer.Option(min=1, help="How many volumes there are.")],
    key: Annotated[str | None, typer.Option(help="Press this key on an X display (XTEST).")] = None,
    display: Annotated[str | None, typer.Option(help="X display for --key; $DISPLAY otherwise.")] = None,
    serial: Annotated[Path | None, typer.Option(metavar="LINK", help="Make a serial port at LINK and send bytes '5' there.")] = None,
    udp: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Send datagrams '5' there.")] = None,
    delay: Annotated[
        float, typer.Option(min=0, help="Seconds before the first trigger; on a serial port, after a program opens it.")
    ] = 1.0,
    jitter: Annotated[float, typer.Option(min=0, help="Standard deviation of every trigger's delay, in seconds.")] = 0.0,
    drop: Annotated[float, typer.Option(min=0, max=1, help="Share of triggers that are not sent.")] = 0.0,
    double: Annotated[float, typer.Option(min=0, max=1, help="Share of triggers sent twice, milliseconds apart.")] = 0.0,
    late: Annotated[float, typer.Option(min=0, max=1, help="Share of triggers sent 10 to 40 ms late.")] = 0.0,
    stuck: Annotated[int | None, typer.Option(min=0, help="From this volume the line repeats rapidly for 2 seconds.")] = None,
    change_tr: Annotated[str | None, typer.Option(metavar="VOLUME:TR", help="From this volume the TR is another one.")] = None,
    drift_ppm: Annotated[float, typer.Option(help="By how much the scanner's TR is longer, in parts per million.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Draws the faults.")] = 0,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what was sent when (monotonic clock) to this TSV.")] = None,
    end_with_parent: Annotated[bool, typer.Option("--end-with-parent", hidden=True)] = False,
) -> None:
    """Send a scanner's triggers as a device would. A serial port waits until a program opens it, and stays until it is closed.

    Example: experiment emulate-scanner --tr 1 --volumes 60 --serial /tmp/scanner --drop 0.05 --jitter 0.001
    """
    import numpy as np

    from experiment import scanner_emulator
    from experiment.child_process import end_with_parent as end_with
    from experiment.pulse_schedule import ScannerConfig, plan_pulses

    if [key, serial, udp].count(None) != 2:
        raise InputError("emulate-scanner: give one of --key KEY (with --display), --serial LINK and --udp HOST:PORT")
    if end_with_parent:
        end_with(sys.stdin.buffer)
    change_at, changed_tr_s = _parse_change(change_tr)
    scanner = ScannerConfig(
        tr_s=tr,
        volumes=volumes,
        drift_ppm=drift_ppm,
        jitter_s=jitter,
        drop=drop,
        double=double,
        late=late,
        stuck_at=stuck,
        change_at=change_at,
        changed_tr_s=changed_tr_s,
    )
    pulses = plan_pulses(scanner, np.random.default_rng(seed))
    sent = 0
    with _open_line(key, display, serial, udp) as send, scanner_emulator.open_log(log) as write, _progress() as bar:
        task = bar.add_task(f"key {key}" if key else f"serial {serial}" if serial else f"udp {udp}", total=volumes)

        def tell(pulse: "PlannedPulse", sent_ns: int | None) -> None:
            nonlocal sent
            sent += sent_ns is not None
            write(pulse, sent_ns)
            bar.update(task, completed=pulse.volume + 1)

        scanner_emulator.send_pulses(pulses, send, delay, tell)
    typer.echo(f"sent {sent} triggers for {volumes} volumes, {tr:g} s apart")


@contextmanager
def _open_line(key: str | None, display: str | None, serial: Path | None, udp: str | None) -> "Iterator[Callable[[], None]]":
    """Yield what sends one pulse; a serial port waits for a program that opens it, and afterwards until it is closed again."""
    from experiment.scanner_emulator import open_key, open_serial, open_udp, wait_for_listener

    if key is not None:
        with open_key(key, display) as press:
            yield press
    elif udp is not None:
        with open_udp(udp) as send:
            yield send
    elif serial is not None:
        with open_serial(serial) as (send, master):
            typer.echo(f"serial port {serial}: waiting until a program opens it")
            wait_for_listener(master)
            yield send
            wait_for_listener(master, listening=False)


def _parse_change(text: str | None) -> tuple[int | None, float | None]:
    if text is None:
        return None, None
    volume, _, tr = text.partition(":")
    try:
        if int(volume) >= 1 and 0 < float(tr) < float("inf"):
            return int(volume), float(tr)
    except ValueError:
        pass
    raise InputError(f"--change-tr {text!r}: give VOLUME:TR with a volume of 1 or later and a TR in seconds, such as 100:2.0")


def _progress() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=progress_console())
