"""What `analysis localize` writes: a mask for each subject, parcel and fold with its lineage, and `localizer.tsv`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.bids_name import BidsName, name_sidecar
from analysis.derivatives import write_description
from analysis.images import save_image
from analysis.lineage import SOURCES, Scan, write_chosen
from analysis.localizer import Located
from analysis.surface import write_maps
from protocols.errors import InputError
from protocols.roi_table import BOTH
from protocols.tables import Columns, write_text, write_tsv

TABLE = "localizer.tsv"
_NOT_IN_BIDS = (TABLE, "*_hemi-*_mask.*")
COLUMNS: Columns = {
    "subject": "text",
    "roi": "text",
    "hemisphere": "text",
    "contrast": "text",
    "fold": "text",
    "runs": "integer",
    "parcel_voxels": "integer",
    "voxels": "integer",
    "lowest_t": "number",
}


def write_mask(found: Located, maps: Sequence[Path], scans: Sequence[Scan], how: dict[str, Any], root: Path) -> str:
    """Write a fold's mask of a parcel below `root`, with its sidecar; return the region's label in the file's name.

    `maps` are the runs' contrast maps that chose the voxels, `scans` all scans that took part, `how` further keys of the sidecar.

    Raises
    ------
    InputError
        When another parcel has the same label.
    """
    parcel, name = found.parcel, BidsName.parse(maps[0].name)
    label = re.sub("[^0-9A-Za-z]", "", parcel.name)  # a BIDS label
    side, space = parcel.hemisphere, name.get("space")
    entities = (f"sub-{name.get('sub')}_task-{name.get('task')}", f"hemi-{side}" if side != BOTH else "", f"space-{space}" if space else "")
    stem = "_".join(part for part in (*entities, f"label-{label}", f"desc-{found.fold.label}") if part)
    path = root / f"sub-{name.get('sub')}" / "func" / f"{stem}_mask{'.nii.gz' if len(parcel.grid.shape) == 3 else '.func.gii'}"
    if path.exists():
        raise InputError(f"{parcel.path}: two parcels are called {label} once names hold letters and digits only; rename one")
    mask = np.zeros(int(np.prod(parcel.grid.shape)), dtype=np.uint8)
    mask[found.voxels] = 1
    if len(parcel.grid.shape) == 3:
        save_image(mask.reshape(parcel.grid.shape), parcel.grid.affine, path)
    else:
        write_maps(np.ones((1, len(found.voxels)), dtype=np.float32), mask > 0, side, path)
    values = {"Type": "ROI", "Parcel": parcel.name, **how, "LowestT": found.lowest_t, SOURCES: [one.name for one in maps]}
    values |= {"SpatialReference": maps[0].name}
    write_text(json.dumps({"format_version": 1, **values, **write_chosen(scans)}, indent=2) + "\n", name_sidecar(path))
    return label


def write_localizer(table: pd.DataFrame, folder: Path) -> None:
    """Write the table of masks and the description of the derivative."""
    write_description(folder, "voxdrive functional localizer", "analysis localize")
    ignored = folder / ".bidsignore"
    lines = ignored.read_text(encoding="utf-8") if ignored.is_file() else ""
    write_text(lines + "\n".join(_NOT_IN_BIDS) + "\n", ignored)
    write_tsv(table, folder / TABLE)
