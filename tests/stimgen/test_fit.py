"""Fitting puts subjects side by side in one model, explains them by bands and layers, and asks how they speak of one another."""

from dataclasses import replace

import numpy as np
import pytest

from protocols.config import parse_config
from protocols.errors import InputError
from stimgen.features import extract_files
from stimgen.fit import fit_subjects, hold_out, plan_ridge
from stimgen.fit_settings import FitSettings, assign_bands
from stimgen.ridge import fit_ridge
from stimgen.subject_data import average_repetitions
from tests.stimgen.simulated import VOXELS, make_responses, make_small_space, prepare

SETTINGS = FitSettings(folds=3, log10_penalties=(-4.0, 1.0, 6))
BANDED = replace(SETTINGS, bands={"early": ("first",), "late": ("second",)}, band_candidates=12)


def fit(*responses, settings=SETTINGS):
    return fit_subjects(settings, *prepare(*responses))


def test_linear_responses_are_predicted(tmp_path):
    found = fit(make_responses(tmp_path / "sub-01"))
    voxels = found.model.voxels
    assert voxels["test_r"].min() > 0.8
    assert voxels["cv_r"].min() > 0.8
    assert list(voxels["voxel_id"]) == ["01_v0", "01_v1", "01_v2", "01_v3"]
    assert found.accuracy["roi"].tolist() == ["V3", "LO"]
    assert found.accuracy["roi_test_r"].min() > 0.8
    assert found.accuracy["test_images"].tolist() == [6, 6]
    assert len(found.model.card["test_groups"]) == 6
    assert (len(found.bands), len(found.across)) == (0, 0)


def test_two_subjects_in_one_model_predict_as_each_alone(tmp_path):
    one = make_responses(tmp_path / "sub-01", seed=1)
    two = make_responses(tmp_path / "sub-02", seed=2, images=25, first_image=5)  # other images, so another standardization
    joined = fit(one, two).model
    features = extract_files(joined.space, one.image_paths())
    together = joined.readout.predict(features)
    assert list(joined.voxels["subject"]) == ["01"] * VOXELS + ["02"] * VOXELS
    for part, responses in ((slice(0, VOXELS), one), (slice(VOXELS, None), two)):
        alone = fit_alone(responses, set(joined.card["test_groups"]))
        np.testing.assert_allclose(together[:, part], alone.readout.predict(features), atol=2e-3)
        np.testing.assert_allclose(joined.voxels["test_r"][part], alone.test_r, atol=1e-4)


def fit_alone(responses, test_groups):
    data, space = average_repetitions(responses), make_small_space()
    is_test = np.array([group in test_groups for group in data.groups])
    features, index = extract_files(space, data.paths), np.arange(len(data.paths))
    plan = plan_ridge(SETTINGS, [[0, 1]])
    return fit_ridge(features, index, data.responses, space.layer_of_feature, data.groups, is_test, plan, index[:0])


def test_the_seed_chooses_the_test_images(tmp_path):
    made = make_responses(tmp_path / "sub-01")
    tested = [fit(made, settings=replace(SETTINGS, seed=seed)).model.card["test_groups"] for seed in (1, 1, 2)]
    assert tested[0] == tested[1] != tested[2]


