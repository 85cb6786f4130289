"""What a batch sees of a model: the same numbers as the machinery for single targets, from the batch's own columns."""

import dataclasses

import numpy as np
import pytest
import torch

from protocols.errors import InputError
from stimgen.controls import best_natural
from stimgen.predictors import choose_depth
from stimgen.readings import Term, fold_terms
from stimgen.sweep_readout import Reading, choose_starts, fold_targets, survey_targets
from stimgen.sweep_targets import SweepTarget
from tests.stimgen.small_sweep import LAYER_OF_VOXEL, ROIS, build_model
from tests.stimgen.tiny import draw_images

MODEL = build_model(subjects=("01", "02"))
with torch.no_grad():
    NATURAL = MODEL.space.extract(draw_images(14, 8, seed=1)).numpy()
    SHOWN = MODEL.space.extract(draw_images(5, 8, seed=2)).numpy()
READING = Reading("maker", MODEL, NATURAL)
VOXELS = [SweepTarget(str(voxel), "01", roi, str(voxel)) for voxel, roi in zip(MODEL.voxels["voxel_id"], ROIS, strict=False)]
PREDICTABLE = [voxel for voxel, r in zip(VOXELS, MODEL.voxels["cv_r"], strict=False) if r > 0]
PARCELS = [SweepTarget(f"02_{roi}", "02", roi) for roi in ("V3", "LO", "EBA")]


@pytest.mark.parametrize("targets", [PREDICTABLE, PARCELS], ids=["voxels", "parcels"])
def test_drive_is_that_of_terms(targets):
    """`readings.fold_terms` is the oracle: the same weights, folded term by term from the whole model."""
    terms = [Term(one.roi, (one.subject,)) if one.voxel_id is None else Term(one.voxel_id) for one in targets]
    reader = fold_terms(terms, MODEL, MODEL.readout.predict(NATURAL))
    expected = reader.read(torch.from_numpy(SHOWN)).numpy()
    folded = fold_targets(READING, targets)
    np.testing.assert_allclose(folded.rate(SHOWN), expected, rtol=1e-4, atol=1e-4)
    assert folded.scorer.model.readout.coefficients.shape == (MODEL.space.size, len(targets))


def test_what_a_model_lacks_or_cannot_predict_is_not_known():
    unpredictable = VOXELS[5]
    assert MODEL.voxels["cv_r"][5] < 0
    folded = fold_targets(READING, [unpredictable, SweepTarget("x", "01", "V3", "x"), VOXELS[0], SweepTarget("03_V3", "03", "V3")])
    assert folded.known.tolist() == [False, False, True, False]
    assert np.isnan(folded.rate(SHOWN)).all(axis=0).tolist() == [True, True, False, True]


def test_each_target_is_read_as_deep_as_its_own_weights_go():
    survey = survey_targets(READING, PREDICTABLE, 1.0)
    expected = [layer for layer, r in zip(LAYER_OF_VOXEL, MODEL.voxels["cv_r"], strict=False) if r > 0]
    assert survey.depth.tolist() == expected
    assert survey.layers == ("first", "second", "third")


@pytest.mark.parametrize("depth_share", [0.5, 0.8, 0.95, 0.999])
def test_depth_is_that_chosen_for_each_by_itself(depth_share):
    survey = survey_targets(READING, PREDICTABLE, depth_share)
    for column, target in enumerate(PREDICTABLE):
        slopes = fold_targets(READING, [target]).scorer.model.readout.coefficients
        assert survey.layers[survey.depth[column]] == choose_depth(MODEL.space, slopes, NATURAL, depth_share)[-1].name


def test_the_survey_is_the_same_in_small_portions(monkeypatch):
    whole = survey_targets(READING, PREDICTABLE, 0.9)
    monkeypatch.setattr("stimgen.sweep_readout._MOST_VALUES", 3 * 3 * len(NATURAL))
    parts = survey_targets(READING, PREDICTABLE, 0.9)
    np.testing.assert_allclose(parts.z, whole.z, rtol=1e-4, atol=1e-5)
    assert parts.depth.tolist() == whole.depth.tolist()


def test_a_voxel_that_never_varies_has_no_z_and_nan_is_refused():
    coefficients = MODEL.readout.coefficients.copy()
    coefficients[:, 0] = 0
    flat = dataclasses.replace(MODEL, readout=dataclasses.replace(MODEL.readout, coefficients=coefficients))
    z = survey_targets(Reading("maker", flat, NATURAL), PREDICTABLE[:2], 1.0).z
    assert np.isnan(z).all(axis=0).tolist() == [True, False]
    coefficients[:, 0] = np.nan
    with pytest.raises(InputError, match="maker: the model predicts NaN"):
        survey_targets(Reading("maker", flat, NATURAL), PREDICTABLE[:2], 1.0)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_starts_are_those_that_single_targets_choose(count):
    """`controls.best_natural`, called for each target by itself, is the oracle."""
    z = np.random.default_rng(3).standard_normal((9, 20))
    sources = ["a", "a", "a", "a", "a", "b", "b", "c", "c"]
    chosen = choose_starts(z, sources, count)
    for column in range(z.shape[1]):
        alone = best_natural(z[:, [column]], ["x"], count, sources, -(-count // 3))["x"]
        assert chosen[:, column].tolist() == alone


def test_too_small_a_pool_is_refused():
    with pytest.raises(InputError, match="the natural pool has 3 images, but each target needs 4"):
        choose_starts(np.zeros((3, 2)), ["a", "b", "c"], 4)
