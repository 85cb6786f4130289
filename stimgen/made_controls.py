"""Controls that are made, each tied to a target image: scrambled, of the same texture, for permuted weights, fooling, sham edits."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from stimgen.assemble import Picture, name_control
from stimgen.controls import phase_scramble
from stimgen.encoding_model import Readout
from stimgen.image_settings import ImageSettings
from stimgen.judge import Scorer
from stimgen.make import Job, Made, Studio, derive_seed, make_images, plan_jobs, rate_pool, round_levels
from stimgen.natural_controls import choose_natural
from stimgen.order import FOOLING, MEDIAN, NATURAL, OTHER, RIVAL, SCRAMBLED, SHAM, SHUFFLED, TEXTURE, WORST, Wanted
from stimgen.sham import make_shams
from stimgen.texture import choose_texture_layers, identify_texture, synthesize_texture
from stimgen.transforms import Jitter

_FOOLING_SIZE = 0.04  # root mean square of the edit, 0-1: hardly seen
CLIMBED = (SHAM, SHUFFLED, FOOLING)
COPIED = (SCRAMBLED, TEXTURE)
Count = Callable[[int], None]


def make_controls(
    studio: Studio, wanted: Sequence[Wanted], made: Sequence[Made], pictures: Sequence[Picture], judges: Sequence[Scorer], on_step: Count
) -> list[Picture]:
    """Return the controls of all kinds that the order asks for, kind after kind, in the order of the target images."""
    controls: list[Picture] = []
    taken: set[int] = set()
    for kind in studio.order.controls:
        if kind in (NATURAL, MEDIAN, WORST, RIVAL):
            controls += choose_natural(kind, studio, wanted, pictures, judges, taken)
        elif kind in COPIED:
            controls += copy_targets(kind, studio, pictures)
        elif kind != OTHER:
            controls += _tie(kind, pictures, _climb(kind, studio, wanted, made, on_step))
    return controls


def copy_targets(kind: str, studio: Studio, pictures: Sequence[Picture]) -> list[Picture]:
    """Return the control of each target image that is made of that image alone."""
    return scramble_targets(studio, pictures) if kind == SCRAMBLED else texture_targets(studio, pictures)


def scramble_targets(studio: Studio, pictures: Sequence[Picture]) -> list[Picture]:
    """Phase-scramble every target image, and bring what clipping changed back to its photometry."""
    seeds = [derive_seed(picture.seed or 0, SCRAMBLED, 0) for picture in pictures]
    images = [phase_scramble(picture.image, np.random.default_rng(seed)) for picture, seed in zip(pictures, seeds, strict=True)]
    if studio.matching is not None:
        images, _ = studio.matching.finish(images, [picture.profile or 0 for picture in pictures])
    return [
        _control(picture, SCRAMBLED, "phase_scramble", seed, image) for picture, seed, image in zip(pictures, seeds, images, strict=True)
    ]


def texture_targets(studio: Studio, pictures: Sequence[Picture]) -> list[Picture]:
    """Give each target image a copy of the same texture in the first generating model, made from its scrambled copy on."""
    space = studio.makers[0].model.space
    layers = choose_texture_layers(space.backbone, [layer.name for layer in space.layers])
    controls = []
    for picture, scrambled in zip(pictures, scramble_targets(studio, pictures), strict=True):
        image, start = (torch.from_numpy(one.image).permute(2, 0, 1)[None] for one in (picture, scrambled))
        matcher = studio.matching.choose([picture.profile or 0]) if studio.matching is not None and studio.matching.inside else None
        name = identify_texture(space.backbone, layers, image, start, matcher)
        made = studio.workplace.keep(name, partial(synthesize_texture, space.backbone, layers, image, start, matcher))
        array = made[0].permute(1, 2, 0).contiguous().numpy()
        if studio.matching is not None:
            (array,), _ = studio.matching.finish([array], [picture.profile or 0])
        controls.append(_control(picture, TEXTURE, "texture_synthesis", scrambled.seed or 0, array))
    return controls


def _control(picture: Picture, kind: str, method: str, seed: int, image: np.ndarray) -> Picture:
    rounded = round_levels(image)
    return Picture(
        name_control(picture, kind), kind, picture.target, method, seed, picture.stim_id, rounded, picture.stim_id, picture.profile
    )


def _tie(kind: str, pictures: Sequence[Picture], made: Sequence[Made]) -> list[Picture]:
    methods = {SHAM: "sham_edit", SHUFFLED: "shuffled_weights_ascent", FOOLING: "fooling_edit"}
    return [_control(picture, kind, methods[kind], one.job.seed, one.image) for picture, one in zip(pictures, made, strict=True)]


def _climb(kind: str, studio: Studio, wanted: Sequence[Wanted], made: Sequence[Made], on_step: Count) -> list[Made]:
    if kind == SHAM:
        return make_shams(studio, made, on_step)
    return make_images(*plan_control(kind, studio, wanted, [one.job for one in made]), on_step)


def plan_control(kind: str, studio: Studio, wanted: Sequence[Wanted], jobs: Sequence[Job]) -> tuple[Studio, list[Job]]:
    """Return what the images of a kind are made with, and a job for each target image's job."""
    if kind == SHUFFLED:
        return _plan_shuffled(studio, wanted, jobs)
    order = studio.order
    image = ImageSettings(parameterization="edit", largest=_FOOLING_SIZE)
    ascent = replace(order.ascent, jitter=Jitter(shift=0, scale=0, rotation_deg=0), naturalness=0.0)
    fooling = replace(studio, order=replace(order, image=image, ascent=ascent, candidates=1), validators=(), match_edits=True)
    return fooling, _start_at_median(fooling, jobs)


