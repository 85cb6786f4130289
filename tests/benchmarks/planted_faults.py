"""Mistakes that people make with files, planted into a BIDS folder that is all right; each with the flag that must name it and where."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from analysis import flags
from analysis.bold import convolve_responses
from analysis.confounds import MOTION
from protocols.output_folder import staged_folder
from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet

SPACE = "space-MNI152NLin2009cAsym"
_FMRIPREP = Path("derivatives") / "fmriprep"


@dataclass(frozen=True)
class Fault:
    """What goes wrong, the flag that must be raised, and where; `spoil` changes a BIDS folder in place.

    Where a command refuses the files, so that no flag is needed, `flag` is REFUSED and `place` part of the reason. `mislabeled`: the ROI
    table is made with a set whose labels are wrong; `locked`: the plan was locked.
    """

    name: str
    flag: str
    place: str
    spoil: Callable[[Path], None]
    mislabeled: bool = False
    locked: bool = True


REFUSED = "refused"


def list_faults() -> list[Fault]:
    """Return every fault that is planted into the files of a data set (four subjects, at least four runs)."""
    return [
        Fault("events of another run", flags.EVENTS, "sub-02_ses-01_run-03", lambda bids: _copy_events(bids, ("02", 1), ("02", 3))),
        Fault("BOLD of another subject's run", flags.EVENTS, "sub-01_ses-01_run-02", lambda bids: _swap_bold(bids, ("01", 2), ("03", 2))),
        Fault("events a TR late", flags.SHIFT, "sub-01_ses-01_run-02", lambda bids: _shift_events(bids, ("01", 2), 1)),
        Fault("a volume lost at the begin", flags.SHIFT, "sub-04_ses-01_run-01", lambda bids: _lose_volume(bids, ("04", 1))),
        Fault("mask where nothing responds", flags.UNLIKE, "sub-03 FFA", lambda bids: _misplace_mask(bids, "03", "FFA")),
        Fault("masks of two regions swapped", flags.REGION, "sub-03 EBA", lambda bids: _swap_masks(bids, "03", "EBA", "FFA")),
        Fault("brain cut off in a run", flags.MASK, "sub-02_ses-01_run-01", lambda bids: _cut_brain(bids, ("02", 1))),
        Fault("dropped run", flags.DROPPED, "sub-04", lambda bids: _drop_run(bids, ("04", 4))),
        Fault("duplicated run", flags.DUPLICATE, "sub-03_ses-01_run-04", lambda bids: _copy_run(bids, ("03", 2), ("03", 4))),
        Fault("run of another subject", flags.SUBJECT, "sub-01_ses-01_run-02", lambda bids: _swap_runs(bids, ("01", 2), ("03", 2))),
        Fault("motion with the task", flags.MOTION, "sub-02_ses-01_run-02", lambda bids: _move_with_task(bids, ("02", 2))),
        Fault("another scale", flags.SCALE, "sub-01_ses-01_run-04", lambda bids: _lower_baseline(bids, ("01", 4))),
        Fault("constant BOLD in a region", flags.FLAT, "sub-02_ses-01_run-01", lambda bids: _empty_region(bids, ("02", 1), "LO")),
        Fault("wrong TR in a sidecar", flags.TIME, "sub-04_ses-01_run-02", lambda bids: _change_tr(bids, ("04", 2), 1.1)),
        Fault("image not shown to a subject", flags.UNSEEN, "sub-04", lambda bids: _hide_image(bids, "04", "targetLO1")),
        Fault("mislabeled set, no lock", flags.LABELS, "targetEBA0", lambda _: None, mislabeled=True, locked=False),
        Fault("mislabeled set", REFUSED, "it was locked as target for EBA", lambda _: None, mislabeled=True),
        Fault(
            "exactly constant BOLD", REFUSED, "LO LR has no voxel that was modelled", lambda bids: _empty_region(bids, ("02", 1), "LO", 0)
        ),
    ]


def mislabel_set(folder: Path, out: Path) -> Path:
    """Write a copy of a set in which the target images of two regions have each other's target."""
    stimuli = StimulusSet.read(folder)
    table = stimuli.table.copy()
    made = table["condition"] == "target"
    table["target"] = table["target"].where(~made, table["target"].replace({"EBA": "FFA", "FFA": "EBA"}))
    with staged_folder(out, Provenance.collect("mislabeled", {}, {})) as staging:
        for name in stimuli.table["stim_file"]:
            shutil.copyfile(folder / name, staging / name)
        StimulusSet(staging, table, stimuli.description).write(staging)
    return out


