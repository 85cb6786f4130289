"""The noise ceiling is the accuracy that a perfect model reaches; the table tells the accuracy of each ROI."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stimgen.accuracy import draw_accuracy, estimate_noise_ceiling, summarize_accuracy
from tests.stimgen.tiny import make_tiny_model


def simulate(signal_sd, repeats, images=200, voxels=400, seed=0):
    """Return trials, each one's image, and the correlation of the true signal with the mean over repetitions."""
    rng = np.random.default_rng(seed)
    signal = signal_sd * rng.standard_normal((images, voxels))
    image = np.repeat(np.arange(images), np.resize(repeats, images))
    betas = signal[image] + rng.standard_normal((len(image), voxels))
    mean = np.stack([betas[image == index].mean(axis=0) for index in range(images)])
    true = [np.corrcoef(signal[:, voxel], mean[:, voxel])[0, 1] for voxel in range(voxels)]
    return betas.astype(np.float32), image, np.array(true)


@pytest.mark.parametrize(("signal_sd", "repeats"), [(0.4, [3]), (1.0, [2]), (2.0, [2]), (1.0, [2, 3, 6]), (1.0, [1, 4])])
def test_the_ceiling_is_what_the_true_signal_reaches(signal_sd, repeats):
    betas, image, true = simulate(signal_sd, repeats)
    ceiling = estimate_noise_ceiling(betas, image)
    assert abs(ceiling.mean() - true.mean()) < 0.03


def test_pure_noise_has_a_low_ceiling_and_noise_free_trials_one_of_one():
    betas, image = np.random.default_rng(2).standard_normal((800, 50)).astype(np.float32), np.repeat(np.arange(200), 4)
    assert np.median(estimate_noise_ceiling(betas, image)) < 0.2
    exact = np.repeat(np.random.default_rng(1).standard_normal((20, 3)), 2, axis=0).astype(np.float32)
    np.testing.assert_allclose(estimate_noise_ceiling(exact, np.repeat(np.arange(20), 2)), 1, atol=1e-6)


def test_the_order_of_trials_and_unseen_images_do_not_matter():
    betas, image, _ = simulate(1.0, [3], images=30, voxels=7)
    order = np.random.default_rng(2).permutation(len(image))
    expected = estimate_noise_ceiling(betas, image)
    np.testing.assert_allclose(estimate_noise_ceiling(betas[order], image[order]), expected, rtol=1e-4)
    np.testing.assert_allclose(estimate_noise_ceiling(betas, image * 2 + 5), expected, rtol=1e-4)


def test_without_repetitions_there_is_no_ceiling():
    betas, image, _ = simulate(1.0, [1], images=20, voxels=6)
    assert np.isnan(estimate_noise_ceiling(betas, image)).all()


def make_test_responses():
    rng, rows = np.random.default_rng(3), []
    for roi in ("V3", "LO", "EBA"):
        measured = rng.standard_normal(6)
        predicted = np.zeros(6) if roi == "EBA" else measured + 0.5 * rng.standard_normal(6)
        rows.append(pd.DataFrame({"subject": "01", "roi": roi, "measured": measured, "predicted": predicted}))
    return pd.concat(rows, ignore_index=True)


def test_accuracy_of_an_roi_is_its_voxels_medians_and_the_r_of_its_mean():
    model, responses = make_tiny_model(), make_test_responses()
    table = summarize_accuracy(model, responses).set_index("roi")
    assert list(table.index) == ["V3", "LO", "EBA"]
    assert table["voxels"].tolist() == [3, 1, 1]
    assert table["predictable_voxels"].tolist() == [2, 1, 1]
    assert table.loc["V3", "cv_r"] == 0.3
    v3 = responses[responses["roi"] == "V3"]
    np.testing.assert_allclose(table.loc["V3", "roi_test_r"], np.corrcoef(v3["measured"], v3["predicted"])[0, 1])
    assert table.loc["EBA", "roi_test_r"] == 0.0  # a constant prediction explains nothing
    assert table["test_images"].tolist() == [6, 6, 6]


def test_the_picture_is_drawn(tmp_path):
    draw_accuracy(make_tiny_model(), tmp_path / "accuracy.png")
    with Image.open(tmp_path / "accuracy.png") as image:
        assert min(image.size) > 200
        assert len(image.convert("RGB").getcolors(100_000)) > 10
