"""The verb `emulate-scanner`: a TR and a number of volumes in; trigger keys or serial bytes out, from a process of its own."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from experiment.console import progress_console
from protocols.errors import InputError


def emulate_scanner(
    tr: Annotated[float, typer.Option(min=0.01, help="Seconds between triggers.")],
    volumes: Annotated[int, typer.Option(min=1, help="How many triggers to send.")],
    key: Annotated[str | None, typer.Option(help="Press this key on an X display (XTEST).")] = None,
    display: Annotated[str | None, typer.Option(help="X display for --key; $DISPLAY otherwise.")] = None,
    serial: Annotated[Path | None, typer.Option(metavar="LINK", help="Make a serial port at LINK and send bytes '5' there.")] = None,
    delay: Annotated[
        float, typer.Option(min=0, help="Seconds before the first trigger; on a serial port, after a program opens it.")
    ] = 1.0,
) -> None:
    """Send a scanner's triggers as a device would. A serial port waits until a program opens it, and stays until it is closed.

    Example: experiment emulate-scanner --tr 1 --volumes 60 --serial /tmp/scanner
    """
    if (key is None) == (serial is None):
        raise InputError("emulate-scanner: give either --key KEY (with --display) or --serial LINK")
    if serial is not None:
        _emulate_serial(serial, tr, volumes, delay)
    else:
        _emulate_key(str(key), display, tr, volumes, delay)
    typer.echo(f"sent {volumes} triggers, {tr:g} s apart")


def _emulate_key(key: str, display: str | None, tr_s: float, volumes: int, delay_s: float) -> None:
    from experiment.scanner_emulator import open_key, send_pulses

    with open_key(key, display) as press, _progress() as bar:
        task = bar.add_task(f"key {key}", total=volumes)
        send_pulses(press, tr_s, volumes, delay_s, lambda count: bar.update(task, completed=count))


def _emulate_serial(link: Path, tr_s: float, volumes: int, delay_s: float) -> None:
    from experiment.scanner_emulator import open_serial, send_pulses, wait_for_listener

    with open_serial(link) as (send, master), _progress() as bar:
        typer.echo(f"serial port {link}: waiting until a program opens it")
        wait_for_listener(master)
        task = bar.add_task(f"serial {link}", total=volumes)
        send_pulses(send, tr_s, volumes, delay_s, lambda count: bar.update(task, completed=count))
        wait_for_listener(master, listening=False)


def _progress() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=progress_console())
