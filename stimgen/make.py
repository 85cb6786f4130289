"""Target images from goals: starts chosen among natural images, batches climbed, the best and most different kept."""

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protocols.errors import InputError
from stimgen.anchor import Anchor
from stimgen.controls import best_natural
from stimgen.diversity import choose_diverse, describe_images, measure_diversity
from stimgen.image_files import find_images, read_image
from stimgen.image_settings import build_parameterization, check_photographs, measure_template
from stimgen.jobs import Workplace, split_batches
from stimgen.judge import Scorer
from stimgen.lagrangian import rate_bounded
from stimgen.matching import Matching
from stimgen.naturalness import Naturalness, measure_naturalness
from stimgen.objective import combine_members, stack_goals
from stimgen.optimize import Climb, Climbed
from stimgen.order import TargetsFile, Wanted
from stimgen.pool import NaturalPool
from stimgen.predictors import Panel, build_panel


@dataclass(frozen=True)
class Job:
    """One image to make: for whom, its seed, and the natural image it starts from (None: noise)."""

    wanted: Wanted
    seed: int
    start: Path | None
    source: str | None
    """The start's name in the set's table."""
    profile: int = 0
    """Number of the photometric profile that the image is brought to."""


@dataclass(frozen=True)
class Made:
    """A job and its image, height x width x 3 in 0-1; how often it was started again; whether its gradient stayed dead."""

    job: Job
    image: Float[np.ndarray, "height width 3"]
    restarts: int
    dead: bool
    unmatched: Float[np.ndarray, "height width 3"] | None = None
    """The image before it was matched, where that was done afterwards."""
    trace: Float[np.ndarray, " points"] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    """Objective by the makers every `TRACE_EVERY` steps."""


@dataclass(frozen=True)
class Studio:
    """All that images are made with."""

    order: TargetsFile
    makers: Sequence[Scorer]
    validators: Sequence[Scorer]
    pool: NaturalPool
    workplace: Workplace
    matching: Matching | None = None
    match_edits: bool = False
    """Whether edits of photographs are matched as well, whose distance from the photograph is then not exact."""

    @property
    def matches(self) -> bool:
        """Whether images are brought to their profiles; edits by themselves are not, since their photographs were brought there."""
        return self.matching is not None and (self.match_edits or self.order.image.parameterization != "edit")


def plan_jobs(studio: Studio, wanted: Sequence[Wanted]) -> list[Job]:
    """List the images to make, `candidates` for every one that is kept; the work that a scheduler may share out."""
    order = studio.order
    jobs = []
    for one in wanted:
        count = one.count * order.candidates
        starts = _choose_starts(studio, one, count)
        jobs += [Job(one, derive_seed(order.seed, one.label, index), *starts[index], index % one.count) for index in range(count)]
    return jobs


def make_images(studio: Studio, jobs: Sequence[Job], on_step: Callable[[int], None], only: Sequence[Job] | None = None) -> list[Made]:
    """Climb all jobs, batch by batch, and return them in their order; finished batches are read from the workplace.

    `only` names those that are wanted: theirs are the only batches that are climbed, each as a whole, as the last bits depend on it.
    """
    made: list[Made] = []
    wanted = {id(job) for job in jobs} if only is None else {id(job) for job in only}
    for some in [batch for batch in _group_jobs(studio, jobs) if any(id(job) in wanted for job in batch)]:
        climb = prepare_climb(studio, some)
        made += collect_climbed(some, studio.workplace.make(climb, on_step))
    place = {id(job): number for number, job in enumerate(jobs if only is None else only)}
    return match_made(studio, sorted([one for one in made if id(one.job) in wanted], key=lambda one: place[id(one.job)]))


def collect_climbed(jobs: Sequence[Job], climbed: Climbed) -> list[Made]:
    """Return the images of a batch with their jobs."""
    arrays = climbed.images.permute(0, 2, 3, 1).numpy()
    each = zip(jobs, arrays, climbed.restarts, climbed.dead, climbed.trace.numpy().T, strict=True)
    return [Made(job, image, restarts, dead, trace=trace) for job, image, restarts, dead, trace in each]


