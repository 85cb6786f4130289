"""A RoiTable and the StimulusSet that was shown in, Responses out: what was measured in the scanner is fitted again."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from protocols.errors import InputError
from protocols.responses import Responses
from protocols.roi_table import RoiTable
from protocols.stimulus_set import TABLE, StimulusSet
from stimgen.import_folder import SESSION

_TRIAL = ["session", "run", "stim_id"]
_VOXEL = ["roi", "hemisphere"]


def read_roi_table(path: Path, set_folder: Path, subject: str) -> tuple[Responses, list[Path]]:
    """Read one subject's responses, in percent signal change, and the images that were shown; every image is checked.

    Returns
    -------
    responses
        As `tabulate_responses` makes them.
    files
        The set's image files, in the order of `responses.images`.

    Raises
    ------
    InputError
        When the table or the set breaks a rule, or the two do not fit.
    """
    stimulus_set = StimulusSet.read(set_folder)
    table = RoiTable.read(path)
    responses = tabulate_responses(table, stimulus_set, subject)
    stimulus_set.verify()
    return responses, [stimulus_set.image_path(stim_id) for stim_id in responses.images["stim_id"]]


def tabulate_responses(table: RoiTable, stimulus_set: StimulusSet, subject: str) -> Responses:
    """Return a subject's responses: one voxel per ROI and hemisphere, one trial per session, run and stimulus, in the table's order.

    Raises
    ------
    InputError
        When the table has no such subject, an image is not in the set, or a trial lacks the response of an ROI.
    """
    rows = table.table[table.table["subject"] == subject]
    if rows.empty:
        raise InputError(
            f"{table.where}: has no subject {subject!r}; it holds {', '.join(sorted(set(table.table['subject']))) or 'no row'}"
        )
    unknown = ~rows["stim_id"].isin(set(stimulus_set.table["stim_id"]))
    if unknown.any():
        row = rows.index[unknown][0]
        shown = rows["stim_id"][row]
        raise InputError(
            f"{table.where} row {row + 2}: stim_id {shown!r} is not in {stimulus_set.folder / TABLE}; give the set that was shown"
        )
    rows = rows.assign(session=rows["session"].fillna(SESSION))
    trials = rows[_TRIAL].drop_duplicates(ignore_index=True)
    voxels = rows[_VOXEL].drop_duplicates(ignore_index=True)
    betas = _arrange(rows, trials, voxels, table.where)
    voxels = voxels.assign(voxel_id=voxels["roi"] + "_" + voxels["hemisphere"], i=np.arange(len(voxels)), j=0, k=0)
    return Responses(Path(table.where).parent, trials, betas, voxels, _tabulate_images(stimulus_set, trials["stim_id"].unique().tolist()))


def _arrange(rows: pd.DataFrame, trials: pd.DataFrame, voxels: pd.DataFrame, where: str) -> np.ndarray:
    """Return the responses, trials x voxels, each from its row; refuse a hole."""
    betas = np.full((len(trials), len(voxels)), np.nan, dtype=np.float32)
    trial_of = {key: index for index, key in enumerate(trials[_TRIAL].itertuples(index=False, name=None))}
    voxel_of = {key: index for index, key in enumerate(voxels[_VOXEL].itertuples(index=False, name=None))}
    trial = [trial_of[key] for key in rows[_TRIAL].itertuples(index=False, name=None)]
    voxel = [voxel_of[key] for key in rows[_VOXEL].itertuples(index=False, name=None)]
    filled = np.zeros(betas.shape, dtype=np.int64)
    np.add.at(filled, (trial, voxel), 1)
    betas[trial, voxel] = rows["response_psc"]
    if (filled != 1).any():
        place = np.argwhere(filled != 1)[0]
        shown = " ".join(f"{name} {trials[name][place[0]]}," for name in _TRIAL).rstrip(",")
        roi = " ".join(voxels[name][place[1]] for name in _VOXEL)
        number = filled[tuple(place)]
        remedy = (
            "run analysis rois on all runs again, with the same masks"
            if not number
            else f"name the session of every row, not n/a and {SESSION}"
        )
        raise InputError(f"{where}: {shown} has {number or 'no'} response{'s' if number else ''} of {roi}; {remedy}")
    return betas


def _tabulate_images(stimulus_set: StimulusSet, shown: Sequence[str]) -> pd.DataFrame:
    """Return `stim_id image_file source` of the images that were shown, in the set's order.

    The source is the image that one was made or taken from: a scrambled copy stays together with its original, and so do two images
    that were both taken from one image of the pool.
    """
    table = stimulus_set.table[stimulus_set.table["stim_id"].isin(shown)]
    parents = dict(zip(stimulus_set.table["stim_id"], stimulus_set.table["source_image"], strict=True))
    names = {
        "image_file": [f"images/{name}" for name in table["stim_file"]],
        "source": [_find_root(one, parents) for one in table["stim_id"]],
    }
    return table[["stim_id"]].assign(**names).reset_index(drop=True)


def _find_root(stim_id: str, parents: dict[str, str | None]) -> str:
    """Follow `source_image` to an image that comes from no other; at most as often as the set has images, so that a circle ends."""
    root = stim_id
    for _ in parents:
        parent = parents.get(root)
        if parent is None:
            break
        root = parent
    return root
