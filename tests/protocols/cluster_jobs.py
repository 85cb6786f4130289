"""Jobs for the tests of clusters: a worker imports them by name."""

import os
import signal
import time
from pathlib import Path

from protocols.errors import InputError


def square(number: int) -> int:
    return number * number


def say_where(_: int) -> tuple[int, str]:
    """Return the worker's process and its folder."""
    return os.getpid(), os.getcwd()


def refuse_three(number: int) -> int:
    if number == 3:
        raise InputError("three.tsv row 3: is three; give another number")
    return number


def divide_by(number: int) -> float:
    return 1 / number


def die_once(mark: Path) -> int:
    """Kill the worker at the first call for this mark, as if memory had run out; leave a line at each."""
    first = not mark.exists()
    with mark.open("a") as stream:
        stream.write(f"{os.getpid()}\n")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(mark.read_text().splitlines())


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
