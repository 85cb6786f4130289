"""A term folded onto features is the number one gets from predicted responses the long way."""

import numpy as np
import pytest
import torch

from protocols.errors import InputError
from stimgen.goal import Goal
from stimgen.readings import Term, fold_terms, list_terms, read_pool, weigh_term
from tests.stimgen.tiny import draw_images, make_tiny_model, make_voxels


def make_two_subjects():
    """V3 of two subjects, LO of the first alone, EBA of the second alone and not predictable."""
    table = make_voxels((0.5, 0.3, 0.6, 0.4, -0.2, 0.2), ("V3", "V3", "V3", "LO", "EBA", "V3"))
    table["subject"] = ["01", "01", "02", "01", "02", "02"]
    table["voxel_id"] = [f"{subject}_{roi}{index}" for index, (subject, roi) in enumerate(zip(table["subject"], table["roi"], strict=True))]
    return make_tiny_model(voxels=table)


@pytest.fixture(scope="module")
def model():
    return make_two_subjects()


@pytest.fixture(scope="module")
def pool(model):
    return predict(model, draw_images(20, 8, seed=1))


def predict(model, images):
    return model.predict(images).numpy()


@pytest.mark.parametrize(
    ("term", "weights"),
    [
        (Term("V3"), [0.25 / 0.34 / 2, 0.09 / 0.34 / 2, 0.36 / 0.40 / 2, 0, 0, 0.04 / 0.40 / 2]),  # every subject weighs the same
        (Term("V3", ("01",)), [0.25 / 0.34, 0.09 / 0.34, 0, 0, 0, 0]),
        (Term("LO"), [0, 0, 0, 1, 0, 0]),
        (Term("02_V32"), [0, 0, 1, 0, 0, 0]),
        (Term("01_V31+01_LO3"), [0, 0.09 / 0.25, 0, 0.16 / 0.25, 0, 0]),
    ],
)
def test_the_folded_reading_is_the_weighted_response_in_z_units_of_the_pool(model, pool, term, weights):
    np.testing.assert_allclose(weigh_term(model, term), weights, rtol=1e-5)
    images = draw_images(6, 8, seed=2)
    natural = pool @ np.array(weights)
    expected = (predict(model, images) @ np.array(weights) - natural.mean()) / natural.std()
    other = Term("LO")
    reader = fold_terms([other, term], model, pool)
    read = reader.read(model.space.extract(images))
    np.testing.assert_allclose(read[:, 1], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(read_pool(model, pool, term), (natural - natural.mean()) / natural.std(), rtol=1e-3, atol=1e-3)
    assert reader.known.tolist() == [True, True]


def test_the_pools_own_readings_have_mean_0_and_sd_1(model, pool):
    features = model.space.extract(draw_images(20, 8, seed=1))
    read = fold_terms([Term("V3"), Term("01_V30")], model, pool).read(features).numpy()
    np.testing.assert_allclose(read.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(read.std(axis=0), 1, atol=1e-4)


def test_a_term_does_not_depend_on_the_gain_of_responses(model, pool):
    louder = make_two_subjects()
    louder.readout.coefficients[:] *= 7
    louder.readout.intercept[:] = louder.readout.intercept * 7 + 3
    one, other = fold_terms([Term("V3")], model, pool), fold_terms([Term("V3")], louder, pool * 7 + 3)
    torch.testing.assert_close(one.slopes, other.slopes, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(one.offsets, other.offsets, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (Term("FFA"), "'FFA': neither an ROI of the model \\(V3, LO, EBA\\) nor a voxel; its voxels are named like '01_V30'"),
        (Term("01_V30+01_V39"), "'01_V30\\+01_V39': neither an ROI"),
        (Term("02_EBA4"), "voxel '02_EBA4': not predictable"),
        (Term("01_V30+02_EBA4"), "voxel '02_EBA4': not predictable"),
        (Term("EBA"), "ROI 'EBA': no voxel is predictable"),
        (Term("LO", ("02",)), "ROI 'LO': the model has none of subject 02; it has 01, 02"),
        (Term("V3", ("03",)), "ROI 'V3': the model has none of subject 03"),
    ],
)
def test_what_the_model_cannot_predict_is_refused(model, pool, term, message):
    with pytest.raises(InputError, match=message):
        fold_terms([term], model, pool)


def test_a_model_that_answers_every_image_alike_is_refused(model, pool):
    with pytest.raises(InputError, match="'V3': the model predicts the same response to every natural image"):
        fold_terms([Term("V3")], model, np.ones_like(pool))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_that_predicts_no_numbers_is_refused(model, pool, value):
    broken = pool.copy()
    broken[3] = value
    for subject in (None, "01"):
        with pytest.raises(InputError, match="'V3': the model predicts NaN or infinite responses to natural images; fit it again"):
            fold_terms([Term("V3")], model, broken, subject)


def test_a_subjects_reader_knows_what_that_subject_has(model, pool):
    terms = [Term("V3"), Term("LO"), Term("EBA"), Term("01_V31"), Term("V3", ("02",)), Term("01_V30+02_V32"), Term("FFA")]
    readers = {subject: fold_terms(terms, model, pool, subject) for subject in ("01", "02")}
    assert readers["01"].known.tolist() == [True, True, False, True, False, False, False]
    assert readers["02"].known.tolist() == [True, False, False, False, True, False, False]
    alone = fold_terms([Term("V3", ("01",))], model, pool)
    torch.testing.assert_close(readers["01"].slopes[:, 0], alone.slopes[:, 0])
    torch.testing.assert_close(readers["01"].offsets[0], alone.offsets[0])
    assert not readers["02"].slopes[:, 1].any()


def test_a_subject_that_is_predicted_alike_for_every_image_does_not_know_the_term(model, pool):
    dull = pool.copy()
    dull[:, [2, 5]] = 1.0
    reader = fold_terms([Term("V3")], model, dull, "02")
    assert reader.known.tolist() == [False]
    assert not reader.slopes.any()
    assert fold_terms([Term("V3")], model, dull, "01").known.tolist() == [True]


def test_terms_of_several_goals_are_listed_once_and_apart_by_subject():
    goals = [Goal("a", factors={"V3": 1.0}, low={"LO": -1.0}, high={"LO": 1.0}), Goal("b", matches={"V3": 1.0}, subjects=("01",))]
    assert list_terms([*goals, goals[0]]) == [Term("V3"), Term("LO"), Term("V3", ("01",))]


def test_a_voxel_of_another_subject_than_asked_for_is_refused(model):
    with pytest.raises(InputError, match="voxel '02_V32': is subject 02's, the target asks for 01; drop one of them"):
        weigh_term(model, Term("02_V32", ("01",)))
