"""How good an encoding model is: per voxel and per ROI, against its noise ceiling, with intervals; and which layers carry it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from himalaya.scoring import r2_score_split
from jaxtyping import Float

from stimgen.bootstrap import bootstrap_correlation
from stimgen.ceiling import normalize_accuracy
from stimgen.encoding_model import EncodingModel
from stimgen.fit_settings import FitSettings
from stimgen.ridge import RidgeFit, correlate
from stimgen.subject_data import SubjectData


@dataclass(frozen=True)
class FittedSubject:
    """One subject's data and fit: `index` are the rows of its images in the features, `voxels` its rows of the model's table."""

    data: SubjectData
    index: npt.NDArray[np.int64]
    is_test: npt.NDArray[np.bool_]
    fit: RidgeFit
    voxels: pd.DataFrame

    @property
    def rois(self) -> list[str]:
        """ROI names, in order of first appearance."""
        return list(dict.fromkeys(self.voxels["roi"]))

    @property
    def test_groups(self) -> list[str]:
        """Group of each test image."""
        return [group for group, held in zip(self.data.groups, self.is_test, strict=True) if held]

    def average_roi(self, roi: str, responses: Float[np.ndarray, "images voxels"]) -> Float[np.ndarray, "images 1"]:
        """Return the mean over the ROI's voxels."""
        mean: npt.NDArray[np.float32] = responses[:, (self.voxels["roi"] == roi).to_numpy()].mean(axis=1, keepdims=True)
        return mean

    def measure_roi(self, roi: str) -> Float[np.ndarray, "test 1"]:
        """Return the ROI's measured mean response to each test image."""
        return self.average_roi(roi, self.data.responses[self.is_test])


def score_voxels(data: SubjectData, is_test: npt.NDArray[np.bool_], fit: RidgeFit, settings: FitSettings) -> pd.DataFrame:
    """Return the model's table of one subject's voxels, with accuracies, their intervals and ceilings."""
    groups = [group for group, held in zip(data.groups, is_test, strict=True) if held]
    low, high = bootstrap_correlation(data.responses[is_test], fit.test_predictions, groups, np.random.default_rng(settings.seed))
    parts = split_variance(data.responses[is_test], fit) if settings.bands else ()
    explained = {f"r2_{name}": values for name, values in zip(settings.bands, parts, strict=True)}
    return data.voxels.assign(
        subject=data.subject,
        voxel_id=[f"{data.subject}_{voxel}" for voxel in data.voxels["voxel_id"]],
        cv_r=fit.cv_r,
        test_r=fit.test_r,
        test_r_low=low,
        test_r_high=high,
        noise_ceiling=data.noise_ceiling,
        split_half_reliability=data.split_half,
        normalized_accuracy=normalize_accuracy(fit.test_r, data.noise_ceiling),
        penalty=fit.choice.penalties,
        **explained,
    )


def split_variance(measured: Float[np.ndarray, "test voxels"], fit: RidgeFit) -> Float[np.ndarray, "bands voxels"]:
    """Return the variance of test responses that each band explains; the bands' sum is the model's R2 (product measure).

    Means over the test images are removed, of responses and of each band's predictions.
    """
    centered = measured.astype(np.float64) - measured.mean(axis=0, dtype=np.float64)
    parts = fit.test_by_band - fit.test_by_band.mean(axis=1, keepdims=True)
    explained: npt.NDArray[np.float64] = np.asarray(r2_score_split(centered, parts.astype(np.float64)))
    return explained


def summarize_accuracy(one: FittedSubject, seed: int) -> pd.DataFrame:
    """Return one row per ROI: voxels, medians over them, and the accuracy of the mean response of all of them.

    `cv_r test_r noise_ceiling normalized_accuracy` are medians over voxels; `roi_*` are of the ROI's mean response to test images.
    """
    rows = []
    for roi in one.rois:
        inside = (one.voxels["roi"] == roi).to_numpy()
        measured, predicted = one.measure_roi(roi), one.average_roi(roi, one.fit.test_predictions)
        low, high = bootstrap_correlation(measured, predicted, one.test_groups, np.random.default_rng(seed))
        ceiling, r = np.array([one.data.roi_ceiling[roi]]), correlate(measured, predicted)
        medians = one.voxels.loc[inside, ["cv_r", "test_r", "noise_ceiling", "normalized_accuracy"]].median()
        rows.append(
            {
                "subject": one.data.subject,
                "roi": roi,
                "voxels": int(inside.sum()),
                "predictable_voxels": int((one.voxels["cv_r"][inside] > 0).sum()),
                **medians.to_dict(),
                "roi_test_r": float(r[0]),
                "roi_test_r_low": float(low[0]),
                "roi_test_r_high": float(high[0]),
                "roi_noise_ceiling": float(ceiling[0]),
                "roi_normalized_accuracy": float(normalize_accuracy(r, ceiling)[0]),
                "test_images": int(one.is_test.sum()),
            }
        )
    return pd.DataFrame(rows)


def summarize_layers(
    model: EncodingModel, features: Float[np.ndarray, "all features"], index: dict[str, npt.NDArray[np.int64]]
) -> pd.DataFrame:
    """Return the share of each ROI's predicted variance that each layer carries: `subject roi layer share`.

    The ROI's prediction is its voxels' weighted mean; a layer's share is the covariance of its part with the whole over the whole's
    variance (product measure), over the subject's images. Shares sum to 1 and may be negative where layers cancel.
    """
    readout, rows = model.readout, []
    for subject, images in index.items():
        voxels = (model.voxels["subject"] == subject).to_numpy()
        rois = [
            roi
            for roi in dict.fromkeys(model.voxels["roi"][voxels])
            if ((model.voxels["roi"] == roi) & voxels & (model.voxels["cv_r"] > 0)).any()
        ]
        weights = np.where(voxels[:, None], model.roi_weights(rois), 0) if rois else np.zeros((len(voxels), 0))
        slopes = (readout.coefficients @ weights) / readout.feature_scale[:, None]
        layer_of_feature = model.space.layer_of_feature
        parts = np.stack(
            [
                features[np.ix_(images, layer_of_feature == number)] @ slopes[layer_of_feature == number]
                for number in range(len(model.space.layers))
            ]
        )
        parts = parts - parts.mean(axis=1, keepdims=True)
        whole = parts.sum(axis=0)
        shares = (parts * whole).sum(axis=1) / (whole**2).sum(axis=0)
        for roi, column in zip(rois, shares.T, strict=True):
            rows += [
                {"subject": subject, "roi": roi, "layer": layer.name, "share": share}
                for layer, share in zip(model.space.layers, column.tolist(), strict=True)
            ]
    return pd.DataFrame(rows, columns=["subject", "roi", "layer", "share"])


def summarize_bands(fitted: Sequence[FittedSubject], names: Sequence[str]) -> pd.DataFrame:
    """Return the variance of test responses that each band explains, averaged over each ROI's voxels: `subject roi band r2`."""
    rows = [
        {"subject": one.data.subject, "roi": roi, "band": name, "r2": one.voxels.loc[one.voxels["roi"] == roi, f"r2_{name}"].mean()}
        for one in fitted
        for roi in one.rois
        for name in names
    ]
    return pd.DataFrame(rows, columns=["subject", "roi", "band", "r2"])
