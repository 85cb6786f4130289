"""Scores are z units of the natural pool, of the files as saved, and never by the network that made the images."""

import numpy as np
import pandas as pd
import pytest

from protocols.errors import InputError
from stimgen.features import read_batch
from stimgen.goal import Goal
from stimgen.image_files import write_png
from stimgen.judge import average_scores, check_judges, make_scorer, predict_files, rate_goal, read_goal
from stimgen.readings import Term
from tests.stimgen.tiny import make_tiny_backbone, make_tiny_model


def write_images(folder, count, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 1, (count, 8, 8, 3)).astype(np.float32)
    paths = [folder / f"{seed}_{index}.png" for index in range(count)]
    for image, path in zip(images, paths, strict=True):
        write_png(image, path)
    return images, paths


@pytest.fixture
def scorer(tmp_path):
    return make_scorer("tiny", make_tiny_model(), write_images(tmp_path, 20)[1])


def test_the_pool_itself_has_mean_0_and_sd_1(scorer):
    pool = scorer.score(scorer.pool)
    assert list(pool.columns) == ["V3", "LO", "EBA"]
    np.testing.assert_allclose(pool.mean(), 0, atol=1e-4)
    np.testing.assert_allclose(pool.std(ddof=0), 1, atol=1e-4)


def test_a_score_is_the_rois_weighted_response_in_z_units_of_the_pool(scorer, tmp_path):
    _, paths = write_images(tmp_path, 3, seed=1)
    responses = scorer.model.predict(read_batch(scorer.model.space.backbone, paths)).numpy()
    weights = scorer.model.roi_weights()
    expected = (responses @ weights - (scorer.pool @ weights).mean(axis=0)) / (scorer.pool @ weights).std(axis=0)
    np.testing.assert_allclose(scorer.score(responses), expected, atol=1e-3)
    np.testing.assert_allclose(scorer.score(predict_files(scorer.model, paths)), expected, atol=1e-3)


def test_the_file_is_scored_and_not_what_was_meant(scorer, tmp_path):
    """An image out of range is clipped on its way to the file; its score is the clipped file's."""
    wild = 3 * np.random.default_rng(2).standard_normal((8, 8, 3)).astype(np.float32)
    write_png(wild, tmp_path / "wild.png")
    write_png(np.clip(wild, 0, 1), tmp_path / "clipped.png")
    scores = scorer.score(predict_files(scorer.model, [tmp_path / "wild.png", tmp_path / "clipped.png"]))
    np.testing.assert_array_equal(scores.iloc[0], scores.iloc[1])


def test_an_unpredictable_roi_has_no_score(tmp_path):
    model = make_tiny_model(cv_r=(0.5, 0.3, 0.2, -0.1, 0.2))
    scorer = make_scorer("tiny", model, write_images(tmp_path, 6)[1])
    assert list(scorer.score(scorer.pool).columns) == ["V3", "EBA"]
    assert np.isnan(scorer.read_term(scorer.pool, Term("LO"))).all()


def test_the_pools_responses_are_predicted_from_the_features_that_are_kept_with_them(scorer):
    np.testing.assert_array_equal(scorer.pool, scorer.model.readout.predict(scorer.features))
    assert scorer.features.shape == (20, scorer.model.space.size)


def test_a_term_is_an_roi_a_voxel_or_several_in_z_units_of_the_pool(scorer):
    responses = scorer.pool[:4]
    np.testing.assert_allclose(scorer.read_term(responses, Term("V3")), scorer.score(responses)["V3"], atol=1e-4)
    one = scorer.pool[:, 0]
    np.testing.assert_allclose(scorer.read_term(responses, Term("01_V3001")), (one[:4] - one.mean()) / one.std(), atol=1e-4)
    two = scorer.pool[:, [0, 3]] @ np.array([0.5**2, 0.6**2])
    np.testing.assert_allclose(scorer.read_term(responses, Term("01_V3001+01_LO004")), (two[:4] - two.mean()) / two.std(), atol=1e-4)
    assert np.isnan(scorer.read_term(responses, Term("FFA"))).all()


def test_a_goals_term_is_the_mean_over_the_models_that_have_it(scorer, tmp_path):
    lacking = make_scorer("other", make_tiny_model(cv_r=(0.5, 0.4), rois=("V3", "V3"), seed=1), write_images(tmp_path, 20)[1])
    scorers, responses = [scorer, lacking], [scorer.pool, lacking.pool]
    goal = Goal("c", own={"V3": 1.0, "LO": -1.0, "FFA": 1.0})
    read = read_goal(goal, scorers, responses)
    both = (scorer.read_term(scorer.pool, Term("V3")) + lacking.read_term(lacking.pool, Term("V3"))) / 2
    np.testing.assert_allclose(read["V3"], both, atol=1e-5)
    np.testing.assert_allclose(read["LO"], scorer.read_term(scorer.pool, Term("LO")), atol=1e-5)
    assert np.isnan(read["FFA"]).all()
    contrast = Goal("c", own={"V3": 1.0, "LO": -1.0})
    np.testing.assert_allclose(rate_goal(contrast, scorers, responses), read["V3"] - read["LO"], atol=1e-5)


def test_scores_of_models_are_averaged_over_the_rois_they_share():
    one, two = pd.DataFrame({"V3": [1.0, 2.0], "LO": [0.0, 4.0]}), pd.DataFrame({"LO": [2.0, 0.0], "FFA": [9.0, 9.0]})
    pd.testing.assert_frame_equal(average_scores([one, two]), pd.DataFrame({"LO": [1.0, 2.0]}))
    pd.testing.assert_frame_equal(average_scores([one]), one)
    three = average_scores([one, one * 2, one * 6])
    pd.testing.assert_frame_equal(three, one * 3)


def test_the_network_that_made_the_images_may_not_judge_them():
    maker, same, other = make_tiny_model(), make_tiny_model(seed=0, cv_r=(0.1,) * 5), make_tiny_model(seed=1)
    check_judges([maker], [other])
    check_judges([maker], [])
    with pytest.raises(InputError, match="judge on tiny: the same network made the images; fit the judge on another backbone"):
        check_judges([maker], [other, same])
    with pytest.raises(InputError, match="judge on tiny"):
        check_judges([maker, other], [make_tiny_model(backbone=make_tiny_backbone(1))])
    check_judges([maker], [other], [maker])
    with pytest.raises(InputError, match="judge on tiny"):
        check_judges([maker], [other], [make_tiny_model(backbone=make_tiny_backbone(1))])


def test_predictions_of_files_do_not_depend_on_their_order(scorer, tmp_path):
    _, paths = write_images(tmp_path, 5, seed=3)
    np.testing.assert_allclose(predict_files(scorer.model, paths)[::-1], predict_files(scorer.model, paths[::-1]), atol=1e-4)