def test_bands_share_the_variance_of_test_responses(tmp_path):
    """Responses come from the first layer alone, so its band explains them; the bands' shares sum to the model's R2."""
    made = make_responses(tmp_path / "sub-01", images=60, gains=(1.0, 0.0))
    space, features, subjects, indices = prepare(made)
    found = fit_subjects(BANDED, space, features, subjects, indices, [[0], [1]])
    voxels = found.model.voxels
    is_test = hold_out(BANDED, subjects)[0]
    plan = plan_ridge(BANDED, [[0], [1]])
    data = subjects[0]
    alone = fit_ridge(features, indices[0], data.responses, space.layer_of_feature, data.groups, is_test, plan, indices[0][:0])
    measured = data.responses[is_test] - data.responses[is_test].mean(axis=0)
    rest = measured - alone.test_predictions + alone.test_predictions.mean(axis=0)
    np.testing.assert_allclose(voxels["r2_early"] + voxels["r2_late"], 1 - (rest**2).sum(axis=0) / (measured**2).sum(axis=0), atol=1e-4)
    assert (voxels["r2_early"] > voxels["r2_late"] + 0.3).all()
    assert list(found.bands.columns) == ["subject", "roi", "band", "r2"]
    assert found.bands[["roi", "band"]].to_numpy().tolist() == [["V3", "early"], ["V3", "late"], ["LO", "early"], ["LO", "late"]]
    np.testing.assert_allclose(found.bands["r2"][:2], voxels[["r2_early", "r2_late"]][:2].mean(), rtol=1e-6)
    assert fit_subjects(BANDED, space, features, subjects, indices, [[0], [1]]).bands.equals(found.bands)  # the seed draws the candidates


def test_each_rois_predicted_variance_is_shared_out_to_the_layers(tmp_path):
    subjects = [make_responses(tmp_path / f"sub-0{number}", seed=number, gains=(0.0, 1.0)) for number in (1, 2)]
    layers = fit(*subjects).layers
    assert list(layers.columns) == ["subject", "roi", "layer", "share"]
    assert len(layers) == 2 * 2 * 2
    np.testing.assert_allclose(layers.groupby(["subject", "roi"])["share"].sum(), 1, atol=1e-4)


def test_subjects_of_the_same_tuning_predict_each_other(tmp_path):
    alike = [make_responses(tmp_path / f"sub-0{number}", seed=number, tuning=9, images=40) for number in (1, 2, 3)]
    table = fit(*alike).across
    assert table[["subject", "roi"]].to_numpy().tolist() == [[s, roi] for s in ("01", "02", "03") for roi in ("V3", "LO")]
    assert table["other_subjects"].tolist() == [2] * 6
    assert table["test_images"].tolist() == [8] * 6
    assert table["others_r"].min() > 0.9
    assert (table["others_r_low"] <= table["others_r"]).all()
    assert table["own_r"].min() > 0.8


def test_strangers_do_not_predict_each_other(tmp_path):
    r = []
    for pair in range(12):
        strangers = [make_responses(tmp_path / str(pair) / f"sub-0{number}", seed=10 * pair + number, images=40) for number in (1, 2)]
        r += fit(*strangers).across["others_r"].tolist()
    assert abs(np.mean(r)) < 0.3  # 48 correlations over 8 images that share what features have in common
    assert np.std(r) > 0.2


def test_subjects_of_different_images_predict_each_others_test_images(tmp_path):
    """Each subject is asked for images that it has never seen, and that took part in no fit of the others."""
    one = make_responses(tmp_path / "sub-01", seed=1, tuning=9)
    two = make_responses(tmp_path / "sub-02", seed=2, tuning=9, first_image=20)
    table = fit(one, two).across
    assert table["others_r"].min() > 0.8
    assert table["test_images"].groupby(table["subject"]).first().sum() >= 10


def test_what_the_others_were_fitted_to_does_not_count_where_runs_differ_between_subjects(tmp_path):
    """Kept whole by run, images are in other groups in every subject: a test image of one may be a training image of another."""
    settings = replace(SETTINGS, group_by="run", test_fraction=0.4)
    made = [make_responses(tmp_path / f"sub-0{number}", seed=number, tuning=9, images=60, repeats=1) for number in (1, 2)]
    for number, one in enumerate(made):
        one.trials["run"] = np.random.default_rng(number).permutation(60) // 3 + 1
    space, features, _, indices = prepare(*made)
    subjects = [average_repetitions(one, "run") for one in made]
    found = fit_subjects(settings, space, features, subjects, indices)
    held = hold_out(settings, subjects)
    for one, is_test in zip(made, held, strict=True):
        assert all(len(set(is_test[one.trials["run"] == run].tolist())) == 1 for run in one.trials["run"])
    both = int((held[0] & held[1]).sum())
    assert 3 <= both < min(held[0].sum(), held[1].sum())
    assert found.across["test_images"].tolist() == [both] * 4
    assert found.across["others_r"].min() > 0.8


