"""Responses per stimulus and ROI masks in, one mean response per ROI and stimulus out. Masks are never resampled."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool

from analysis.images import read_mask
from analysis.run_betas import BETAS, RunBetas
from protocols.config import config
from protocols.errors import InputError
from protocols.roi_table import COLUMNS
from protocols.stimulus_set import StimulusSet

Hemispheres = Literal["both", "separate"]
_MASK_NAME = re.compile(
    r"(?:_space-(?P<space>[0-9A-Za-z]+))?(?:_hemi-(?P<hemisphere>[LR]))?(?:_[a-z]+-[0-9A-Za-z]+)*?_label-(?P<roi>[0-9A-Za-z]+)_"
)
BOTH = "LR"
SE_DESCRIPTION = (
    "Mean over the ROI's voxels of the standard error of the voxel's response. It is the standard error of the ROI's mean if "
    "the voxels' noise were perfectly correlated, and an upper bound of it otherwise; no test uses it."
)


@config
class RoiSettings:
    """How responses are averaged: `both` hemispheres together (LR), or L and R beside it (`separate`)."""

    hemispheres: Hemispheres = "both"


@dataclass(frozen=True)
class RoiMask:
    """Where one ROI of one subject is: its files by hemisphere (`L`, `R`, or `LR` for a file of both)."""

    roi: str
    files: dict[str, Path]


def find_masks(folder: Path, subject: str) -> list[RoiMask]:
    """Return a subject's ROI masks, `..._label-ROI_mask.nii.gz` with or without `hemi-L` or `hemi-R`, in order of name.

    Raises
    ------
    InputError
        When there are none, or two files claim the same ROI and hemisphere.
    """
    found: dict[str, dict[str, Path]] = {}
    for path in sorted((folder / f"sub-{subject}").glob("**/*_label-*_mask.nii.gz")):
        match = _MASK_NAME.search(path.name)
        if match is None:
            continue
        files = found.setdefault(match["roi"], {})
        hemisphere = match["hemisphere"] or BOTH
        if hemisphere in files:
            raise InputError(f"{path}: a second mask of {match['roi']} {hemisphere}, beside {files[hemisphere].name}; keep one of them")
        files[hemisphere] = path
    if not found:
        raise InputError(
            f"{folder}: has no masks of sub-{subject} (sub-{subject}/**/*_label-ROI_mask.nii.gz); name their folder with --masks"
        )
    return [RoiMask(roi, files) for roi, files in found.items()]


def summarize_run(betas: RunBetas, masks: Sequence[RoiMask], hemispheres: Hemispheres, source: Path) -> pd.DataFrame:
    """Return a run's rows of the RoiTable, without condition and target.

    Raises
    ------
    InputError
        When a mask is on another grid, or none of its voxels was modelled.
    """
    rows = [
        _summarize(betas, mask.roi, hemisphere, voxels, source)
        for mask in masks
        for hemisphere, voxels in _voxel_sets(betas, mask, hemispheres, source)
    ]
    table = pd.concat(rows, ignore_index=True)
    name = betas.name
    return table.assign(subject=name.subject, session=name.session, run=name.run)


def label_rows(rows: pd.DataFrame, stimuli: pd.DataFrame, where: str) -> pd.DataFrame:
    """Add each stimulus's condition and target, and put the columns in order.

    Raises
    ------
    InputError
        When a stimulus is not in the set.
    """
    known = stimuli.set_index("stim_id")
    unknown = rows["stim_id"][~rows["stim_id"].isin(known.index)]
    if len(unknown):
        raise InputError(f"{where}: stimulus {unknown.iloc[0]!r} is not in the stimulus set; name the set that was shown with --set")
    labelled = rows.assign(**{column: known.loc[rows["stim_id"], column].to_numpy() for column in ("condition", "target")})
    return labelled[list(COLUMNS)]


def sort_rows(rows: pd.DataFrame, stimulus_set: StimulusSet) -> pd.DataFrame:
    """Put rows in order of run, ROI and image, ROIs and images as the stimulus set has them; other ROIs follow."""
    ids = {stim_id: place for place, stim_id in enumerate(stimulus_set.table["stim_id"])}
    names = [*stimulus_set.rois, *sorted(set(rows["roi"]) - set(stimulus_set.rois))]
    places = {roi: place for place, roi in enumerate(names)}
    keys = rows.assign(_roi=rows["roi"].map(places), _image=rows["stim_id"].map(ids), _session=rows["session"].fillna(""))
    order = keys.sort_values(["subject", "_session", "run", "_roi", "hemisphere", "_image"], kind="stable").index
    return rows.loc[order].reset_index(drop=True)


def _voxel_sets(betas: RunBetas, mask: RoiMask, hemispheres: Hemispheres, source: Path) -> list[tuple[str, Bool[np.ndarray, "x y z"]]]:
    read = {hemisphere: read_mask(path, betas.grid, source) for hemisphere, path in mask.files.items()}
    both = np.logical_or.reduce(list(read.values()))
    if hemispheres == "both":
        return [(BOTH, both)]
    return [(BOTH, both), *((hemisphere, voxels) for hemisphere, voxels in sorted(read.items()) if hemisphere != BOTH)]


def _summarize(betas: RunBetas, roi: str, hemisphere: str, voxels: Bool[np.ndarray, "x y z"], source: Path) -> pd.DataFrame:
    inside = voxels[betas.mask]
    if not inside.any():
        raise InputError(
            f"{source.name.removesuffix(BETAS)}: ROI {roi} {hemisphere} has no voxel that was modelled; its mask is outside the brain's"
        )
    return pd.DataFrame(
        {
            "stim_id": betas.stimuli["stim_id"],
            "roi": roi,
            "hemisphere": hemisphere,
            "response_psc": betas.effects[:, inside].mean(axis=1).astype(np.float64),
            "se_psc": np.sqrt(betas.variances[:, inside]).mean(axis=1).astype(np.float64),
            "n_voxels": int(inside.sum()),
        }
    )
