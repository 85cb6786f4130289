"""Gradient ascent finds known optima of hand-weighted networks, meets bounds, and an image is its own seed's, whoever else is made."""

import numpy as np
import pytest
import torch
from torch import nn

from protocols.errors import InputError
from stimgen.goal import Goal, plan_goal
from stimgen.image import Fourier
from stimgen.naturalness import measure_naturalness
from stimgen.objective import Ensemble
from stimgen.optimize import Ascent, Climb, begin, climb_on
from stimgen.predictors import Panel, Predictor, build_panel
from stimgen.readings import Reader, Term
from stimgen.target import Target, expand_target
from stimgen.transforms import Jitter
from tests.stimgen.tiny import draw_images, make_scorer, make_space, make_tiny_model, wrap

STILL = Jitter(shift=0.0, scale=0.0, rotation_deg=0.0)
SIZE_PX = 16
FOURIER = Fourier(SIZE_PX)
DRIVE = Goal("t", factors={"t": 1.0})
COLORS = [1.0, -0.5, -0.5]
GRAYS = [1.0, 1.0, 1.0]


def read_colors(weights, budget=1, bias=None):
    """Return a feature space of one 1 x 1 convolution with the given RGB weights, rectified where it has a bias."""
    convolution = nn.Conv2d(3, 1, 1, bias=bias is not None)
    convolution.weight.data = torch.tensor(weights).reshape(1, 3, 1, 1)
    if bias is None:
        return make_space(wrap(nn.Sequential(convolution), ("0",), SIZE_PX), ["0"], budget)
    convolution.bias.data = torch.tensor([bias])
    return make_space(wrap(nn.Sequential(convolution, nn.ReLU()), ("1",), SIZE_PX), ["1"], budget)


def make_predictor(space, slope, kind=Predictor):
    """Return a predictor of one term, `t`, with the given slope on the features."""
    return kind(space, space.layers, (Reader(torch.tensor(slope)[:, None], torch.zeros(1), torch.tensor([True])),))


def make_panel(space, slope=(1.0,), kind=Predictor):
    return Panel((make_predictor(space, slope, kind),), (Term("t"),))


def climb(makers, goals=(DRIVE,), seeds=(1,), ensemble=None, told=None, validators=None, natural=(), start=None, **ascent):
    settings = Ascent(**{"jitter": STILL, "learning_rate": 0.5, "steps": 60, **ascent})
    goals = goals if len(goals) == len(seeds) else goals * len(seeds)
    extra = {"naturalness": tuple(natural), "validators": validators}
    job = Climb(tuple(goals), tuple(seeds), FOURIER, start, makers, ensemble or Ensemble(), settings, **extra)
    return climb_on(job, begin(job), *([told] if told else []))


def test_a_network_that_reads_red_and_against_the_rest_gets_a_red_image():
    image = climb(make_panel(read_colors(COLORS)), steps=100, learning_rate=0.2).images[0]
    center = image[:, 4:12, 4:12]  # one place of the grid sees the center most, and the corners a fourth as much
    red, green, blue = center.mean(dim=(1, 2)).tolist()
    assert red > 0.75
    assert max(green, blue) < 0.2
    assert float((center[0] > center[1:].max(dim=0).values).float().mean()) > 0.75


@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
def test_the_sign_of_the_slope_or_of_the_factor_is_the_direction(optimizer):
    def brightness(sign, factor):
        goal = Goal("t", factors={"t": factor})
        return float(climb(make_panel(read_colors(GRAYS), (sign,)), [goal], optimizer=optimizer).images.mean())

    assert brightness(1.0, 1.0) > 0.85
    assert brightness(-1.0, 1.0) < 0.15
    assert brightness(1.0, -1.0) < 0.15


