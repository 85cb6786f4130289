"""How images are made: their seeds and starts, the order they come in, and which are kept."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from protocols.errors import InputError
from stimgen.image_files import read_image
from stimgen.jobs import Workplace
from stimgen.judge import make_scorer
from stimgen.make import Job, Made, Studio, derive_seed, keep_best, make_images, plan_jobs, rate_pool
from stimgen.order import plan_order
from tests.stimgen.conftest import make_order
from tests.stimgen.tiny import make_tiny_model

STILL = {"shift": 0, "scale": 0, "rotation_deg": 0}


@pytest.fixture
def build(natural, makers, tmp_path):
    """A function from targets and settings to a studio and what is wanted."""

    def make(*targets, makers=makers, **settings):
        order = make_order(*targets, **settings)
        return Studio(order, makers, [], natural, Workplace(tmp_path / "work")), plan_order(order, makers)

    return make


def standardize(maker, roi):
    response = maker.pool @ maker.model.roi_weights([roi])[:, 0]
    return (response - response.mean()) / response.std()


def rate_by_hand(makers, roi="V3", others=("LO", "EBA")):
    """Return an ROI's z less half the mean z of the others, mean over makers, of the pool's images."""
    return np.mean([standardize(one, roi) - 0.5 * np.mean([standardize(one, other) for other in others], axis=0) for one in makers], axis=0)


def draw_made(wanted, images):
    return [Made(Job(wanted, index, None, None), image, 0, False) for index, image in enumerate(images)]


def test_a_seed_depends_on_the_files_seed_the_target_and_the_index():
    seeds = {derive_seed(seed, label, index) for seed in (1, 2) for label in ("V3", "LO") for index in range(5)}
    assert len(seeds) == 20
    assert derive_seed(1, "V3", 0) == derive_seed(1, "V3", 0)


def test_seeds_and_starts_do_not_depend_on_the_other_targets(build):
    alone, together = (
        [(job.seed, job.source) for job in plan_jobs(*build(*targets, count=2, candidates=2, seed=5)) if job.wanted.label == "LO"]
        for targets in ([{"roi": "LO"}], [{"roi": "V3"}, {"roi": "LO"}])
    )
    assert alone == together
    assert [seed for seed, _ in alone] == [derive_seed(5, "LO", index) for index in range(4)]


def test_images_start_from_the_pools_best_for_the_objective_of_different_sources(build, natural, makers):
    studio, wanted = build({"roi": "V3"}, count=3)
    rating = rate_by_hand(makers)
    np.testing.assert_allclose(rate_pool(studio, wanted[0]), rating, atol=1e-4)
    best = {}  # of three images no two are of one source
    for index in np.argsort(-rating):
        best.setdefault(natural.table["source"][index], natural.table["stim_id"][index])
    jobs = plan_jobs(studio, wanted)
    assert [job.source for job in jobs] == list(best.values())[:3]
    assert [job.start for job in jobs] == [natural.folder / f"{job.source}.png" for job in jobs]


def test_a_broken_bound_counts_against_a_start(build, makers):
    studio, wanted = build({"roi": "V3", "hold": ["LO"], "hold_within": 0.25})
    held = np.mean([standardize(one, "LO") for one in makers], axis=0)
    breach = np.clip(np.abs(held) - 0.25, 0, None)
    assert (breach > 0).any()
    expected = rate_by_hand(makers, others=("EBA",)) - 0.25 * breach**2  # the augmented Lagrangian's penalty at its first strength
    np.testing.assert_allclose(rate_pool(studio, wanted[0]), expected, atol=1e-4)


def test_starts_of_noise_are_no_images(build):
    assert {(job.start, job.source) for job in plan_jobs(*build({"roi": "V3"}, count=3, image={"start": "noise"}))} == {(None, None)}


def test_photographs_take_turns(build, tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name, side in (("b", 9), ("a", 8)):
        Image.new("RGB", (side, side + 3)).save(folder / f"{name}.png")
    jobs = plan_jobs(*build({"roi": "V3"}, {"roi": "LO", "count": 1}, count=3, image={"photographs": folder}))
    assert [job.source for job in jobs] == ["a", "b", "a", "a"]
    assert jobs[1].start == folder / "b.png"
    Image.new("RGB", (12, 7)).save(folder / "c.png")
    message = r"c.png: 12 x 7 px, smaller than the networks' input of 8 px; give a larger one"
    with pytest.raises(InputError, match=message):
        plan_jobs(*build({"roi": "V3"}, image={"photographs": folder}))


def test_more_starts_than_the_pool_has_are_refused(build):
    with pytest.raises(InputError, match="the natural pool has 12 images, but 1 targets need 14"):
        plan_jobs(*build({"roi": "V3"}, count=7, candidates=2))


@pytest.mark.parametrize(
    "settings",
    [
        {"image": {"parameterization": "pixels"}},
        {"image": {"parameterization": "maco", "budget": 0.5}},
        {"image": {"start": "noise"}},
        {"ascent": {"steps": 2, "naturalness": 0.3, "views": 2}},
        {"ensemble": {"members": "subjects", "combine": "mean_minus_sd"}},
    ],
)
def test_every_way_of_drawing_gives_images_in_0_to_1(build, settings):
    studio, wanted = build({"roi": "V3"}, {"up": ["LO"], "down": ["EBA"]}, count=2, **settings)
    jobs = plan_jobs(studio, wanted)
    made = make_images(studio, jobs, lambda images: None)
    assert [one.job for one in made] == jobs
    for one in made:
        assert one.image.shape == (32, 32, 3)
        assert one.image.min() >= 0
        assert one.image.max() <= 1
        assert one.image.std() > 1e-3


def test_an_edit_stays_near_the_photograph_it_starts_from(build, natural):
    ascent = {"steps": 5, "learning_rate": 1.0, "jitter": STILL}
    studio, wanted = build({"roi": "V3"}, count=2, image={"parameterization": "edit", "largest": 0.03}, ascent=ascent)
    jobs = plan_jobs(studio, wanted)
    made = make_images(studio, jobs, lambda images: None)
    change = np.array([np.sqrt(((one.image - read_image(one.job.start, 32)) ** 2).mean()) for one in made])
    assert (change > 0.005).all()
    assert (change <= 0.03 + 1e-4).all()


def carry(model, layers):
    """Return the model with each ROI read from one layer alone."""
    coefficients = model.readout.coefficients.copy()
    names = [layer.name for layer in model.space.layers]
    for column, roi in enumerate(model.voxels["roi"]):
        coefficients[model.space.layer_of_feature != names.index(layers[roi]), column] = 0
    return dataclasses.replace(model, readout=dataclasses.replace(model.readout, coefficients=coefficients))


def test_goals_of_one_depth_are_climbed_together_and_come_back_in_the_files_order(build, natural):
    model = carry(make_tiny_model(), {"V3": "second", "LO": "third", "EBA": "second"})
    targets = [{"roi": roi, "minus_others": 0.0} for roi in ("V3", "LO", "EBA")]
    ascent = {"steps": 2, "depth_share": 0.99, "batch": 3}
    studio, wanted = build(*targets, makers=[make_scorer("m", model, natural.image_paths())], count=2, ascent=ascent)
    jobs, climbed = plan_jobs(studio, wanted), []
    made = make_images(studio, jobs, climbed.append)
    assert climbed == [3, 3, 1, 1, 2, 2]  # V3 and EBA in one group, cut into batches of 3; LO in another
    assert [one.job for one in made] == jobs
    kept, diversity = keep_best(studio, made)
    assert [one.job.wanted.label for one in kept] == ["V3", "V3", "LO", "LO", "EBA", "EBA"]
    assert list(diversity) == ["V3", "LO", "EBA"]


def test_of_the_candidates_the_best_and_most_different_are_kept(build, makers):
    studio, (wanted,) = build({"roi": "V3"}, count=2, candidates=2, diversity=0)
    images = np.random.default_rng(3).uniform(0, 1, (4, 32, 32, 3)).astype(np.float32)
    images[3] = images[0]
    with torch.no_grad():
        z = []
        for maker in makers:
            responses = maker.model.predict(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
            natural = [maker.pool @ maker.model.roi_weights([roi])[:, 0] for roi in ("V3", "LO", "EBA")]
            own = [responses @ maker.model.roi_weights([roi])[:, 0] for roi in ("V3", "LO", "EBA")]
            v3, lo, eba = ((one - pool.mean()) / pool.std() for one, pool in zip(own, natural, strict=True))
            z.append(v3 - 0.25 * (lo + eba))
    best = np.sort(np.argsort(-np.mean(z, axis=0), kind="stable")[:2])
    kept, _ = keep_best(studio, draw_made(wanted, images))
    assert [one.job.seed for one in kept] == best.tolist()
    studio = dataclasses.replace(studio, order=dataclasses.replace(studio.order, diversity=1e3))
    kept, diversity = keep_best(studio, draw_made(wanted, images))
    assert {0, 3} - {one.job.seed for one in kept}  # never both copies
    assert diversity["V3"] > 0.01


def test_copies_have_diversity_0_and_an_only_image_none(build):
    studio, (wanted,) = build({"roi": "V3"}, count=3)
    image = np.random.default_rng(3).uniform(0, 1, (32, 32, 3)).astype(np.float32)
    kept, diversity = keep_best(studio, draw_made(wanted, [image] * 3))
    assert len(kept) == 3
    assert diversity == {"V3": pytest.approx(0, abs=1e-5)}
    assert np.isnan(keep_best(studio, draw_made(wanted, [image]))[1]["V3"])
