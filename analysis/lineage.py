"""Which measured runs chose an artefact: its sidecar and its folder's provenance in, scans out.

A region, a voxel, a hemodynamic response or a noise ceiling that was chosen from data says so in the JSON sidecar of its file, under
`ChosenFrom`. A file that does not is followed instead: what it is of (`Scan`, `Scans`, or its name), the key `Sources` of its sidecar, and
the inputs of its folder's `provenance.json` back to the folders that they came from. What is not here any more cannot be followed.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.bids_name import name_sidecar, read_sidecar, strip_extension
from protocols.errors import InputError
from protocols.provenance import FILE_NAME, Provenance, hash_file
from protocols.run_name import RunName

CHOSEN_FROM, SCAN, SCANS, SOURCES = "ChosenFrom", "Scan", "Scans", "Sources"
BOLD_INPUT = "bold "  # what `analysis glm` calls a BOLD among the inputs of its provenance
_FUNCTIONAL = re.compile(r"sub-(?P<subject>[0-9A-Za-z]+)_(?:ses-(?P<session>[0-9A-Za-z]+)_)?task-(?P<task>[0-9A-Za-z]+)_")
_RUN = re.compile(r"_run-(?P<run>\d+)_")
_NOT_RESPONSES = re.compile(r"_(events|boldref|timeseries|physio|stim|desc-brain_mask|desc-modelled_mask)$")
_ADDRESS = re.compile(r"^bids:[^:]*:")


@dataclass(frozen=True)
class Scan:
    """One measured run: whose, which, and the sha256 of its preprocessed BOLD.

    `run` is None for all runs of a task. A scan of which only the sha256 is known has neither subject nor task.
    """

    subject: str | None
    session: str | None
    task: str | None
    run: int | None
    sha256: str | None = None

    @classmethod
    def of(cls, name: RunName, sha256: str | None = None) -> "Scan":
        """Return the scan of a run."""
        return cls(name.subject, name.session, name.task, name.run, sha256)

    @classmethod
    def from_json(cls, values: Any, where: str) -> "Scan":
        """Read an entry of a sidecar; `where` opens a refusal."""
        keys = ("subject", "session", "task", "run", "sha256")
        if not isinstance(values, dict) or not set(values) <= set(keys) or not (values.get("subject") or values.get("sha256")):
            raise InputError(f"{where}: {values!r} names no run; an entry has {', '.join(keys)}")
        run = values.get("run")
        if run is not None and (isinstance(run, bool) or not isinstance(run, int)):
            raise InputError(f"{where}: run is {run!r}, expected a whole number or null")
        subject, session, task, sha256 = (None if values.get(key) is None else str(values[key]) for key in (*keys[:3], "sha256"))
        return cls(subject, session, task, run, sha256)

    def to_json(self) -> dict[str, str | int | None]:
        """Return the entry of a sidecar."""
        return {"subject": self.subject, "session": self.session, "task": self.task, "run": self.run, "sha256": self.sha256}

    def describe(self) -> str:
        """Name the scan for a person."""
        if self.subject is None or self.task is None:
            return f"the run with sha256 {str(self.sha256)[:12]}"
        if self.run is None:
            return f"all runs of sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "") + f"_task-{self.task}"
        return RunName(self.subject, self.session, self.task, self.run).stem

    def shares_data(self, other: "Scan") -> bool:
        """Say whether two scans are of the same measurement.

        They are where the files are the same, whatever their names, and where subject, session, task and run are the same,
        whatever was done to the files: another space or another smoothing keeps the noise.
        """
        if self.sha256 is not None and self.sha256 == other.sha256:
            return True
        if self.subject is None or (self.subject, self.task) != (other.subject, other.task):
            return False
        if self.run is None or other.run is None:
            return self.session is None or other.session is None or self.session == other.session
        return (self.session, self.run) == (other.session, other.run)


@dataclass(frozen=True)
class FolderIndex:
    """Folders that are here, by the sha256 of their `provenance.json`, and what they hold, by each file's sha256."""

    folders: dict[str, Path] = field(default_factory=dict)
    files: dict[str, tuple[Path, Path]] = field(default_factory=dict)

    @classmethod
    def build(cls, places: Iterable[Path]) -> "FolderIndex":
        """Index each place and the folders beside it; a folder that is incomplete is passed over."""
        parents = [place.resolve().parent for place in places]
        around = {folder for parent in parents if parent.is_dir() for folder in parent.iterdir()}
        index = cls()
        for folder in sorted(folder for folder in around if (folder / FILE_NAME).is_file()):
            try:
                outputs = Provenance.read(folder).outputs
            except InputError:
                continue
            index.folders[hash_file(folder / FILE_NAME)] = folder
            index.files.update({sha256: (folder / name, folder) for name, sha256 in outputs.items()})
        return index


