"""Accuracy is told per voxel and ROI, against its ceiling, with intervals; layers and bands share what is predicted; it is drawn."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stimgen.accuracy import FittedSubject, score_voxels, split_variance, summarize_accuracy, summarize_bands, summarize_layers
from stimgen.accuracy_plot import draw_accuracy
from stimgen.encoding_model import VOXEL_COLUMNS, Readout
from stimgen.fit import fit_subjects
from stimgen.fit_settings import FitSettings
from stimgen.ridge import RidgeFit
from stimgen.solvers import Choice
from stimgen.subject_data import SubjectData
from tests.stimgen.simulated import make_responses, prepare
from tests.stimgen.tiny import draw_images, make_tiny_model

ROIS = ("V3", "V3", "V3", "LO", "EBA")
SETTINGS = FitSettings(folds=3, log10_penalties=(-4.0, 1.0, 6))
BANDED = replace(SETTINGS, bands={"early": ("first",), "late": ("second",)})
MORE_COLUMNS = {"test_r_low", "test_r_high", "split_half_reliability", "normalized_accuracy", "penalty"}


def make_fitted(tests=14, ceiling=0.8, settings=BANDED, subject="01"):
    """Return one subject with made-up responses and predictions: EBA's are constant."""
    rng, images = np.random.default_rng(3), tests + 20
    is_test = np.arange(images) < tests
    responses = rng.standard_normal((images, len(ROIS))).astype(np.float32)
    by_band = np.stack([0.4 * responses[:tests], 0.1 * responses[:tests]]) + 0.2 * rng.standard_normal((2, tests, len(ROIS)))
    by_band[:, :, 4] = 0
    by_band = by_band.astype(np.float32)
    predicted = by_band.sum(axis=0) + 3
    measured = responses[is_test]
    test_r = np.array([0.0 if voxel == 4 else np.corrcoef(measured[:, voxel], predicted[:, voxel])[0, 1] for voxel in range(5)])
    voxels = pd.DataFrame({"voxel_id": [f"v{number}" for number in range(5)], "roi": ROIS})
    paths = [f"{number}.png" for number in range(images)]
    groups = [f"photo{number // 2}" for number in range(images)]
    noise_ceiling = np.array([ceiling, 0.9, np.nan, ceiling, ceiling], dtype=np.float32)
    data = SubjectData(
        subject, [], paths, groups, responses, voxels, noise_ceiling, noise_ceiling**2, {"V3": 0.9, "LO": np.nan, "EBA": 0.9}
    )
    readout = Readout(*(np.zeros(shape, dtype=np.float32) for shape in ((3, 5), 5, 3, 3)))
    choice = Choice(np.array([1.0, 0.1, 0.1, 10.0, 10.0]), np.zeros(5, dtype=np.int64))
    cv_r = np.array([0.5, 0.3, -0.1, 0.6, -0.2], dtype=np.float32)
    nobody = np.arange(0)
    fit = RidgeFit(readout, choice, cv_r, test_r.astype(np.float32), predicted, by_band, nobody, predicted[:0])
    return FittedSubject(data, np.arange(images), is_test, fit, score_voxels(data, is_test, fit, settings))


def test_every_voxel_has_its_accuracies_ceilings_and_intervals():
    one = make_fitted()
    table = one.voxels
    assert set(table.columns) == {*VOXEL_COLUMNS, *MORE_COLUMNS, "r2_early", "r2_late"}
    assert table["voxel_id"].tolist() == [f"01_v{number}" for number in range(5)]
    np.testing.assert_allclose(table["normalized_accuracy"][[0, 1, 3]], table["test_r"][[0, 1, 3]] ** 2 / [0.64, 0.81, 0.64], rtol=1e-4)
    assert np.isnan(table["normalized_accuracy"][2])  # no ceiling
    assert table["normalized_accuracy"][4] == 0
    inside = table[:4]
    assert ((inside["test_r_low"] < inside["test_r"]) & (inside["test_r"] < inside["test_r_high"])).all()
    assert table.loc[4, ["test_r_low", "test_r_high"]].isna().all()  # a constant prediction
    assert table["penalty"].tolist() == [1.0, 0.1, 0.1, 10.0, 10.0]
    assert not set(score_voxels(one.data, one.is_test, one.fit, SETTINGS).columns) & {"r2_early", "r2_late"}


def test_bands_share_the_r2_of_a_prediction_whose_mean_is_taken_off():
    one = make_fitted()
    explained = split_variance(one.data.responses[one.is_test], one.fit)
    measured = one.data.responses[one.is_test] - one.data.responses[one.is_test].mean(axis=0)
    rest = measured - one.fit.test_predictions + one.fit.test_predictions.mean(axis=0)
    np.testing.assert_allclose(explained.sum(axis=0), 1 - (rest**2).sum(axis=0) / (measured**2).sum(axis=0), atol=1e-5)
    assert (explained[0, :4] > explained[1, :4]).all()
    np.testing.assert_allclose(explained[:, 4], 0, atol=1e-7)
    table = summarize_bands([one, make_fitted(subject="02")], ["early", "late"])
    assert table[["subject", "roi", "band"]].head(3).to_numpy().tolist() == [
        ["01", "V3", "early"],
        ["01", "V3", "late"],
        ["01", "LO", "early"],
    ]
    assert len(table) == 2 * 3 * 2
    np.testing.assert_allclose(table["r2"][:2], explained[:, :3].mean(axis=1), rtol=1e-5)


