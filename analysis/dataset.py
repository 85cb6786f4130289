"""A BIDS folder with fMRIPrep-style derivatives in, the runs of one task out, each with the files that its model needs.

A small index of our own: names are parsed, everything missing is named at once, and nothing is opened but headers
and sidecars. Events stand in the BIDS folder, BOLD, brain masks and confounds in `derivatives/fmriprep`.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.missing_files import CONFOUNDS as NO_CONFOUNDS
from analysis.missing_files import Missing, list_gaps, refuse_missing
from analysis.sidecars import find_events, parse_entities, read_timing
from protocols.errors import InputError
from protocols.run_name import RunName
from protocols.stimulus_set import TABLE as SET_TABLE
from protocols.tables import read_json

BOLD = "desc-preproc_bold.nii.gz"
SURFACE_BOLD = "bold.func.gii"
MASK = "desc-brain_mask.nii.gz"
CONFOUNDS = "desc-confounds_timeseries.tsv"
_OLD_CONFOUNDS = "desc-confounds_regressors.tsv"  # fMRIPrep before 20.2
HEMISPHERES = ("L", "R")
NATIVE = "native"
_ANATOMICAL = "T1w"
_UNNAMED = "(none)"


@dataclass(frozen=True)
class Run:
    """One run, or one hemisphere of it on a surface: its name, its files, and what its sidecars say.

    `slice_time_ref` is the moment of the repetition that a volume stands for, 0-1. `space` and `resolution` are None where the
    file names have none. On a surface there is a `hemisphere`, L or R, and no mask.
    """

    name: RunName
    space: str | None
    bold: Path
    mask: Path | None
    events: Path
    confounds: Path
    tr_s: float
    slice_time_ref: float
    hemisphere: str | None = None
    resolution: str | None = None

    @property
    def surface(self) -> bool:
        """Whether the BOLD is of a surface's vertices."""
        return self.hemisphere is not None

    @property
    def stem(self) -> str:
        """The run's BIDS name with hemisphere, space and resolution, e.g. `sub-01_task-T_run-01_space-MNI152NLin2009cAsym_res-2`."""
        return self.name.stem + _join_entities(self.hemisphere, self.space, self.resolution)

    @property
    def files(self) -> dict[str, Path]:
        """Its files that are there, by kind: bold, mask, events, confounds."""
        files = {"bold": self.bold, "mask": self.mask, "events": self.events, "confounds": self.confounds}
        return {kind: path for kind, path in files.items() if path is not None and path.is_file()}


@dataclass(frozen=True)
class _Bold:
    """A preprocessed BOLD file and what its name says."""

    path: Path
    name: RunName
    space: str | None
    resolution: str | None
    hemisphere: str | None

    @property
    def label(self) -> str:
        """The space as --space takes it, e.g. `MNI152NLin2009cAsym:res-2`, as fMRIPrep's --output-spaces does."""
        return (self.space or _UNNAMED) + (f":res-{self.resolution}" if self.resolution else "")

    @classmethod
    def parse(cls, path: Path) -> "_Bold":
        entities = parse_entities(path.name)
        return cls(path, RunName.parse(path.name), entities.get("space"), entities.get("res"), entities.get("hemi"))


def find_runs(
    bids: Path,
    task: str,
    space: str | None = None,
    needs_confounds: bool = True,
    *,
    subjects: Collection[str] = (),
    sessions: Collection[str] = (),
    derivatives: Path | None = None,
) -> list[Run]:
    """Return all runs of a task, sorted by name; on a surface one for each hemisphere.

    `space` is a space of the file names, with `:res-2` where there are several resolutions, or `native`: BOLD without a space, else
    in T1w. `subjects` and `sessions` leave out others; none named is all. `derivatives` is fMRIPrep's output where it is not
    `BIDS/derivatives/fmriprep`.

    Raises
    ------
    InputError
        When there are none, the space is ambiguous, or anything is missing (all in one table).
    """
    folder = derivatives or bids / "derivatives" / "fmriprep"
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder, so {bids} has no derivatives/fmriprep; name the BIDS folder, with fMRIPrep's output in it"
        )
    everything = [*_list_bold(folder, task, BOLD), *_list_bold(folder, task, SURFACE_BOLD)]
    if not everything:
        tasks = sorted({RunName.parse(path.name).task for path in folder.glob("sub-*/**/*_task-*_*bold.*i*")})
        raise InputError(f"{folder}: no preprocessed BOLD of task {task!r}; tasks there: {', '.join(tasks) or 'none'}")
    events = _index_events(bids, task)
    wanted = _select_names({*events, *(bold.name for bold in everything)}, subjects, sessions, f"{bids}: task {task!r}")
    everything = [bold for bold in everything if bold.name in wanted]
    chosen = _group_by_run(_choose_space(everything, space, f"{folder}: task {task!r}"))
    runs: list[Run] = []
    missing: list[Missing] = []
    for name in sorted((name for name in wanted if name in chosen or name in events), key=lambda name: name.stem):
        found = _describe_run(bids, folder, name, chosen.get(name, []), events.get(name))
        runs += found[0]
        missing += [*found[1], *_list_missing_files(found[0], needs_confounds)]
    refuse_missing(missing, list_gaps({*chosen, *events} & wanted), f"{bids}: task {task!r}", bids)
    return runs


