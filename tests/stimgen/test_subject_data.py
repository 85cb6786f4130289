"""A subject's trials become one row per image: repetitions averaged, bad voxels left out, images that belong together in one group."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from protocols.errors import InputError
from protocols.responses import Responses
from stimgen.ceiling import average_voxels, estimate_noise_ceiling, estimate_split_half
from stimgen.subject_data import average_repetitions, index_images, resample_training
from tests.stimgen.simulated import IMAGES, VOXELS, make_responses


def test_repetitions_are_averaged_whatever_the_order_of_trials(tmp_path):
    made = make_responses(tmp_path / "sub-01", repeats=3, noise=1.0)
    order = np.random.default_rng(1).permutation(len(made.trials))
    shuffled = Responses(made.folder, made.trials.iloc[order], made.betas[order], made.voxels, made.images)
    one, other = average_repetitions(made), average_repetitions(shuffled)
    np.testing.assert_allclose(one.responses, made.betas.reshape(3, IMAGES, VOXELS).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(one.responses, other.responses, atol=1e-5)
    np.testing.assert_allclose(one.noise_ceiling, other.noise_ceiling, rtol=1e-4)


def test_images_shown_unequally_often_are_means_of_their_own_trials(tmp_path):
    made = make_responses(tmp_path / "sub-01", repeats=3, noise=1.0)
    kept = np.r_[0:IMAGES, IMAGES : IMAGES + 7, 2 * IMAGES : 2 * IMAGES + 2]
    data = average_repetitions(replace(made, trials=made.trials.iloc[kept], betas=made.betas[kept]))
    by_hand = pd.DataFrame(made.betas[kept]).groupby(made.trials["stim_id"].to_numpy()[kept]).mean()
    np.testing.assert_allclose(data.responses, by_hand, atol=1e-5)


def test_listed_images_that_no_trial_shows_take_no_part(tmp_path):
    made = make_responses(tmp_path / "sub-01")
    unseen = pd.concat([pd.DataFrame({"stim_id": ["never"], "image_file": ["images/never.png"]}), made.images], ignore_index=True)
    data = average_repetitions(replace(made, images=unseen))
    assert "never" not in data.groups
    assert len(data.paths) == len(data.digests) == IMAGES
    np.testing.assert_allclose(data.responses, average_repetitions(made).responses)


def test_nan_and_constant_voxels_are_left_out(tmp_path):
    made = make_responses(tmp_path / "sub-01")
    betas = made.betas.copy()
    betas[5, 0], betas[2, 3], betas[:, 1] = np.nan, np.inf, 4
    data = average_repetitions(replace(made, betas=betas))
    assert list(data.voxels["voxel_id"]) == ["v2"]
    np.testing.assert_array_equal(data.responses[:, 0], average_repetitions(made).responses[:, 2])
    assert len(data.noise_ceiling) == len(data.split_half) == 1
    assert list(data.roi_ceiling) == ["LO"]
    betas[:, 2] = np.nan
    with pytest.raises(InputError, match=r"sub-01/betas.npy: every voxel is constant or holds NaN; look at how the responses were made"):
        average_repetitions(replace(made, betas=betas))


def test_ceilings_are_those_of_the_single_trials(tmp_path):
    made = make_responses(tmp_path / "sub-01", repeats=4, noise=0.7)
    data = average_repetitions(made, seed=5)
    image = np.tile(np.arange(IMAGES), 4)
    np.testing.assert_allclose(data.noise_ceiling, estimate_noise_ceiling(made.betas, image), rtol=1e-5)
    np.testing.assert_allclose(data.split_half, estimate_split_half(made.betas, image, np.random.default_rng(5)), rtol=1e-5)
    for roi, part in (("V3", slice(0, 2)), ("LO", slice(2, 4))):
        mean = average_voxels(made.betas[:, part], np.full((2, 1), 0.5))
        np.testing.assert_allclose(data.roi_ceiling[roi], estimate_noise_ceiling(mean, image)[0], rtol=1e-4)
    assert list(data.roi_ceiling) == ["V3", "LO"]


def test_without_repetitions_there_are_no_ceilings(tmp_path):
    data = average_repetitions(make_responses(tmp_path / "sub-01", repeats=1))
    assert np.isnan(data.noise_ceiling).all()
    assert np.isnan(data.split_half).all()
    assert np.isnan(list(data.roi_ceiling.values())).all()


def test_crops_of_one_photograph_stay_together_and_unknown_sources_stand_alone(tmp_path):
    sources = [f"photo{number // 3}" if number < 24 else None for number in range(IMAGES)]
    data = average_repetitions(make_responses(tmp_path / "sub-01", sources=sources))
    assert data.groups == [f"photo{number // 3}" for number in range(24)] + [f"img{number}" for number in range(24, IMAGES)]


def test_the_same_picture_under_two_names_is_one_group_and_joins_what_each_belongs_to(tmp_path):
    sources = [f"photo{number // 2}" for number in range(12)]
    made = make_responses(tmp_path / "sub-01", images=12, sources=sources)
    shutil.copyfile(made.folder / "images" / "img03.png", made.folder / "images" / "img08.png")
    groups = average_repetitions(made).groups
    expected = [f"photo{number // 2}" for number in range(12)]
    expected[8:10] = ["photo1", "photo1"]  # img08 is img03; img09 is a crop of the same photograph as img08
    assert groups == expected


def test_images_of_a_run_and_of_connected_runs_are_one_group(tmp_path):
    made = make_responses(tmp_path / "sub-01", images=12, repeats=1)
    made.trials["run"] = np.arange(12) // 3
    made.trials.loc[9:, "session"] = "02"
    made.trials.loc[9:, "run"] = 0  # the number of the first run, in another session
    by_run = average_repetitions(made, "run")
    assert by_run.groups == [f"img{first:02d}" for first in (0, 3, 6, 9) for _ in range(3)]
    assert average_repetitions(made).groups == [f"img{number:02d}" for number in range(12)]
    again = pd.DataFrame({"stim_id": ["img04"], "session": "02", "run": 0})  # an image of the second run is repeated in the last
    joined = replace(made, trials=pd.concat([made.trials, again]), betas=np.concatenate([made.betas, made.betas[4:5]]))
    assert average_repetitions(joined, "run").groups == [f"img{first:02d}" for first in (0, 3, 6, 3) for _ in range(3)]


def test_the_same_image_file_is_extracted_once(tmp_path):
    one, two = make_responses(tmp_path / "sub-01", images=10), make_responses(tmp_path / "sub-02", images=12, name="photo")
    three = make_responses(tmp_path / "sub-03", images=4, first_image=9)
    paths, indices = index_images([average_repetitions(made) for made in (one, two, three)])
    assert len(paths) == 13
    assert paths[10] == two.folder / "images" / "photo10.png"
    assert [index.tolist() for index in indices] == [list(range(10)), list(range(12)), [9, 10, 11, 12]]


def test_a_bootstrap_draws_whole_groups_of_training_images_and_leaves_test_images(tmp_path):
    data = average_repetitions(make_responses(tmp_path))
    count = len(data.paths)
    data = replace(data, groups=["a", "a", "b", "c", "c", *(f"g{number}" for number in range(count - 5))])
    is_test = np.arange(count) >= 5
    resampled, index, held = resample_training(data, np.arange(count) + 10, is_test, np.random.default_rng(3))
    assert list(index[held]) == list(range(15, count + 10))
    counts = {row: int((index == row + 10).sum()) for row in range(5)}
    assert counts[0] == counts[1]
    assert counts[3] == counts[4]
    assert counts != dict.fromkeys(range(5), 1)
    np.testing.assert_array_equal(resampled.responses, data.responses[index - 10])
    assert [data.groups[row - 10] for row in index] == resampled.groups
    assert [data.paths[row - 10] for row in index] == resampled.paths
