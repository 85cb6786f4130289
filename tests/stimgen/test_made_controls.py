"""Controls that are made: what each keeps of its target image, and what it loses."""

import numpy as np
import pytest

from stimgen.assemble import collect_targets
from stimgen.jobs import Workplace
from stimgen.judge import rate_goal
from stimgen.made_controls import make_controls, plan_control, scramble_targets, shuffle_weights
from stimgen.make import Studio, make_images, plan_jobs, rate_pool, read_starts
from stimgen.natural_controls import predict_arrays
from stimgen.order import plan_order
from tests.stimgen.conftest import make_order


@pytest.fixture
def build(natural, makers, tmp_path):
    """A function from targets and settings to a studio, what is wanted, and the images made for it."""

    def make(*targets, **settings):
        order = make_order(*targets, **settings)
        studio = Studio(order, makers, [], natural, Workplace(tmp_path / "work"))
        wanted = plan_order(order, makers)
        return studio, wanted, make_images(studio, plan_jobs(studio, wanted), lambda images: None)

    return make


def control(studio, wanted, made):
    pictures = collect_targets(studio.order, made)
    return pictures, make_controls(studio, wanted, made, pictures, [], lambda images: None)


def test_each_target_image_has_a_control_of_every_kind_that_is_asked_for(build):
    studio, wanted, made = build({"roi": "V3"}, {"roi": "LO"}, count=2, controls=["natural", "scrambled", "shuffled", "fooling", "other"])
    pictures, controls = control(studio, wanted, made)
    assert [one.condition for one in controls] == [kind for kind in ("natural", "scrambled", "shuffled", "fooling") for _ in range(4)]
    for kind in ("natural", "scrambled", "shuffled", "fooling"):
        tied = [(one.control_of, one.target, one.stim_id) for one in controls if one.condition == kind]
        assert tied == [(one.stim_id, one.target, one.stim_id.replace("target", kind)) for one in pictures]


def test_each_target_image_has_a_scrambled_copy_of_its_own_seed(build):
    studio, _, made = build({"roi": "V3"}, count=2)
    pictures = collect_targets(studio.order, made)
    scrambled, again = scramble_targets(studio, pictures), scramble_targets(studio, pictures)
    assert [one.source_image for one in scrambled] == ["targetV301", "targetV302"]
    assert scrambled[0].seed != scrambled[1].seed
    for one, same, original in zip(scrambled, again, pictures, strict=True):
        np.testing.assert_array_equal(one.image, same.image)
        assert np.abs(one.image - original.image).mean() > 0.02


def test_shuffled_weights_are_the_same_numbers_within_each_layer_alike_for_all_voxels(makers):
    maker = makers[0]
    shuffled = shuffle_weights(maker, 3)
    layers = maker.model.space.layer_of_feature
    own, permuted = maker.model.readout.coefficients, shuffled.model.readout.coefficients
    assert not np.array_equal(own, permuted)
    for layer in np.unique(layers):
        inside = layers == layer
        order = np.lexsort(own[inside].T), np.lexsort(permuted[inside].T)
        np.testing.assert_array_equal(own[inside][order[0]], permuted[inside][order[1]])
    np.testing.assert_allclose(shuffled.pool, shuffled.model.readout.predict(maker.features), rtol=1e-5)
    assert np.array_equal(shuffle_weights(maker, 3).pool, shuffled.pool)


def test_images_for_shuffled_weights_drive_them_and_not_the_true_ones(build):
    settings = {"count": 3, "ascent": {"steps": 30, "learning_rate": 0.5}, "image": {"start": "noise"}}
    studio, wanted, made = build({"roi": "V3"}, **settings)
    planned, jobs = plan_control("shuffled", studio, wanted, [one.job for one in made])
    shuffled = make_images(planned, jobs, lambda images: None)
    for scorers, better, worse in ((studio.makers, made, shuffled), (planned.makers, shuffled, made)):
        drive = [
            rate_goal(wanted[0].goal, scorers, [predict_arrays(scorer, [one.image for one in some]) for scorer in scorers]).mean()
            for some in (better, worse)
        ]
        assert drive[0] > drive[1]


def test_a_fooling_image_is_a_small_edit_of_a_photograph_of_median_drive(build, natural):
    studio, wanted, made = build({"roi": "V3"}, count=2, ascent={"steps": 20, "learning_rate": 0.5})
    planned, jobs = plan_control("fooling", studio, wanted, [one.job for one in made])
    rating = rate_pool(studio, wanted[0])
    rank = np.argsort(np.argsort(rating))
    ids = list(natural.table["stim_id"])
    assert all(3 <= rank[ids.index(job.source)] <= 8 for job in jobs)  # of 12
    assert jobs[0].source != jobs[1].source
    fooling = make_images(planned, jobs, lambda images: None)
    starts = read_starts(planned, jobs).permute(0, 2, 3, 1).numpy()
    for one, start in zip(fooling, starts, strict=True):
        assert np.sqrt(((one.image - start) ** 2).mean()) < 0.045
        scorer = studio.makers
        before, after = (
            rate_goal(wanted[0].goal, scorer, [predict_arrays(maker, [image]) for maker in scorer])[0] for image in (start, one.image)
        )
        assert after > before
