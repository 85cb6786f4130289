"""A new subject's encoding model from a few images: predicted responses of other subjects' ROIs in, weights per voxel out.

After Gu, Jamison, Sabuncu & Kuceyeski 2022, Communications Biology 5:1382: a new subject's response is a linear ensemble of the responses
that the models of deeply sampled subjects predict. Everything is linear in the features: the ensemble is an EncodingModel like others.

With K predictors x (one per subject and ROI of the group) and m the mean over subjects of the predictors of the voxel's own ROI, all
standardized over the training images as the voxel is,

    voxel = b m + sum over k of c[k] x[k] / sqrt(K)

b is the least-squares slope on m alone, averaged over the voxels of the ROI; c minimizes the squared error of the rest plus penalty times
the sum of c[k]^2, with one penalty per ROI. So with few images the ensemble falls back on the group's mean for that ROI, and not on
nothing, and what one voxel is too noisy to tell (the slope, the penalty) is learnt from all voxels of its ROI. In simulations with 20 to
150 images this was as good as or better than shrinking towards nothing, an almost unpenalized m, and penalties per voxel, also where
voxels were unlike their ROI or differed tenfold in noise. Where the group has no such ROI, b is 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from himalaya.backend import get_backend
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.ridge import RidgeCV
from jaxtyping import Float, Int

from protocols.errors import InputError
from stimgen.bootstrap import bootstrap_correlation
from stimgen.encoding_model import EncodingModel, Readout
from stimgen.ridge import center_folds

FEWEST_FOLDS = 3
PENALTIES = np.logspace(-2, 5, 15)
SCRATCH_PENALTIES = np.logspace(-4, 3, 15)  # as `stimgen fit`
Fold = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Indices of the images inside (fitted) and outside (predicted)."""


@dataclass(frozen=True)
class Predictors:
    """What an ensemble is made of: averages of the group's voxels.

    Attributes
    ----------
    table
        One row per predictor: `subject`, `roi`.
    mixture
        The weight of every voxel of the group in each predictor; a column sums to 1.
    rois
        ROIs that have predictors.
    means
        The weight of every predictor in the mean over subjects of each of `rois`; a column sums to 1.
    """

    table: pd.DataFrame
    mixture: Float[np.ndarray, "voxels predictors"]
    rois: list[str]
    means: Float[np.ndarray, "predictors rois"]


@dataclass(frozen=True)
class Ensemble:
    """Weights on the group's predictors: response = predictors @ weights + intercept; `penalties` are those chosen, per voxel."""

    weights: Float[np.ndarray, "predictors voxels"]
    intercept: Float[np.ndarray, " voxels"]
    penalties: Float[np.ndarray, " voxels"]

    def predict(self, predictors: Float[np.ndarray, "images predictors"]) -> Float[np.ndarray, "images voxels"]:
        """Return the predicted responses, in the units of the new subject's responses."""
        predicted: npt.NDArray[np.float64] = predictors @ self.weights + self.intercept
        return predicted


def choose_predictors(model: EncodingModel, voxels: bool = False) -> Predictors:
    """Return one predictor per subject and ROI of the group: its voxels weighted by cv_r squared, zero where cv_r is not positive.

    With `voxels` every voxel of positive cv_r is a predictor of its own, and the means are over subjects' weighted means as before.

    Raises
    ------
    InputError
        When the group's model predicts no voxel.
    """
    squared = np.clip(model.voxels["cv_r"].to_numpy(dtype=np.float64), 0, None) ** 2
    if not squared.any():
        raise InputError("group model: no voxel is predictable (cross-validated r is 0 or less in all); fit it on more images")
    kept = model.voxels[squared > 0]
    parts = list(kept.groupby(["subject", "roi"], sort=False).indices.items())
    positions = np.flatnonzero(squared > 0)
    averages = np.zeros((len(squared), len(parts)))
    for column, (_, inside) in enumerate(parts):
        averages[positions[inside], column] = squared[positions[inside]] / squared[positions[inside]].sum()
    names = pd.DataFrame([name for name, _ in parts], columns=["subject", "roi"])
    rois = list(dict.fromkeys(names["roi"]))
    over_subjects = (names["roi"].to_numpy()[:, None] == np.array(rois)[None, :]).astype(np.float64)
    over_subjects /= over_subjects.sum(axis=0)
    if not voxels:
        return Predictors(names, averages, rois, over_subjects)
    return Predictors(
        kept[["subject", "roi"]].reset_index(drop=True), np.eye(len(squared))[:, positions], rois, (averages @ over_subjects)[positions]
    )


