"""A BIDS folder with fMRIPrep-style derivatives in, the runs of one task out, each with the files that its model needs.

A small index of our own: names are parsed, everything missing is named at once, and nothing is opened but headers
and sidecars. Events stand in the BIDS folder, BOLD, brain masks and confounds in `derivatives/fmriprep`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from protocols.errors import InputError
from protocols.run_name import RunName
from protocols.tables import Columns, read_json, read_tsv

BOLD = "desc-preproc_bold.nii.gz"
MASK = "desc-brain_mask.nii.gz"
CONFOUNDS = "desc-confounds_timeseries.tsv"
EVENT_COLUMNS: Columns = {"onset": "number", "duration": "number", "trial_type": "text"}
_SPACE = re.compile(r"_space-(?P<space>[0-9A-Za-z]+)_")
_MID_VOLUME = 0.5


@dataclass(frozen=True)
class Run:
    """One run: its name, its files, and what its sidecar says.

    `slice_time_ref` is the moment of the repetition that a volume stands for, 0-1. `space` is None where the file
    names have none.
    """

    name: RunName
    space: str | None
    bold: Path
    mask: Path
    events: Path
    confounds: Path
    tr_s: float
    slice_time_ref: float

    @property
    def stem(self) -> str:
        """The run's BIDS name with its space, e.g. `sub-01_task-T_run-01_space-MNI152NLin2009cAsym`."""
        return self.name.stem + (f"_space-{self.space}" if self.space else "")


def find_runs(bids: Path, task: str, space: str | None = None, needs_confounds: bool = True) -> list[Run]:
    """Return all runs of a task, sorted by name.

    Raises
    ------
    InputError
        When there are none, the space is ambiguous, or any file is missing (all are named).
    """
    derivatives = bids / "derivatives" / "fmriprep"
    if not derivatives.is_dir():
        raise InputError(f"{bids}: has no derivatives/fmriprep; name the BIDS folder, with fMRIPrep's output in it")
    bolds = _index_by_run(derivatives, BOLD, task, space)
    events = {_name_in_place(path, bids): path for path in sorted(bids.glob(f"sub-*/**/*_task-{task}_*events.tsv"))}
    _refuse_incomplete(bids, task, bolds, events)
    runs = [_describe(bids, name, path, events[name]) for name, path in sorted(bolds.items(), key=lambda item: item[0].stem)]
    needed = [path for run in runs for path in (run.mask, *([run.confounds] if needs_confounds else []))]
    missing = [str(path) for path in needed if not path.is_file()]
    if missing:
        hint = "; or give --confounds none" if any(CONFOUNDS in path for path in missing) else ""
        raise InputError("missing files:\n  " + "\n  ".join(missing) + f"\ncopy fMRIPrep's whole output{hint}")
    return runs


def read_events(run: Run, end_s: float) -> pd.DataFrame:
    """Read a run's events as `onset duration trial_type stim_id` (stim_id None where the file has none).

    Raises
    ------
    InputError
        When there are no events, a duration is not positive, or an event begins after the last volume, at `end_s`.
    """
    table = read_tsv(run.events, EVENT_COLUMNS)
    if table.empty:
        raise InputError(f"{run.events}: holds no events; without them there is nothing to estimate")
    for row, event in enumerate(table.to_dict("records")):
        where = f"{run.events} row {row + 2}: event {event['trial_type']!r} at {event['onset']:g} s"
        if event["duration"] <= 0:
            raise InputError(f"{where} lasts {event['duration']:g} s; give the time that it was shown, percent signal change depends on it")
        if event["onset"] >= end_s:
            raise InputError(f"{where} is beyond the last volume of {run.bold.name}, at {end_s:g} s; BOLD and events are of different runs")
    if "stim_id" not in table:
        table["stim_id"] = None
    table["stim_id"] = table["stim_id"].astype(object).where(table["stim_id"].notna(), None)
    return table[["onset", "duration", "trial_type", "stim_id"]]


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


