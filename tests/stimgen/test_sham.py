"""Sham edits are as large as the edits they go with, and leave responses nearly as they were."""

import numpy as np
import pytest
import torch

from protocols.errors import InputError
from stimgen.image_files import read_image
from stimgen.make import make_images, plan_jobs
from stimgen.sham import make_shams
from tests.stimgen.test_make import STILL, build  # noqa: F401 (a fixture)

EDIT = {"parameterization": "edit", "largest": 0.05}


def read_rois(studio, images):
    """Return images x ROIs: z by the first maker."""
    maker = studio.makers[0]
    with torch.no_grad():
        return maker.score(maker.model.predict(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)).numpy()).to_numpy()


def measure_size(one, other):
    return np.sqrt(((one - other) ** 2).mean())


def test_a_sham_is_as_large_as_its_edit_and_moves_responses_much_less(build):  # noqa: F811
    ascent = {"steps": 60, "jitter": STILL, "learning_rate": 0.1}
    studio, wanted = build({"roi": "V3", "minus_others": 0}, count=3, image=EDIT, ascent=ascent)
    made = make_images(studio, plan_jobs(studio, wanted), lambda images: None)
    told = []
    shams = make_shams(studio, made, told.append)
    assert sum(told) == 3 * 60
    starts = [read_image(one.job.start, 32) for one in made]
    for one, sham, start in zip(made, shams, starts, strict=True):
        assert measure_size(sham.image, start) == pytest.approx(measure_size(one.image, start), rel=0.1)
        assert measure_size(sham.image, one.image) > 0.02
    before, edited, after = (read_rois(studio, images) for images in (starts, [m.image for m in made], [s.image for s in shams]))
    assert np.abs(after - before)[:, 0].mean() < 0.3 * np.abs(edited - before)[:, 0].mean()


def test_images_without_a_photograph_have_no_sham(build):  # noqa: F811
    studio, wanted = build({"roi": "V3"}, image={"start": "noise"})
    made = make_images(studio, plan_jobs(studio, wanted), lambda images: None)
    with pytest.raises(InputError, match=r'"sham" goes with images that start from photographs; set image.start = "natural"'):
        make_shams(studio, made, lambda images: None)