Who = tuple[str, int]


def _stem(who: Who) -> str:
    return f"sub-{who[0]}_ses-01_task-roivalidation_run-{who[1]:02d}"


def _func(bids: Path, who: Who, derived: bool = True) -> Path:
    return bids / (_FMRIPREP if derived else Path()) / f"sub-{who[0]}" / "ses-01" / "func"


def _events(bids: Path, who: Who) -> Path:
    return _func(bids, who, derived=False) / f"{_stem(who)}_events.tsv"


def _bold(bids: Path, who: Who) -> Path:
    return _func(bids, who) / f"{_stem(who)}_{SPACE}_desc-preproc_bold.nii.gz"


def _confounds(bids: Path, who: Who) -> Path:
    return _func(bids, who) / f"{_stem(who)}_desc-confounds_timeseries.tsv"


def _files(bids: Path, who: Who) -> list[Path]:
    """Return all files of a run, raw and derived."""
    return sorted(file for derived in (True, False) for file in _func(bids, who, derived).glob(f"{_stem(who)}_*"))


def _rename(file: Path, bids: Path, one: Who, other: Who) -> Path:
    derived = _FMRIPREP.parts[-1] in file.relative_to(bids).parts
    return _func(bids, other, derived) / file.name.replace(_stem(one), _stem(other))


