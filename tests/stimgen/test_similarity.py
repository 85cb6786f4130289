"""Which voxels are alike: profiles are correlations, a voxel is left out of its own ROI, clusters and layouts find what was planted."""

import numpy as np
import pytest

from stimgen.similarity import find_nearest, profile_images, profile_readouts, relate_rois, share_own
from stimgen.voxel_layout import find_clusters, lay_out

ROIS = ["V1"] * 7 + ["FFA"] * 5 + ["PPA"] * 4


def plant_profiles(noise=0.5, seed=0, images=40):
    """Predicted responses, images x voxels, of voxels that share their ROI's response."""
    rng = np.random.default_rng(seed)
    shared = {roi: rng.standard_normal(images) for roi in dict.fromkeys(ROIS)}
    return np.stack([shared[roi] + noise * rng.standard_normal(images) for roi in ROIS], axis=1)


def test_products_of_profiles_are_correlations():
    predicted = plant_profiles() * np.arange(1, 17) + 5
    profiles = profile_readouts(predicted)
    assert np.allclose(profiles @ profiles.T, np.corrcoef(predicted.T))


def test_correlated_features_do_not_change_what_is_alike():
    """The same responses from other weights: features written in another basis give the same profiles, not the same weights."""
    rng = np.random.default_rng(3)
    features, weights = rng.standard_normal((30, 6)), rng.standard_normal((6, 4))
    mix = rng.standard_normal((6, 6))
    ours = profile_readouts(features @ weights)
    others = profile_readouts((features @ mix) @ np.linalg.solve(mix, weights))
    assert np.allclose(ours @ ours.T, others @ others.T)
    assert not np.allclose(np.corrcoef(weights.T), np.corrcoef(np.linalg.solve(mix, weights).T), atol=0.1)


def test_a_voxel_is_compared_with_its_roi_without_itself():
    predicted = plant_profiles(noise=1.5)
    profiles = profile_readouts(predicted)
    nearest = find_nearest(profiles, ROIS)
    unit = profiles[1:7].sum(axis=0)
    assert nearest.own_r[0] == pytest.approx(np.corrcoef(profiles[0], unit)[0, 1])
    other = profiles[7:12].sum(axis=0)
    r = [nearest.own_r[0], np.corrcoef(profiles[0], other)[0, 1], np.corrcoef(profiles[0], profiles[12:].sum(axis=0))[0, 1]]
    assert nearest.r[0] == pytest.approx(max(r))
    assert nearest.roi[0] == ["V1", "FFA", "PPA"][int(np.argmax(r))]


def test_profiles_of_noise_are_near_their_own_roi_by_chance_only():
    """Without leaving the voxel out nearly all would be; the null is calibrated over 40 brains."""
    shares = [share_own(find_nearest(profile_readouts(plant_profiles(noise=1e6, seed=seed)), ROIS), ROIS) for seed in range(40)]
    assert 0.2 < np.mean(shares) < 0.45


def test_planted_rois_are_found():
    nearest = find_nearest(profile_readouts(plant_profiles()), ROIS)
    assert share_own(nearest, ROIS) == 1.0
    assert share_own(nearest, ROIS, "PPA") == 1.0


def test_the_only_voxel_of_an_roi_has_no_nearest_one():
    rois = ["V1"] * 15 + ["hV4"]
    nearest = find_nearest(profile_readouts(plant_profiles()), rois)
    assert nearest.roi[15] is None
    assert np.isnan(nearest.own_r[15])
    assert nearest.tabulate()["nearest_roi"][15] is None
    assert share_own(nearest, rois, "hV4") is None
    assert None not in nearest.roi[:15]


def test_noise_that_a_subject_shares_is_left_out_with_the_subject():
    """Every subject's voxels share one response of their own, which has nothing to do with ROIs."""
    rng = np.random.default_rng(1)
    subjects = (["01", "02"] * 8)[: len(ROIS)]
    own = {subject: rng.standard_normal(40) for subject in ("01", "02")}
    predicted = np.stack([own[subject] + 0.1 * rng.standard_normal(40) for subject in subjects], axis=1)
    profiles = profile_readouts(predicted)
    for row, subject in enumerate(subjects):
        r = find_nearest(profiles, ROIS, subjects).own_r[row]
        others = [number for number, one in enumerate(subjects) if one != subject and ROIS[number] == ROIS[row]]
        assert r == pytest.approx(np.corrcoef(profiles[row], profiles[others].sum(axis=0))[0, 1])


def test_images_are_alike_by_what_they_do_to_all_voxels():
    rng = np.random.default_rng(2)
    natural = rng.standard_normal((50, 6)) * [1, 2, 3, 4, 5, 100] + 7
    pattern = rng.standard_normal((2, 6))
    made = np.concatenate([pattern[[0]], pattern[[1]], pattern[[0]]]) * natural.std(axis=0) + natural.mean(axis=0)
    profiles = profile_images(made, natural, np.array([0, 1, 0]))
    assert len(profiles) == 2
    assert profiles[0] @ profiles[1] == pytest.approx(np.corrcoef(pattern)[0, 1])


def test_how_alike_two_rois_are_is_the_mean_over_pairs_of_voxels():
    profiles = profile_readouts(plant_profiles())
    r = profiles @ profiles.T
    relations = relate_rois(profiles, ROIS)
    assert relations.loc["V1", "PPA"] == pytest.approx(r[:7, 12:].mean())
    assert relations.loc["FFA", "FFA"] == pytest.approx(r[7:12, 7:12][~np.eye(5, dtype=bool)].mean())
    assert np.isnan(relate_rois(profiles[:3], ["a", "a", "b"]).loc["b", "b"])


def test_auto_finds_the_planted_clusters_largest_first():
    clusters = find_clusters(profile_readouts(plant_profiles(noise=0.3)), None, seed=1)
    assert clusters.numbers.tolist() == [1] * 7 + [2] * 5 + [3] * 4
    assert max(clusters.tried, key=clusters.tried.get) == 3
    assert clusters.silhouette.mean() == pytest.approx(clusters.tried[3])


def test_as_many_clusters_as_asked_for():
    profiles = profile_readouts(plant_profiles())
    assert set(find_clusters(profiles, 5, seed=1).numbers) == {1, 2, 3, 4, 5}
    alone = find_clusters(profiles, 1, seed=1)
    assert set(alone.numbers) == {1}
    assert np.isnan(alone.silhouette).all()


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_layout_keeps_rois_apart_and_is_the_same_again(method):
    profiles = profile_readouts(plant_profiles(noise=0.3))
    placed = lay_out(profiles, method, seed=1)
    centers = np.stack([placed[np.array(ROIS) == roi].mean(axis=0) for roi in dict.fromkeys(ROIS)])
    nearest = np.argmin(((placed[:, None] - centers) ** 2).sum(axis=2), axis=1)
    assert nearest.tolist() == [0] * 7 + [1] * 5 + [2] * 4
    assert np.array_equal(placed, lay_out(profiles, method, seed=1))


def test_voxels_that_are_all_alike_are_one_cluster():
    clusters = find_clusters(np.zeros((5, 4)), 1, seed=1)
    assert (clusters.numbers.tolist(), clusters.tried) == ([1] * 5, {})


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_three_voxels_are_enough_for_a_layout(method):
    profiles = profile_readouts(plant_profiles()[:, [0, 8, 14]])
    assert np.isfinite(lay_out(profiles, method, seed=1)).all()
    assert find_clusters(profiles, None, seed=1).numbers.max() == 2
