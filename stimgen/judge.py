"""Score images by models: predicted ROI responses in z units of a natural pool, by the makers and by judges apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from protocols.errors import InputError
from stimgen.encoding_model import EncodingModel
from stimgen.feature_cache import FeatureCache, extract_cached
from stimgen.features import extract_files


@dataclass(frozen=True)
class Scorer:
    """A model with its predicted responses to the natural pool, to which scores are relative.

    `pool` is images x voxels.
    """

    name: str
    model: EncodingModel
    pool: Float[np.ndarray, "images voxels"]

    def score(self, paths: Sequence[Path]) -> pd.DataFrame:
        """Return images x ROIs: the ROI's weighted mean response to each image file, in z units of the pool."""
        return self._standardize(predict_files(self.model, paths))

    def score_pool(self) -> pd.DataFrame:
        """Return images x ROIs for the pool itself."""
        return self._standardize(self.pool)

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
    """Predict the pool's responses once and keep them with the model."""
    return Scorer(name, model, predict_files(model, pool_paths, cache))


def is_predictable(model: EncodingModel, roi: str) -> bool:
    """Say whether any voxel of the ROI has a positive cross-validated r."""
    return bool(((model.voxels["roi"] == roi) & (model.voxels["cv_r"] > 0)).any())


def average_scores(scores: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average several models' scores; ROIs that not every model has are left out."""
    common = [roi for roi in scores[0].columns if all(roi in score.columns for score in scores)]
    mean: pd.DataFrame = sum(score[common] for score in scores[1:]) + scores[0][common] if len(scores) > 1 else scores[0][common]
    return mean / len(scores)


def check_judges(models: Sequence[EncodingModel], judges: Sequence[EncodingModel]) -> None:
    """Refuse a judge that shares its network with a generating model: it would judge its own work."""
    makers = {model.space.backbone.weights_sha256 for model in models}
    for judge in judges:
        if judge.space.backbone.weights_sha256 in makers:
            raise InputError(f"judge on {judge.space.backbone.name}: the same network made the images; fit the judge on another backbone")
