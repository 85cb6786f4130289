"""Where words for the operator go: progress on stderr, so that a command's own words on stdout stay clean."""

from rich.console import Console


def progress_console() -> Console:
    """Return a console on stderr."""
    return Console(stderr=True)
