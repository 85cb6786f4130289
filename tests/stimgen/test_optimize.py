"""Gradient ascent finds known optima of hand-weighted networks, and an image is its own seed's, whoever else is made."""

import numpy as np
import pytest
import torch
from torch import nn

from stimgen.image import Fourier
from stimgen.objective import Drive, Target, fold_target
from stimgen.optimize import Ascent, Job, ascend
from stimgen.transforms import Jitter
from tests.stimgen.tiny import draw_images, make_space, make_tiny_model, wrap

STILL = Jitter(shift=0.0, scale=0.0, rotation_deg=0.0)
SIZE_PX = 16


def read_colors(weights, budget):
    """Return a feature space of one 1 x 1 convolution with the given RGB weights."""
    convolution = nn.Conv2d(3, 1, 1, bias=False)
    convolution.weight.data = torch.tensor(weights).reshape(1, 3, 1, 1)
    return make_space(wrap(nn.Sequential(convolution), ("0",), SIZE_PX), ["0"], budget)


def climb(space, slope, steps=60, seed=1, **ascent):
    settings = Ascent(steps=steps, **{"jitter": STILL, "learning_rate": 0.5, **ascent})
    return ascend([Job("t", (Drive(torch.tensor(slope), 0.0),), seed)], [space], Fourier(SIZE_PX), settings)[0]


def test_a_network_that_reads_red_and_against_the_rest_gets_a_red_image():
    image = climb(read_colors([1.0, -0.5, -0.5], 1), [1.0], steps=100, learning_rate=0.2)
    center = image[:, 4:12, 4:12]  # one place of the grid sees the center most, and the corners a fourth as much
    red, green, blue = center.mean(dim=(1, 2)).tolist()
    assert red > 0.75
    assert max(green, blue) < 0.2
    assert float((center[0] > center[1:].max(dim=0).values).float().mean()) > 0.75


def test_the_sign_of_the_slope_is_the_direction():
    bright, dark = (float(climb(read_colors([1.0, 1.0, 1.0], 1), [sign], steps=100).mean()) for sign in (1.0, -1.0))
    assert bright > 0.85
    assert dark < 0.15


def test_where_nothing_looks_the_image_stays_near_gray():
    """Four quadrants; the slope asks for a bright left upper and a dark left lower one, and ignores the right half."""
    image = climb(read_colors([1.0, 1.0, 1.0], 4), [1.0, 0.0, -1.0, 0.0], steps=40, learning_rate=0.1)
    assert float(image[:, 2:6, 2:6].mean()) > 0.75
    assert float(image[:, 10:14, 2:6].mean()) < 0.25
    read, ignored = image[:, :, 1:7], image[:, :, 9:15]
    assert float((ignored - 0.5).abs().mean()) < 0.6 * float((read - 0.5).abs().mean())


@pytest.fixture(scope="module")
def tiny():
    """A model, its pool and two targets' jobs."""
    model = make_tiny_model()
    pool = model.predict(draw_images(20, 8, seed=1)).numpy()
    drives = {roi: fold_target(Target(roi=roi), model, pool) for roi in ("V3", "LO")}
    jobs = [Job(roi, (drives[roi],), seed) for roi, seed in (("V3", 11), ("LO", 12), ("V3", 13), ("LO", 14), ("V3", 15))]
    return model, jobs


def make(tiny, jobs, **ascent):
    return ascend(jobs, [tiny[0].space], Fourier(SIZE_PX), Ascent(**{"steps": 12, **ascent}))


def drive_of(model, job, images):
    return (model.space.extract(images) @ job.drives[0].slope + job.drives[0].offset).numpy()


def test_the_drive_after_ascent_beats_the_start_for_every_job(tiny):
    model, jobs = tiny
    fourier = Fourier(SIZE_PX)
    ends = make(tiny, jobs, steps=40)
    for job, end in zip(jobs, ends, strict=True):
        start = fourier.decode(fourier.draw(torch.Generator().manual_seed(job.seed))[None])
        assert drive_of(model, job, end[None])[0] > drive_of(model, job, start)[0] + 1


def test_an_image_is_its_seeds_own_whatever_its_batch_mates_and_their_order(tiny):
    _, jobs = tiny
    together = make(tiny, jobs)
    for batch in (1, 2):
        torch.testing.assert_close(make(tiny, jobs, batch=batch), together, atol=1e-3, rtol=0)
    torch.testing.assert_close(make(tiny, jobs[::-1]).flip(0), together, atol=1e-3, rtol=0)
    torch.testing.assert_close(make(tiny, jobs[3:4])[0], together[3], atol=1e-3, rtol=0)
    assert float((together[0] - together[2]).abs().max()) > 0.05  # the same target with another seed


def test_the_same_jobs_again_are_the_same_images_bit_for_bit(tiny):
    assert torch.equal(make(tiny, tiny[1]), make(tiny, tiny[1]))


def test_no_global_generator_is_touched(tiny):
    torch.manual_seed(5)
    before, images = torch.random.get_rng_state(), make(tiny, tiny[1])
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(6)
    assert torch.equal(make(tiny, tiny[1]), images)


def test_progress_is_told_once_per_step_and_batch_and_images_come_in_order(tiny):
    told = []
    images = ascend(tiny[1], [tiny[0].space], Fourier(SIZE_PX), Ascent(steps=3, batch=2), told.append)
    assert told == [2, 2, 2, 2, 2, 2, 1, 1, 1]
    assert images.shape == (5, 3, SIZE_PX, SIZE_PX)


def test_an_ensemble_serves_all_its_models(tiny):
    """One model wants red, the other green: together they make a yellow image, which neither alone does."""
    wants = [[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]
    spaces = [read_colors(weights, 1) for weights in wants]
    drive = Drive(torch.tensor([1.0]), 0.0)
    job, settings = Job("t", (drive, drive), 1), Ascent(steps=60, learning_rate=0.5, jitter=STILL)
    red, green, blue = ascend([job], spaces, Fourier(SIZE_PX), settings)[0].mean(dim=(1, 2)).tolist()
    assert min(red, green) > 0.75
    assert blue < 0.2


def test_jittered_images_drive_a_shifted_network_more_than_unjittered_ones():
    """The network reads a checkerboard of single pixels; an image made without jitter falls to pieces when it moves a pixel."""
    pattern = (-1.0) ** np.add.outer(np.arange(SIZE_PX), np.arange(SIZE_PX))
    space = read_colors([1.0, 1.0, 1.0], SIZE_PX**2)
    slope = pattern.flatten().astype(np.float32).tolist()
    jitter = Jitter(shift=0.2, scale=0.0, rotation_deg=0.0)
    loss = []
    for jittered in (STILL, jitter):
        image = climb(space, slope, steps=40, jitter=jittered)[None]
        features = [space.extract(torch.roll(image, by, dims=3)) @ torch.tensor(slope) for by in (0, 1)]
        loss.append(float(features[0] - features[1]))
    assert loss[1] < 0.5 * loss[0]
