"""Runs in, from headers alone: what does not fit together (refused, all runs at once), and what a person should know."""

from collections import Counter
from collections.abc import Sequence

from analysis import surface
from analysis.dataset import Run
from analysis.images import Grid, count_volumes, read_grid
from analysis.missing_files import list_gaps
from analysis.run_events import read_events
from protocols.errors import InputError
from protocols.run_name import RunName
from protocols.tables import read_tsv


def measure_run(run: Run) -> tuple[Grid, int]:
    """Read from the header of a run's BOLD its grid and its number of volumes."""
    return surface.read_extent(run.bold) if run.surface else (read_grid(run.bold), count_volumes(run.bold))


def check_lengths(runs: Sequence[Run]) -> dict[str, int]:
    """Return each run's number of volumes by its stem, where events, confounds and masks fit the BOLD.

    Runs may differ in length, and in grid between subjects.

    Raises
    ------
    InputError
        With a line for each thing that does not fit, of all runs: a damaged header, unusable events, events beyond the last
        volume, a confounds table of another length, a mask or a run on another grid, hemispheres of different length.
    """
    problems: list[str] = []
    extents: dict[str, tuple[Grid, int]] = {}
    for run in runs:
        try:
            extents[run.stem] = measure_run(run)
        except InputError as problem:
            problems.append(str(problem))
            continue
        problems += _check_events(run, extents[run.stem][1])
        problems += _check_confounds(run, extents[run.stem][1])
        problems += _check_grid(run, extents[run.stem][0])
    problems += _compare_runs([run for run in runs if run.stem in extents], extents)
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))  # hemispheres share their events
    return {stem: volumes for stem, (_, volumes) in extents.items()}


def describe_differences(runs: Sequence[Run]) -> list[str]:
    """Return a sentence for each thing that is allowed but may be a mistake: another repetition time, a gap in the runs' numbers."""
    return [*_describe_times(runs), *(f"{gap.run}: {gap.where}" for gap in list_gaps({run.name for run in runs}))]


def _check_events(run: Run, volumes: int) -> list[str]:
    try:
        read_events(run, volumes * run.tr_s)
    except InputError as problem:
        return [str(problem)]
    return []


def _check_confounds(run: Run, volumes: int) -> list[str]:
    if not run.confounds.is_file():
        return []
    try:
        rows = len(read_tsv(run.confounds, {}))
    except InputError as problem:
        return [str(problem)]
    return [] if rows == volumes else [f"{run.confounds}: {rows} rows, but the BOLD has {volumes} volumes; they are of different runs"]


def _check_grid(run: Run, grid: Grid) -> list[str]:
    if run.surface:
        expected = surface.VERTICES.get(run.space or "", grid.shape[0])
        same = grid.shape[0] == expected
        return [] if same else [f"{run.bold}: has {grid.shape[0]} vertices, {run.space} has {expected}; its name or the file is wrong"]
    if run.mask is None:
        return []
    try:
        difference = read_grid(run.mask).describe_difference(grid)
    except InputError as problem:
        return [str(problem)]
    hint = "resample it yourself and look at the result"
    return [f"{run.mask}: is not on the grid of {run.bold.name} ({difference}); {hint}"] if difference else []


def _compare_runs(runs: Sequence[Run], extents: dict[str, tuple[Grid, int]]) -> list[str]:
    """Return what differs between a subject's runs, or a run's hemispheres, and must not."""
    problems: list[str] = []
    first: dict[tuple[str, str | None], Run] = {}
    lengths: dict[RunName, Run] = {}
    for run in runs:
        other = first.setdefault((run.name.subject, run.hemisphere), run)
        if difference := extents[run.stem][0].describe_difference(extents[other.stem][0]):
            problems.append(f"{run.bold}: is not on the grid of {other.bold.name} ({difference}); runs of a subject must share a grid")
        half = lengths.setdefault(run.name, run)
        mine, others = extents[run.stem][1], extents[half.stem][1]
        if mine != others:
            problems.append(f"{run.bold}: {mine} volumes, the other hemisphere has {others}; copy both again")
    return problems


def _describe_times(runs: Sequence[Run]) -> list[str]:
    times: dict[str, set[float]] = {}
    for run in runs:
        times.setdefault(run.name.subject, set()).add(run.tr_s)
    usual = Counter(frozenset(values) for values in times.values()).most_common(1)
    return [
        f"sub-{subject}: repetition time {_list_seconds(values)}"
        + (f", of most subjects {_list_seconds(usual[0][0])}" if len(times) > 1 else "")
        for subject, values in times.items()
        if len(values) > 1 or values != usual[0][0]
    ]


def _list_seconds(values: frozenset[float] | set[float]) -> str:
    return " and ".join(f"{value:g} s" for value in sorted(values))
