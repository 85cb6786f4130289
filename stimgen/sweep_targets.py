"""Which places of cortex a sweep makes images for: a model's voxel table and what is asked for in, targets out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from protocols.errors import InputError
from stimgen.sweep_store import TARGET_COLUMNS

_KEYS = ["subject", "roi"]


@dataclass(frozen=True)
class SweepTarget:
    """A voxel (or vertex), or where `voxel_id` is None all predictable voxels of a subject's parcel together."""

    target_id: str
    subject: str
    roi: str
    voxel_id: str | None = None


def choose_targets(
    voxels: pd.DataFrame,
    min_r: float,
    most: int | None = None,
    subjects: Sequence[str] = (),
    rois: Sequence[str] = (),
    parcels: bool = False,
) -> pd.DataFrame:
    """Return the targets of a sweep, one a row in the table's order: `target_id` and all columns of the model's `voxels.tsv`.

    Targets are those whose cross-validated r is `min_r` or more, and above 0. With `most`, subjects' ROIs take turns, each giving its most
    accurate target first, so that every ROI is seen. A parcel has the columns of `TARGET_COLUMNS` alone; its r and noise ceiling are the
    means of its predictable voxels', weighted by squared r as they are driven.

    Raises
    ------
    InputError
        When a subject or ROI is not in the model, or nothing is as accurate as asked for.
    """
    asked = _select(voxels, "roi", rois, _select(voxels, "subject", subjects, np.ones(len(voxels), dtype=bool)))
    table = voxels[asked & (voxels["cv_r"] > 0)]
    table = _join_parcels(table) if parcels else table.assign(target_id=table["voxel_id"])
    chosen = table[table["cv_r"] >= min_r]
    if not len(chosen):
        best = f"the best has {table['cv_r'].max():.3f}; give a lower --min-r" if len(table) else "none is predictable; fit another model"
        raise InputError(f"no {'parcel' if parcels else 'voxel'} has a cross-validated r of {min_r:g} or more; {best}")
    kept = chosen if most is None else chosen.loc[_take_turns(chosen, most)]
    others = [name for name in kept.columns if name != "target_id"]
    return kept[["target_id", *others]].reset_index(drop=True)


def list_targets(table: pd.DataFrame, parcels: bool) -> list[SweepTarget]:
    """Return the rows of `choose_targets` as targets."""
    voxel_ids = [None] * len(table) if parcels else list(table["voxel_id"])
    columns = zip(table["target_id"], table["subject"], table["roi"], voxel_ids, strict=True)
    return [SweepTarget(str(target_id), str(subject), str(roi), voxel_id) for target_id, subject, roi, voxel_id in columns]


def _select(voxels: pd.DataFrame, column: str, names: Sequence[str], inside: np.ndarray) -> np.ndarray:
    """Return which of the voxels `inside` have one of `names`; all where none are named."""
    if not names:
        return inside
    known = list(dict.fromkeys(voxels[column]))
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"--{column} {missing[0]!r}: not in the model; it has {', '.join(known)}")
    selected = inside & voxels[column].isin(names).to_numpy()
    if not selected.any():
        raise InputError(f"--{column} {', '.join(names)}: the model has no such voxel of the subjects asked for")
    return selected


def _join_parcels(voxels: pd.DataFrame) -> pd.DataFrame:
    """Return one row per subject and ROI."""
    rows = []
    for (subject, roi), own in voxels.groupby(_KEYS, sort=False):
        weights = own["cv_r"].to_numpy() ** 2
        ceiling = own["noise_ceiling"].to_numpy(dtype=float)
        known = ~np.isnan(ceiling)
        mean_ceiling = np.average(ceiling[known], weights=weights[known]) if known.any() else np.nan
        mean_r = float(np.average(own["cv_r"], weights=weights))
        rows.append((f"{subject}_{roi}", subject, roi, mean_r, mean_ceiling))
    return pd.DataFrame(rows, columns=[name for name in TARGET_COLUMNS if name != "layer"])


def _take_turns(table: pd.DataFrame, most: int) -> list[int]:
    """Return the index of `most` rows, in the table's order: the first of every group by accuracy, then the second of every group, ..."""
    rank = table.groupby(_KEYS, sort=False)["cv_r"].rank(method="first", ascending=False)
    order = pd.DataFrame({"rank": rank, "cv_r": -table["cv_r"]}).sort_values(["rank", "cv_r"], kind="stable")
    return sorted(order.index[:most])
