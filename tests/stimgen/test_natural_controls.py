"""Which photographs stand beside target images, by what they do for the target, and that a pool too small says why."""

import dataclasses

import numpy as np
import pytest
import torch

from protocols.errors import InputError
from stimgen.assemble import collect_targets
from stimgen.image_files import read_image
from stimgen.jobs import Workplace
from stimgen.judge import make_scorer
from stimgen.make import Job, Made, Studio
from stimgen.matching import PhotometrySettings, plan_matching
from stimgen.natural_controls import choose_natural, predict_arrays
from stimgen.order import plan_order
from stimgen.photometry import measure_photometry
from tests.stimgen.conftest import make_order
from tests.stimgen.tiny import make_tiny_model


@pytest.fixture
def build(natural, makers, tmp_path):
    """A function from targets and settings to a studio, what is wanted, and noise images as the target images."""

    def make(*targets, **settings):
        order = make_order(*targets, **settings)
        studio = Studio(order, makers, [], natural, Workplace(tmp_path / "work"))
        wanted = plan_order(order, makers)
        rng = np.random.default_rng(1)
        made = [
            Made(Job(one, 100 + index, None, None, index), rng.uniform(0, 1, (32, 32, 3)).astype(np.float32), 0, False)
            for one in wanted
            for index in range(one.count)
        ]
        return studio, wanted, collect_targets(order, made)

    return make


def standardize(makers):
    """Images x V3, LO, EBA: z of the pool, mean over makers."""
    return np.mean([maker.score(maker.pool) for maker in makers], axis=0)


def choose(kind, studio, wanted, pictures, judges=(), taken=None):
    return choose_natural(kind, studio, wanted, pictures, judges, set() if taken is None else taken)


def test_natural_controls_are_the_pools_best_by_what_the_target_is_for_each_image_once(build, makers, natural):
    """A control is the best photograph for the ROI, not the most selective one; for a contrast, the contrast's best."""
    studio, wanted, pictures = build({"roi": "V3", "count": 1}, {"contrast": "V3 - LO", "name": "c"}, count=3)
    chosen = choose("natural", studio, wanted, pictures)
    assert [one.stim_id for one in chosen] == ["naturalV301", "naturalc01", "naturalc02", "naturalc03"]
    assert [one.control_of for one in chosen] == [one.stim_id for one in pictures]
    assert {(one.condition, one.method, one.seed) for one in chosen} == {("natural", "best_of_pool", None)}
    assert len({one.source_image for one in chosen}) == 4
    z = standardize(makers)
    best = int(z[:, 0].argmax())
    assert chosen[0].source_image == natural.table["stim_id"][best]
    contrast = z[:, 0] - z[:, 1]
    contrast[best] = -np.inf  # taken
    assert chosen[1].source_image == natural.table["stim_id"][contrast.argmax()]
    np.testing.assert_array_equal(chosen[0].image, read_image(natural.image_paths()[best], 32))


def test_worst_and_median_are_at_the_bottom_and_in_the_middle(build, makers, natural):
    studio, wanted, pictures = build({"roi": "V3"}, count=1)
    z = standardize(makers)[:, 0]
    names = natural.table["stim_id"]
    (worst,) = choose("worst", studio, wanted, pictures)
    (median,) = choose("median", studio, wanted, pictures)
    assert (worst.stim_id, worst.method, worst.source_image) == ("worstV301", "worst_of_pool", names[z.argmin()])
    assert (median.stim_id, median.method) == ("medianV301", "median_of_pool")
    assert median.source_image in set(names[np.argsort(np.abs(z - np.median(z)))[:2]])  # of 12: the median lies between two


def test_a_rival_is_nearest_to_its_target_image_by_the_judge(build, natural):
    judge = make_scorer("judge", make_tiny_model(seed=5), natural.image_paths())
    studio, wanted, pictures = build({"roi": "V3"}, count=2)
    (rival, _) = choose("rival", studio, wanted, pictures, [judge])
    weights = judge.model.roi_weights(["V3"])[:, 0]
    own = predict_arrays(judge, [picture.image for picture in pictures]) @ weights
    distance = np.abs(judge.pool @ weights - own.mean())
    assert rival.source_image in set(natural.table["stim_id"][np.argsort(distance)[:6]])
    assert (rival.stim_id, rival.method, rival.control_of) == ("rivalV301", "judged_as_target", "targetV301")


def test_a_photograph_serves_once_over_all_kinds(build):
    studio, wanted, pictures = build({"roi": "V3"}, count=3)
    taken = set()
    kinds = [choose(kind, studio, wanted, pictures, taken=taken) for kind in ("natural", "median", "worst")]
    assert len({one.source_image for chosen in kinds for one in chosen}) == 9
    assert len(taken) == 9


def test_a_pool_too_small_for_the_controls_is_refused(build):
    studio, wanted, pictures = build({"roi": "V3"}, {"roi": "LO"}, count=7)
    with pytest.raises(InputError, match="the natural pool has 12 images, but 2 targets need 14; give a larger pool, or lower 'count'"):
        choose("natural", studio, wanted, pictures)


def match(studio, **settings):
    photometry = PhotometrySettings(most_striped=9.0, **settings)
    return dataclasses.replace(studio, matching=plan_matching(photometry, studio.pool.image_paths(), 32, 3, 1))


def test_chosen_photographs_are_brought_to_the_profile_of_the_image_they_control(build):
    studio, wanted, pictures = build({"roi": "V3"}, count=3)
    matched = match(studio)
    chosen = choose("natural", matched, wanted, pictures)
    assert [one.profile for one in chosen] == [0, 1, 2]
    for one in chosen:
        measured = torch.tensor(list(measure_photometry(one.image).values()), dtype=torch.float32)
        torch.testing.assert_close(measured, matched.matching.profiles[one.profile], atol=0.02, rtol=0)


def test_a_pool_that_is_too_small_after_matching_names_the_constraint(build):
    studio, wanted, pictures = build({"roi": "V3"}, count=3)
    with pytest.raises(
        InputError, match=r"natural pool has .* could not be matched \(in the way: .*contrast \d+.*\), see photometry.match"
    ):
        choose("natural", match(studio, luminance=0.9, contrast=2.0), wanted, pictures)