def _plan_shuffled(studio: Studio, wanted: Sequence[Wanted], jobs: Sequence[Job]) -> tuple[Studio, list[Job]]:
    order = studio.order
    makers = [shuffle_weights(maker, derive_seed(order.seed, SHUFFLED, number)) for number, maker in enumerate(studio.makers)]
    shuffled = replace(studio, makers=makers, validators=(), order=replace(order, candidates=1, seed=derive_seed(order.seed, SHUFFLED, 0)))
    planned = {(job.wanted.label, job.profile): job for job in plan_jobs(shuffled, wanted)}
    return shuffled, [planned[job.wanted.label, job.profile] for job in jobs]


def _start_at_median(studio: Studio, jobs: Sequence[Job]) -> list[Job]:
    """Start each image at one of the photographs that drive its target as the median photograph does."""
    paths, ids = studio.pool.image_paths(), list(studio.pool.table["stim_id"])
    starts: dict[str, list[int]] = {}
    planned = []
    for job in jobs:
        label = job.wanted.label
        if label not in starts:
            rating = rate_pool(studio, job.wanted)
            starts[label] = [int(index) for index in np.argsort(np.abs(rating - np.median(rating)), kind="stable")]
        index = starts[label][job.profile % len(paths)]
        planned.append(replace(job, seed=derive_seed(job.seed, FOOLING, 0), start=paths[index], source=str(ids[index])))
    return planned


def shuffle_weights(scorer: Scorer, seed: int) -> Scorer:
    """Return the scorer with every voxel's weights permuted over the features of each layer, alike for all voxels."""
    rng = np.random.default_rng(seed)
    layers = scorer.model.space.layer_of_feature
    order = np.arange(len(layers))
    for layer in np.unique(layers):
        inside = np.flatnonzero(layers == layer)
        order[inside] = rng.permutation(inside)
    readout: Readout = scorer.model.readout
    permuted = replace(readout, coefficients=readout.coefficients[order])
    model = replace(scorer.model, readout=permuted)
    return replace(scorer, model=model, pool=permuted.predict(scorer.features))
