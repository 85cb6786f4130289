"""Fitting takes trials as they come: repetitions averaged, bad voxels left out, images shared, subjects side by side."""

import numpy as np
import pandas as pd
import pytest

from protocols.config import parse_config
from protocols.errors import InputError
from protocols.responses import Responses
from stimgen.features import design_features, extract_files
from stimgen.fit import FitSettings, average_repetitions, fit_subjects, index_images
from stimgen.image_files import write_png
from tests.stimgen.tiny import make_tiny_backbone

IMAGES, VOXELS = 30, 4
SETTINGS = FitSettings(folds=3, log10_penalties=(-4.0, 1.0, 6))


def make_responses(folder, seed=0, images=IMAGES, repeats=2, noise=0.1, sources=None, first_image=0):
    """Return one subject's responses, linear in a TinyNet's features, with its images written to `folder`."""
    (folder / "images").mkdir(parents=True)
    ids = [f"img{number + first_image:02d}" for number in range(images)]
    for number, stim_id in enumerate(ids):
        shade = np.random.default_rng(number + first_image).uniform(0, 1, (2, 2, 3)).astype(np.float32)
        write_png(np.kron(shade, np.ones((4, 4, 1), dtype=np.float32)), folder / "images" / f"{stim_id}.png")
    listed = pd.DataFrame({"stim_id": ids, "image_file": [f"images/{stim_id}.png" for stim_id in ids]})
    if sources is not None:
        listed["source"] = sources
    rng = np.random.default_rng(seed)
    features = extract_files(make_space(), [folder / name for name in listed["image_file"]])
    true = (features - features.mean(axis=0)) @ rng.standard_normal((features.shape[1], VOXELS)) / 10
    index = np.tile(np.arange(images), repeats)
    betas = (true[index] + noise * rng.standard_normal((len(index), VOXELS))).astype(np.float32)
    trials = pd.DataFrame({"stim_id": [ids[image] for image in index], "session": "01", "run": 1})
    rois = ["V3", "V3", "LO", "LO"]
    voxels = pd.DataFrame({"voxel_id": [f"v{number}" for number in range(VOXELS)], "roi": rois, "hemisphere": "L", "i": 0, "j": 0, "k": 0})
    return Responses(folder, trials, betas, voxels, listed)


def make_space():
    return design_features(make_tiny_backbone(), ["first", "second"], 24)


def fit(*responses, settings=SETTINGS):
    subjects, space = [average_repetitions(one) for one in responses], make_space()
    paths, indices = index_images(subjects)
    return fit_subjects(settings, space, extract_files(space, paths), subjects, indices)


def test_linear_responses_are_predicted_and_the_table_holds_roi_means_of_test_images(tmp_path):
    model, table = fit(make_responses(tmp_path / "sub-01"))
    assert model.voxels["test_r"].min() > 0.8
    assert model.voxels["cv_r"].min() > 0.8
    assert list(model.voxels["voxel_id"]) == ["01_v0", "01_v1", "01_v2", "01_v3"]
    assert table.groupby("roi", sort=False).size().to_dict() == {"V3": 6, "LO": 6}
    assert np.corrcoef(table["measured"], table["predicted"])[0, 1] > 0.8
    assert len(model.card["test_groups"]) == 6