def test_where_nothing_looks_the_image_stays_near_gray():
    """Four quadrants; the slope asks for a bright left upper and a dark left lower one, and ignores the right half."""
    image = climb(make_panel(read_colors(GRAYS, 4), (1.0, 0.0, -1.0, 0.0)), steps=40, learning_rate=0.1).images[0]
    assert float(image[:, 2:6, 2:6].mean()) > 0.75
    assert float(image[:, 10:14, 2:6].mean()) < 0.25
    read, ignored = image[:, :, 1:7], image[:, :, 9:15]
    assert float((ignored - 0.5).abs().mean()) < 0.6 * float((read - 0.5).abs().mean())


def test_an_ensemble_serves_all_its_models():
    """One model wants red, the other green: together they make a yellow image, which neither alone does."""
    predictors = [make_predictor(read_colors(weights), (1.0,)) for weights in ([1.0, 0.0, -1.0], [0.0, 1.0, -1.0])]
    red, green, blue = climb(Panel(tuple(predictors), (Term("t"),))).images[0].mean(dim=(1, 2)).tolist()
    assert min(red, green) > 0.75
    assert blue < 0.2


def test_the_cautious_reading_drives_the_weaker_model():
    """The second model reads green with a tenth of the gain: the least reading is its own, and the mean minds it little."""
    predictors = [make_predictor(read_colors(weights), (1.0,)) for weights in ([4.0, -1.0, 0.0], [0.0, 0.4, 0.0])]
    panel = Panel(tuple(predictors), (Term("t"),))
    green = {combine: float(climb(panel, ensemble=Ensemble(combine=combine)).images[0, 1].mean()) for combine in ("mean", "minimum")}
    assert green["mean"] < 0.6
    assert green["minimum"] > 0.75


def test_jittered_images_drive_a_shifted_network_more_than_unjittered_ones():
    """The network reads a checkerboard of single pixels; an image made without jitter falls to pieces when it moves a pixel."""
    pattern = (-1.0) ** np.add.outer(np.arange(SIZE_PX), np.arange(SIZE_PX))
    space = read_colors(GRAYS, SIZE_PX**2)
    slope = pattern.flatten().astype(np.float32).tolist()
    loss = []
    for jitter in (STILL, Jitter(shift=0.2, scale=0.0, rotation_deg=0.0)):
        images = climb(make_panel(space, slope), steps=40, jitter=jitter).images
        features = [space.extract(torch.roll(images, by, dims=3)) @ torch.tensor(slope) for by in (0, 1)]
        loss.append(float(features[0] - features[1]))
    assert loss[1] < 0.5 * loss[0]


@pytest.fixture(scope="module")
def scorer():
    return make_scorer(make_tiny_model())


JOBS = (("V3", 11), ("LO", 12), ("V3", 13), ("LO", 14), ("V3", 15))


def make(scorer, jobs=JOBS, told=None, **ascent):
    goals = [plan_goal(Target(roi=roi), scorer.model.rois) for roi, _ in jobs]
    panel = build_panel([scorer], goals, Ensemble())
    settings = {"steps": 12, "learning_rate": 0.05, "jitter": Jitter(), **ascent}
    return climb(panel, goals, [seed for _, seed in jobs], told=told, **settings).images


def read_terms(scorer, goal, images):
    panel = build_panel([scorer], [goal], Ensemble())
    z = panel.predictors[0].read(images, False)[0][0].numpy()
    return {term.name: z[:, column] for column, term in enumerate(panel.terms)}


def test_the_drive_after_ascent_beats_the_start_for_every_job(scorer):
    ends = make(scorer, steps=40)
    for (roi, seed), end in zip(JOBS, ends, strict=True):
        goal = plan_goal(Target(roi=roi), scorer.model.rois)
        start = FOURIER.decode(FOURIER.draw(torch.Generator().manual_seed(seed))[None])
        before, after = (sum(goal.factors[name] * z[0] for name, z in read_terms(scorer, goal, one).items()) for one in (start, end[None]))
        assert after > before + 1


