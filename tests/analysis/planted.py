"""A small planted study on disk: stimulus set, true responses, plan and SIM.toml, whose truth the tests know."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from protocols.config import parse_config
from protocols.output_folder import staged_folder
from protocols.protocol import Protocol
from protocols.provenance import Provenance, hash_file
from protocols.responses import Responses
from protocols.run_name import RunName
from protocols.stimulus_set import StimulusSet, image_file_name
from protocols.trials import BLANK, RunPlan, TrialList

ROIS = ("V3", "LO", "EBA", "FFA")
PEAKS = {"V3": (7, -21, 4), "LO": (11, -19, 0), "EBA": (12, -15, 2), "FFA": (10, -12, -5), "RSC": (4, -13, 2)}
CONDITIONS = ("target", "natural", "scrambled")
TASK = "planted"
_PROTOCOL = {
    "task": TASK,
    "title": "planted study",
    "conditions": list(CONDITIONS),
    "timing": {"tr_s": 1.0, "image_s": 2.0, "gap_s": 2.0, "lead_in_s": 8, "lead_out_s": 16, "runs": 2, "repetitions": 2},
    "contrasts": [
        {"name": "own_vs_other", "expression": "target - other"},
        {"name": "own_vs_natural", "expression": "target - natural", "family": "secondary"},
        {"name": "own_vs_scrambled", "expression": "target - scrambled", "family": "secondary"},
    ],
}


@dataclass(frozen=True)
class Study:
    """Where everything is. `truth[subject]` is images x voxels in z units."""

    folder: Path
    stimuli: Path
    plan: Path
    sim: Path
    protocol: Path
    subjects: tuple[str, ...]
    truth: dict[str, np.ndarray]


def make_protocol(**changes: object) -> Protocol:
    return parse_config({**_PROTOCOL, **changes}, Protocol, "planted")


def make_set(folder: Path, rois: Sequence[str] = ROIS, per_cell: int = 3, scored: bool = True, seed: int = 0) -> StimulusSet:
    """Write random PNGs, `per_cell` for each condition and target."""
    rng = np.random.default_rng(seed)
    with staged_folder(folder, Provenance.collect("planted", {}, {})) as staging:
        rows = [
            _make_image(staging, f"{condition}{roi}{n}", condition, roi, rng)
            for condition in CONDITIONS
            for roi in rois
            for n in range(per_cell)
        ]
        table = pd.DataFrame(rows)
        for prefix, noise in (("predicted_", 3.0), ("judged_", 1.0)) if scored else ():
            for roi in rois:
                own = (table["target"] == roi) & (table["condition"] == "target")
                table[f"{prefix}{roi}"] = 3.0 * own + noise * rng.standard_normal(len(table))
        StimulusSet(staging, table, {}).write(staging)
    return StimulusSet.read(folder)


def _make_image(folder: Path, stim_id: str, condition: str, roi: str, rng: np.random.Generator) -> dict[str, object]:
    pixels = rng.integers(0, 256, (20, 16, 3), dtype=np.uint8)
    path = folder / image_file_name(stim_id)
    Image.fromarray(pixels).resize((48, 60), Image.Resampling.BICUBIC).save(path)
    row = {
        "stim_id": stim_id,
        "stim_file": path.name,
        "condition": condition,
        "target": roi,
        "method": "random",
        "seed": 1,
        "source_image": None,
    }
    return {**row, "sha256": hash_file(path), "width_px": 48, "height_px": 60, "mean_luminance": 0.5, "rms_contrast": 0.2}


def make_truth(stimuli: StimulusSet, rois: Sequence[str], voxels: int, effect: float, rng: np.random.Generator) -> np.ndarray:
    """Return images x voxels (ROI by ROI): `effect` for an ROI's own target images, plus an image's and a voxel's own part."""
    table = stimuli.table
    own = np.stack([(table["target"] == roi) & (table["condition"] == "target") for roi in rois], axis=1) * effect
    images = own + 0.3 * rng.standard_normal(own.shape)
    return np.repeat(images, voxels, axis=1) + 0.2 * rng.standard_normal((len(table), voxels * len(rois)))


