"""Choices with the runs that made them and the runs that are to test them in; what would be tested on the data that chose it, out.

A region chosen because it responds in some runs responds there, noise included: its response in those runs is no evidence
(Kriegeskorte et al. 2009, Nature Neuroscience 12:535). The same holds for a voxel, a hemodynamic response or a noise ceiling.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.lineage import Scan
from protocols.errors import InputError

_MOST_NAMED = 6
REMEDY = (
    "choose it from other runs (analysis localize --scheme leave-run-out, or another task), "
    "or give --allow-circular to explore: nothing can be claimed from it then"
)


@dataclass(frozen=True)
class Choice:
    """Something that data chose: what it is, for a person; its file; the scans that chose it."""

    what: str
    path: Path
    scans: tuple[Scan, ...]


@dataclass(frozen=True)
class Circularity:
    """A choice, and those of the tested scans that made it."""

    choice: Choice
    tested: tuple[Scan, ...]

    def describe(self) -> str:
        """Say it in one line."""
        names = [scan.describe() for scan in self.tested]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        return (
            f"{self.choice.what} ({self.choice.path.name}) was chosen from {', '.join(names[:_MOST_NAMED])}{more}, which would also test it"
        )


def find_circular(chosen: Sequence[Choice], tested: Sequence[Scan]) -> list[Circularity]:
    """Return every choice that some of the `tested` scans made."""
    found = [Circularity(choice, tuple(scan for scan in tested if choose(choice.scans, scan))) for choice in chosen]
    return [one for one in found if one.tested]


def choose(scans: Sequence[Scan], tested: Scan) -> bool:
    """Say whether one of `scans` is of the same measurement as `tested`."""
    return any(scan.shares_data(tested) for scan in scans)


def merge_circular(found: Sequence[Circularity]) -> list[Circularity]:
    """Put together what was found run by run: one entry for each choice."""
    merged: dict[tuple[str, Path], Circularity] = {}
    for one in found:
        key = (one.choice.what, one.choice.path)
        earlier = merged[key].tested if key in merged else ()
        merged[key] = Circularity(one.choice, tuple(dict.fromkeys((*earlier, *one.tested))))
    return list(merged.values())


def refuse_circular(found: Sequence[Circularity], where: str) -> None:
    """Refuse what is circular.

    Raises
    ------
    InputError
        Naming each choice with its runs, and what to do.
    """
    if found:
        lines = "\n  ".join(one.describe() for one in merge_circular(found))
        raise InputError(f"{where}: circular:\n  {lines}\n{REMEDY}")
