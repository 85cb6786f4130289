"""Fit an encoding model: responses of one or more subjects and their images in, an EncodingModel and its accuracy out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from protocols.config import config, config_values
from protocols.errors import InputError
from protocols.provenance import hash_file
from protocols.responses import Responses
from stimgen.accuracy import estimate_noise_ceiling
from stimgen.encoding_model import EncodingModel, Readout
from stimgen.features import FeatureSpace
from stimgen.ridge import RidgeFit, check_folds, fit_ridge, split_groups


@config
class FitSettings:
    """How an encoding model is fitted. Paths are relative to the folder the command is run in."""

    backbone: str = "inception_v3"
    weights: Path | None = None
    """Weights file; the backbone's own where absent."""
    layers: tuple[str, ...] = ()
    """Layers to read; the backbone's default layers where empty."""
    budget: int = Field(default=5120, ge=1)
    """Most features per layer: each map is averaged to the finest grid that keeps to it."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    folds: int = Field(default=5, ge=2)
    log10_penalties: tuple[float, float, Annotated[int, Field(ge=1)]] = (-4.0, 3.0, 15)
    """First and last exponent and number of penalties, relative to the mean squared norm of an image's features."""
    seed: int = Field(default=1, ge=0)

    @property
    def penalties(self) -> npt.NDArray[np.float64]:
        """The penalties that cross-validation chooses from."""
        first, last, count = self.log10_penalties
        return np.logspace(first, last, count)


@dataclass(frozen=True)
class SubjectData:
    """One subject's responses averaged over repetitions: what a fit needs, in the order of `paths`."""

    subject: str
    paths: list[Path]
    groups: list[str]
    responses: Float[np.ndarray, "images voxels"]
    voxels: pd.DataFrame
    noise_ceiling: Float[np.ndarray, " voxels"]


def average_repetitions(responses: Responses) -> SubjectData:
    """Average the trials of each image and leave out voxels that are not finite or constant.

    Images are grouped by the column `source` of `images.tsv` where it is there and not n/a (crops of one photograph), by image otherwise.

    Raises
    ------
    InputError
        When no voxel is left.
    """
    betas = np.asarray(responses.betas, dtype=np.float32)
    usable = np.isfinite(betas).all(axis=0) & (np.ptp(np.nan_to_num(betas), axis=0) > 0)
    if not usable.any():
        raise InputError(f"{responses.folder}/betas.npy: every voxel is constant or holds NaN; look at how the responses were made")
    shown = responses.images[responses.images["stim_id"].isin(set(responses.trials["stim_id"]))]
    position = {stim_id: index for index, stim_id in enumerate(shown["stim_id"])}
    image_of_trial = responses.trials["stim_id"].map(position).to_numpy(dtype=np.int64)
    betas = betas[:, usable]
    mean = np.zeros((len(shown), betas.shape[1]), dtype=np.float64)
    np.add.at(mean, image_of_trial, betas)
    mean /= np.bincount(image_of_trial, minlength=len(shown))[:, None]
    voxels = responses.voxels[usable].reset_index(drop=True)
    sources = shown["source"].fillna(shown["stim_id"]) if "source" in shown.columns else shown["stim_id"]
    return SubjectData(
        responses.subject,
        [responses.folder / name for name in shown["image_file"]],
        [str(source) for source in sources],
        mean.astype(np.float32),
        voxels,
        estimate_noise_ceiling(betas, image_of_trial),
    )


def index_images(subjects: Sequence[SubjectData]) -> tuple[list[Path], list[npt.NDArray[np.int64]]]:
    """Return the distinct images over all subjects (by sha256), and for each subject the index of each of its images."""
    position: dict[str, int] = {}
    paths: list[Path] = []
    indices = []
    for data in subjects:
        hashes = [hash_file(path) for path in data.paths]
        for digest, path in zip(hashes, data.paths, strict=True):
            if digest not in position:
                position[digest] = len(paths)
                paths.append(path)
        indices.append(np.array([position[digest] for digest in hashes], dtype=np.int64))
    return paths, indices


