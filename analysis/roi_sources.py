"""Mask files and segmentations in; for each tested run the regions that it did not choose out.

A region may have several definitions, chosen from different runs (the folds of a localizer). A run takes the one that it took no part in.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.bids_name import BidsName
from analysis.circularity import Choice, Circularity, choose
from analysis.images import Grid, read_grid, read_mask
from analysis.labels import SURFACES, Region, find_hemisphere, find_segmentations, read_regions
from analysis.lineage import FolderIndex, Scan, trace
from analysis.surface import read_maps
from protocols.errors import InputError
from protocols.roi_table import BOTH

_MASKS = ("_mask.nii.gz", "_mask.nii", "_mask.func.gii", "_mask.shape.gii")
_SAME = ("space", "res", "den", "hemi")  # a file of another of these is not meant for the data


@dataclass(frozen=True)
class RoiSource:
    """Where regions come from: a folder of mask files, or segmentations with the names of the regions to take (all where none)."""

    masks: Path | None = None
    labels: Path | None = None
    rois: tuple[str, ...] = ()

    @classmethod
    def choose(cls, bids: Path, masks: Path | None, labels: Path | None, rois: tuple[str, ...] = ()) -> "RoiSource":
        """Return what `--masks` or `--labels` name, or else the masks in `derivatives/rois` of the BIDS folder.

        Raises
        ------
        InputError
            When both are named.
        """
        if masks is not None and labels is not None:
            raise InputError("give either --masks or --labels, not both: regions of the same name could not be told apart")
        return cls(masks or (None if labels else bids / "derivatives" / "rois"), labels, rois)

    @property
    def root(self) -> Path:
        """The folder or file that was named."""
        place = self.labels or self.masks
        if place is None:
            raise InputError("no regions: name their folder with --masks, or segmentations with --labels")
        return place


@dataclass(frozen=True)
class Candidate:
    """One definition of a region, and the scans whose data chose it (none for an atlas)."""

    region: Region
    scans: tuple[Scan, ...]

    @property
    def choice(self) -> Choice:
        """What the check of circularity reads."""
        return Choice(f"ROI {self.region.name} {self.region.hemisphere}", self.region.path, self.scans)


def find_candidates(source: RoiSource, subject: str, files: Iterable[str], index: FolderIndex) -> list[Candidate]:
    """Return all definitions of a subject's regions that are meant for data of these file names, by their space, resolution and hemisphere.

    Raises
    ------
    InputError
        When there are none, or a file cannot be used.
    """
    names = [BidsName.parse(file) for file in files]
    paths = find_segmentations(source.labels, subject) if source.labels else _find_masks(source.root, subject)
    fitting = [path for path in paths if any(_fits(path, name) for name in names)]
    if not fitting:
        spaces = sorted({BidsName.parse(path.name).get("space") or "(none)" for path in paths})
        wanted = names[0].get("space") or "(none)"
        raise InputError(f"{source.root}: no region of sub-{subject} is in space {wanted}; spaces there: {', '.join(spaces)}")
    candidates = []
    for path in _prefer_native(fitting, names):
        regions = read_regions(path, source.root, source.rois) if source.labels else [_read_mask(path)]
        scans = trace(path, source.root, index)
        candidates += [Candidate(region, scans) for region in regions]
    if not candidates:
        raise InputError(f"{source.root}: holds no region of sub-{subject}; name another segmentation")
    return _keep_named(candidates, source) if source.rois else candidates


def choose_candidates(candidates: Sequence[Candidate], tested: Scan, file: str) -> tuple[list[Candidate], list[Circularity]]:
    """Return, for data of one file, the definition of each region that the tested scan did not choose; and what is circular all the same.

    Where the scan took part in every definition, the one from most runs is returned among both. A run of the localizer's own task
    that chose none of its folds, because it lacks a condition, takes the one from most runs.

    Raises
    ------
    InputError
        When a region has several definitions that the scan took no part in, and they are no such folds.
    """
    groups: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        if _fits(candidate.region.path, BidsName.parse(file)):
            groups.setdefault((candidate.region.name, candidate.region.hemisphere), []).append(candidate)
    taken, circular = [], []
    for group in groups.values():
        independent = [candidate for candidate in group if not choose(candidate.scans, tested)]
        if len(independent) > 1 and not (len(independent) == len(group) and all(_is_fold(one, tested) for one in group)):
            _refuse_several(independent)
        best = max(independent or group, key=lambda candidate: len(candidate.scans))
        taken.append(best)
        if not independent:
            circular.append(Circularity(best.choice, (tested,)))
    return taken, circular


def _is_fold(candidate: Candidate, tested: Scan) -> bool:
    return bool(candidate.scans) and all((scan.subject, scan.task) == (tested.subject, tested.task) for scan in candidate.scans)


def _refuse_several(independent: Sequence[Candidate]) -> None:
    first, second = (candidate.region for candidate in independent[:2])
    hint = "; a localizer for other runs has one mask (analysis localize --scheme all)" if independent[0].scans else ""
    raise InputError(f"{second.path}: a second mask of {second.name} {second.hemisphere}, beside {first.path.name}; keep one of them{hint}")


def _prefer_native(paths: list[Path], names: Sequence[BidsName]) -> list[Path]:
    """Return, for data whose names tell no space, the files that tell none either or the T1w's, where there are such."""
    if any(name.get("space") for name in names):
        return paths
    return [path for path in paths if BidsName.parse(path.name).get("space") in (None, "T1w")] or paths


def _find_masks(folder: Path, subject: str) -> list[Path]:
    files = [path for path in sorted((folder / f"sub-{subject}").glob("**/*_mask.*")) if path.name.endswith(_MASKS)]
    found = [path for path in files if BidsName.parse(path.name).get("label")]
    if not found:
        raise InputError(
            f"{folder}: has no masks of sub-{subject} (sub-{subject}/**/*_label-ROI_mask.nii.gz); name their folder with --masks"
        )
    return found


def _read_mask(path: Path) -> Region:
    name = BidsName.parse(path.name)
    if path.name.endswith(".gii"):
        values = read_maps(path)[0]
        side, grid, mask = find_hemisphere(path), Grid(values.shape, np.eye(4)), values > 0
        if not mask.any():
            raise InputError(f"{path}: is empty; make the mask again")
    else:
        side, grid = name.get("hemi") or BOTH, read_grid(path)
        mask = read_mask(path, grid, path)
    return Region(str(name.get("label")), side, np.flatnonzero(mask), grid, path)


def _keep_named(candidates: list[Candidate], source: RoiSource) -> list[Candidate]:
    names = list(dict.fromkeys(candidate.region.name for candidate in candidates))
    missing = [roi for roi in source.rois if roi not in names]
    if missing:
        raise InputError(f"{source.root}: has no region {', '.join(missing)}; regions there: {', '.join(names)}")
    return [candidate for candidate in candidates if candidate.region.name in source.rois]


def _fits(path: Path, data: BidsName) -> bool:
    own = BidsName.parse(path.name)
    if path.name.endswith(SURFACES):
        own = BidsName({**own.entities, "hemi": find_hemisphere(path)}, own.suffix)
    return own.agrees(data, _SAME)
