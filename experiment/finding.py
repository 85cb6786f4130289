"""One item of the go / no-go list: what was looked at, and what was found."""

from collections.abc import Callable
from dataclasses import dataclass

from protocols.errors import InputError


@dataclass(frozen=True)
class Remark:
    """Something that a person should know of but that stops no scan."""

    words: str


@dataclass(frozen=True)
class Finding:
    """One item of the list: whether it is go, what was found, and for a no-go what to do. A note is go, and worth reading."""

    item: str
    go: bool
    found: str
    note: bool = False


def examine(item: str, look: Callable[[], str | Remark]) -> Finding:
    """Return what `look` found; an `InputError` that it raises is the no-go and its remedy."""
    try:
        found = look()
    except InputError as problem:
        return Finding(item, False, str(problem))
    return Finding(item, True, found.words, True) if isinstance(found, Remark) else Finding(item, True, found)