def test_accuracy_of_an_roi_is_its_voxels_medians_and_the_r_of_its_mean():
    one = make_fitted()
    table = summarize_accuracy(one, seed=1).set_index("roi")
    assert list(table.index) == ["V3", "LO", "EBA"]
    assert table["voxels"].tolist() == [3, 1, 1]
    assert table["predictable_voxels"].tolist() == [2, 1, 0]
    assert table["test_images"].tolist() == [14, 14, 14]
    np.testing.assert_allclose(table.loc["V3", "cv_r"], 0.3, rtol=1e-6)
    np.testing.assert_allclose(table.loc["V3", "noise_ceiling"], 0.85, rtol=1e-6)  # the median of those that have one
    measured, predicted = one.data.responses[:14, :3].mean(axis=1), one.fit.test_predictions[:, :3].mean(axis=1)
    r = np.corrcoef(measured, predicted)[0, 1]
    np.testing.assert_allclose(table.loc["V3", "roi_test_r"], r, rtol=1e-5)
    np.testing.assert_allclose(table.loc["V3", "roi_normalized_accuracy"], r**2 / 0.81, rtol=1e-4)
    assert table.loc["V3", "roi_test_r_low"] < r < table.loc["V3", "roi_test_r_high"]
    assert np.isnan(table.loc["LO", "roi_normalized_accuracy"])
    assert table.loc["EBA", "roi_test_r"] == 0.0  # a constant prediction explains nothing
    pd.testing.assert_frame_equal(summarize_accuracy(one, seed=1), summarize_accuracy(one, seed=1))


def test_a_layer_that_the_readout_does_not_use_has_no_share():
    model, rng = make_tiny_model(), np.random.default_rng(1)
    features = rng.standard_normal((12, model.space.size)).astype(np.float32)
    second = model.space.layer_of_feature == 1
    model.readout.coefficients[second] = 0
    images = {"01": np.arange(2, 12)}
    table = summarize_layers(model, features, images)
    assert table["roi"].unique().tolist() == ["V3", "LO", "EBA"]
    np.testing.assert_allclose(table["share"], [1, 0] * 3, atol=1e-5)


def test_shares_of_layers_are_covariances_with_the_whole_over_the_subjects_own_images():
    model, images = make_tiny_model(), draw_images(9, 8)
    features = model.space.extract(images).numpy()
    own = np.array([0, 2, 3, 4, 5, 8])
    table = summarize_layers(model, features, {"01": own})
    weights = model.roi_weights(["V3"])[:, 0]
    x = (features - model.readout.feature_mean) / model.readout.feature_scale
    slopes, layer_of_feature = model.readout.coefficients @ weights, model.space.layer_of_feature
    parts = [x[own][:, layer_of_feature == layer] @ slopes[layer_of_feature == layer] for layer in (0, 1)]
    covariance = np.cov(np.array(parts))
    np.testing.assert_allclose(table["share"][:2], covariance.sum(axis=1) / covariance.sum(), rtol=1e-3)


def test_rois_without_a_predictable_voxel_have_no_shares():
    model = make_tiny_model(cv_r=(-0.1, 0, -0.1, 0.6, -0.2))
    features = np.random.default_rng(1).standard_normal((12, model.space.size)).astype(np.float32)
    assert summarize_layers(model, features, {"01": np.arange(12)})["roi"].tolist() == ["LO", "LO"]
    nothing = summarize_layers(make_tiny_model(cv_r=(-0.1,) * 5), features, {"01": np.arange(12)})
    assert (list(nothing.columns), len(nothing)) == (["subject", "roi", "layer", "share"], 0)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A fit of two subjects, the second without repetitions and of pure noise."""
    root = tmp_path_factory.mktemp("accuracy")
    one = make_responses(root / "sub-01", seed=1)
    two = make_responses(root / "sub-02", seed=2, repeats=1, noise=100.0)
    return fit_subjects(SETTINGS, *prepare(one, two))


def read_picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def has_color(pixels, code):
    color = [int(code[start : start + 2], 16) for start in (0, 2, 4)]
    return bool((np.abs(pixels - color).max(axis=2) < 12).any())


def test_the_picture_shows_voxels_rois_and_ceilings_of_all_subjects(reported, tmp_path):
    draw_accuracy(reported.model.voxels, reported.accuracy, reported.layers, tmp_path / "accuracy.png")
    pixels = read_picture(tmp_path / "accuracy.png")
    assert min(pixels.shape[:2]) > 400
    assert all(has_color(pixels, code) for code in ("0072B2", "D55E00", "009E73"))


@pytest.mark.parametrize("change", ["no ceilings", "one unpredictable ROI", "nothing predictable", "one subject", "no intervals"])
def test_the_picture_is_drawn_whatever_is_missing(reported, change, tmp_path):
    voxels, accuracy, layers = reported.model.voxels.copy(), reported.accuracy.copy(), reported.layers
    if change == "no ceilings":
        voxels["noise_ceiling"] = accuracy["noise_ceiling"] = accuracy["roi_noise_ceiling"] = np.nan
    if change == "no intervals":
        accuracy["roi_test_r_low"] = accuracy["roi_test_r_high"] = np.nan
    if change == "one unpredictable ROI":
        layers = layers[layers["roi"] != "V3"]
    if change == "nothing predictable":
        layers = layers[:0]
    if change == "one subject":
        voxels, accuracy, layers = (table[table["subject"] == "01"].reset_index(drop=True) for table in (voxels, accuracy, layers))
    draw_accuracy(voxels, accuracy, layers, tmp_path / "accuracy.png")
    assert has_color(read_picture(tmp_path / "accuracy.png"), "0072B2")