def list_inputs(runs: Iterable[Run], without: Collection[str] = ()) -> dict[str, Path]:
    """Return the runs' files, but for those kinds, as a provenance names its inputs."""
    return {f"{kind} {run.stem}": path for run in runs for kind, path in run.files.items() if kind not in without}


def find_set(bids: Path, set_folder: Path | None, task: str) -> Path:
    """Return the folder of the set that a task showed: its own below `stimuli/` where there is one, as `experiment run` writes it."""
    own = bids / "stimuli" / f"task-{task}"
    folder = set_folder or (own if (own / SET_TABLE).is_file() else bids / "stimuli")
    if not (folder / SET_TABLE).is_file():
        raise InputError(f"{folder}: has no {SET_TABLE}; name the stimulus set that was shown with --set")
    return folder


def refuse_other_set(runs: Sequence[Run], set_sha256: str, folder: Path) -> None:
    """Refuse a stimulus set that is not the one that `experiment run` recorded beside the events.

    Raises
    ------
    InputError
        Naming the first run that showed another set.
    """
    for run in runs:
        path = run.events.with_suffix(".json")
        recorded = read_json(path, "copy it again").get("Plan", {}).get("StimulusSetSha256", set_sha256) if path.is_file() else set_sha256
        if recorded != set_sha256:
            raise InputError(f"{path}: another stimulus set was shown than {folder}; name the set that was shown with --set")


def _list_bold(folder: Path, task: str, suffix: str) -> list[_Bold]:
    found = [_Bold.parse(path) for path in sorted(folder.glob(f"sub-*/**/*_task-{task}_*{suffix}"))]
    return [bold for bold in found if (bold.hemisphere in HEMISPHERES) == (suffix == SURFACE_BOLD)]


def _index_events(bids: Path, task: str) -> dict[RunName, Path]:
    """Return each run's own events; those that runs inherit stand above the `func` folders."""
    named = [(_name_in_place(path, bids), path) for path in sorted(bids.glob(f"sub-*/**/func/*_task-{task}_*events.tsv"))]
    _refuse_twins(named)
    return dict(named)


def _select_names(names: set[RunName], subjects: Collection[str], sessions: Collection[str], where: str) -> set[RunName]:
    """Return the names of the wanted subjects and sessions; a label that nobody has is refused."""
    for entity, prefix, labels in (("subject", "sub-", subjects), ("session", "ses-", sessions)):
        wanted = {label.removeprefix(prefix) for label in labels}
        there = {getattr(name, entity) for name in names} - {None}
        unknown = sorted(wanted - there)
        if unknown:
            known = ", ".join(sorted(there)) or "none"
            raise InputError(f"{where} has no {entity} {', '.join(map(repr, unknown))}; {entity}s there: {known}")
        names = {name for name in names if not wanted or getattr(name, entity) in wanted}
    return names


def _choose_space(bolds: Sequence[_Bold], space: str | None, where: str) -> list[_Bold]:
    """Return the BOLD of the one space that is wanted, or that there is."""
    there = sorted({bold.label for bold in bolds})
    chosen = list(bolds)
    if space == NATIVE:
        chosen = [bold for bold in bolds if bold.space is None] or [bold for bold in bolds if bold.space == _ANATOMICAL]
    elif space is not None:
        chosen = [bold for bold in bolds if space in (bold.space, bold.label)]
    if not chosen:
        wanted = f" in space {space!r}" if space else ""
        raise InputError(f"{where} has no preprocessed BOLD{wanted}; spaces there: {', '.join(there) or 'none'}")
    labels = sorted({bold.label for bold in chosen})
    if len(labels) > 1:
        hint = f" (--space {NATIVE} for BOLD without a space)" if _UNNAMED in labels else ""
        raise InputError(f"{where} has BOLD in several spaces ({', '.join(labels)}); choose one with --space{hint}")
    return chosen