def match_made(studio: Studio, made: Sequence[Made]) -> list[Made]:
    """Bring images to their profiles where the studio matches.

    Raises
    ------
    InputError
        When an image whose photometry was held cannot be brought there, saying which constraint it breaks; others come as near as they go.
    """
    if studio.matching is None or not studio.matches:
        return [replace(one, image=round_levels(one.image)) for one in made]
    images, broken = studio.matching.finish([one.image for one in made], [one.job.profile for one in made])
    for one, names in zip(made, broken, strict=True):
        if names and studio.matching.inside:
            raise InputError(
                f"target {one.job.wanted.label!r}: an image cannot be brought to the photometry of its profile, {names} being in the way; "
                "ask for less contrast or another luminance, or drop it from photometry.match"
            )
    keep = not studio.matching.inside
    return [replace(one, image=image, unmatched=one.image if keep else None) for one, image in zip(made, images, strict=True)]


def keep_best(studio: Studio, made: Sequence[Made]) -> tuple[list[Made], dict[str, float]]:
    """Keep each target's best and most different images; return them in order, and the diversity of every target's images.

    Diversity is the mean of 1 - cosine between images' features in the first maker, less the natural mean.
    """
    maker = studio.makers[0]
    kept: list[Made] = []
    diversity = {}
    for label in dict.fromkeys(one.job.wanted.label for one in made):
        some = [one for one in made if one.job.wanted.label == label]
        images = torch.from_numpy(np.stack([one.image for one in some])).permute(0, 3, 1, 2).to(maker.model.space.backbone.device)
        with torch.no_grad():
            features = maker.model.space.extract(images).float().cpu().numpy()
        described = describe_images(features, maker.features, maker.model.space.layer_of_feature)
        wanted = some[0].job.wanted
        slots = [one.job.profile for one in some] if studio.matching else None
        chosen = choose_diverse(_rate_images(studio, wanted, images), described, wanted.count, studio.order.diversity, slots)
        kept += [some[index] for index in chosen]
        diversity[label] = measure_diversity(described[list(chosen)])
    return kept, diversity


def derive_seed(seed: int, label: str, index: int) -> int:
    """Return a seed that depends on the set's seed, the target and the image, not on the order of making."""
    return int(np.random.SeedSequence([seed, zlib.crc32(label.encode()), index]).generate_state(1)[0])


def prepare_climb(studio: Studio, jobs: Sequence[Job]) -> Climb:
    """Return all that a batch of jobs is climbed with."""
    order = studio.order
    goals = tuple(job.wanted.goal for job in jobs)
    makers = build_panel(studio.makers, goals, order.ensemble, order.ascent.depth_share)
    validators = build_panel(studio.validators, goals, order.ensemble) if studio.validators else None
    photographs = None
    if all(job.start is not None for job in jobs):
        photographs = read_starts(studio, jobs)
    template = measure_template(order.image, studio.pool.image_paths(), order.size_px)
    parameterization, start = build_parameterization(order.image, order.size_px, photographs, template)
    climb = Climb(goals, tuple(job.seed for job in jobs), parameterization, start, makers, order.ensemble, order.ascent)
    anchor = None
    if order.image.parameterization == "edit" and order.image.keep_features and photographs is not None:
        scales = tuple(measured.scale for measured in measure_natural(studio, makers))
        anchor = Anchor(photographs, scales, order.image.keep_features)
    natural = measure_natural(studio, makers) if order.ascent.naturalness else ()
    matcher = None
    if studio.matching is not None and studio.matches and studio.matching.inside:
        matcher = studio.matching.choose([job.profile for job in jobs])
    return replace(climb, naturalness=natural, anchor=anchor, validators=validators, matcher=matcher)


