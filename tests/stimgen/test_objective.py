"""A target folded onto features is the number one gets from predicted responses the long way."""

import numpy as np
import pytest

from protocols.config import parse_config
from protocols.errors import InputError
from stimgen.objective import Target, fold_target
from tests.stimgen.tiny import draw_images, make_tiny_model


@pytest.fixture(scope="module")
def model():
    return make_tiny_model()


@pytest.fixture(scope="module")
def pool(model):
    return model.predict(draw_images(20, 8, seed=1)).numpy()


def standardize(responses, pool):
    return (responses - pool.mean(axis=0)) / pool.std(axis=0)


@pytest.mark.parametrize(
    ("target", "combine"),
    [
        (Target(roi="V3", minus_others=0.25), lambda z: z["V3"] - 0.25 * (z["LO"] + z["EBA"]) / 2),
        (Target(roi="LO", minus_others=1.0), lambda z: z["LO"] - (z["V3"] + z["EBA"]) / 2),
        (Target(roi="EBA", minus_others=0.0), lambda z: z["EBA"]),
        (Target(voxel="01_V3002", name="one"), lambda z: z["01_V3002"]),
        (Target(contrast="V3 - LO", name="both"), lambda z: z["V3"] - z["LO"]),
        (Target(contrast="V3 + EBA - LO", name="three"), lambda z: (z["V3"] + z["EBA"]) / 2 - z["LO"]),
    ],
)
def test_the_folded_objective_is_the_z_scored_one(model, pool, target, combine):
    images = draw_images(6, 8, seed=2)
    responses, weights = model.predict(images).numpy(), model.roi_weights()
    z = {roi: standardize(responses @ weights[:, i], pool @ weights[:, i]) for i, roi in enumerate(model.rois)}
    z["01_V3002"] = standardize(responses[:, 1], pool[:, 1])
    drive = fold_target(target, model, pool)
    folded = model.space.extract(images) @ drive.slope + drive.offset
    np.testing.assert_allclose(folded.numpy(), combine(z), rtol=1e-3, atol=1e-3)


def test_a_target_does_not_depend_on_the_gain_of_responses(model, pool):
    """z units: scaling and shifting every voxel's responses leaves the objective as it is."""
    louder = make_tiny_model()
    louder.readout.coefficients[:] *= 7
    louder.readout.intercept[:] = louder.readout.intercept * 7 + 3
    one, other = fold_target(Target(roi="V3"), model, pool), fold_target(Target(roi="V3"), louder, pool * 7 + 3)
    np.testing.assert_allclose(one.slope, other.slope, rtol=1e-4, atol=1e-6)
    assert one.offset == pytest.approx(other.offset, rel=1e-3)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target(roi="FFA"), "ROI 'FFA': not in the model; it has V3, LO, EBA"),
        (Target(contrast="V3 - PPA", name="c"), "ROI 'PPA': not in the model"),
        (Target(voxel="01_V3009", name="v"), "voxel '01_V3009': not in the model; its voxels are named like '01_V3001'"),
        (Target(voxel="01_V3003", name="v"), "voxel '01_V3003': not predictable"),
    ],
)
def test_what_the_model_cannot_predict_is_refused(model, pool, target, message):
    with pytest.raises(InputError, match=message):
        fold_target(target, model, pool)


def test_a_model_that_answers_every_image_alike_is_refused(model, pool):
    with pytest.raises(InputError, match="target 'V3': the model predicts the same response to every natural image"):
        fold_target(Target(roi="V3"), model, np.ones_like(pool))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "targets: a target has exactly one of the keys roi, voxel and contrast"),
        ({"roi": "V3", "voxel": "v1"}, "targets: a target has exactly one of the keys roi, voxel and contrast"),
        ({"contrast": "V3 plus LO"}, "targets: key 'contrast' is 'V3 plus LO': contrast .* is not of the form"),
        ({"contrast": "V3"}, "needs at least one term on each side of '-'"),
        ({"voxel": "01_V3001"}, "name is letters and digits only, not '01_V3001'; set 'name'"),
        ({"roi": "Aréa"}, "name is letters and digits only, not 'Aréa'; set 'name'"),  # a stim_id is ASCII
        ({"roi": "V3", "minus_others": -1}, "targets: key 'minus_others' is -1"),
        ({"roi": "V3", "count": 0}, "targets: key 'count' is 0"),
        ({"roy": "V3"}, "targets: unknown key 'roy'; did you mean 'roi'"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse_config(values, Target, "targets")


def test_an_only_roi_has_no_others_to_count_against():
    assert Target(roi="V3").terms(["V3"]) == [("V3", 1.0)]
    assert Target(contrast="V3 - LO").label == "contrast"
