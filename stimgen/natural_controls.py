"""Natural controls: photographs of the pool chosen for every target image, and brought to its photometry."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from protocols.errors import InputError
from stimgen.assemble import Picture, name_control
from stimgen.controls import best_natural
from stimgen.image_files import read_image
from stimgen.judge import Scorer, rate_goal
from stimgen.make import Studio, match_photographs
from stimgen.order import MEDIAN, NATURAL, RIVAL, WORST, Wanted

METHODS = {NATURAL: "best_of_pool", MEDIAN: "median_of_pool", WORST: "worst_of_pool", RIVAL: "judged_as_target"}

_Matched = tuple[Float[np.ndarray, "size size 3"], str]


def choose_natural(
    kind: str, studio: Studio, wanted: Sequence[Wanted], pictures: Sequence[Picture], judges: Sequence[Scorer], taken: set[int]
) -> list[Picture]:
    """Choose a photograph for every target image, none twice; add the chosen ones to `taken`.

    Photographs that cannot be brought to the photometry of the image that they control are passed over.

    Raises
    ------
    InputError
        When too few are left, saying which constraint most of the others broke.
    """
    suitability = _rate_suitability(kind, studio, wanted, pictures, judges)
    broken: Counter[str] = Counter()
    unfit: set[int] = set()
    matched: dict[tuple[int, int], _Matched] = {}  # by photograph and profile: most are chosen again in the next round
    while True:
        left = [index for index in range(len(suitability)) if index not in taken | unfit]
        chosen = [left[place] for place in _pick(suitability[left], studio, pictures, left, broken)]
        asked = [(index, one.profile or 0) for index, one in zip(chosen, pictures, strict=True)]
        matched |= _match(studio, [one for one in asked if one not in matched])
        images, problems = zip(*(matched[one] for one in asked), strict=True)
        if not any(problems):
            break
        for index, problem in zip(chosen, problems, strict=True):
            if problem:
                unfit.add(index)
                broken.update(problem.split(", "))
    taken.update(chosen)
    ids = list(studio.pool.table["stim_id"])
    return [
        Picture(name_control(one, kind), kind, one.target, METHODS[kind], None, str(ids[index]), image, one.stim_id, one.profile)
        for one, index, image in zip(pictures, chosen, images, strict=True)
    ]


def _match(studio: Studio, asked: Sequence[tuple[int, int]]) -> dict[tuple[int, int], _Matched]:
    """Bring photographs to profiles; return each with what could not be reached of it, empty where all was."""
    photographs = [read_image(studio.pool.image_paths()[index], studio.order.size_px) for index, _ in asked]
    images, problems = match_photographs(studio, photographs, [profile for _, profile in asked])
    return dict(zip(asked, zip(images, problems, strict=True), strict=True))


def _pick(
    suitability: Float[np.ndarray, "images pictures"], studio: Studio, pictures: Sequence[Picture], left: list[int], broken: Counter[str]
) -> list[int]:
    """Return a photograph for every target image: targets choose in turn, and from different sources."""
    sources = [str(studio.pool.table["source"][index]) for index in left]
    labels = list(dict.fromkeys(one.target for one in pictures))
    own = {label: [number for number, one in enumerate(pictures) if one.target == label] for label in labels}
    same = np.stack([suitability[:, own[label]].mean(axis=1) for label in labels], axis=1)
    try:
        chosen = best_natural(same, labels, max(len(numbers) for numbers in own.values()), sources)
    except InputError as problem:
        binding = ", ".join(f"{name} {count}" for name, count in broken.most_common())
        unmatched = f"; {sum(broken.values())} could not be matched (in the way: {binding}), see photometry.match" if broken else ""
        raise InputError(f"{problem}{unmatched}") from None
    picked = [0] * len(pictures)
    for label, numbers in own.items():
        for number, index in zip(numbers, chosen[label], strict=False):
            picked[number] = index
    return picked


def _rate_suitability(
    kind: str, studio: Studio, wanted: Sequence[Wanted], pictures: Sequence[Picture], judges: Sequence[Scorer]
) -> Float[np.ndarray, "images pictures"]:
    """Return how suitable every photograph is as a control of every target image; larger is better."""
    scorers = judges if kind == RIVAL else studio.makers
    columns: dict[str, Float[np.ndarray, " images"]] = {}
    for one in wanted:
        rating = rate_goal(one.goal, scorers, [scorer.pool for scorer in scorers])
        if kind == RIVAL:
            own = [picture for picture in pictures if picture.target == one.label]
            drives = rate_goal(one.goal, judges, [predict_arrays(judge, [picture.image for picture in own]) for judge in judges])
            columns |= {picture.stim_id: -np.abs(rating - drive) for picture, drive in zip(own, drives, strict=True)}
            continue
        suited = {NATURAL: rating, WORST: -rating, MEDIAN: -np.abs(rating - np.median(rating))}[kind]
        columns |= {picture.stim_id: suited for picture in pictures if picture.target == one.label}
    return np.stack([columns[picture.stim_id] for picture in pictures], axis=1)


def predict_arrays(scorer: Scorer, images: Sequence[Float[np.ndarray, "height width 3"]]) -> Float[np.ndarray, "images voxels"]:
    """Return predicted voxel responses to images in 0-1."""
    space = scorer.model.space
    with torch.no_grad():
        features = [space.extract(torch.from_numpy(image).permute(2, 0, 1)[None].to(space.backbone.device)) for image in images]
    return scorer.model.readout.predict(torch.cat(features).float().cpu().numpy())