def test_an_image_is_its_seeds_own_whatever_its_batch_mates_and_their_order(scorer):
    together = make(scorer)
    for size in (1, 2):
        parts = [make(scorer, JOBS[start : start + size]) for start in range(0, len(JOBS), size)]
        torch.testing.assert_close(torch.cat(parts), together, atol=1e-3, rtol=0)
    torch.testing.assert_close(make(scorer, JOBS[::-1]).flip(0), together, atol=1e-3, rtol=0)
    assert float((together[0] - together[2]).abs().max()) > 0.05  # the same target with another seed


def test_more_images_than_a_forward_pass_takes_are_each_their_own(scorer):
    jobs = [(roi, seed) for seed in range(6) for roi in ("V3", "LO")]
    together = make(scorer, jobs, steps=6)
    torch.testing.assert_close(make(scorer, jobs[9:], steps=6), together[9:], atol=1e-3, rtol=0)


def test_the_same_jobs_again_are_the_same_images_bit_for_bit(scorer):
    assert torch.equal(make(scorer), make(scorer))


def test_no_global_generator_is_touched(scorer):
    torch.manual_seed(5)
    before, images = torch.random.get_rng_state(), make(scorer)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    assert torch.equal(make(scorer), images)


def test_progress_is_told_once_per_step(scorer):
    told = []
    images = make(scorer, told=told.append, steps=3)
    assert told == [5, 5, 5]
    assert images.shape == (5, 3, SIZE_PX, SIZE_PX)


def test_a_climb_from_given_parameters_starts_there(scorer):
    photograph = draw_images(1, SIZE_PX, seed=4)
    goal = plan_goal(Target(roi="V3"), scorer.model.rois)
    panel = build_panel([scorer], [goal], Ensemble())
    near = climb(panel, [goal], start=FOURIER.encode(photograph), steps=1, learning_rate=1e-5).images
    torch.testing.assert_close(near, photograph, atol=0.01, rtol=0)


@pytest.mark.parametrize("quadrant", range(4))
def test_both_bounds_of_a_pair_are_met_in_every_quadrant(scorer, quadrant):
    target = expand_target(Target(quadrants=("V3", "LO"), level=2.0), [scorer.model])[quadrant]
    goal = plan_goal(target, scorer.model.rois)
    made = climb(build_panel([scorer], [goal], Ensemble()), [goal] * 2, (1, 2), steps=120, learning_rate=0.05)
    z = read_terms(scorer, goal, made.images)
    for image in range(2):
        assert goal.find_violations({name: float(values[image]) for name, values in z.items()}, 0.1) == []
    assert goal.rate(z).min() > 1.9


def test_a_dose_is_reached_and_not_passed(scorer):
    goal = plan_goal(Target(roi="V3", dose=90), scorer.model.rois, {"V3": 1.3})
    made = climb(build_panel([scorer], [goal], Ensemble()), [goal] * 2, (1, 2), steps=100, learning_rate=0.02)
    np.testing.assert_allclose(read_terms(scorer, goal, made.images)["V3"], 1.3, atol=0.1)


def test_what_is_held_stays_while_the_target_is_driven(scorer):
    free, held = (
        plan_goal(Target(roi="V3", minus_others=0, hold=hold, hold_within=0.5), scorer.model.rois) for hold in ((), ("LO", "EBA"))
    )
    both = [climb(build_panel([scorer], [goal], Ensemble()), [goal], steps=150, learning_rate=0.05).images for goal in (free, held)]
    unheld, kept = (read_terms(scorer, held, images) for images in both)
    assert max(abs(unheld["LO"][0]), abs(unheld["EBA"][0])) > 1
    assert max(abs(kept["LO"][0]), abs(kept["EBA"][0])) < 0.6
    assert kept["V3"][0] > 2


