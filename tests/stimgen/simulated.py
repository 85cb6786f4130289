"""Simulated subjects: responses that are linear in a TinyNet's features, with their images on disk."""

import numpy as np
import pandas as pd

from protocols.responses import Responses
from stimgen.features import extract_files
from stimgen.image_files import write_png
from stimgen.subject_data import average_repetitions, index_images
from tests.stimgen.tiny import make_space, make_tiny_backbone

IMAGES, VOXELS = 30, 4


def draw_pixels(number):
    """Return the 8 x 8 image of a number: four random colors."""
    shade = np.random.default_rng(number).uniform(0, 1, (2, 2, 3)).astype(np.float32)
    return np.kron(shade, np.ones((4, 4, 1), dtype=np.float32))


def make_small_space():
    """Return the feature space that the responses are linear in: 40 features of two layers."""
    return make_space(make_tiny_backbone(), ["first", "second"], 24)


def make_responses(
    folder, *, seed=0, images=IMAGES, repeats=2, noise=0.1, sources=None, first_image=0, tuning=None, name="img", gains=(1.0, 1.0)
):
    """Return one subject's responses. `tuning` seeds the voxels' weights (with `seed` if absent), `gains` are the two layers'."""
    (folder / "images").mkdir(parents=True)
    ids = [f"{name}{number + first_image:02d}" for number in range(images)]
    for number, stim_id in enumerate(ids):
        write_png(draw_pixels(number + first_image), folder / "images" / f"{stim_id}.png")
    listed = pd.DataFrame({"stim_id": ids, "image_file": [f"images/{stim_id}.png" for stim_id in ids]})
    if sources is not None:
        listed["source"] = sources
    rng, space = np.random.default_rng(seed), make_small_space()
    features = extract_files(space, [folder / name for name in listed["image_file"]])
    gain = np.array(gains)[space.layer_of_feature]
    weights = np.random.default_rng(seed if tuning is None else tuning).standard_normal((features.shape[1], VOXELS)) * gain[:, None]
    true = (features - features.mean(axis=0)) @ weights / 10
    index = np.tile(np.arange(images), repeats)
    betas = (true[index] + noise * rng.standard_normal((len(index), VOXELS))).astype(np.float32)
    trials = pd.DataFrame({"stim_id": [ids[image] for image in index], "session": "01", "run": 1})
    rois = ["V3", "V3", "LO", "LO"]
    voxels = pd.DataFrame({"voxel_id": [f"v{number}" for number in range(VOXELS)], "roi": rois, "hemisphere": "L", "i": 0, "j": 0, "k": 0})
    return Responses(folder, trials, betas, voxels, listed)


def prepare(*responses):
    """Return what `fit_subjects` takes besides settings: feature space, features, subjects and their images' rows."""
    subjects, space = [average_repetitions(one) for one in responses], make_small_space()
    paths, indices = index_images(subjects)
    return space, extract_files(space, paths), subjects, indices