def hold_out(settings: FitSettings, subjects: Sequence[SubjectData]) -> list[npt.NDArray[np.bool_]]:
    """Mark every subject's test images: the same groups of images in all subjects.

    Raises
    ------
    InputError
        When a subject has too few images to hold any out, or fewer groups left than folds.
    """
    groups = sorted({group for data in subjects for group in data.groups})
    is_test_group = split_groups(groups, settings.test_fraction, np.random.default_rng(settings.seed))
    test_groups = {group for group, is_test in zip(groups, is_test_group, strict=True) if is_test}
    held = [np.array([group in test_groups for group in data.groups]) for data in subjects]
    for data, is_test in zip(subjects, held, strict=True):
        if is_test.sum() < 2 or (~is_test).sum() < 2:
            held_out = f"{settings.test_fraction:g} of them"
            raise InputError(f"subject {data.subject}: {len(data.groups)} images are too few to hold {held_out} out; give more images")
        check_folds(data.groups, is_test, settings.folds)
    return held


def fit_subjects(
    settings: FitSettings,
    space: FeatureSpace,
    features: Float[np.ndarray, "all features"],
    subjects: Sequence[SubjectData],
    indices: Sequence[npt.NDArray[np.int64]],
) -> tuple[EncodingModel, pd.DataFrame]:
    """Fit every subject's voxels on the same features; return one model of all of them and the test responses table.

    The table (`subject roi measured predicted`, one row per test image and ROI, ROI means) is what accuracy per ROI is computed from.
    """
    fits = []
    for data, index, is_test in zip(subjects, indices, hold_out(settings, subjects), strict=True):
        fit = fit_ridge(features[index], data.responses, space.layer_of_feature, data.groups, is_test, settings.folds, settings.penalties)
        fits.append((data, is_test, fit))
    model = EncodingModel(space, _join_readouts([fit for _, _, fit in fits]), _join_voxels(fits), _write_card(settings, fits))
    return model, pd.concat([_tabulate_test(*entry) for entry in fits], ignore_index=True)


def _join_readouts(fits: Sequence[RidgeFit]) -> Readout:
    """Put the voxels of all subjects into one readout; the subjects' own standardization is folded into coefficients and intercept."""
    first = fits[0].readout
    coefficients, intercepts = [], []
    for fit in fits:
        readout = fit.readout
        coefficients.append(readout.coefficients * (first.feature_scale / readout.feature_scale)[:, None])
        shift = (first.feature_mean - readout.feature_mean) / readout.feature_scale
        intercepts.append(readout.intercept + shift @ readout.coefficients)
    return Readout(np.concatenate(coefficients, axis=1), np.concatenate(intercepts), first.feature_mean, first.feature_scale)


def _join_voxels(fits: Sequence[tuple[SubjectData, npt.NDArray[np.bool_], RidgeFit]]) -> pd.DataFrame:
    tables = []
    for data, _, fit in fits:
        table = data.voxels.assign(subject=data.subject, cv_r=fit.cv_r, test_r=fit.test_r, noise_ceiling=data.noise_ceiling)
        tables.append(table.assign(voxel_id=[f"{data.subject}_{voxel}" for voxel in data.voxels["voxel_id"]]))
    return pd.concat(tables, ignore_index=True)


def _write_card(settings: FitSettings, fits: Sequence[tuple[SubjectData, npt.NDArray[np.bool_], RidgeFit]]) -> dict[str, Any]:
    penalties = [fit.penalties.tolist() for _, _, fit in fits]
    return {
        "settings": config_values(settings),
        "subjects": [data.subject for data, _, _ in fits],
        "images": {data.subject: len(data.paths) for data, _, _ in fits},
        "test_groups": sorted({group for data, is_test, _ in fits for group, held in zip(data.groups, is_test, strict=True) if held}),
        "penalties": [round(value, 6) for subject in penalties for value in subject],
        "refit": "coefficients refitted on all images with the penalties chosen on training images; cv_r and test_r measured before",
    }


def _tabulate_test(data: SubjectData, is_test: npt.NDArray[np.bool_], fit: RidgeFit) -> pd.DataFrame:
    rows = []
    for roi in dict.fromkeys(data.voxels["roi"]):
        inside = (data.voxels["roi"] == roi).to_numpy()
        measured = data.responses[is_test][:, inside].mean(axis=1)
        predicted = fit.test_predictions[:, inside].mean(axis=1)
        rows.append(pd.DataFrame({"subject": data.subject, "roi": roi, "measured": measured, "predicted": predicted}))
    return pd.concat(rows, ignore_index=True)