def test_a_model_that_predicts_nan_for_an_image_is_refused_with_its_target(scorer):
    goals = [DRIVE, Goal("other", factors={"o": 1.0})]
    space = read_colors(GRAYS)
    broken = Reader(torch.tensor([[1.0, torch.nan]]), torch.zeros(2), torch.tensor([True, True]))
    panel = Panel((Predictor(space, space.layers, (broken,)),), (Term("t"), Term("o")))
    with pytest.raises(InputError, match="target 'other': a model predicts NaN for the image; lower learning_rate, or fit the model again"):
        climb(panel, goals, (1, 2))
    network = read_colors([torch.nan, 0.0, 0.0])
    with pytest.raises(InputError, match="target 't': a model predicts NaN"):
        climb(make_panel(network))


def test_a_network_that_is_silent_at_gray_is_started_again_from_louder_noise_and_then_lives():
    """The rectified unit speaks only where a pixel is nearly white, which faint noise never is."""
    space = read_colors([1 / 3, 1 / 3, 1 / 3], bias=-0.9)
    made = climb(make_panel(space), seeds=(1, 2), steps=100)
    assert all(1 <= restarts <= 3 for restarts in made.restarts)
    assert made.dead == (False, False)
    assert float(space.extract(made.images).min()) > 0.03  # of 0.1 where all is white


def test_a_gradient_that_stays_dead_is_told_after_three_restarts():
    made = climb(make_panel(read_colors([1 / 3, 1 / 3, 1 / 3], bias=-2.0)), seeds=(1, 2), steps=8)
    assert made.restarts == (3, 3)
    assert made.dead == (True, True)


def test_only_the_image_whose_gradient_is_dead_is_started_again():
    living, dead = read_colors(GRAYS), read_colors([1 / 3, 1 / 3, 1 / 3], bias=-2.0)
    own = torch.eye(2)
    predictors = [
        Predictor(space, space.layers, (Reader(row[None], torch.zeros(2), row > 0),))
        for space, row in zip((living, dead), own, strict=True)
    ]
    made = climb(Panel(tuple(predictors), (Term("t"), Term("o"))), [DRIVE, Goal("o", factors={"o": 1.0})], (1, 2), steps=20)
    assert made.restarts == (0, 3)
    assert made.dead == (False, True)
    torch.testing.assert_close(made.images[:1], climb(make_panel(living), steps=20).images, atol=1e-3, rtol=0)


def test_an_image_that_is_as_bright_as_can_be_is_not_taken_for_dead():
    """Where the sigmoid is saturated the parameters have no gradient, but the network does: the image is done."""
    white = 20 * FOURIER.encode(torch.ones(1, 3, SIZE_PX, SIZE_PX))
    made = climb(make_panel(read_colors(GRAYS)), start=white, steps=5)
    assert made.restarts == (0,)
    assert made.dead == (False,)
    assert bool((made.images == 1).all())


class Cramped(Predictor):
    """A predictor on a device that holds two images."""

    def read(self, images, reduced_precision):
        if len(images) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return super().read(images, reduced_precision)


class Full(Predictor):
    """A predictor on a device that holds no image."""

    def read(self, images, reduced_precision):
        raise torch.OutOfMemoryError("out of memory")


@pytest.mark.parametrize("views", [1, 2])
def test_where_memory_runs_out_fewer_images_are_seen_at_once_and_they_are_the_same(scorer, views):
    goals = [Goal(roi, low={roi: 1.0}, factors={roi: 1.0}) for roi, _ in JOBS]
    panel = build_panel([scorer], goals, Ensemble())
    roomy = panel.predictors[0]
    cramped = Panel((Cramped(roomy.space, roomy.layers, roomy.readers),), panel.terms)
    settings = {"steps": 25, "learning_rate": 0.05, "jitter": Jitter(), "views": views}
    one, other = (climb(some, goals, range(5), **settings).images for some in (panel, cramped))
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_memory_that_does_not_hold_one_image_is_told():
    with pytest.raises(InputError, match="memory does not suffice for one image; take fewer models, a smaller network, or --device cpu"):
        climb(make_panel(read_colors(GRAYS), kind=Full), [DRIVE] * 3, (1, 2, 3))