def test_repetitions_are_averaged_whatever_the_order_of_trials(tmp_path):
    made = make_responses(tmp_path / "sub-01", repeats=3, noise=1.0)
    order = np.random.default_rng(1).permutation(len(made.trials))
    shuffled = Responses(made.folder, made.trials.iloc[order], made.betas[order], made.voxels, made.images)
    one, other = average_repetitions(made), average_repetitions(shuffled)
    np.testing.assert_allclose(one.responses, made.betas.reshape(3, IMAGES, VOXELS).mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(one.responses, other.responses, atol=1e-5)
    np.testing.assert_allclose(one.noise_ceiling, other.noise_ceiling, rtol=1e-4)


def test_listed_images_that_no_trial_shows_take_no_part(tmp_path):
    made = make_responses(tmp_path / "sub-01")
    unseen = pd.concat([pd.DataFrame({"stim_id": ["never"], "image_file": ["images/never.png"]}), made.images], ignore_index=True)
    data = average_repetitions(Responses(made.folder, made.trials, made.betas, made.voxels, unseen))
    assert "never" not in data.groups
    np.testing.assert_allclose(data.responses, average_repetitions(made).responses)


def test_nan_and_constant_voxels_are_left_out(tmp_path):
    made = make_responses(tmp_path / "sub-01")
    betas = made.betas.copy()
    betas[5, 0], betas[2, 3], betas[:, 1] = np.nan, np.inf, 4
    data = average_repetitions(Responses(made.folder, made.trials, betas, made.voxels, made.images))
    assert list(data.voxels["voxel_id"]) == ["v2"]
    assert data.responses.shape == (IMAGES, 1)
    assert len(data.noise_ceiling) == 1
    betas[:, 2] = np.nan
    with pytest.raises(InputError, match=r"sub-01/betas.npy: every voxel is constant or holds NaN; look at how the responses were made"):
        average_repetitions(Responses(made.folder, made.trials, betas, made.voxels, made.images))


def test_two_subjects_in_one_model_predict_as_each_alone(tmp_path):
    one = make_responses(tmp_path / "sub-01", seed=1)
    two = make_responses(tmp_path / "sub-02", seed=2, images=25, first_image=5)  # other images, so another standardization
    joined, _ = fit(one, two)
    features = extract_files(joined.space, one.image_paths())
    together = joined.readout.predict(features)
    assert list(joined.voxels["subject"]) == ["01"] * VOXELS + ["02"] * VOXELS
    for part, responses in ((slice(0, VOXELS), one), (slice(VOXELS, None), two)):
        settings = SETTINGS
        groups = set(joined.card["test_groups"])
        alone = fit_alone(responses, groups, settings)
        np.testing.assert_allclose(together[:, part], alone.readout.predict(features), atol=2e-3)
        np.testing.assert_allclose(joined.voxels["test_r"][part], alone.test_r, atol=1e-4)


def fit_alone(responses, test_groups, settings):
    from stimgen.ridge import fit_ridge

    data, space = average_repetitions(responses), make_space()
    is_test = np.array([group in test_groups for group in data.groups])
    features = extract_files(space, data.paths)
    return fit_ridge(features, data.responses, space.layer_of_feature, data.groups, is_test, settings.folds, settings.penalties)


def test_the_same_image_file_is_extracted_once(tmp_path):
    one, two = make_responses(tmp_path / "sub-01", images=10), make_responses(tmp_path / "sub-02", images=12)
    paths, indices = index_images([average_repetitions(one), average_repetitions(two)])
    assert len(paths) == 12
    assert [index.tolist() for index in indices] == [list(range(10)), list(range(12))]


def test_crops_of_one_photograph_stay_together_and_unknown_sources_stand_alone(tmp_path):
    sources = [f"photo{number // 3}" if number < 24 else None for number in range(IMAGES)]
    data = average_repetitions(make_responses(tmp_path / "sub-01", sources=sources))
    assert data.groups == [f"photo{number // 3}" for number in range(24)] + [f"img{number}" for number in range(24, IMAGES)]


def test_the_seed_chooses_the_test_images(tmp_path):
    made = make_responses(tmp_path / "sub-01")
    tested = [fit(made, settings=FitSettings(folds=3, seed=seed))[0].card["test_groups"] for seed in (1, 1, 2)]
    assert tested[0] == tested[1] != tested[2]


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
    ("values", "message"),
    [
        ({"bakbone": "x"}, "fit: unknown key 'bakbone'; did you mean 'backbone'"),
        ({"folds": 1}, "fit: key 'folds' is 1"),
        ({"budget": 0}, "fit: key 'budget' is 0"),
        ({"test_fraction": 1.0}, "fit: key 'test_fraction' is 1.0"),
        ({"test_fraction": float("nan")}, "fit: key 'test_fraction' is nan"),
        ({"seed": -1}, "fit: key 'seed' is -1"),
        ({"log10_penalties": [-3, 3, 0]}, r"fit: key 'log10_penalties\[2\]' is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse_config(values, FitSettings, "fit")


def test_penalties_are_spaced_evenly_in_their_exponents():
    np.testing.assert_allclose(FitSettings(log10_penalties=(-2.0, 2.0, 3)).penalties, [0.01, 1, 100])