def _group_by_run(bolds: Sequence[_Bold]) -> dict[RunName, list[_Bold]]:
    for hemisphere in (None, *HEMISPHERES):
        _refuse_twins((bold.name, bold.path) for bold in bolds if bold.hemisphere == hemisphere)
    grouped: dict[RunName, list[_Bold]] = {}
    for bold in bolds:
        grouped.setdefault(bold.name, []).append(bold)
    return grouped


def _refuse_twins(files: Iterable[tuple[RunName, Path]]) -> None:
    """Refuse two files that differ only in entities that tell no runs apart here (acq, ce, rec, dir, leading zeros)."""
    seen: dict[RunName, Path] = {}
    for name, path in files:
        if name in seen:
            raise InputError(f"{path}: is of the same run as {seen[name].name}; keep one of them, or give each its own run number or task")
        seen[name] = path


def _describe_run(
    bids: Path, derivatives: Path, name: RunName, bolds: Sequence[_Bold], own_events: Path | None
) -> tuple[list[Run], list[Missing]]:
    """Return the run (a hemisphere's each), and what is missing of it."""
    if not bolds:
        return [], [Missing(name.stem, "BOLD", f"no preprocessed BOLD in this space for {own_events}")]
    events = own_events or find_events(bids, name, bolds[0].path)
    missing = [] if events else [Missing(name.stem, "events", str(name.path(bids, "events.tsv")))]
    if bolds[0].hemisphere and len(bolds) < len(HEMISPHERES):
        (absent,) = set(HEMISPHERES) - {bolds[0].hemisphere}
        path = bolds[0].path
        missing.append(Missing(name.stem, f"hemisphere {absent}", str(path).replace(f"_hemi-{bolds[0].hemisphere}_", f"_hemi-{absent}_")))
    runs = []
    for bold in sorted(bolds, key=lambda bold: bold.hemisphere or ""):
        timing = (math.nan, math.nan)  # of a run that is going to be refused
        try:
            timing = read_timing(bids, derivatives, name, bold.path)
        except InputError as problem:
            missing.append(Missing(name.stem, "timing", str(problem)))
        runs.append(_make_run(bold, events or bold.path, timing))
    return runs, missing


def _make_run(bold: _Bold, events: Path, timing: tuple[float, float]) -> Run:
    spaced = _join_entities(bold.hemisphere, bold.space, bold.resolution)
    prefix = bold.path.name.removesuffix(SURFACE_BOLD if bold.hemisphere else BOLD)
    plain = prefix.replace(f"{spaced}_", "_") if spaced else prefix  # confounds are of all spaces
    mask = None if bold.hemisphere else bold.path.with_name(prefix + MASK)
    confounds, old = (bold.path.with_name(plain + suffix) for suffix in (CONFOUNDS, _OLD_CONFOUNDS))
    if old.is_file() and not confounds.is_file():
        confounds = old
    return Run(bold.name, bold.space, bold.path, mask, events, confounds, *timing, bold.hemisphere, bold.resolution)


def _list_missing_files(runs: Sequence[Run], needs_confounds: bool) -> list[Missing]:
    masks = [Missing(run.name.stem, "brain mask", str(run.mask)) for run in runs if run.mask and not run.mask.is_file()]
    tables = {run.confounds: run.name.stem for run in runs if needs_confounds and not run.confounds.is_file()}
    return masks + [Missing(stem, NO_CONFOUNDS, str(path)) for path, stem in tables.items()]


def _join_entities(hemisphere: str | None, space: str | None, resolution: str | None) -> str:
    pairs = (("hemi", hemisphere), ("space", space), ("res", resolution))
    return "".join(f"_{key}-{value}" for key, value in pairs if value)


def _name_in_place(path: Path, bids: Path) -> RunName:
    """Return the run that a file's name tells; refuse a file that was copied into another subject's or session's folder."""
    name = RunName.parse(path.name)
    if path.parent.resolve() != (bids / name.folder).resolve():
        raise InputError(f"{path}: is of {name.folder.as_posix()} by its name, but stands elsewhere; put each run's events in its place")
    return name