def test_validating_models_keep_the_image_that_they_rate_best():
    """The validator wants the opposite: the first image that it sees is the best."""
    makers, validators = make_panel(read_colors(GRAYS)), make_panel(read_colors(GRAYS), (-1.0,))
    early = climb(makers, steps=5, learning_rate=0.2).images
    kept = climb(makers, validators=validators, steps=40, validate_every=5, learning_rate=0.2).images
    assert torch.equal(kept, early)
    assert float(climb(makers, steps=40, learning_rate=0.2).images.mean()) > float(early.mean()) + 0.1


def test_validating_models_that_agree_keep_the_last_image_also_when_it_is_not_at_a_validation():
    makers = make_panel(read_colors(GRAYS))
    settings = {"steps": 23, "validate_every": 10, "learning_rate": 0.05}
    assert torch.equal(climb(makers, validators=makers, **settings).images, climb(makers, **settings).images)


def test_a_validator_counts_broken_bounds_against_an_image():
    """Bright is wanted up to a mean reading of 2: the maker has no such bound, its validator has."""
    goal = Goal("t", factors={"t": 0.1}, high={"t": 2.0})
    space = read_colors(GRAYS)
    louder = make_panel(space, (0.1,))  # the maker believes the bound to be far away
    settings = {"steps": 60, "learning_rate": 0.2}
    validated = climb(louder, [goal], validators=make_panel(space), validate_every=1, **settings).images
    reached, beyond = (float(space.extract(images)) for images in (validated, climb(louder, [goal], **settings).images))
    assert beyond > 2.5
    assert reached == pytest.approx(2.0, abs=0.3)


def test_views_are_averaged_and_make_an_image_of_their_own(scorer):
    one, other = make(scorer, views=1), make(scorer, views=3)
    assert torch.equal(other, make(scorer, views=3))
    assert float((one - other).abs().max()) > 1e-3
    still = {"jitter": STILL}
    torch.testing.assert_close(make(scorer, views=1, **still), make(scorer, views=3, **still), atol=1e-3, rtol=0)


def test_views_do_not_change_what_bounds_see(scorer):
    goal = Goal("t", factors={"V3": 1.0}, high={"V3": 1.0})
    panel = build_panel([scorer], [goal], Ensemble())
    one, other = (climb(panel, [goal], steps=40, learning_rate=0.02, views=views).images for views in (1, 2))
    torch.testing.assert_close(one, other, atol=5e-3, rtol=0)


def test_bfloat16_makes_nearly_the_same_image(scorer):
    full, reduced = make(scorer), make(scorer, precision="bfloat16")
    assert torch.isfinite(reduced).all()
    assert not torch.equal(full, reduced)
    assert float((full - reduced).abs().mean()) < 0.05


def test_nadam_drives_as_adam_does_by_steps_of_its_own(scorer):
    goal = plan_goal(Target(roi="V3"), scorer.model.rois)
    made = {name: make(scorer, JOBS[:1], steps=40, optimizer=name) for name in ("adam", "nadam")}
    drive = {name: read_terms(scorer, goal, images)["V3"][0] for name, images in made.items()}
    assert not torch.equal(made["adam"], made["nadam"])
    assert drive["nadam"] > 0.5 * drive["adam"] > 0.5


def test_the_weight_of_naturalness_keeps_features_near_natural_ones(scorer):
    goal = plan_goal(Target(roi="V3"), scorer.model.rois)
    panel = build_panel([scorer], [goal], Ensemble())
    predictor = panel.predictors[0]
    columns = predictor.space.find_columns(predictor.layers)
    natural = measure_naturalness(scorer.features[:, columns], predictor.space.layer_of_feature[columns], panel.device)
    penalty = []
    for weight in (0.0, 5.0):
        images = climb(panel, [goal], natural=[natural], steps=60, learning_rate=0.05, naturalness=weight).images
        penalty.append(float(natural.penalize(predictor.read(images, False)[1])))
    assert penalty[1] < 0.2 * penalty[0]