def _swap(one: Path, other: Path) -> None:
    aside = one.with_name(f"{one.name}.aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def _copy_events(bids: Path, source: Who, target: Who) -> None:
    shutil.copyfile(_events(bids, source), _events(bids, target))


def _swap_bold(bids: Path, one: Who, other: Who) -> None:
    """Exchange the BOLD with its confounds; events stay, as when a scanner's exports are sorted wrongly."""
    _swap(_bold(bids, one), _bold(bids, other))
    _swap(_confounds(bids, one), _confounds(bids, other))


def _swap_runs(bids: Path, one: Who, other: Who) -> None:
    """Exchange everything of two runs, as when a person was entered under another's label."""
    for file in _files(bids, one):
        _swap(file, _rename(file, bids, one, other))


def _copy_run(bids: Path, source: Who, target: Who) -> None:
    for file in _files(bids, source):
        shutil.copyfile(file, _rename(file, bids, source, target))


def _drop_run(bids: Path, who: Who) -> None:
    for file in _files(bids, who):
        file.unlink()


def _shift_events(bids: Path, who: Who, volumes: int) -> None:
    table = pd.read_csv(_events(bids, who), sep="\t", dtype=str, keep_default_na=False)
    table["onset"] = (table["onset"].astype(float) + volumes * _read_tr(bids, who)).round(6).astype(str)
    table.to_csv(_events(bids, who), sep="\t", index=False)


def _hide_image(bids: Path, subject: str, stim_id: str) -> None:
    """Take an image out of a subject's events: its file could not be shown."""
    for path in sorted(_func(bids, (subject, 1), derived=False).glob("*_events.tsv")):
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        table[table["stim_id"] != stim_id].to_csv(path, sep="\t", index=False)


def _read_tr(bids: Path, who: Who) -> float:
    return float(json.loads(_sidecar(bids, who).read_text())["RepetitionTime"])


def _sidecar(bids: Path, who: Who) -> Path:
    return _bold(bids, who).with_name(_bold(bids, who).name.replace(".nii.gz", ".json"))


def _change_tr(bids: Path, who: Who, factor: float) -> None:
    values = json.loads(_sidecar(bids, who).read_text())
    values["RepetitionTime"] *= factor
    _sidecar(bids, who).write_text(json.dumps(values))


def _change_bold(bids: Path, who: Who, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Write a run's BOLD anew as floating-point numbers."""
    image = nibabel.load(_bold(bids, who))
    values = change(image.get_fdata()).astype(np.float32)
    changed = nibabel.Nifti1Image(values, image.affine)
    changed.header.set_xyzt_units("mm", "sec")
    changed.header.set_zooms(image.header.get_zooms())
    _bold(bids, who).unlink()
    nibabel.save(changed, _bold(bids, who))


def _lose_volume(bids: Path, who: Who) -> None:
    """Take the first volume away and repeat the last, with the confounds: one dummy scan too many was discarded."""
    _change_bold(bids, who, lambda values: np.concatenate([values[..., 1:], values[..., -1:]], axis=3))
    table = pd.read_csv(_confounds(bids, who), sep="\t", dtype=str, keep_default_na=False)
    moved = pd.concat([table.iloc[1:], table.iloc[-1:]])
    moved.to_csv(_confounds(bids, who), sep="\t", index=False)


def _lower_baseline(bids: Path, who: Who) -> None:
    """Subtract four fifths of the mean, as filters do that put only a part of it back: percent of the mean are five times as many."""
    _change_bold(bids, who, lambda values: values - 0.8 * values.mean(axis=3, keepdims=True))


def _list_masks(bids: Path, subject: str, roi: str) -> list[Path]:
    return sorted((bids / "derivatives" / "rois" / f"sub-{subject}" / "anat").glob(f"*_label-{roi}_mask.nii.gz"))


def _empty_region(bids: Path, who: Who, roi: str, rounding: float = 1e-3) -> None:
    inside = np.any([nibabel.load(path).get_fdata() > 0 for path in _list_masks(bids, who[0], roi)], axis=0)
    _change_bold(bids, who, lambda values: np.where(inside[..., None], 1000 + rounding * (np.arange(values.shape[3]) % 2), values))


def _cut_brain(bids: Path, who: Who) -> None:
    """Take the left third of the brain mask away."""
    path = _func(bids, who) / f"{_stem(who)}_{SPACE}_desc-brain_mask.nii.gz"
    image = nibabel.load(path)
    values = image.get_fdata().astype(np.uint8)
    values[: values.shape[0] // 3] = 0
    nibabel.save(nibabel.Nifti1Image(values, image.affine), path)


def _swap_masks(bids: Path, subject: str, one: str, other: str) -> None:
    for mine, theirs in zip(_list_masks(bids, subject, one), _list_masks(bids, subject, other), strict=True):
        _swap(mine, theirs)


def _misplace_mask(bids: Path, subject: str, roi: str) -> None:
    """Move a region's mask to as many brain voxels that are in no region."""
    regions = (bids / "derivatives" / "rois" / f"sub-{subject}" / "anat").glob("*_mask.nii.gz")
    taken = np.any([nibabel.load(path).get_fdata() > 0 for path in regions], axis=0)
    brain = nibabel.load(next(_func(bids, (subject, 1)).glob("*_desc-brain_mask.nii.gz")))
    free = np.argwhere((brain.get_fdata() > 0) & ~taken)
    for path in _list_masks(bids, subject, roi):
        count = int(nibabel.load(path).get_fdata().sum())
        values = np.zeros(brain.shape, dtype=np.uint8)
        values[tuple(free[:count].T)] = 1
        free = free[count:]
        nibabel.save(nibabel.Nifti1Image(values, brain.affine), path)


def _move_with_task(bids: Path, who: Who) -> None:
    """Add to a translation what follows the images of one condition, as a person does who nods at them."""
    table = pd.read_csv(_confounds(bids, who), sep="\t", na_values=["n/a"])
    events = pd.read_csv(_events(bids, who), sep="\t", na_values=["n/a"], keep_default_na=False)
    shown = events["trial_type"].str.startswith("target").to_numpy(dtype=float)[:, None]
    tr_s = _read_tr(bids, who)
    nods = convolve_responses(shown, events, (np.arange(len(table)) + 0.5) * tr_s, "glover")[:, 0]
    table[MOTION[1]] += table[MOTION[1]].std() * (nods - nods.mean()) / nods.std()
    table.to_csv(_confounds(bids, who), sep="\t", index=False, na_rep="n/a")