def round_levels(image: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
    """Return the image as its PNG will hold it: whole 8-bit levels, in 0-1."""
    levels: Float[np.ndarray, "height width 3"] = (np.clip(image, 0, 1) * 255).round().astype(np.float32) / 255
    return levels


def read_starts(studio: Studio, jobs: Sequence[Job]) -> Float[Tensor, "images 3 height width"]:
    """Return the photographs that images start from, brought to their profiles as far as they go."""
    images = [read_image(job.start, studio.order.size_px) for job in jobs if job.start is not None]
    if studio.matching is not None:
        images, _ = studio.matching.finish(images, [job.profile for job in jobs])
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def match_photographs(
    studio: Studio, images: Sequence[Float[np.ndarray, "size size 3"]], profiles: Sequence[int]
) -> tuple[list[Float[np.ndarray, "size size 3"]], list[str]]:
    """Return photographs as a set holds them, brought to profiles, and what could not be reached of each, empty where all was."""
    if studio.matching is None:
        return [round_levels(image) for image in images], [""] * len(images)
    return studio.matching.finish(images, profiles)


def measure_natural(studio: Studio, makers: Panel) -> tuple[Naturalness, ...]:
    """Measure the natural pool in the features of every predictor."""
    known = {id(maker.model.space): maker.features for maker in studio.makers}
    measured = []
    for predictor in makers.predictors:
        columns = predictor.space.find_columns(predictor.layers)
        layers = predictor.space.layer_of_feature[columns]
        measured.append(measure_naturalness(known[id(predictor.space)][:, columns], layers, makers.device))
    return tuple(measured)


def _group_jobs(studio: Studio, jobs: Sequence[Job]) -> list[list[Job]]:
    """Split jobs into batches; with a limited depth, goals that need the same layers are climbed together."""
    order = studio.order
    groups: dict[object, list[Job]] = {}
    depths: dict[str, object] = {}
    for job in jobs:
        label = job.wanted.label
        if label not in depths:
            limited = order.ascent.depth_share < 1
            panel = build_panel(studio.makers, [job.wanted.goal], order.ensemble, order.ascent.depth_share) if limited else None
            depths[label] = None if panel is None else tuple(predictor.layers for predictor in panel.predictors)
        groups.setdefault(depths[label], []).append(job)
    return [[group[index] for index in batch] for group in groups.values() for batch in split_batches(len(group), order.ascent.batch)]


def _choose_starts(studio: Studio, wanted: Wanted, count: int) -> list[tuple[Path | None, str | None]]:
    """Return what each image of a target starts from: photographs in turn, the pool's best for the goal, or noise."""
    settings = studio.order.image
    if settings.photographs is not None:
        paths = find_images(settings.photographs)
        check_photographs(paths, max(maker.model.space.backbone.input_px for maker in studio.makers))
        return [(path, path.stem) for path in (paths[index % len(paths)] for index in range(count))]
    if settings.start == "noise":
        return [(None, None)] * count
    pool = studio.pool
    ratings = rate_pool(studio, wanted)
    sources = [str(source) for source in pool.table["source"]]
    per_source = math.ceil(count / len(set(sources)))  # images that start alike end alike
    chosen = best_natural(ratings[:, None], [wanted.label], count, sources, per_source)[wanted.label]
    paths, names = pool.image_paths(), list(pool.table["stim_id"])
    return [(paths[index], str(names[index])) for index in chosen]


def rate_pool(studio: Studio, wanted: Wanted) -> Float[np.ndarray, " images"]:
    """Return the objective of every natural image, broken bounds counted against it, by the makers."""
    panel = build_panel(studio.makers, [wanted.goal], studio.order.ensemble)
    features = {id(maker.model.space): maker.features for maker in studio.makers}
    read = []
    for predictor in panel.predictors:
        columns = predictor.space.find_columns(predictor.layers)
        own = torch.from_numpy(features[id(predictor.space)][:, columns]).to(panel.device)
        read.append(torch.stack([reader.read(own) for reader in predictor.readers]))
    return _rate(panel, studio, wanted, torch.cat(read))


def _rate_images(studio: Studio, wanted: Wanted, images: Float[Tensor, "images 3 height width"]) -> Float[np.ndarray, " images"]:
    panel = build_panel(studio.makers, [wanted.goal], studio.order.ensemble)
    with torch.no_grad():
        read = panel.read(images)
    return _rate(panel, studio, wanted, read)


def _rate(panel: Panel, studio: Studio, wanted: Wanted, z: Float[Tensor, "members images terms"]) -> Float[np.ndarray, " images"]:
    wishes = stack_goals([wanted.goal] * z.shape[1], panel.terms).to(z.device)
    low, high = combine_members(z, panel.known.to(z.device), studio.order.ensemble)
    rating: np.ndarray = rate_bounded(low, high, wishes).cpu().numpy()
    return rating
