"""Score images by models: predicted ROI responses in z units of a natural pool, by the makers and by judges apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Float

from protocols.errors import InputError
from stimgen.encoding_model import EncodingModel
from stimgen.feature_cache import FeatureCache, extract_cached
from stimgen.features import extract_files
from stimgen.goal import Goal
from stimgen.readings import Term, weigh_term


@dataclass(frozen=True)
class Scorer:
    """A model with its predicted responses to the natural pool, to which scores are relative.

    `pool` is images x voxels; `features` is what they were predicted from.
    """

    name: str
    model: EncodingModel
    pool: Float[np.ndarray, "images voxels"]
    features: Float[np.ndarray, "images features"]

    def score(self, responses: Float[np.ndarray, "images voxels"]) -> pd.DataFrame:
        """Return images x ROIs: the ROI's weighted mean of predicted responses, in z units of the pool."""
        return self._standardize(responses)

    def read_term(self, responses: Float[np.ndarray, "images voxels"], term: Term) -> Float[np.ndarray, " images"]:
        """Return a term's z of predicted responses; NaN where the model does not have the term or cannot predict it."""
        try:
            weights = weigh_term(self.model, term)
        except InputError:
            return np.full(len(responses), np.nan)
        natural = self.pool @ weights
        z: npt.NDArray[np.float64] = (responses @ weights - natural.mean()) / natural.std()
        return z

    def _standardize(self, responses: Float[np.ndarray, "images voxels"]) -> pd.DataFrame:
        rois = [roi for roi in self.model.rois if is_predictable(self.model, roi)]
        weights = self.model.roi_weights(rois)
        natural = self.pool @ weights
        z = (responses @ weights - natural.mean(axis=0)) / natural.std(axis=0)
        return pd.DataFrame(z, columns=rois)


def predict_files(model: EncodingModel, paths: Sequence[Path], cache: FeatureCache | None = None) -> Float[np.ndarray, "images voxels"]:
    """Return predicted voxel responses to image files as they are on disk; features come from the cache where it has them."""
    return model.readout.predict(extract_cached(model.space, paths, cache) if cache else extract_files(model.space, paths))


def make_scorer(name: str, model: EncodingModel, pool_paths: Sequence[Path], cache: FeatureCache | None = None) -> Scorer:
    """Predict the pool's responses once and keep them, and the features that they are predicted from, with the model."""
    features = extract_cached(model.space, pool_paths, cache) if cache else extract_files(model.space, pool_paths)
    return Scorer(name, model, model.readout.predict(features), features)


def rate_goal(
    goal: Goal, scorers: Sequence[Scorer], responses: Sequence[Float[np.ndarray, "images _voxels"]]
) -> Float[np.ndarray, " images"]:
    """Return how well images do what a goal wants, by the mean over models of every term's z; NaN where no model has a term."""
    return goal.rate(read_goal(goal, scorers, responses))


def read_goal(
    goal: Goal, scorers: Sequence[Scorer], responses: Sequence[Float[np.ndarray, "images _voxels"]]
) -> dict[str, Float[np.ndarray, " images"]]:
    """Return each of a goal's terms' z, the mean over the models that have it."""
    read = {}
    for name in goal.terms:
        z = np.stack([one.read_term(some, Term(name, goal.subjects)) for one, some in zip(scorers, responses, strict=True)])
        known = ~np.isnan(z).all(axis=1)
        read[name] = z[known].mean(axis=0) if known.any() else np.full(z.shape[1], np.nan)
    return read


def is_predictable(model: EncodingModel, roi: str) -> bool:
    """Say whether any voxel of the ROI has a positive cross-validated r."""
    return bool(((model.voxels["roi"] == roi) & (model.voxels["cv_r"] > 0)).any())


def average_scores(scores: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average several models' scores; ROIs that not every model has are left out."""
    common = [roi for roi in scores[0].columns if all(roi in score.columns for score in scores)]
    mean: pd.DataFrame = sum(score[common] for score in scores[1:]) + scores[0][common] if len(scores) > 1 else scores[0][common]
    return mean / len(scores)


def check_judges(models: Sequence[EncodingModel], judges: Sequence[EncodingModel], validators: Sequence[EncodingModel] = ()) -> None:
    """Refuse a judge that shares its network with a generating or validating model: it would judge its own work."""
    makers = {model.space.backbone.weights_sha256 for model in [*models, *validators]}
    for judge in judges:
        if judge.space.backbone.weights_sha256 in makers:
            raise InputError(f"judge on {judge.space.backbone.name}: the same network made the images; fit the judge on another backbone")
