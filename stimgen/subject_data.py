"""What a fit needs of one subject: single trials averaged over repetitions, images in groups, ceilings of voxels and ROIs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from protocols.errors import InputError
from protocols.provenance import hash_file
from protocols.responses import Responses
from stimgen.ceiling import estimate_noise_ceiling, estimate_roi_ceiling, estimate_split_half, weigh_rois

GroupBy = Literal["image", "run"]
_VOXELS_AT_ONCE = 256  # small enough for the copies that split halves make to stay in the cache


@dataclass(frozen=True)
class SubjectData:
    """One subject's responses averaged over repetitions, in the order of `paths`.

    Attributes
    ----------
    digests
        sha256 of each image file.
    groups
        Label of each image's group: images of one group are never on both sides of a split.
    noise_ceiling, split_half
        Per voxel: the highest possible r with `responses`; their reliability from split halves of trials. NaN without repetitions.
    roi_ceiling
        The highest possible r with the mean response of each ROI's voxels, by ROI.
    """

    subject: str
    paths: list[Path]
    digests: list[str]
    groups: list[str]
    responses: Float[np.ndarray, "images voxels"]
    voxels: pd.DataFrame
    noise_ceiling: Float[np.ndarray, " voxels"]
    split_half: Float[np.ndarray, " voxels"]
    roi_ceiling: dict[str, float]


def average_repetitions(responses: Responses, group_by: GroupBy = "image", seed: int = 1) -> SubjectData:
    """Average the trials of each image and leave out voxels that are not finite or constant.

    Images are in one group that have the same file content or the same `source` in `images.tsv` (crops of one photograph), and with
    `group_by` run also those that were shown in the same run. `seed` draws the split halves.

    Raises
    ------
    InputError
        When no voxel is left.
    """
    usable = _find_usable(responses.betas)
    if not usable.any():
        raise InputError(f"{responses.folder}/betas.npy: every voxel is constant or holds NaN; look at how the responses were made")
    shown = responses.images[responses.images["stim_id"].isin(set(responses.trials["stim_id"]))]
    position = {stim_id: index for index, stim_id in enumerate(shown["stim_id"])}
    image_of_trial = responses.trials["stim_id"].map(position).to_numpy(dtype=np.int64)
    paths = [responses.folder / name for name in shown["image_file"]]
    digests = [hash_file(path) for path in paths]
    voxels = responses.voxels[usable].reset_index(drop=True)
    mean, ceiling, split_half = _summarize_voxels(responses.betas, np.flatnonzero(usable), image_of_trial, len(shown), seed)
    rois, weights = weigh_rois(voxels["roi"])
    spread = np.zeros((len(usable), len(rois)))
    spread[usable] = weights
    roi_ceiling = estimate_roi_ceiling(responses.betas, image_of_trial, spread)
    groups = _group_images(shown, digests, responses.trials, image_of_trial, group_by)
    return SubjectData(
        responses.subject, paths, digests, groups, mean, voxels, ceiling, split_half, dict(zip(rois, roi_ceiling.tolist(), strict=True))
    )


def index_images(subjects: Sequence[SubjectData]) -> tuple[list[Path], list[npt.NDArray[np.int64]]]:
    """Return the distinct images over all subjects (by sha256), and for each subject the index of each of its images."""
    position: dict[str, int] = {}
    paths: list[Path] = []
    for data in subjects:
        for digest, path in zip(data.digests, data.paths, strict=True):
            if digest not in position:
                position[digest] = len(paths)
                paths.append(path)
    return paths, [np.array([position[digest] for digest in data.digests], dtype=np.int64) for data in subjects]


def _find_usable(betas: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    usable = np.empty(betas.shape[1], dtype=bool)
    for start in range(0, betas.shape[1], _VOXELS_AT_ONCE):
        some = np.asarray(betas[:, start : start + _VOXELS_AT_ONCE])
        finite = np.isfinite(some).all(axis=0)
        usable[start : start + _VOXELS_AT_ONCE] = finite & (np.ptp(np.where(finite, some, 0), axis=0) > 0)
    return usable


def _summarize_voxels(
    betas: Float[np.ndarray, "trials all"],
    voxels: Int[np.ndarray, " voxels"],
    image_of_trial: Int[np.ndarray, " trials"],
    images: int,
    seed: int,
) -> tuple[Float[np.ndarray, "images voxels"], Float[np.ndarray, " voxels"], Float[np.ndarray, " voxels"]]:
    """Return the mean over repetitions, the noise ceiling and the split-half reliability, a batch of voxels at a time."""
    mean = np.zeros((images, len(voxels)), dtype=np.float32)
    ceiling, split_half = (np.empty(len(voxels), dtype=np.float32) for _ in range(2))
    order, count = np.argsort(image_of_trial, kind="stable"), np.bincount(image_of_trial, minlength=images)
    starts = np.cumsum(count) - count
    for start in range(0, len(voxels), _VOXELS_AT_ONCE):
        batch = slice(start, start + _VOXELS_AT_ONCE)
        some = np.asarray(betas[:, voxels[batch]])
        mean[:, batch] = np.add.reduceat(some[order], starts, axis=0, dtype=np.float64) / count[:, None]
        ceiling[batch] = estimate_noise_ceiling(some, image_of_trial)
        split_half[batch] = estimate_split_half(some, image_of_trial, np.random.default_rng(seed))
    return mean, ceiling, split_half


def _group_images(
    shown: pd.DataFrame, digests: Sequence[str], trials: pd.DataFrame, image_of_trial: Int[np.ndarray, " trials"], group_by: GroupBy
) -> list[str]:
    """Return a label of each image's group: the first source, or stim_id where it has none, of those that belong together."""
    named = shown["source"].fillna(shown["stim_id"]) if "source" in shown.columns else shown["stim_id"]
    names = [str(name) for name in named]
    links = [(image, f"source {name}") for image, name in enumerate(names)]
    links += [(image, f"sha256 {digest}") for image, digest in enumerate(digests)]
    if group_by == "run":
        runs = zip(image_of_trial.tolist(), trials["session"], trials["run"], strict=True)
        links += [(image, f"run {session} {run}") for image, session, run in runs]
    node = {label: len(names) + number for number, label in enumerate(dict.fromkeys(label for _, label in links))}
    rows, columns = [image for image, _ in links], [node[label] for _, label in links]
    size = len(names) + len(node)
    graph = coo_array((np.ones(len(links)), (rows, columns)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][: len(names)]
    first: dict[int, str] = {}
    return [first.setdefault(int(number), name) for number, name in zip(component, names, strict=True)]


def resample_training(
    data: SubjectData, index: Int[np.ndarray, " images"], is_test: Bool[np.ndarray, " images"], rng: np.random.Generator
) -> tuple[SubjectData, Int[np.ndarray, " drawn"], Bool[np.ndarray, " drawn"]]:
    """Draw training images with replacement, whole groups at a time; test images stay as they are.

    A group drawn twice stands there twice under one label, so that it is never on both sides of a fold.
    """
    groups = np.array(data.groups)
    training = np.unique(groups[~is_test])
    drawn = rng.choice(training, size=len(training))
    rows = np.concatenate([*(np.flatnonzero((groups == group) & ~is_test) for group in drawn), np.flatnonzero(is_test)])
    resampled = replace(
        data,
        paths=[data.paths[row] for row in rows],
        digests=[data.digests[row] for row in rows],
        groups=[data.groups[row] for row in rows],
        responses=data.responses[rows],
    )
    return resampled, index[rows], is_test[rows]
