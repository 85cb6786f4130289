"""A folder of `analysis glm` and regions in; responses per region, run and image, overlaps, and what chose what, out.

Everything is asked of sidecars and masks first: what is circular, or on another grid, is refused before a response is read.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.bids_name import name_sidecar, read_sidecar
from analysis.circularity import Choice, Circularity, find_circular, merge_circular
from analysis.labels import Region
from analysis.lineage import FolderIndex, Scan, identify_scan, read_chosen, trace, unite
from analysis.roi_sources import RoiSource, choose_candidates, find_candidates
from analysis.rois import OVERLAP_COLUMNS, Hemispheres, Part, find_overlaps, summarize_run
from analysis.run_betas import RunBetas
from protocols.run_name import RunName


@dataclass(frozen=True)
class PlannedRun:
    """One run to average: its files (two on surfaces), the regions for each, and what its own data chose."""

    scan: Scan
    files: tuple[Path, ...]
    regions: tuple[tuple[Region, ...], ...]
    chosen: tuple[tuple[str, tuple[Scan, ...]], ...]
    circular: tuple[Circularity, ...]


@dataclass(frozen=True)
class Averaged:
    """Rows of the RoiTable without condition and target, and the pairs of regions that overlap."""

    rows: pd.DataFrame
    overlaps: pd.DataFrame


def plan_runs(files: Sequence[Path], source: RoiSource, further: Sequence[Path], index: FolderIndex) -> list[PlannedRun]:
    """Return the runs that the betas `files` hold, each with regions that it did not choose, where there are such.

    `further` are files that took part in the choices although nothing of them is read: a table of voxels, a noise ceiling, a
    hemodynamic response.

    Raises
    ------
    InputError
        When a region cannot be used.
    """
    runs: dict[RunName, list[Path]] = {}
    for file in files:
        runs.setdefault(RunName.parse(file.name), []).append(file)
    others = [Choice(file.name, file, trace(file, file.parent, index)) for file in further]
    planned = []
    for subject in dict.fromkeys(name.subject for name in runs):
        own = {name: parts for name, parts in runs.items() if name.subject == subject}
        candidates = find_candidates(source, subject, [file.name for parts in own.values() for file in parts], index)
        for name, parts in own.items():
            scan = identify_scan(parts[0])
            chosen = [choose_candidates(candidates, scan, file.name) for file in parts]
            regions = tuple(tuple(one.region for one in taken) for taken, _ in chosen)
            scans = tuple((one.region.name, one.scans) for taken, _ in chosen for one in taken)
            circular = [one for _, found in chosen for one in found]
            circular += find_circular([_describe_model(name, parts[0]), *others], [scan])
            planned.append(PlannedRun(scan, tuple(parts), regions, scans, tuple(circular)))
    return planned


def average_runs(
    planned: Sequence[PlannedRun], hemispheres: Hemispheres, show: Callable[[list[PlannedRun]], Iterable[PlannedRun]]
) -> Averaged:
    """Read each run's responses and average them over its regions; `show` tells the progress.

    Raises
    ------
    InputError
        When a region is on another grid, or has no voxel that was modelled.
    """
    rows, overlaps = [], []
    for run in show(list(planned)):
        parts = [Part(RunBetas.read(file), regions) for file, regions in zip(run.files, run.regions, strict=True)]
        rows.append(summarize_run(parts, hemispheres))
        overlaps.append(find_overlaps(parts))
    found = [table for table in overlaps if len(table)]
    return Averaged(
        pd.concat(rows, ignore_index=True),
        pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(OVERLAP_COLUMNS)),
    )


def list_circular(planned: Sequence[PlannedRun]) -> list[Circularity]:
    """Return what is circular, each choice once with all the runs that it would be tested on."""
    return merge_circular([one for run in planned for one in run.circular])


def collect_choices(planned: Sequence[PlannedRun]) -> dict[str, tuple[Scan, ...]]:
    """Return for each region the scans that chose any of its definitions."""
    regions = dict.fromkeys(roi for run in planned for roi, _ in run.chosen)
    return {roi: unite(scan for run in planned for name, scans in run.chosen if name == roi for scan in scans) for roi in regions}


def _describe_model(name: RunName, file: Path) -> Choice:
    return Choice(f"the model of {name.stem}", file, read_chosen(read_sidecar(file), name_sidecar(file)) or ())