def assign_folds(groups: Sequence[str], folds: int, rng: np.random.Generator) -> Int[np.ndarray, " images"]:
    """Return the fold of each image: groups in random order, each whole into the fold that has fewest images so far.

    Raises
    ------
    InputError
        When there are fewer than 3 folds (penalties are chosen by the others, of which two are needed), or fewer groups than folds.
    """
    names, sizes = np.unique(np.array(groups), return_counts=True)
    if folds < FEWEST_FOLDS:
        raise InputError(f"{folds} folds; give 3 or more, since penalties are chosen by cross-validation within all folds but one")
    if len(names) < folds:
        raise InputError(f"{len(names)} groups of images for {folds} folds; give more images, or lower --folds")
    order = rng.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, fold_of_group = np.zeros(folds, dtype=np.int64), {}
    for index in order:
        fold = int(filled.argmin())
        fold_of_group[names[index]] = fold
        filled[fold] += sizes[index]
    return np.array([fold_of_group[group] for group in groups], dtype=np.int64)


def list_folds(fold_of_image: Int[np.ndarray, " images"]) -> list[Fold]:
    """Return the images inside and outside of every fold."""
    return [(np.flatnonzero(fold_of_image != fold), np.flatnonzero(fold_of_image == fold)) for fold in np.unique(fold_of_image)]


def fit_ensemble(
    x: Float[np.ndarray, "images predictors"],
    y: Float[np.ndarray, "images voxels"],
    rois: Sequence[str],
    predictors: Predictors,
    splits: Sequence[Fold],
    towards_mean: bool = True,
) -> Ensemble:
    """Fit every voxel's weights; `rois` names each voxel's ROI, and its penalty is chosen by squared error over `splits`.

    Without `towards_mean` b is 0: plain ridge, shrunk towards nothing.
    """
    center, scale = x.mean(axis=0), _measure_spread(x) * np.sqrt(x.shape[1])
    level, deviation = y.mean(axis=0), _measure_spread(y)
    columns, z = (x - center) / scale, (y - level) / deviation
    weights, penalties = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])
    for roi, chosen in _list_rois(rois):
        mean = np.zeros(x.shape[1])
        if towards_mean and roi in predictors.rois:
            mean = predictors.means[:, predictors.rois.index(roi)]
            m = (x - center) @ mean
            mean = mean * (m @ z[:, chosen]).mean() / max(m @ m, 1e-12)  # b m, as weights on the predictors
        rest = z[:, chosen] - ((x - center) @ mean)[:, None]
        coefficients, penalties[chosen] = _search_penalty(columns, rest, splits)
        weights[:, chosen] = (mean[:, None] + coefficients / scale[:, None]) * y.std(axis=0)[chosen]  # a constant voxel stays constant
    return Ensemble(weights, level - center @ weights, penalties)