def test_too_few_images_that_others_were_not_fitted_to_give_no_row(tmp_path):
    """The same image files under other names: each subject draws its own test images."""
    one, two = make_responses(tmp_path / "sub-01", tuning=9), make_responses(tmp_path / "sub-02", seed=2, tuning=9, name="photo")
    found = fit(one, two)
    held = hold_out(SETTINGS, [average_repetitions(one), average_repetitions(two)])
    assert (held[0] & held[1]).sum() < 3
    assert len(found.across) == 0
    assert len(found.model.voxels) == 2 * VOXELS


@pytest.mark.parametrize(
    ("images", "settings", "message"),
    [
        (4, SETTINGS, "subject 01: 4 images are too few to hold 0.2 of them out; give more images"),
        (10, FitSettings(folds=9), "8 training groups of images for 9 folds; give more images, or lower 'folds'"),
    ],
)
def test_too_few_images_are_refused(images, settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        fit(make_responses(tmp_path / "sub-01", images=images), settings=settings)


@pytest.mark.parametrize(
    ("matched", "message"),
    [
        ({"a": ["first", "thrid"]}, "band 'a': layer 'thrid' is not among 'layers'; add it there, or leave it out here"),
        ({"a": ["first"], "b": ["second", "first"]}, "band 'b': layer 'first' is in band 'a' too; name it once"),
        ({"a": ["first"], "b": ["third"]}, "layer 'second': in none of the bands a, b; add it to one"),
    ],
)
def test_bands_must_hold_every_layer_once(matched, message):
    with pytest.raises(InputError, match=message):
        assign_bands(matched, ["first", "second", "third"])


def test_bands_are_positions_of_layers_and_one_band_without_any():
    layers = ["first", "second", "third"]
    assert assign_bands({"late": ["third"], "rest": ["first", "second"]}, layers) == [[2], [0, 1]]
    assert assign_bands({}, layers) == [[0, 1, 2]]


def test_candidates_of_band_weights_sum_to_one_and_begin_with_equal_ones():
    weights = plan_ridge(BANDED, [[0], [1]]).hyperparameters.band_weights
    assert weights.shape == (12, 2)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights[0], [0.5, 0.5])
    np.testing.assert_array_equal(plan_ridge(SETTINGS, [[0, 1]]).hyperparameters.band_weights, [[1.0]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bakbone": "x"}, "fit: unknown key 'bakbone'; did you mean 'backbone'"),
        ({"folds": 1}, "fit: key 'folds' is 1"),
        ({"budget": 0}, "fit: key 'budget' is 0"),
        ({"test_fraction": 1.0}, "fit: key 'test_fraction' is 1.0"),
        ({"test_fraction": float("nan")}, "fit: key 'test_fraction' is nan"),
        ({"seed": -1}, "fit: key 'seed' is -1"),
        ({"log10_penalties": [-3, 3, 0]}, r"fit: key 'log10_penalties\[2\]' is 0"),
        ({"pooling": "mean"}, "fit: key 'pooling' is 'mean'"),
        ({"basis": "pca"}, "fit: key 'basis' is 'pca'"),
        ({"group_by": "session"}, "fit: key 'group_by' is 'session'"),
        ({"form": "kernel"}, "fit: key 'form' is 'kernel'"),
        ({"band_candidates": 0}, "fit: key 'band_candidates' is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse_config(values, FitSettings, "fit")


def test_penalties_are_spaced_evenly_in_their_exponents():
    np.testing.assert_allclose(FitSettings(log10_penalties=(-2.0, 2.0, 3)).penalties, [0.01, 1, 100])
