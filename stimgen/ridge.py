"""Fit one subject's readout: features and responses in, a readout and its accuracy out.

Everything is grouped: images that share a group (the photograph that crops come from, or the image itself) are never on both
sides of a split. Accuracy is nested: an image is predicted by a model whose hyperparameters, too, were chosen without it. The test
images are used once, to report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from himalaya.scoring import correlation_score
from jaxtyping import Float, Int
from sklearn.model_selection import GroupKFold

from protocols.errors import InputError
from stimgen.encoding_model import Readout
from stimgen.solvers import Choice, DualRidge, Found, PrimalRidge, Search, Solver, Split
from stimgen.standardize import Rows, Standardizer, standardize

_VOXELS_AT_ONCE = 2048

Form = Literal["auto", "primal", "dual"]


@dataclass(frozen=True)
class RidgePlan:
    """How readouts are fitted.

    Attributes
    ----------
    bands
        Lists of layer indices, one list for plain ridge.
    share
        Groups of voxels whose hyperparameters are chosen together, by their mean score; None: each voxel chooses its own.
    """

    folds: int
    hyperparameters: Search
    bands: Sequence[Sequence[int]]
    form: Form = "auto"
    device: str = "cpu"
    share: Sequence[npt.NDArray[np.int64]] | None = None


@dataclass(frozen=True)
class RidgeFit:
    """A readout refitted on all images, with accuracies measured before that.

    Attributes
    ----------
    readout
        Fitted on all images with the hyperparameters chosen on the training images.
    choice
        Per voxel; penalties are relative to the mean squared norm of a standardized image's features.
    cv_r
        Per voxel, cross-validated on training images; hyperparameters chosen within each fold's training images (nested). The
        correlation is over all left-out images, with each fold's mean removed.
    test_r
        Per voxel, on test images, by the readout of the training images alone.
    test_predictions, test_by_band
        On the test images, by the same readout; and what each band adds to them, without the intercept.
    extra_index, extra_predictions
        Rows of further images, and predictions of them by the same readout.
    """

    readout: Readout
    choice: Choice
    cv_r: Float[np.ndarray, " voxels"]
    test_r: Float[np.ndarray, " voxels"]
    test_predictions: Float[np.ndarray, "test voxels"]
    test_by_band: Float[np.ndarray, "bands test voxels"]
    extra_index: Int[np.ndarray, " extra"]
    extra_predictions: Float[np.ndarray, "extra voxels"]


def split_groups(groups: Sequence[str], fraction: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Mark the images of a random `fraction` of the groups as test images."""
    names = sorted(set(groups))
    count = max(1, round(fraction * len(names)))
    chosen = set(rng.permutation(names)[:count].tolist())
    return np.array([group in chosen for group in groups])


def check_folds(groups: Sequence[str], is_test: npt.NDArray[np.bool_], folds: int) -> None:
    """Refuse fewer training groups of images than folds, or so few that a fold leaves no two groups to choose penalties on."""
    train_groups = [group for group, held in zip(groups, is_test, strict=True) if not held]
    count = len(set(train_groups))
    if count < folds or any(len({train_groups[position] for position in inside}) < 2 for inside, _ in split_folds(train_groups, folds)):
        raise InputError(f"{count} training groups of images for {folds} folds; give more images, or lower 'folds'")


def build_solver(
    features: Float[np.ndarray, "all features"],
    index: Int[np.ndarray, " images"],
    standardizer: Standardizer,
    layer_of_feature: Int[np.ndarray, " features"],
    plan: RidgePlan,
) -> Solver:
    """Choose the form: dual with bands or with no more images than features, primal otherwise."""
    rows = Rows(features, index, standardizer)
    if plan.form == "primal" or (plan.form == "auto" and len(plan.bands) == 1 and len(index) > features.shape[1]):
        return PrimalRidge(standardizer.apply(features[index]), plan.hyperparameters.penalties, plan.device)
    edges = np.searchsorted(layer_of_feature, np.arange(int(layer_of_feature[-1]) + 2))
    bands = [[slice(int(edges[layer]), int(edges[layer + 1])) for layer in band] for band in plan.bands]
    return DualRidge.build(rows, bands, plan.hyperparameters, plan.device)


