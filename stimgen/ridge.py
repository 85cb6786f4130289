"""Ridge regression with a penalty per voxel, by himalaya; features and responses in, a readout and its accuracy out.

Everything is grouped: images that share a group (the photograph that crops come from, or the image itself) are never
on both sides of a split. The penalty is chosen by cross-validation within the training images; the test images are
used once, to report.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from himalaya.kernel_ridge import KernelRidge, KernelRidgeCV
from himalaya.scoring import correlation_score
from jaxtyping import Float, Int
from sklearn.model_selection import GroupKFold

from protocols.errors import InputError
from stimgen.encoding_model import Readout


@dataclass(frozen=True)
class Standardizer:
    """Feature mean and scale of the training images; constant features get scale 1 and so contribute nothing."""

    mean: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " features"]

    def apply(self, features: Float[np.ndarray, "images features"]) -> Float[np.ndarray, "images features"]:
        """Return standardized features."""
        standardized: npt.NDArray[np.float32] = (features - self.mean) / self.scale
        return standardized


@dataclass(frozen=True)
class RidgeFit:
    """A readout refitted on all images, with accuracies measured before that.

    Attributes
    ----------
    readout
        Fitted on all images with the penalties chosen on the training images.
    penalties
        Per voxel, relative to the mean squared norm of a standardized image's features.
    cv_r
        Per voxel, cross-validated on training images at the chosen penalty; optimistic by that choice.
    test_r
        Per voxel, on test images, by the readout of the training images alone.
    test_predictions
        On the test images, by the same readout.
    """

    readout: Readout
    penalties: Float[np.ndarray, " voxels"]
    cv_r: Float[np.ndarray, " voxels"]
    test_r: Float[np.ndarray, " voxels"]
    test_predictions: Float[np.ndarray, "test voxels"]


def standardize(features: Float[np.ndarray, "images features"], layer_of_feature: Int[np.ndarray, " features"]) -> Standardizer:
    """Fit a standardizer: unit variance per feature, then every layer weighted to the same total variance.

    With F features in a layer and L layers a feature is divided by its sd times sqrt(F L), so that the kernel of
    standardized features has mean diagonal 1 and the penalties do not depend on the number of features.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    sizes = np.bincount(layer_of_feature)
    weight = np.sqrt(sizes[layer_of_feature] * len(sizes))
    constant = deviation <= 1e-6 * max(float(deviation.max()), 1e-12)
    scale = np.where(constant, 1.0, deviation) * weight
    return Standardizer(mean.astype(np.float32), scale.astype(np.float32))


def split_groups(groups: Sequence[str], fraction: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Mark the images of a random `fraction` of the groups as test images."""
    names = sorted(set(groups))
    count = max(1, round(fraction * len(names)))
    chosen = set(rng.permutation(names)[:count].tolist())
    return np.array([group in chosen for group in groups])


def check_folds(groups: Sequence[str], is_test: npt.NDArray[np.bool_], folds: int) -> None:
    """Refuse fewer training groups of images than folds."""
    count = len({group for group, held in zip(groups, is_test, strict=True) if not held})
    if count < folds:
        raise InputError(f"{count} training groups of images for {folds} folds; give more images, or lower 'folds'")


def fit_ridge(
    features: Float[np.ndarray, "images features"],
    responses: Float[np.ndarray, "images voxels"],
    layer_of_feature: Int[np.ndarray, " features"],
    groups: Sequence[str],
    is_test: npt.NDArray[np.bool_],
    folds: int,
    penalties: Float[np.ndarray, " penalties"],
) -> RidgeFit:
    """Choose a penalty per voxel, measure accuracy, and refit on all images.

    Raises
    ------
    InputError
        When there are fewer training groups than folds.
    """
    train = np.flatnonzero(~is_test)
    train_groups = [groups[index] for index in train]
    check_folds(groups, is_test, folds)
    standardizer = standardize(features[train], layer_of_feature)
    x, mean_response = standardizer.apply(features[train]), responses[train].mean(axis=0)
    y = (responses[train] - mean_response).astype(np.float32)
    splits = list(GroupKFold(folds).split(x, groups=train_groups))
    search = KernelRidgeCV(alphas=penalties, kernel="linear", cv=splits, warn=False).fit(x, y)
    chosen = np.asarray(search.best_alphas_, dtype=np.float32)
    test_predictions = np.asarray(search.predict(standardizer.apply(features[is_test]))) + mean_response
    return RidgeFit(
        _refit(features, responses, layer_of_feature, chosen),
        chosen,
        _score_folds(x, y, splits, chosen),
        _correlate(responses[is_test], test_predictions),
        test_predictions,
    )


def _refit(
    features: Float[np.ndarray, "images features"],
    responses: Float[np.ndarray, "images voxels"],
    layer_of_feature: Int[np.ndarray, " features"],
    penalties: Float[np.ndarray, " voxels"],
) -> Readout:
    standardizer = standardize(features, layer_of_feature)
    x, intercept = standardizer.apply(features), responses.mean(axis=0)
    model = KernelRidge(alpha=penalties, kernel="linear", warn=False).fit(x, (responses - intercept).astype(np.float32))
    coefficients = np.asarray(model.get_primal_coef(), dtype=np.float32)
    return Readout(coefficients, intercept.astype(np.float32), standardizer.mean, standardizer.scale)


def _score_folds(
    x: Float[np.ndarray, "images features"],
    y: Float[np.ndarray, "images voxels"],
    splits: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    penalties: Float[np.ndarray, " voxels"],
) -> Float[np.ndarray, " voxels"]:
    """Return the correlation over all left-out images of cross-validated prediction and response."""
    predicted = np.empty_like(y)
    for inside, outside in splits:
        predicted[outside] = KernelRidge(alpha=penalties, kernel="linear", warn=False).fit(x[inside], y[inside]).predict(x[outside])
    return _correlate(y, predicted)


def _correlate(measured: Float[np.ndarray, "images voxels"], predicted: Float[np.ndarray, "images voxels"]) -> Float[np.ndarray, " voxels"]:
    score: npt.NDArray[np.float32] = np.nan_to_num(np.asarray(correlation_score(measured, predicted)), nan=0.0)
    return score
