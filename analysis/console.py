"""Where progress goes: stderr, so that a command's own words on stdout stay clean."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def progress_console() -> Console:
    """Return a console on stderr."""
    return Console(stderr=True)


def show_progress(steps: list[T], description: str) -> Iterable[T]:
    """Yield `steps` while a bar on stderr says how many are done and how long the rest takes."""
    return track(steps, description=description, console=progress_console())
