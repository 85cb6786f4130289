"""A simulated scan on disk: raw BIDS, fMRIPrep-style derivatives and ROI masks."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from analysis.bold import MID_VOLUME, Series, tabulate_confounds
from analysis.dataset import BOLD, CONFOUNDS, MASK
from analysis.derivatives import BIDS_VERSION
from analysis.images import save_image
from analysis.simulate import SPACE, Head
from protocols.output_folder import list_files
from protocols.run_name import RunName
from protocols.stimulus_set import TABLE
from protocols.tables import write_text, write_tsv

RAW_BOLD = "bold.nii.gz"
_README = """Simulated by `analysis simulate` (voxdrive): a planted brain, not a person.

Raw BOLD and derivatives/fmriprep/*_desc-preproc_bold.nii.gz are the same files (hard links where the disk allows):
the simulation begins in MNI space, so that there is nothing to preprocess. Times are true: onset 0 is the first volume's start, and a
volume is taken in the middle of its repetition.
"""


def write_preprocessed(name: RunName, series: Series, head: Head, tr_s: float, folder: Path) -> None:
    """Write one run as fMRIPrep would: BOLD (int16 with a slope), sidecar, brain mask and confounds."""
    spaced = f"{name.stem}_space-{SPACE}"
    place = folder / name.folder
    save_bold(series.values, head, tr_s, place / f"{spaced}_{BOLD}")
    sidecar = {
        "RepetitionTime": tr_s,
        "TaskName": name.task,
        "StartTime": MID_VOLUME * tr_s,
        "SliceTimingCorrected": True,
        "SkullStripped": False,
    }
    write_text(json.dumps(sidecar, indent=2) + "\n", place / f"{spaced}_{BOLD.replace('.nii.gz', '.json')}")
    save_image(head.brain.astype(np.uint8), head.grid.affine, place / f"{spaced}_{MASK}")
    write_tsv(tabulate_confounds(series.motion), place / f"{name.stem}_{CONFOUNDS}")


def save_bold(values: Float[np.ndarray, "volumes voxels"], head: Head, tr_s: float, path: Path) -> None:
    """Write a series of the brain's voxels as 16-bit integers."""
    import nibabel

    slope = float(values.max()) / np.iinfo(np.int16).max
    volumes = np.zeros((*head.grid.shape, len(values)), dtype=np.int16, order="F")
    volumes[head.brain] = np.round(values.T / slope).astype(np.int16)
    image = nibabel.Nifti1Image(volumes, head.grid.affine)
    image.header.set_slope_inter(slope, 0)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], tr_s))
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def write_masks(subject: str, voxels: pd.DataFrame, head: Head, folder: Path) -> None:
    """Write one mask per ROI and hemisphere, on the BOLD's grid."""
    indices = head.locate(voxels)
    for (roi, hemisphere), rows in voxels.reset_index(drop=True).groupby(["roi", "hemisphere"], sort=False):
        mask: Bool[np.ndarray, "x y z"] = np.zeros(head.grid.shape, dtype=bool)
        mask[tuple(indices[rows.index].T)] = True
        path = folder / f"sub-{subject}" / "anat" / f"sub-{subject}_space-{SPACE}_hemi-{hemisphere}_label-{roi}_mask.nii.gz"
        save_image(mask.astype(np.uint8), head.grid.affine, path)


def link_raw(name: RunName, derivative: Path, bids: Path, tr_s: float) -> None:
    """Put a run's BOLD into the raw data set (a hard link of the preprocessed, or a copy) with its sidecar, whole or not at all."""
    source = derivative / name.folder / f"{name.stem}_space-{SPACE}_{BOLD}"
    target = name.path(bids, RAW_BOLD)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, partial)
    partial.replace(target)
    write_text(json.dumps({"RepetitionTime": tr_s, "TaskName": name.task}, indent=2) + "\n", name.path(bids, "bold.json"))


def complete_raw(bids: Path, set_folder: Path) -> None:
    """Add what a BIDS data set needs and this one lacks: its description, a README, the stimuli."""
    if not (bids / "dataset_description.json").is_file():
        values = {"Name": "simulated by voxdrive", "BIDSVersion": BIDS_VERSION, "DatasetType": "raw"}
        write_text(json.dumps(values, indent=2) + "\n", bids / "dataset_description.json")
    if not any(bids.glob("README*")):
        write_text(_README, bids / "README.md")
    if not (bids / "stimuli" / TABLE).is_file():
        for file in list_files(set_folder):
            target = bids / "stimuli" / file.relative_to(set_folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
