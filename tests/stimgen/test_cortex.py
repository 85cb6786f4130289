"""The planted brain is the one its settings describe: shared and own tuning, receptive fields, noise, places."""

import numpy as np
import pytest
import torch

from protocols.config import parse_config
from protocols.errors import InputError
from stimgen.cortex import (
    LATTICE_MM,
    Cortex,
    PlantedRoi,
    ReceptiveFields,
    add_noise,
    draw_receptive_fields,
    place_voxels,
    pool_receptive_fields,
    respond,
    share_layers,
)

CORTEX = Cortex(voxels_per_roi=6)
ROI = CORTEX.rois[0]
OTHER = CORTEX.rois[1]


def draw_pooled(images=300, voxels=6, channels=12, seed=0):
    """Return pooled features with correlated channels of unequal gain, the same for every voxel."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((images, channels)) @ rng.standard_normal((channels, channels)) * rng.uniform(0.1, 10, channels)
    return np.repeat(latent[:, None, :], voxels, axis=1).astype(np.float32)


def answer(subject="01", roi=ROI, **settings):
    pooled = draw_pooled()
    return respond(Cortex(**{"voxels_per_roi": 6, **settings}), subject, roi, pooled, pooled)


def correlate_rois(one, other):
    return np.corrcoef(one.mean(axis=1), other.mean(axis=1))[0, 1]


def test_the_same_seed_is_the_same_brain_and_another_is_unrelated():
    np.testing.assert_array_equal(answer(), answer())
    assert abs(np.mean([correlate_rois(answer(tuning_seed=seed), answer(tuning_seed=seed + 50)) for seed in range(40)])) < 0.2


def test_subjects_share_their_rois_tuning_but_for_their_individual_share():
    shares = (0.0, 0.2, 1.0)
    alike = {
        share: np.mean([correlate_rois(*(answer(s, individual=share, spread=0.0, tuning_seed=seed) for s in "ab")) for seed in range(20)])
        for share in shares
    }
    assert alike[0.0] > 0.999
    assert alike[0.2] > 0.7
    assert abs(alike[1.0]) < 0.3


def test_voxels_of_an_roi_are_alike_but_for_their_spread():
    mean_r = {}
    for spread in (0.0, 0.3, 1.0):
        r = np.mean([np.corrcoef(answer(spread=spread, tuning_seed=seed).T) for seed in range(10)], axis=0)
        mean_r[spread] = r[np.triu_indices(6, 1)].mean()
    assert mean_r[0.0] > 0.999
    assert 0.5 < mean_r[0.3] < 0.95
    assert abs(mean_r[1.0]) < 0.25


def test_rois_that_read_the_same_map_are_tuned_apart():
    assert abs(np.mean([correlate_rois(answer(tuning_seed=seed), answer(roi=OTHER, tuning_seed=seed)) for seed in range(20)])) < 0.3


def test_responses_are_z_units_of_the_reference_and_linear_in_the_features():
    reference, shown = draw_pooled(), draw_pooled(images=5, seed=1)
    np.testing.assert_allclose(respond(CORTEX, "01", ROI, reference, reference).mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(respond(CORTEX, "01", ROI, reference, reference).std(axis=0), 1, atol=1e-5)
    one = respond(CORTEX, "01", ROI, reference, shown)
    np.testing.assert_array_equal(one[2:4], respond(CORTEX, "01", ROI, reference, shown[2:4]))
    middle = respond(CORTEX, "01", ROI, reference, (shown[:1] + shown[1:2]) / 2)
    np.testing.assert_allclose(middle, (one[:1] + one[1:2]) / 2, atol=1e-4)


def test_concentrated_tuning_follows_what_natural_images_vary_in():
    """With concentration the first principal component of the channels explains more of the response."""
    pooled = draw_pooled()
    standardized = (pooled[:, 0] - pooled[:, 0].mean(axis=0)) / pooled[:, 0].std(axis=0)
    component = standardized @ np.linalg.svd(standardized, full_matrices=False)[2][0]
    share = [
        np.mean([np.corrcoef(component, answer(concentration=c, tuning_seed=seed)[:, 0])[0, 1] ** 2 for seed in range(20)])
        for c in (0, 1, 3)
    ]
    assert share[0] < share[1] < share[2]


def test_a_receptive_field_reads_a_gaussian_around_its_center_that_sums_to_one():
    fields, sd, size = ReceptiveFields(np.array([0.25, 0.7]), np.array([0.5, 0.3])), 0.1, 20
    flat = pool_receptive_fields(torch.full((1, 3, size, size), 2.5), fields, sd)
    torch.testing.assert_close(flat, torch.full((1, 2, 3), 2.5))
    deltas = torch.eye(size * size).reshape(size * size, 1, size, size)
    weights = pool_receptive_fields(deltas, fields, sd)[:, :, 0].T.reshape(2, size, size).numpy()
    centers = (np.arange(size) + 0.5) / size
    for voxel in range(2):
        along_x, along_y = weights[voxel].sum(axis=0), weights[voxel].sum(axis=1)
        assert along_x @ centers == pytest.approx(fields.x[voxel], abs=0.01)
        assert along_y @ centers == pytest.approx(fields.y[voxel], abs=0.01)
        assert np.sqrt(along_x @ (centers - fields.x[voxel]) ** 2) == pytest.approx(sd, rel=0.1)


def test_receptive_fields_are_the_subjects_own_and_within_the_middle():
    one, again, other = (draw_receptive_fields(CORTEX, subject, ROI) for subject in ("01", "01", "02"))
    np.testing.assert_array_equal(one.x, again.x)
    assert (one.x != other.x).all()
    many = draw_receptive_fields(Cortex(voxels_per_roi=500), "01", ROI)
    for center in (many.x, many.y):
        assert 0.15 <= center.min() < 0.17
        assert 0.83 < center.max() <= 0.85


def test_noise_has_its_sd_and_every_image_its_repeats():
    true = np.zeros((200, 6), dtype=np.float32)
    trials, index = add_noise(true, Cortex(noise_sd=1.7, repeats=3), "01")
    assert np.bincount(index).tolist() == [3] * 200
    assert trials.std() == pytest.approx(1.7, rel=0.05)
    assert abs(np.corrcoef(trials[:200].ravel(), trials[200:400].ravel())[0, 1]) < 0.1
    quiet, _ = add_noise(true + 2, Cortex(noise_sd=0, repeats=1), "01")
    np.testing.assert_array_equal(quiet, true + 2)
    assert not np.array_equal(trials, add_noise(true, Cortex(noise_sd=1.7, repeats=3), "02")[0])


def test_voxels_lie_on_the_lattice_near_their_peaks_and_share_no_cell():
    cortex = Cortex(voxels_per_roi=21)
    placed = place_voxels(cortex)
    assert placed.shape == (5, 21, 3)
    np.testing.assert_array_equal(placed % LATTICE_MM, 0)
    assert len(np.unique(placed.reshape(-1, 3), axis=0)) == 5 * 21
    for roi, cells in zip(cortex.rois, placed, strict=True):
        left = cells[:, 0] < 0
        assert (left.sum(), (~left).sum()) == (10, 11)
        distance = np.linalg.norm(np.abs(cells[:, :1]) - roi.peak_mm[0], axis=1)
        assert distance.max() < 20


def test_rois_with_one_peak_still_share_no_cell():
    twins = tuple(PlantedRoi(name=name, layer="x", rf_sd=0.1, peak_mm=(40, -48, -20)) for name in ("A", "B", "C"))
    placed = place_voxels(Cortex(voxels_per_roi=15, rois=twins))
    assert len(np.unique(placed.reshape(-1, 3), axis=0)) == 45


@pytest.mark.parametrize("x", [0, 1])
def test_a_peak_on_the_midline_is_refused(x):
    rois = (PlantedRoi(name="A", layer="x", rf_sd=0.1, peak_mm=(x, -48, 0)),)
    if x:
        assert place_voxels(Cortex(voxels_per_roi=4, rois=rois)).shape == (1, 4, 3)
    else:
        with pytest.raises(InputError, match=r"ROI 'A': room for 0 of 4 voxels near .* mm; move its peak away from the midline"):
            place_voxels(Cortex(voxels_per_roi=4, rois=rois))


def test_layers_are_listed_once_in_order():
    rois = [PlantedRoi(name=name, layer=layer, rf_sd=0.1, peak_mm=(4, 0, 0)) for name, layer in (("A", "b"), ("B", "a"), ("C", "b"))]
    assert share_layers(rois) == ["b", "a"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"noise_sd": -1}, "cortex: key 'noise_sd' is -1"),
        ({"noise_sd": float("nan")}, "cortex: key 'noise_sd' is nan"),
        ({"repeats": 0}, "cortex: key 'repeats' is 0"),
        ({"individual": 1.2}, "cortex: key 'individual' is 1.2"),
        ({"tuning_seed": -3}, "cortex: key 'tuning_seed' is -3"),
        ({"rois": [{"name": "A", "layer": "x", "rf_sd": 0, "peak_mm": [1, 2, 3]}]}, r"cortex: key 'rois\[0\].rf_sd' is 0"),
        ({"roi": []}, "cortex: unknown key 'roi'; did you mean 'rois'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse_config(values, Cortex, "cortex")
