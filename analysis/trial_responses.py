"""One subject's runs and regions in; a response to every single trial in every voxel of the regions, as `stimgen fit` reads it, out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from analysis.dataset import Run
from analysis.extract import extract_run
from analysis.first_level import ModelSettings
from analysis.glm import scale_to_percent
from analysis.labels import Region, refuse_other_grid
from analysis.lineage import FolderIndex, Scan
from analysis.roi_sources import RoiSource, find_candidates
from analysis.run_model import list_regressors, separate_trials
from analysis.single_trials import TrialRun, choose_fractions, fit_all_at_once, fit_ridge, fit_separately, restore_scale
from protocols.errors import InputError

Method = Literal["lss", "lsa", "ridge"]
_SESSION = "1"  # of a data set without sessions


@dataclass(frozen=True)
class TrialResponses:
    """Trials `stim_id session run onset`, responses (psc), voxels and scans; with ridge, the scans chose each voxel's fraction."""

    trials: pd.DataFrame
    betas: Float[np.ndarray, "trials voxels"]
    voxels: pd.DataFrame
    scans: tuple[Scan, ...]


def find_voxels(source: RoiSource, runs: Sequence[Run]) -> tuple[list[Region], pd.DataFrame]:
    """Return a subject's regions and one row per region and voxel: `voxel_id roi hemisphere i j k` and its `index` on the grid.

    Raises
    ------
    InputError
        When a region has several definitions, as the folds of a localizer: responses cannot be of all of them.
    """
    subject = runs[0].name.subject
    candidates = find_candidates(source, subject, [run.bold.name for run in runs], FolderIndex.build([source.root]))
    regions = [candidate.region for candidate in candidates]
    names = [(region.name, region.hemisphere) for region in regions]
    repeated = [region for place, region in enumerate(regions) if names[place] in names[:place]]
    if repeated:
        hint = "make one with analysis localize --scheme all"
        raise InputError(f"{repeated[0].path}: a second definition of {repeated[0].name} {repeated[0].hemisphere}; {hint}")
    return regions, pd.concat([_tabulate_region(region) for region in regions], ignore_index=True)


def estimate_trials(
    runs: Sequence[tuple[Run, int]], regions: Sequence[Region], voxels: pd.DataFrame, settings: ModelSettings, method: Method
) -> TrialResponses:
    """Return the response to each trial of a subject's runs (with their numbers of volumes), in the voxels that all runs have.

    Raises
    ------
    InputError
        When no event names its stimulus, a region is on another grid, or trials cannot be told apart.
    """
    made, tables, scans, common = [], [], [], np.ones(len(voxels), dtype=bool)
    for run, volumes in runs:
        series = extract_run(run)
        for region in regions:
            refuse_other_grid(region.path, region.grid, series.grid, run.bold.name)
        places = series.locate(voxels["index"].to_numpy())
        common &= places >= 0
        values = series.values[:, np.maximum(places, 0)]
        one, table = _model_trials(run, volumes, values, settings)
        made.append(one)
        tables.append(table)
        scans.append(Scan.of(run.name, series.sha256))
    if not common.any():
        raise InputError(
            f"sub-{runs[0][0].name.subject}: no voxel of the regions can be modelled in all runs; they lie outside the brain masks"
        )
    made = [TrialRun(run.series[:, common], run.trials, run.nuisance, run.stim_ids) for run in made]
    betas, fractions = _fit(made, method)
    kept = voxels[common].drop(columns="index").reset_index(drop=True)
    kept = kept if fractions is None else kept.assign(ridge_fraction=fractions)
    return TrialResponses(pd.concat(tables, ignore_index=True), betas, kept, tuple(scans))


def _model_trials(
    run: Run, volumes: int, values: Float[np.ndarray, "volumes voxels"], settings: ModelSettings
) -> tuple[TrialRun, pd.DataFrame]:
    events, times, confounds = list_regressors(run, volumes, settings, None)
    is_trial = events["stim_id"].notna().to_numpy()
    if not is_trial.any():
        raise InputError(f"{run.events}: no event names its stimulus (stim_id); single trials are of stimuli")
    trials, nuisance = separate_trials(events, is_trial, times, confounds, settings.design, run.name.stem)
    stim_ids = [str(stim_id) for stim_id in events.loc[is_trial, "stim_id"]]
    onsets = events.loc[is_trial, "onset"].to_numpy(dtype=np.float64)
    table = pd.DataFrame({"stim_id": stim_ids, "session": run.name.session or _SESSION, "run": run.name.run, "onset": onsets})
    return TrialRun(scale_to_percent(values[confounds.kept]), trials, nuisance, stim_ids), table


def _fit(runs: Sequence[TrialRun], method: Method) -> tuple[Float[np.ndarray, "trials voxels"], Float[np.ndarray, " voxels"] | None]:
    if method != "ridge":
        fit = fit_separately if method == "lss" else fit_all_at_once
        return np.concatenate([fit(run.series, run.trials, run.nuisance) for run in runs]), None
    fractions = choose_fractions(runs)
    plain = np.ones(len(fractions))
    betas = [
        restore_scale(fit_ridge(run.series, run.trials, run.nuisance, fractions), fit_ridge(run.series, run.trials, run.nuisance, plain))
        for run in runs
    ]
    return np.concatenate(betas), fractions


def _tabulate_region(region: Region) -> pd.DataFrame:
    shape = (*region.grid.shape, 1, 1)[:3]  # a surface has one axis, of vertices
    places: tuple[Int[np.ndarray, " voxels"], ...] = np.unravel_index(region.voxels, shape)
    ids = [f"{region.name}_{region.hemisphere}_{number:05d}" for number in range(len(region.voxels))]
    columns = dict(zip("ijk", places, strict=True))
    return pd.DataFrame({"voxel_id": ids, "roi": region.name, "hemisphere": region.hemisphere, **columns, "index": region.voxels})


def copy_images(table: pd.DataFrame, source: Path, folder: Path, shown: set[str]) -> pd.DataFrame:
    """Copy the images that were shown from a set's folder, and return `stim_id image_file`.

    Raises
    ------
    InputError
        When an image that was shown is not in the set.
    """
    import shutil

    files = dict(zip(table["stim_id"], table["stim_file"], strict=True))
    unknown = sorted(shown - set(files))
    if unknown:
        raise InputError(f"{source}: stimulus {unknown[0]!r} was shown, but is not in the set; name the set that was shown with --set")
    (folder / "images").mkdir(parents=True)
    for stim_id in sorted(shown):
        shutil.copyfile(source / files[stim_id], folder / "images" / files[stim_id])
    return pd.DataFrame({"stim_id": sorted(shown), "image_file": [f"images/{files[stim_id]}" for stim_id in sorted(shown)]})
