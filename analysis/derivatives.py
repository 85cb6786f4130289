"""What makes a folder a BIDS derivative: its description, and the maps of a contrast with their sidecar."""

import json
from pathlib import Path

import numpy as np

from analysis.first_level import SubjectMaps
from analysis.images import write_volumes
from protocols.tables import write_text

BIDS_VERSION = "1.10.0"
STATISTICS = ("effect", "variance", "t", "z")


def write_description(folder: Path, name: str, command: str, description: str = "") -> None:
    """Write `dataset_description.json` of a derivative folder."""
    generated = {"Name": f"voxdrive {command}", **({"Description": description} if description else {})}
    values = {"Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": "derivative", "GeneratedBy": [generated]}
    write_text(json.dumps(values, indent=2) + "\n", folder / "dataset_description.json")


def write_contrast(subject: str, task: str, space: str | None, made: SubjectMaps, root: Path) -> None:
    """Write a contrast's effect, variance, t and z maps and one sidecar below `root/sub-SUBJECT/func`."""
    entities = f"sub-{subject}_task-{task}" + (f"_space-{space}" if space else "") + f"_contrast-{made.contrast.label}"
    folder = root / f"sub-{subject}" / "func"
    for statistic in STATISTICS:
        values: np.ndarray = np.atleast_2d(getattr(made.maps, statistic))
        write_volumes(values, made.mask, made.grid.affine, folder / f"{entities}_stat-{statistic}_statmap.nii.gz")
    sidecar = {
        "Contrast": made.contrast.expression,
        "Plus": list(made.contrast.plus),
        "Minus": list(made.contrast.minus),
        "Runs": made.runs,
        "Units": "percent signal change (effect), its square (variance)",
    }
    write_text(json.dumps(sidecar, indent=2) + "\n", folder / f"{entities}_statmap.json")
