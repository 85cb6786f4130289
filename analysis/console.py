"""Where progress goes: stderr, so that a command's own words on stdout stay clean."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

T = TypeVar("T")


def progress_console() -> Console:
    """Return a console on stderr."""
    return Console(stderr=True)


def show_progress(steps: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Yield `steps`, `total` of them, while a bar on stderr says how many are done and how long the rest takes."""
    return track(steps, description=description, total=total, console=progress_console())
