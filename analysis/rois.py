"""Responses per stimulus and regions in, one mean response per region and stimulus out, and which voxels regions share."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from analysis.labels import Region, refuse_other_grid
from analysis.run_betas import BETAS, RunBetas
from protocols.config import config
from protocols.errors import InputError
from protocols.roi_table import BOTH, COLUMNS
from protocols.stimulus_set import StimulusSet
from protocols.tables import Columns

Hemispheres = Literal["both", "separate"]
SE_DESCRIPTION = (
    "Mean over the ROI's voxels of the standard error of the voxel's response. It is the standard error of the ROI's mean if "
    "the voxels' noise were perfectly correlated, and an upper bound of it otherwise; no test uses it."
)
OVERLAP_COLUMNS: Columns = {
    "subject": "text",
    "session": "optional text",
    "run": "integer",
    "roi": "text",
    "other_roi": "text",
    "shared": "integer",
    "n_voxels": "integer",
    "other_n_voxels": "integer",
}


@config
class RoiSettings:
    """How responses are averaged: `both` hemispheres together (LR), or L and R beside it (`separate`)."""

    hemispheres: Hemispheres = "both"
    rois: tuple[str, ...] = ()
    """Regions to take; all where none is named."""
    allow_circular: bool = False


@dataclass(frozen=True)
class Part:
    """What one file holds of a run (all of it in a volume, a hemisphere on a surface), and the regions to average there."""

    betas: RunBetas
    regions: tuple[Region, ...]

    @property
    def name(self) -> str:
        """The file's name, for a message."""
        return f"{self.betas.stem}_{BETAS}"

    def locate(self, roi: str, hemisphere: str) -> Int[np.ndarray, " voxels"]:
        """Return the flat indices of a region's voxels, those of all its sides for `LR`."""
        sides = [one.voxels for one in self.regions if one.name == roi and hemisphere in (BOTH, one.hemisphere)]
        return np.unique(np.concatenate(sides)) if sides else np.empty(0, dtype=np.int64)


def summarize_run(parts: Sequence[Part], hemispheres: Hemispheres) -> pd.DataFrame:
    """Return a run's rows of the RoiTable, without condition and target.

    Raises
    ------
    InputError
        When a region is on another grid, or none of its voxels was modelled.
    """
    for part in parts:
        for region in part.regions:
            refuse_other_grid(region.path, region.grid, part.betas.grid, part.name)
    found = [region for part in parts for region in part.regions]
    sides = {roi: [BOTH] for roi in dict.fromkeys(region.name for region in found)}
    if hemispheres == "separate":
        for region in sorted(found, key=lambda one: one.hemisphere):
            sides[region.name] += [region.hemisphere] if region.hemisphere not in sides[region.name] else []
    rows = [_summarize(parts, roi, hemisphere) for roi, listed in sides.items() for hemisphere in listed]
    name = parts[0].betas.name
    return pd.concat(rows, ignore_index=True).assign(subject=name.subject, session=name.session, run=name.run)


def find_overlaps(parts: Sequence[Part]) -> pd.DataFrame:
    """Return every pair of a run's regions that share voxels, with how many."""
    name = parts[0].betas.name
    rois = list(dict.fromkeys(region.name for part in parts for region in part.regions))
    voxels = {roi: [part.locate(roi, BOTH) for part in parts] for roi in rois}
    sizes = {roi: sum(len(one) for one in listed) for roi, listed in voxels.items()}
    rows = []
    for roi, other in combinations(rois, 2):
        shared = sum(len(np.intersect1d(*pair, assume_unique=True)) for pair in zip(voxels[roi], voxels[other], strict=True))
        if shared:
            rows.append((name.subject, name.session, name.run, roi, other, shared, sizes[roi], sizes[other]))
    return pd.DataFrame(rows, columns=list(OVERLAP_COLUMNS))


def label_rows(rows: pd.DataFrame, stimuli: pd.DataFrame, where: str) -> pd.DataFrame:
    """Add each stimulus's condition and target, and put the columns in order.

    Raises
    ------
    InputError
        When a stimulus is not in the set.
    """
    known = stimuli.set_index("stim_id")
    unknown = rows["stim_id"][~rows["stim_id"].isin(known.index)]
    if len(unknown):
        raise InputError(f"{where}: stimulus {unknown.iloc[0]!r} is not in the stimulus set; name the set that was shown with --set")
    labelled = rows.assign(**{column: known.loc[rows["stim_id"], column].to_numpy() for column in ("condition", "target")})
    return labelled[list(COLUMNS)]


def sort_rows(rows: pd.DataFrame, stimulus_set: StimulusSet) -> pd.DataFrame:
    """Put rows in order of run, ROI and image, ROIs and images as the stimulus set has them; other ROIs follow."""
    ids = {stim_id: place for place, stim_id in enumerate(stimulus_set.table["stim_id"])}
    names = [*stimulus_set.rois, *sorted(set(rows["roi"]) - set(stimulus_set.rois))]
    places = {roi: place for place, roi in enumerate(names)}
    keys = rows.assign(_roi=rows["roi"].map(places), _image=rows["stim_id"].map(ids), _session=rows["session"].fillna(""))
    order = keys.sort_values(["subject", "_session", "run", "_roi", "hemisphere", "_image"], kind="stable").index
    return rows.loc[order].reset_index(drop=True)


def _summarize(parts: Sequence[Part], roi: str, hemisphere: str) -> pd.DataFrame:
    ids = list(parts[0].betas.stimuli["stim_id"])
    collected = [_collect(part, part.locate(roi, hemisphere), ids) for part in parts]
    effects, variances = (np.concatenate([pair[place] for pair in collected], axis=1) for place in (0, 1))
    count = effects.shape[1]
    if not count:
        where = parts[0].betas.stem
        raise InputError(f"{where}: ROI {roi} {hemisphere} has no voxel that was modelled; its mask is outside the brain's")
    return pd.DataFrame(
        {
            "stim_id": ids,
            "roi": roi,
            "hemisphere": hemisphere,
            "response_psc": effects.mean(axis=1).astype(np.float64),
            "se_psc": np.sqrt(variances).mean(axis=1).astype(np.float64),
            "n_voxels": count,
        }
    )


def _collect(
    part: Part, voxels: Int[np.ndarray, " voxels"], ids: list[str]
) -> tuple[Float[np.ndarray, "stimuli modelled"], Float[np.ndarray, "stimuli modelled"]]:
    """Return effects and variances of those of a region's voxels that were modelled, a row per stimulus in the order of `ids`."""
    betas = part.betas
    if sorted(betas.stimuli["stim_id"]) != sorted(ids):
        raise InputError(f"{part.name}: the hemispheres of a run list different stimuli; run analysis glm again")
    column = np.full(betas.mask.size, -1)
    column[np.flatnonzero(betas.mask)] = np.arange(int(betas.mask.sum()))
    modelled = column[voxels]
    order = pd.Index(betas.stimuli["stim_id"]).get_indexer(pd.Index(ids))
    chosen = np.ix_(order, modelled[modelled >= 0])
    return betas.effects[chosen], betas.variances[chosen]
