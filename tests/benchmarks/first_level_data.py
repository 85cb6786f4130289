"""A data set of the size of a real study, written for the first-level benchmark: events, BOLD, mask and confounds of one subject."""

import argparse
import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

TASK, TR_S, SHAPE, CONDITIONS = "bench", 2.0, (64, 64, 36), 18
MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


def draw_mask() -> np.ndarray:
    """Return an ellipsoid of about 46,000 voxels."""
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in SHAPE), indexing="ij"))
    return (places**2).sum(axis=0) < 0.737


def draw_events(volumes: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return events every 4 s of 18 conditions in random order, off the grid of the volumes."""
    onsets = np.arange(6.3, volumes * TR_S - 20, 4.0)
    names = rng.permutation([f"c{number % CONDITIONS:02d}" for number in range(len(onsets))])
    return pd.DataFrame({"onset": onsets, "duration": 2.0, "trial_type": names})


def write_study(folder: Path, runs: int, volumes: int, seed: int = 1) -> None:
    """Write `runs` runs below `folder`."""
    rng = np.random.default_rng(seed)
    mask = draw_mask()
    raw, derived = folder / "sub-01" / "func", folder / "derivatives" / "fmriprep" / "sub-01" / "func"
    raw.mkdir(parents=True)
    derived.mkdir(parents=True)
    for run in range(1, runs + 1):
        stem = f"sub-01_task-{TASK}_run-{run:02d}"
        draw_events(volumes, rng).to_csv(raw / f"{stem}_events.tsv", sep="\t", index=False)
        noise = rng.standard_normal((volumes, int(mask.sum())), dtype=np.float32)
        for volume in range(1, volumes):
            noise[volume] = 0.4 * noise[volume - 1] + 0.92 * noise[volume]
        values = np.zeros((*SHAPE, volumes), dtype=np.int16, order="F")
        values[mask] = (1000 + 10 * noise.T).astype(np.int16)
        image = nibabel.Nifti1Image(values, AFFINE)
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((3.0, 3.0, 3.0, TR_S))
        nibabel.save(image, derived / f"{stem}_desc-preproc_bold.nii.gz")
        (derived / f"{stem}_desc-preproc_bold.json").write_text(json.dumps({"RepetitionTime": TR_S, "StartTime": TR_S / 2}))
        nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), AFFINE), derived / f"{stem}_desc-brain_mask.nii.gz")
        walks = rng.standard_normal((volumes, len(MOTION))).cumsum(axis=0) * 0.01
        pd.DataFrame(walks, columns=MOTION).to_csv(derived / f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False)


def main() -> None:
    """Write a study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--volumes", type=int, default=200)
    arguments = parser.parse_args()
    write_study(arguments.folder, arguments.runs, arguments.volumes)


if __name__ == "__main__":
    main()