def _index_by_run(derivatives: Path, suffix: str, task: str, space: str | None) -> dict[RunName, Path]:
    paths = sorted(derivatives.glob(f"sub-*/**/*_task-{task}_*{suffix}"))
    found = sorted({_space_of(path) or "(none)" for path in paths})
    if space is not None:
        paths = [path for path in paths if _space_of(path) == space]
        if not paths:
            raise InputError(
                f"{derivatives}: no preprocessed BOLD of task {task!r} in space {space!r}; spaces there: {', '.join(found) or 'none'}"
            )
    elif len(found) > 1:
        raise InputError(f"{derivatives}: BOLD in several spaces ({', '.join(found)}); choose one with --space")
    if not paths:
        tasks = sorted({RunName.parse(path.name).task for path in derivatives.glob(f"sub-*/**/*{suffix}")})
        raise InputError(f"{derivatives}: no preprocessed BOLD of task {task!r}; tasks there: {', '.join(tasks) or 'none'}")
    return {RunName.parse(path.name): path for path in paths}


def _refuse_incomplete(bids: Path, task: str, bolds: dict[RunName, Path], events: dict[RunName, Path]) -> None:
    lacking = [
        f"{name.path(bids, 'events.tsv')} (events of {bolds[name].name})"
        for name in sorted(bolds, key=lambda n: n.stem)
        if name not in events
    ]
    lacking += [f"preprocessed BOLD of {events[name].name}" for name in sorted(events, key=lambda n: n.stem) if name not in bolds]
    if lacking:
        raise InputError(f"{bids}: task {task!r} is incomplete; missing:\n  " + "\n  ".join(lacking))


def _describe(bids: Path, name: RunName, bold: Path, events: Path) -> Run:
    prefix = bold.name.removesuffix(BOLD)
    space = _space_of(bold)
    plain = _SPACE.sub("_", prefix) if space else prefix  # confounds have no space entity
    sidecar = _read_sidecars(bids, bold, events)
    tr_s = float(sidecar["RepetitionTime"]) if "RepetitionTime" in sidecar else _read_tr(bold)
    return Run(
        name, space, bold, bold.with_name(prefix + MASK), events, bold.with_name(plain + CONFOUNDS), tr_s, _choose_reference(sidecar, tr_s)
    )


def _choose_reference(sidecar: dict[str, Any], tr_s: float) -> float:
    """Return StartTime / TR, which fMRIPrep writes where it corrected slice timing; the middle of the volume where nothing is said."""
    return float(sidecar["StartTime"]) / tr_s if "StartTime" in sidecar else _MID_VOLUME


def _read_sidecars(bids: Path, bold: Path, events: Path) -> dict[str, Any]:
    """Return the BOLD's sidecar; where it lacks a key, the raw BOLD's, and then the task's at the data set's root."""
    raw = events.with_name(events.name.replace("events.tsv", "bold.json"))
    task = bids / f"task-{RunName.parse(bold.name).task}_bold.json"
    values: dict[str, Any] = {}
    for path in (task, raw, bold.with_name(bold.name.replace(".nii.gz", ".json"))):
        if path.is_file():
            values.update(read_json(path, "copy it again"))
    return values


def _name_in_place(path: Path, bids: Path) -> RunName:
    """Return the run that a file's name tells; refuse a file that was copied into another subject's or session's folder."""
    name = RunName.parse(path.name)
    if path.parent.resolve() != (bids / name.folder).resolve():
        raise InputError(f"{path}: is of {name.folder.as_posix()} by its name, but stands elsewhere; put each run's events in its place")
    return name


def _read_tr(bold: Path) -> float:
    from analysis.images import load_image

    header = load_image(bold).header
    tr_s = float(header.get_zooms()[3]) * (1e-3 if header.get_xyzt_units()[1] == "msec" else 1.0)
    if tr_s <= 0:
        raise InputError(f"{bold}: neither its sidecar nor its header gives a repetition time; add RepetitionTime to the JSON beside it")
    return tr_s


def _space_of(path: Path) -> str | None:
    match = _SPACE.search(path.name)
    return match["space"] if match else None
