"""Fit an encoding model: responses of one or more subjects and their images' features in, an EncodingModel and its accuracy out."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float

from protocols.config import config_values
from protocols.errors import InputError
from stimgen.accuracy import FittedSubject, score_voxels, summarize_accuracy, summarize_bands, summarize_layers
from stimgen.across_subjects import score_left_out_subjects
from stimgen.encoding_model import EncodingModel, Readout
from stimgen.features import FeatureSpace
from stimgen.fit_settings import FitSettings
from stimgen.ridge import RidgePlan, check_folds, fit_ridge, split_groups
from stimgen.solvers import Search
from stimgen.subject_data import SubjectData, resample_training

_CONCENTRATIONS = (0.1, 1.0)  # of the Dirichlet distribution: mostly one band, and any mixture


@dataclass(frozen=True)
class FitResult:
    """A model with the tables of its report.

    Attributes
    ----------
    accuracy
        One row per subject and ROI.
    layers
        Share of each ROI's predicted variance by layer.
    bands
        Variance of test responses explained by each band; empty for plain ridge.
    across
        Accuracy in each subject of the other subjects' models; empty with one subject.
    """

    model: EncodingModel
    accuracy: pd.DataFrame
    layers: pd.DataFrame
    bands: pd.DataFrame
    across: pd.DataFrame


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


def plan_ridge(settings: FitSettings, bands: Sequence[Sequence[int]], device: str = "cpu") -> RidgePlan:
    """Return the hyperparameters to search: one equal weight of all bands, then random ones."""
    weights = np.full((1, len(bands)), 1 / len(bands))
    if len(bands) > 1:
        rng = np.random.default_rng(settings.seed)
        drawn = [rng.dirichlet(np.full(len(bands), _CONCENTRATIONS[number % 2])) for number in range(settings.band_candidates - 1)]
        weights = np.stack([weights[0], *drawn])
    return RidgePlan(settings.folds, Search(settings.penalties, weights), bands, settings.form, device)


def fit_subjects(
    settings: FitSettings,
    space: FeatureSpace,
    features: Float[np.ndarray, "all features"],
    subjects: Sequence[SubjectData],
    indices: Sequence[npt.NDArray[np.int64]],
    bands: Sequence[Sequence[int]] | None = None,
) -> FitResult:
    """Fit every subject's voxels on the same features; return one model of all of them, with its accuracy.

    `indices` are the rows of `features` of each subject's images; `bands` lists of layer indices.
    """
    held = hold_out(settings, subjects)
    if settings.resample is not None:
        rng = np.random.default_rng(settings.resample)
        resampled = [resample_training(*one, rng) for one in zip(subjects, indices, held, strict=True)]
        subjects, indices, held = ([one[part] for one in resampled] for part in range(3))  # type: ignore[assignment]
    plan = plan_ridge(settings, bands or [list(range(len(space.layers)))], str(space.backbone.device.type))
    tested = np.unique(np.concatenate([index[is_test] for index, is_test in zip(indices, held, strict=True)]))
    fitted = []
    for data, index, is_test in zip(subjects, indices, held, strict=True):
        if settings.penalty_per == "roi":
            plan = dataclasses.replace(plan, share=[np.flatnonzero(data.voxels["roi"] == roi) for roi in data.voxels["roi"].unique()])
        fit = fit_ridge(features, index, data.responses, space.layer_of_feature, data.groups, is_test, plan, np.setdiff1d(tested, index))
        fitted.append(FittedSubject(data, index, is_test, fit, score_voxels(data, is_test, fit, settings)))
    readout = _join_readouts([one.fit.readout for one in fitted])
    model = EncodingModel(space, readout, pd.concat([one.voxels for one in fitted], ignore_index=True), _write_card(settings, fitted))
    return FitResult(
        model,
        pd.concat([summarize_accuracy(one, settings.seed) for one in fitted], ignore_index=True),
        summarize_layers(model, features, {one.data.subject: one.index for one in fitted}),
        summarize_bands(fitted, list(settings.bands)),
        score_left_out_subjects(fitted, settings.seed),
    )


def _join_readouts(readouts: Sequence[Readout]) -> Readout:
    """Put the voxels of all subjects into one readout; the subjects' own standardization is folded into coefficients and intercept."""
    first = readouts[0]
    if len(readouts) == 1:
        return first
    edges = np.cumsum([0, *(len(readout.intercept) for readout in readouts)])
    coefficients, intercepts = np.empty((len(first.feature_mean), edges[-1]), dtype=np.float32), []
    for readout, start, end in zip(readouts, edges[:-1], edges[1:], strict=True):
        np.multiply(readout.coefficients, (first.feature_scale / readout.feature_scale)[:, None], out=coefficients[:, start:end])
        shift = (first.feature_mean - readout.feature_mean) / readout.feature_scale
        intercepts.append(readout.intercept + shift @ readout.coefficients)
    return Readout(coefficients, np.concatenate(intercepts), first.feature_mean, first.feature_scale)


def _write_card(settings: FitSettings, fitted: Sequence[FittedSubject]) -> dict[str, Any]:
    test_groups = {group for one in fitted for group, held in zip(one.data.groups, one.is_test, strict=True) if held}
    return {
        "settings": config_values(settings),
        "subjects": [one.data.subject for one in fitted],
        "images": {one.data.subject: len(one.data.paths) for one in fitted},
        "test_groups": sorted(test_groups),
        "cross_validation": f"{settings.folds} folds of groups of images, nested: penalties chosen within each fold's training images",
        "refit": "coefficients refitted on all images with the penalties chosen on training images; cv_r and test_r measured before",
    }