def fit_ridge(
    features: Float[np.ndarray, "all features"],
    index: Int[np.ndarray, " images"],
    responses: Float[np.ndarray, "images voxels"],
    layer_of_feature: Int[np.ndarray, " features"],
    groups: Sequence[str],
    is_test: npt.NDArray[np.bool_],
    plan: RidgePlan,
    extra_index: Int[np.ndarray, " extra"],
) -> RidgeFit:
    """Choose hyperparameters per voxel, measure accuracy, and refit on all images.

    `index` are the images' rows of `features`, `extra_index` rows of images without responses that shall be predicted too.

    Raises
    ------
    InputError
        When there are fewer training groups than folds.
    """
    check_folds(groups, is_test, plan.folds)
    own, train, test = np.arange(len(index)), np.flatnonzero(~is_test), np.flatnonzero(is_test)
    extra = len(index) + np.arange(len(extra_index))
    standardizer = standardize(features, index[train], layer_of_feature)
    solver = build_solver(features, np.concatenate([index, extra_index]), standardizer, layer_of_feature, plan)
    train_groups, y = [groups[position] for position in train], responses[train]
    splits, outside = split_folds(train_groups, plan.folds), np.concatenate([test, extra])
    choice, by_band, constant = search_shared(solver, plan.share, train, y, splits, outside)
    predicted = by_band.sum(axis=0) + constant
    cv_r = correlate_within(y, *predict_nested(solver, train, y, train_groups, plan.folds, plan.share))
    del y  # coefficients are as large again
    coefficients, intercept = solver.solve(own, responses, choice)
    return RidgeFit(
        Readout(coefficients, intercept, standardizer.mean, standardizer.scale),
        choice,
        cv_r,
        correlate(responses[test], predicted[: len(test)]),
        predicted[: len(test)],
        by_band[:, : len(test)],
        extra_index,
        predicted[len(test) :],
    )


def predict_nested(
    solver: Solver,
    inside: npt.NDArray[np.int64],
    y: Float[np.ndarray, "inside voxels"],
    groups: Sequence[str],
    folds: int,
    share: Sequence[npt.NDArray[np.int64]] | None = None,
) -> tuple[Float[np.ndarray, "inside voxels"], Int[np.ndarray, " inside"]]:
    """Predict every image by a model that has seen its group neither in fitting nor in choosing hyperparameters.

    Returns the predictions, and the number of the fold that each image was left out in.
    """
    predicted, fold = np.empty_like(y), np.empty(len(y), dtype=np.int64)
    for number, (kept, left_out) in enumerate(split_folds(groups, folds)):
        kept_groups = [groups[position] for position in kept]
        inner = split_folds(kept_groups, min(folds, len(set(kept_groups))))
        _, by_band, constant = search_shared(solver, share, inside[kept], y[kept], inner, inside[left_out])
        predicted[left_out], fold[left_out] = by_band.sum(axis=0) + constant, number
    return predicted, fold


def search_shared(
    solver: Solver,
    share: Sequence[npt.NDArray[np.int64]] | None,
    inside: npt.NDArray[np.int64],
    y: Float[np.ndarray, "inside voxels"],
    splits: Sequence[Split],
    outside: npt.NDArray[np.int64],
) -> Found:
    """Search each group of voxels that share their hyperparameters apart; with few images that is steadier than voxel by voxel."""
    if share is None:
        return solver.search(inside, y, splits, outside)
    parts = [solver.search(inside, y[:, voxels], splits, outside, together=True) for voxels in share]
    order = np.argsort(np.concatenate(share))
    choice = Choice(
        np.concatenate([found.penalties for found, _, _ in parts])[order], np.concatenate([found.candidate for found, _, _ in parts])[order]
    )
    by_band = np.concatenate([predicted for _, predicted, _ in parts], axis=2)[:, :, order]
    return choice, by_band, np.concatenate([constant for _, _, constant in parts])[order]


def center_folds(values: Float[np.ndarray, "images voxels"], fold: Int[np.ndarray, " images"]) -> Float[np.ndarray, "images voxels"]:
    """Subtract each fold's mean.

    A fitted intercept is the mean of the other folds, and so is high where the left-out fold is low: with few images that alone makes the
    correlation over all folds negative where nothing is predictable. Within folds the intercept plays no part.
    """
    centered = values.astype(np.float64)
    for number in np.unique(fold):
        centered[fold == number] -= centered[fold == number].mean(axis=0)
    return centered


def correlate_within(
    measured: Float[np.ndarray, "images voxels"], predicted: Float[np.ndarray, "images voxels"], fold: Int[np.ndarray, " images"]
) -> Float[np.ndarray, " voxels"]:
    """Return the correlation of responses with each fold's mean removed (see `center_folds`), a batch of voxels at a time."""
    batches = [slice(start, start + _VOXELS_AT_ONCE) for start in range(0, measured.shape[1], _VOXELS_AT_ONCE)]
    return np.concatenate([correlate(center_folds(measured[:, some], fold), center_folds(predicted[:, some], fold)) for some in batches])


def split_folds(groups: Sequence[str], folds: int) -> list[Split]:
    """Return training and validation positions of each fold; a group is never split."""
    return list(GroupKFold(folds).split(np.zeros(len(groups)), groups=groups))


def correlate(measured: Float[np.ndarray, "images voxels"], predicted: Float[np.ndarray, "images voxels"]) -> Float[np.ndarray, " voxels"]:
    """Return the correlation of each voxel's measured and predicted responses; 0 where one is constant."""
    score: npt.NDArray[np.float32] = np.nan_to_num(np.asarray(correlation_score(measured, predicted)), nan=0.0)
    return score