def write_responses(folder: Path, stimuli: StimulusSet, truth: np.ndarray, rois: Sequence[str], voxels: int) -> None:
    table = pd.concat([_place(roi, voxels) for roi in rois], ignore_index=True)
    ids = stimuli.table["stim_id"]
    trials = pd.DataFrame({"stim_id": ids, "session": "01", "run": 1})
    images = pd.DataFrame({"stim_id": ids, "image_file": [f"images/{name}.png" for name in ids]})
    with staged_folder(folder, Provenance.collect("planted", {}, {})) as staging:
        Responses(staging, trials, truth.astype(np.float32), table, images).write(staging)


def _place(roi: str, voxels: int) -> pd.DataFrame:
    x, y, z = PEAKS[roi]
    side = np.where(np.arange(voxels) % 2, 1, -1)
    i, j, k = side * x, np.full(voxels, y), z + np.arange(voxels) // 2
    columns = {
        "voxel_id": [f"{roi}{n:03d}" for n in range(voxels)],
        "roi": roi,
        "hemisphere": np.where(i < 0, "L", "R"),
        "i": i,
        "j": j,
        "k": k,
    }
    return pd.DataFrame({**columns, "x_mm": 4.0 * i, "y_mm": 4.0 * j, "z_mm": 4.0 * k})


def make_trials(name: RunName, stimuli: StimulusSet, protocol: Protocol, rng: np.random.Generator) -> TrialList:
    """Show every image once in random order; the third is repeated as a one-back probe, the sixth followed by a blank."""
    order = list(rng.permutation(stimuli.table.index))
    shown: list[int | None] = [*order[:3], order[2], *order[3:6], None, *order[6:]]
    timing = protocol.timing
    table = stimuli.table
    rows = []
    for position, row in enumerate(shown):
        image = None if row is None else table.loc[row]
        kind = BLANK if image is None else f"{image['condition']}_{image['target']}"
        onset = timing.lead_in_s + position * timing.trial_s
        stim = (None, None) if image is None else (image["stim_id"], image["stim_file"])
        rows.append((onset, timing.image_s, kind, *stim, int(position == 3)))
    end = timing.lead_in_s + len(shown) * timing.trial_s + timing.lead_out_s
    plan = RunPlan(duration_s=end, tr_s=timing.tr_s, volumes=round(end / timing.tr_s), set_sha256=stimuli.sha256, seed=1)
    return TrialList(name, pd.DataFrame(rows, columns=["onset", "duration", "trial_type", "stim_id", "stim_file", "probe"]), plan)


def make_plan(folder: Path, stimuli: StimulusSet, protocol: Protocol, subjects: Sequence[str], seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    with staged_folder(folder, Provenance.collect("planted", {}, {})) as staging:
        protocol.write(staging / "protocol.json")
        for subject in subjects:
            for run in range(1, protocol.timing.runs + 1):
                make_trials(RunName(subject, "01", protocol.task, run), stimuli, protocol, rng).write(staging)


def make_study(
    folder: Path,
    effect: float = 3.0,
    subjects: int = 3,
    per_cell: int = 3,
    voxels: int = 4,
    rois: Sequence[str] = ROIS,
    settings: str = "",
    seed: int = 0,
) -> Study:
    """Write a whole study below `folder`; `settings` are further lines of SIM.toml."""
    rng = np.random.default_rng(seed)
    stimuli = make_set(folder / "set", rois, per_cell)
    protocol = make_protocol()
    labels = tuple(f"{number:02d}" for number in range(1, subjects + 1))
    make_plan(folder / "plan", stimuli, protocol, labels)
    shared = make_truth(stimuli, rois, voxels, effect, rng)
    truth = {label: shared + 0.2 * rng.standard_normal(shared.shape) for label in labels}
    lines = ["background_voxels = 30", settings]
    for label in labels:
        write_responses(folder / "responses" / f"sub-{label}", stimuli, truth[label], rois, voxels)
        lines.append(f'[[participants]]\nsubject = "{label}"\nresponses = "{folder / "responses" / f"sub-{label}"}"')
    (folder / "sim.toml").write_text("\n".join(lines) + "\n")
    protocol.write(folder / "protocol.json")
    return Study(folder, folder / "set", folder / "plan", folder / "sim.toml", folder / "protocol.json", labels, truth)
