"""Small BIDS folders with fMRIPrep-style derivatives, for tests of what reads them."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from analysis.confounds import MOTION
from analysis.dataset import BOLD, CONFOUNDS, MASK, SURFACE_BOLD

VOLUMES = 12
SHAPE = (2, 3, 1)


def write_run(
    bids: Path, folder: str, stem: str, space: str = "", sidecar: dict[str, object] | None = None, volumes: int = VOLUMES
) -> None:
    """Write one run's files; `space` with its leading underscore. The header's repetition time is 1.5 s."""
    derivative = bids / "derivatives" / "fmriprep" / folder
    write_events(bids, folder, stem)
    write_confounds(derivative / f"{stem}_{CONFOUNDS}", volumes)
    image = nibabel.Nifti1Image(np.zeros((*SHAPE, volumes), dtype=np.int16), np.eye(4))
    image.header.set_xyzt_units("mm", "msec")
    image.header.set_zooms((1, 1, 1, 1500))
    nibabel.save(image, derivative / f"{stem}{space}_{BOLD}")
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), np.eye(4)), derivative / f"{stem}{space}_{MASK}")
    (derivative / f"{stem}{space}_{BOLD.replace('.nii.gz', '.json')}").write_text(json.dumps(sidecar or {}))


def write_hemispheres(bids: Path, folder: str, stem: str, space: str, volumes: int = VOLUMES, vertices: int = 10) -> None:
    """Write one run's surfaces, in `space` without an underscore, with the other files of the run."""
    derivative = bids / "derivatives" / "fmriprep" / folder
    write_events(bids, folder, stem)
    write_confounds(derivative / f"{stem}_{CONFOUNDS}", volumes)
    for hemisphere, structure in (("L", "CortexLeft"), ("R", "CortexRight")):
        path = derivative / f"{stem}_hemi-{hemisphere}_space-{space}_{SURFACE_BOLD}"
        rows = np.random.default_rng(len(path.name)).standard_normal((volumes, vertices)).astype(np.float32)
        write_gifti(path, rows, structure)
        path.with_name(path.name.replace(".func.gii", ".json")).write_text(json.dumps({"RepetitionTime": 2.0}))


def write_gifti(path: Path, rows: np.ndarray, structure: str = "CortexLeft") -> None:
    """Write a surface series as fMRIPrep does: one array of vertices per volume."""
    meta = nibabel.gifti.GiftiMetaData(AnatomicalStructurePrimary=structure)
    arrays = [nibabel.gifti.GiftiDataArray(row, intent="NIFTI_INTENT_TIME_SERIES", datatype="NIFTI_TYPE_FLOAT32") for row in rows]
    nibabel.save(nibabel.gifti.GiftiImage(meta=meta, darrays=arrays), path)


def write_events(bids: Path, folder: str, stem: str, rows: str = "1.5\t2\tface\n") -> Path:
    path = bids / folder / f"{stem}_events.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("onset\tduration\ttrial_type\n" + rows)
    return path


def write_confounds(path: Path, volumes: int = VOLUMES, **more: object) -> pd.DataFrame:
    """Write six random motion parameters and the columns `more`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(np.random.default_rng(0).standard_normal((volumes, 6)), columns=list(MOTION)).assign(**more)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return table
