"""A folder as `analysis glm` writes it, from responses that a test draws: responses per stimulus, and a contrast of each run."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.images import Grid, write_volumes
from analysis.run_betas import RunBetas
from protocols.output_folder import staged_folder
from protocols.provenance import Provenance
from protocols.run_name import RunName

SHAPE = (6, 5, 4)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
GRID = Grid(SHAPE, AFFINE)
VARIANCE = 0.25


@dataclass(frozen=True)
class Measured:
    """A glm folder, the BOLD files that it was made from, and the effects of each run (stimuli x grid)."""

    folder: Path
    bolds: dict[RunName, Path]
    effects: dict[RunName, np.ndarray]


def name_runs(
    subjects: Sequence[str] = ("01",), runs: int = 4, sessions: Sequence[str | None] = (None,), task: str = "main"
) -> list[RunName]:
    return [RunName(subject, session, task, run) for subject in subjects for session in sessions for run in range(1, runs + 1)]


def write_bold(folder: Path, name: RunName, space: str, content: str = "") -> Path:
    """Write a file that stands for a BOLD: lineage asks for its bytes only."""
    path = folder / name.folder / f"{name.stem}_space-{space}_desc-preproc_bold.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or f"{name.stem} in {space}")
    return path


def hash_text(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def describe_scan(name: RunName, bold: Path) -> dict[str, object]:
    return {"subject": name.subject, "session": name.session, "task": name.task, "run": name.run, "sha256": hash_text(bold)}


def write_glm(
    folder: Path,
    names: Sequence[RunName],
    draw: Callable[[RunName], np.ndarray],
    stimuli: Sequence[str],
    plus: Sequence[bool],
    *,
    space: str = "native",
    extra: dict[str, object] | None = None,
    label: str = "aMinusB",
) -> Measured:
    """Write runs; `draw` returns stimuli x grid. The contrast is the mean of the stimuli in `plus` minus that of the others."""
    bolds = {name: write_bold(folder.parent / "fmriprep", name, space) for name in names}
    effects = {name: draw(name).reshape(len(stimuli), *SHAPE) for name in names}
    inputs = {f"bold {name.stem}_space-{space}": path for name, path in bolds.items()}
    table = pd.DataFrame({"stim_id": list(stimuli), "events": 2, "duration": 1.0})
    sides = np.asarray(plus, dtype=bool)
    weights = sides / sides.sum() - ~sides / (~sides).sum()
    brain = np.ones(SHAPE, dtype=bool)
    with staged_folder(folder, Provenance.collect("analysis glm", {}, inputs)) as staging:
        for name, values in effects.items():
            rows = values.reshape(len(stimuli), -1).astype(np.float32)
            sidecar = {"Scan": describe_scan(name, bolds[name]), "Sources": [bolds[name].name], **(extra or {})}
            RunBetas(f"{name.stem}_space-{space}", table, rows, np.full_like(rows, VARIANCE), brain, GRID).write(staging, sidecar)
            write_contrast(staging, f"{name.stem}_space-{space}_contrast-{label}", weights @ rows, sidecar)
    return Measured(folder, bolds, effects)


def write_contrast(root: Path, stem: str, effect: np.ndarray, sidecar: dict[str, object]) -> None:
    """Write the effect and variance maps of one run's contrast, in the places that `analysis glm` gives them."""
    folder = root / RunName.parse(stem).folder
    brain = np.ones(SHAPE, dtype=bool)
    for statistic, values in (("effect", effect), ("variance", np.full_like(effect, VARIANCE))):
        write_volumes(values[None].astype(np.float32), brain, AFFINE, folder / f"{stem}_stat-{statistic}_statmap.nii.gz")
    (folder / f"{stem}_statmap.json").write_text(json.dumps({"Contrast": "a - b", **sidecar}))
