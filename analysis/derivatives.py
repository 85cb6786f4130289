"""What makes a folder a BIDS derivative: its description, and the maps of a contrast with their sidecars.

Statistical maps have no place in BIDS yet (they are named as its proposal for models does), so `.bidsignore` names them for the validator.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from analysis.combine import RunEffect
from analysis.dataset import Run
from analysis.first_level import RunResult, SubjectMaps
from analysis.map_contrasts import MapContrast
from analysis.map_files import write_map
from protocols.tables import write_text

BIDS_VERSION = "1.10.0"
STATISTICS = ("effect", "variance", "t", "z")
_UNITS = "percent signal change (effect), its square (variance)"
_NOT_IN_BIDS = (
    "provenance.json",
    "*_statmap.*",
    "*_betas.*",
    "*_variances.*",
    "*_design.tsv",
    "*_efficiency.tsv",
    "*_modelled_mask.func.gii",
)


def write_description(folder: Path, name: str, command: str, description: str = "") -> None:
    """Write `dataset_description.json`, a README and `.bidsignore` of a derivative folder."""
    generated = {"Name": f"voxdrive {command}", **({"Description": description} if description else {})}
    values = {"Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": "derivative", "GeneratedBy": [generated]}
    write_text(json.dumps(values, indent=2) + "\n", folder / "dataset_description.json")
    write_text(f"# {name}\n\nMade by `{command}` (voxdrive); `provenance.json` has settings, inputs and versions.\n", folder / "README.md")
    write_text("\n".join(_NOT_IN_BIDS) + "\n", folder / ".bidsignore")


def name_map(run: Run, contrast: MapContrast, of_run: bool) -> str:
    """Return the beginning of a contrast map's name: of one run, or of all of the subject's."""
    if of_run:
        return f"{run.stem}_contrast-{contrast.label}"
    return f"sub-{run.name.subject}_task-{run.name.task}{run.stem.removeprefix(run.name.stem)}_contrast-{contrast.label}"


def write_contrast(made: SubjectMaps, sources: list[dict[str, Any]], root: Path) -> None:
    """Write a subject's effect, variance, t and z maps of a contrast and one sidecar, below `root/sub-SUBJECT/func`."""
    stem = root / f"sub-{made.run.name.subject}" / "func" / name_map(made.run, made.contrast, of_run=False)
    for statistic in STATISTICS:
        write_map(
            np.atleast_2d(getattr(made.maps, statistic)), made.mask, made.grid, made.run.hemisphere, f"{stem}_stat-{statistic}_statmap"
        )
    _write_sidecar(made.contrast, {"Runs": made.runs, "Scans": sources}, stem)


def write_run_contrast(result: RunResult, contrast: MapContrast, effect: RunEffect, scan: dict[str, Any], root: Path) -> None:
    """Write one run's effect and variance maps of a contrast, with degrees of freedom and the scan in the sidecar."""
    stem = root / result.run.name.folder / name_map(result.run, contrast, of_run=True)
    for statistic in ("effect", "variance"):
        values: np.ndarray = np.atleast_2d(getattr(effect, statistic))
        write_map(values, result.mask, result.grid, result.run.hemisphere, f"{stem}_stat-{statistic}_statmap")
    _write_sidecar(contrast, {"DegreesOfFreedom": effect.df, "Scan": scan}, stem)


def _write_sidecar(contrast: MapContrast, values: dict[str, Any], stem: Path) -> None:
    sidecar = {"Contrast": contrast.expression, "Plus": list(contrast.plus), "Minus": list(contrast.minus), **values, "Units": _UNITS}
    write_text(json.dumps(sidecar, indent=2) + "\n", stem.with_name(f"{stem.name}_statmap.json"))
