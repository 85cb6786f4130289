"""Small measured-looking BIDS folders with planted contrasts, as volumes or surfaces, for tests of the verb `glm`."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from analysis.bold import convolve_responses, draw_ar1
from analysis.confounds import MOTION
from analysis.dataset import BOLD, CONFOUNDS, MASK, SURFACE_BOLD
from tests.analysis.bids_folder import write_gifti

TASK, SHAPE, AFFINE = "small", (4, 3, 2), np.diag([3.0, 3, 3, 1])
VOXELS = int(np.prod(SHAPE))
EFFECT = np.linspace(-2.0, 2.0, VOXELS)  # percent signal change of a, voxel by voxel; b has none


@dataclass(frozen=True)
class RunOf:
    """A run to write: BIDS name, repetition time, volumes, conditions shown, spikes (volumes thrown off, with their displacement told)."""

    stem: str
    tr_s: float = 2.0
    volumes: int = 90
    conditions: tuple[str, ...] = ("a", "b")
    spikes: tuple[int, ...] = ()
    noise: float = 0.5

    @property
    def folder(self) -> Path:
        """Where its files are, below a data set."""
        return Path(*[part for part in self.stem.split("_") if part.startswith(("sub-", "ses-"))], "func")


def write_volumes_of(bids: Path, run: RunOf, seed: int) -> None:
    """Write a run in its native space."""
    values = _simulate(bids, run, seed)
    derived = bids / "derivatives" / "fmriprep" / run.folder
    image = nibabel.Nifti1Image(values.T.reshape(*SHAPE, run.volumes).astype(np.float32), AFFINE)
    image.header.set_zooms((3, 3, 3, run.tr_s))
    nibabel.save(image, derived / f"{run.stem}_{BOLD}")
    (derived / f"{run.stem}_{BOLD.replace('.nii.gz', '.json')}").write_text(json.dumps({"RepetitionTime": run.tr_s}))
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, dtype=np.uint8), AFFINE), derived / f"{run.stem}_{MASK}")


def write_surfaces_of(bids: Path, run: RunOf, seed: int) -> None:
    """Write a run's hemispheres in fsnative, the last two vertices a medial wall."""
    values = np.concatenate([_simulate(bids, run, seed), np.zeros((run.volumes, 2))], axis=1)
    derived = bids / "derivatives" / "fmriprep" / run.folder
    for hemisphere, structure, sign in (("L", "CortexLeft", 1), ("R", "CortexRight", -1)):
        path = derived / f"{run.stem}_hemi-{hemisphere}_space-fsnative_{SURFACE_BOLD}"
        write_gifti(path, values[:, ::sign].astype(np.float32), structure)
        path.with_name(path.name.replace(".func.gii", ".json")).write_text(json.dumps({"RepetitionTime": run.tr_s}))


def _simulate(bids: Path, run: RunOf, seed: int) -> np.ndarray:
    """Write a run's events and confounds, and return its series, volumes x voxels."""
    rng = np.random.default_rng(seed)
    onsets = 6.5 + np.concatenate([[0], rng.uniform(5, 13, 60).cumsum()])
    events = pd.DataFrame({"onset": onsets[onsets < run.volumes * run.tr_s - 20].round(2), "duration": 3.0})
    events["trial_type"] = [run.conditions[number % len(run.conditions)] for number in range(len(events))]
    raw, derived = bids / run.folder, bids / "derivatives" / "fmriprep" / run.folder
    raw.mkdir(parents=True, exist_ok=True)
    derived.mkdir(parents=True, exist_ok=True)
    events.to_csv(raw / f"{run.stem}_events.tsv", sep="\t", index=False)
    shown = (events["trial_type"] == "a").to_numpy()
    percent = convolve_responses(shown[:, None] * EFFECT, events, (np.arange(run.volumes) + 0.5) * run.tr_s, "glover")
    percent += run.noise * draw_ar1((run.volumes, VOXELS), 0.3, rng)
    percent[list(run.spikes)] += 40 * rng.standard_normal((len(run.spikes), VOXELS))
    motion = pd.DataFrame(rng.standard_normal((run.volumes, 6)).cumsum(axis=0) * 0.01, columns=list(MOTION))
    for name in MOTION:
        motion[f"{name}_derivative1"] = motion[name].diff()
        motion[f"{name}_power2"] = motion[name] ** 2
        motion[f"{name}_derivative1_power2"] = motion[f"{name}_derivative1"] ** 2
    spiked = np.isin(np.arange(run.volumes), run.spikes)
    more = {"csf": rng.standard_normal(run.volumes), "white_matter": rng.standard_normal(run.volumes)}
    more |= {"framewise_displacement": np.where(spiked, 3.0, 0.1), "std_dvars": np.where(spiked, 5.0, 1.0)}
    motion.assign(**more).to_csv(derived / f"{run.stem}_{CONFOUNDS}", sep="\t", index=False, na_rep="n/a")
    return 1000 * (1 + percent / 100)
