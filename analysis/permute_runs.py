"""A subject's runs, regions and contrasts in; what relabeling of the images says of every region out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from pydantic import Field

from analysis.circularity import Circularity
from analysis.dataset import Run
from analysis.extract import extract_run
from analysis.first_level import ModelSettings
from analysis.glm import scale_to_percent
from analysis.labels import Region, refuse_other_grid
from analysis.lineage import FolderIndex, Scan
from analysis.map_contrasts import MapContrast
from analysis.permute_labels import RoiRun, permute_labels
from analysis.roi_sources import RoiSource, choose_candidates, find_candidates
from analysis.run_model import list_regressors, separate_trials
from protocols.config import config
from protocols.errors import InputError
from protocols.tables import Columns

COLUMNS: Columns = {
    "subject": "text",
    "contrast": "text",
    "expression": "text",
    "roi": "text",
    "estimate_psc": "number",
    "p": "number",
    "p_corrected": "number",
    "p_floor": "number",
    "labelings": "integer",
    "runs": "integer",
    "images": "integer",
}


@config
class PermutationSettings:
    """The model of the conditions (its noise is of no account: the labels' permutation stands in for it), and how many labelings."""

    model: ModelSettings = ModelSettings()
    permutations: int = Field(default=1000, ge=19)
    seed: int = 0


@dataclass(frozen=True)
class PlannedTest:
    """One run of a subject (two hemispheres on a surface), its numbers of volumes, the regions of each, what of them is circular."""

    runs: tuple[Run, ...]
    volumes: int
    regions: tuple[tuple[Region, ...], ...]
    circular: tuple[Circularity, ...]


def plan_tests(runs: Sequence[Run], lengths: dict[str, int], source: RoiSource) -> list[PlannedTest]:
    """Return each run with regions that it did not choose, where there are such."""
    index = FolderIndex.build([source.root])
    names = list(dict.fromkeys(run.name for run in runs))
    planned = []
    for subject in dict.fromkeys(name.subject for name in names):
        candidates = find_candidates(source, subject, [run.bold.name for run in runs if run.name.subject == subject], index)
        for name in (name for name in names if name.subject == subject):
            own = tuple(run for run in runs if run.name == name)
            chosen = [choose_candidates(candidates, Scan.of(name), run.bold.name) for run in own]
            regions = tuple(tuple(one.region for one in taken) for taken, _ in chosen)
            planned.append(PlannedTest(own, lengths[own[0].stem], regions, tuple(one for _, found in chosen for one in found)))
    return planned


def permute_subject(planned: Sequence[PlannedTest], contrasts: Sequence[MapContrast], settings: PermutationSettings) -> pd.DataFrame:
    """Return the rows of `permutation.tsv` of one subject.

    Raises
    ------
    InputError
        When a region is on another grid or has no voxel, an image has two conditions, or nothing can be permuted.
    """
    rois = list(dict.fromkeys(region.name for one in planned for part in one.regions for region in part))
    made: list[RoiRun] = []
    conditions: dict[str, str] = {}
    for one in planned:
        run, shown = _model_run(one, rois, settings.model)
        for stim_id, condition in zip(run.stim_ids, shown, strict=True):
            if conditions.setdefault(stim_id, condition) != condition:
                raise InputError(
                    f"{one.runs[0].events}: {stim_id!r} is shown as {condition!r}, elsewhere as {conditions[stim_id]!r}; "
                    "an image of two conditions cannot change places with others"
                )
        made.append(run)
    subject = planned[0].runs[0].name.subject
    tables = [_permute_contrast(made, conditions, contrast, settings, number) for number, contrast in enumerate(contrasts)]
    return pd.concat([table.assign(subject=subject, roi=rois) for table in tables], ignore_index=True)[list(COLUMNS)]


def _permute_contrast(
    runs: Sequence[RoiRun], conditions: dict[str, str], contrast: MapContrast, settings: PermutationSettings, number: int
) -> pd.DataFrame:
    """Return a row per region, without subject and region; each contrast has a random sequence of its own."""
    weights = {name: 1 / len(contrast.plus) for name in contrast.plus} | {name: -1 / len(contrast.minus) for name in contrast.minus}
    found = permute_labels(runs, conditions, weights, np.random.default_rng([settings.seed, number]), settings.permutations)
    used = [run for run in runs if set(weights) <= {conditions[stim_id] for stim_id in run.stim_ids}]
    images = {stim_id for run in used for stim_id in run.stim_ids if conditions[stim_id] in weights}
    values = {"estimate_psc": found.estimate, "p": found.p, "p_corrected": found.p_corrected, "p_floor": found.p_floor}
    table = pd.DataFrame({**values, "labelings": found.labelings, "runs": len(used), "images": len(images)})
    return table.assign(contrast=contrast.label, expression=contrast.expression)


def _model_run(one: PlannedTest, rois: Sequence[str], model: ModelSettings) -> tuple[RoiRun, list[str]]:
    """Return a run's ROI series and events, and each event's condition; an event without an image is an image of its own."""
    run = one.runs[0]
    events, times, confounds = list_regressors(run, one.volumes, model, None)
    trials, nuisance = separate_trials(events, np.ones(len(events), dtype=bool), times, confounds, model.design, run.name.stem)
    own = [f"{run.name.stem} event {number}" for number in range(len(events))]
    stim_ids = [own[place] if shown is None else str(shown) for place, shown in enumerate(events["stim_id"])]
    series = average_regions(one, rois, confounds.kept)
    return RoiRun(series, trials, nuisance, stim_ids), [str(name) for name in events["regressor"]]


def average_regions(one: PlannedTest, rois: Sequence[str], kept: Bool[np.ndarray, " volumes"]) -> Float[np.ndarray, "rows rois"]:
    """Return the mean percent series of each region's voxels, those of both hemispheres together."""
    found: dict[str, list[np.ndarray]] = {roi: [] for roi in rois}
    for run, regions in zip(one.runs, one.regions, strict=True):
        series = extract_run(run)
        for region in regions:
            refuse_other_grid(region.path, region.grid, series.grid, run.bold.name)
            members = np.unique(series.locate(region.voxels))
            found[region.name].append(scale_to_percent(series.values[kept][:, members[members >= 0]]))
    empty = [roi for roi, parts in found.items() if not sum(part.shape[1] for part in parts)]
    if empty:
        raise InputError(f"{one.runs[0].name.stem}: no voxel of {', '.join(empty)} can be modelled; it lies outside the brain's mask")
    return np.stack([np.concatenate(parts, axis=1).mean(axis=1) for parts in found.values()], axis=1)