def _search_penalty(
    x: Float[np.ndarray, "images columns"], y: Float[np.ndarray, "images voxels"], splits: Sequence[Fold]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return coefficients and the common penalty of ridge regression on centered columns, primal or dual, whichever is smaller."""
    to_numpy, shared = get_backend().to_numpy, {"local_alpha": False}
    if x.shape[1] <= len(x):
        primal = RidgeCV(alphas=PENALTIES, fit_intercept=True, cv=list(splits), solver_params={**shared, "warn": False}).fit(x, y)
        return to_numpy(primal.coef_), to_numpy(primal.best_alphas_)
    dual = KernelRidgeCV(alphas=PENALTIES, fit_intercept=True, cv=list(splits), solver_params=shared, warn=False).fit(x, y)
    return to_numpy(dual.get_primal_coef()), to_numpy(dual.best_alphas_)


def cross_validate_ensemble(
    x: Float[np.ndarray, "images predictors"],
    y: Float[np.ndarray, "images voxels"],
    rois: Sequence[str],
    predictors: Predictors,
    fold_of_image: Int[np.ndarray, " images"],
    towards_mean: bool = True,
) -> Float[np.ndarray, "images voxels"]:
    """Predict every image by an ensemble fitted without its fold, its penalties chosen by the other folds (nested)."""
    predicted = np.empty(y.shape)
    for inside, outside in list_folds(fold_of_image):
        ensemble = fit_ensemble(x[inside], y[inside], rois, predictors, list_folds(fold_of_image[inside]), towards_mean)
        predicted[outside] = ensemble.predict(x[outside])
    return predicted


def cross_validate_scratch(
    features: Float[np.ndarray, "images features"],
    y: Float[np.ndarray, "images voxels"],
    rois: Sequence[str],
    layer_of_feature: Int[np.ndarray, " features"],
    fold_of_image: Int[np.ndarray, " images"],
) -> Float[np.ndarray, "images voxels"]:
    """Predict every image by ridge regression on the features, fitted to the same few images without its fold (nested).

    Every layer has the same total variance, as in `stimgen fit`; a penalty per ROI, as in the ensemble, so that the two compare fairly.
    """
    sizes = np.bincount(layer_of_feature)
    weight = np.sqrt(sizes[layer_of_feature] * np.count_nonzero(sizes)).astype(np.float32)
    predicted = np.empty(y.shape)
    for inside, outside in list_folds(fold_of_image):
        x = (features - features[inside].mean(axis=0)) / (_measure_spread(features[inside]) * weight)
        kernel, across = x[inside] @ x[inside].T, x[outside] @ x[inside].T
        level, deviation = y[inside].mean(axis=0), _measure_spread(y[inside])
        z = ((y[inside] - level) / deviation).astype(kernel.dtype)
        ridge = KernelRidgeCV(SCRATCH_PENALTIES, "precomputed", cv=list_folds(fold_of_image[inside]), solver_params={"local_alpha": False})
        for _, chosen in _list_rois(rois):
            predicted[np.ix_(outside, chosen)] = get_backend().to_numpy(ridge.fit(kernel, z[:, chosen]).predict(across))
        predicted[outside] = predicted[outside] * deviation + level
    return predicted


def _list_rois(rois: Sequence[str]) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """Return each ROI with the positions of its voxels."""
    return [(roi, np.flatnonzero(np.array(rois) == roi)) for roi in dict.fromkeys(rois)]


def _measure_spread(values: Float[np.ndarray, "images columns"]) -> npt.NDArray[Any]:
    """Return standard deviations in the dtype of `values`; 1 for a column that is constant."""
    deviation = values.std(axis=0)
    return np.where(deviation > 1e-6 * max(float(deviation.max()), 1e-12), deviation, 1).astype(values.dtype)


def build_readout(group: Readout, predictors: Predictors, ensemble: Ensemble) -> Readout:
    """Return the ensemble as a readout of the group's features: its coefficients are combinations of the group's."""
    mixed = predictors.mixture @ ensemble.weights
    coefficients = (group.coefficients @ mixed.astype(np.float32)).astype(np.float32)
    intercept = group.intercept.astype(np.float64) @ mixed + ensemble.intercept
    return Readout(coefficients, intercept.astype(np.float32), group.feature_mean, group.feature_scale)


def correlate(
    measured: Float[np.ndarray, "images columns"], predicted: Float[np.ndarray, "images columns"]
) -> Float[np.ndarray, " columns"]:
    """Return each column's correlation over images; NaN where one of the two is constant."""
    y, x = (values - values.mean(axis=0) for values in (measured, predicted))
    size = np.sqrt((y**2).sum(axis=0) * (x**2).sum(axis=0))
    r: npt.NDArray[np.float64] = (y * x).sum(axis=0) / np.where(size > 1e-12, size, np.nan)
    return r


def compare_models(
    measured: Float[np.ndarray, "images voxels"],
    group: Float[np.ndarray, "images rois"],
    predicted: Mapping[str, Float[np.ndarray, "images voxels"]],
    rois: Sequence[str],
    names: Sequence[str],
    groups: Sequence[str],
    fold_of_image: Int[np.ndarray, " images"],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Return one row per ROI in `names`: r of its mean response with the group's prediction and those of `predicted`, with 95 % intervals.

    All within folds (`center_folds`) and on the same resamples of groups of images; an ROI's mean counts its voxels alike.
    """
    inside = np.array(rois)[:, None] == np.array(names)[None, :]
    average = inside / inside.sum(axis=0)
    models = {"group": group, **{name: values @ average for name, values in predicted.items()}}
    y = center_folds(np.hstack([measured @ average] * len(models)), fold_of_image)
    x = center_folds(np.hstack(list(models.values())), fold_of_image)
    r = correlate(y, x)
    low, high = bootstrap_correlation(y, x, groups, rng)
    table = pd.DataFrame({"roi": list(names), "voxels": inside.sum(axis=0), "images": len(measured)})
    for position, name in enumerate(models):
        columns = slice(position * len(names), (position + 1) * len(names))
        table = table.assign(**{f"{name}_r": r[columns], f"{name}_r_low": low[columns], f"{name}_r_high": high[columns]})
    return table