def trace(path: Path, root: Path, index: FolderIndex) -> tuple[Scan, ...]:
    """Return the scans whose data chose the artefact at `path`, in a folder `root`.

    Raises
    ------
    InputError
        When a sidecar cannot be read.
    """
    return unite(_Trail(index, set()).follow_file(path, root))


def identify_scan(file: Path) -> Scan:
    """Return which scan a derivative of one run is of: as its sidecar says, or by its name."""
    values = read_sidecar(file)
    if SCAN in values:
        return Scan.from_json(values[SCAN], f"{name_sidecar(file)}: {SCAN}")
    return Scan.of(RunName.parse(file.name))


def read_chosen(values: dict[str, Any], where: Path) -> tuple[Scan, ...] | None:
    """Return what a sidecar says of the runs that chose its file; None where it says nothing."""
    if CHOSEN_FROM not in values:
        return None
    entries = values[CHOSEN_FROM]
    if not isinstance(entries, list):
        raise InputError(f"{where}: {CHOSEN_FROM} is {entries!r}, expected a list of runs; an empty list where no data chose it")
    return tuple(Scan.from_json(entry, f"{where}: {CHOSEN_FROM}") for entry in entries)


def write_chosen(scans: Iterable[Scan]) -> dict[str, list[dict[str, str | int | None]]]:
    """Return the key of a sidecar that says which runs chose its file."""
    return {CHOSEN_FROM: [scan.to_json() for scan in unite(scans)]}


def unite(scans: Iterable[Scan]) -> tuple[Scan, ...]:
    """Return each scan once, in order."""
    return tuple(dict.fromkeys(scans))


def parse_scan(file_name: str, sha256: str | None = None) -> Scan | None:
    """Return the scan that a derivative's BIDS name tells; None for anatomy, for events, and for what else holds no responses.

    A name without a run is of all runs of its task, but for a BOLD's own.
    """
    match = _FUNCTIONAL.match(file_name)
    stem = strip_extension(file_name)
    if match is None or _NOT_RESPONSES.search(stem):
        return None
    found = _RUN.search(file_name)
    run = int(found["run"]) if found else 1 if stem.endswith("_bold") else None
    return Scan(match["subject"], match["session"], match["task"], run, sha256)


@dataclass
class _Trail:
    """One walk back through sidecars and provenance; `seen` ends a circle of files that name one another."""

    index: FolderIndex
    seen: set[Path]

    def follow_file(self, path: Path, root: Path) -> Iterator[Scan]:
        stem = strip_extension(path.name)
        if self._has_seen(path) or _NOT_RESPONSES.search(stem):
            return
        values, where = read_sidecar(path, root), name_sidecar(path)
        own = [values[SCAN]] if SCAN in values else values.get(SCANS, [])
        told = [Scan.from_json(entry, f"{where}: {SCAN}") for entry in own]
        chosen = read_chosen(values, where)
        named = parse_scan(path.name)
        if told or chosen is not None:
            yield from (*told, *(chosen or ()))
        elif named is not None:
            yield named
        else:
            yield from self._follow_sources(values, path, root)

    def _follow_sources(self, values: dict[str, Any], path: Path, root: Path) -> Iterator[Scan]:
        for source in _list_sources(values):
            yield from self._follow_source(source, path, root)
        for folder in (path.parent, *path.parent.parents):
            if (folder / FILE_NAME).is_file():
                yield from self._follow_folder(folder)
            if folder in (root, folder.parent):
                break

    def _follow_source(self, source: str, path: Path, root: Path) -> Iterator[Scan]:
        name = _ADDRESS.sub("", source)
        for folder in (path.parent, root, *self.index.folders.values()):
            if (folder / name).is_file():
                yield from self.follow_file(folder / name, folder)
                return
        yield from filter(None, [parse_scan(Path(name).name)])

    def _follow_folder(self, folder: Path) -> Iterator[Scan]:
        if self._has_seen(folder):
            return
        for name, sha256 in Provenance.read(folder).inputs.items():
            if sha256 in self.index.folders:
                yield from self._follow_folder(self.index.folders[sha256])
            elif sha256 in self.index.files:
                yield from self.follow_file(*self.index.files[sha256])
            else:
                named = parse_scan(name.removeprefix(BOLD_INPUT) + "_bold", sha256) if name.startswith(BOLD_INPUT) else None
                yield named or Scan(None, None, None, None, sha256)

    def _has_seen(self, path: Path) -> bool:
        place = path.resolve()
        known = place in self.seen
        self.seen.add(place)
        return known


def _list_sources(values: dict[str, Any]) -> Sequence[str]:
    sources = values.get(SOURCES, [])
    return [sources] if isinstance(sources, str) else [str(source) for source in sources]
