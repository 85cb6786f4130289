"""A targets TOML: what to make; checked, and turned into goals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from protocols.config import config
from protocols.errors import InputError
from stimgen.encoding_model import EncodingModel
from stimgen.gate import Gate
from stimgen.goal import Goal, join_terms, plan_goal
from stimgen.image_settings import ImageSettings, check_image_settings
from stimgen.judge import Scorer, is_predictable
from stimgen.matching import PhotometrySettings
from stimgen.objective import Ensemble
from stimgen.optimize import Ascent
from stimgen.readings import Term, list_terms, read_pool, weigh_term
from stimgen.target import Target, expand_target

TARGET, NATURAL, SCRAMBLED, SHAM = "target", "natural", "scrambled", "sham"
MEDIAN, WORST, RIVAL, SHUFFLED, FOOLING, TEXTURE, OTHER = "median", "worst", "rival", "shuffled", "fooling", "texture", "other"
CONTROLS = {
    NATURAL: "the pool's best natural images for the target, by prediction",
    MEDIAN: "natural images whose prediction for the target is the pool's median",
    WORST: "the pool's worst natural images for the target, by prediction",
    RIVAL: "natural images as near to the target image in judged drive as the pool has them",
    SCRAMBLED: "phase-scrambled copies of the target's images",
    TEXTURE: "made to have the means and correlations of channels that the target image has in the generating models' layers",
    SHAM: "edits of the same photographs, as large, that leave every ROI as it was",
    SHUFFLED: "made in the same way for a readout whose weights are permuted over the features of each layer",
    FOOLING: "small edits of a photograph that drive the generating models as the target image does, and the judges hardly",
    OTHER: "the images made for the other targets, matched to the same photometry; no images of their own",
}
NEEDS_JUDGE = (RIVAL,)


@config
class TargetsFile:
    """A targets TOML: what to make. Paths are relative to the folder the command is run in."""

    targets: tuple[Target, ...] = Field(min_length=1)
    count: int = Field(default=8, ge=1)
    """Images per target."""
    candidates: int = Field(default=1, ge=1)
    """Images made per image kept; those are kept that do best and differ."""
    diversity: float = Field(default=2.0, ge=0)
    """How much z an image may lose to be unlike those chosen before it, per unit of cosine."""
    size_px: int = Field(default=256, ge=32)
    seed: int = Field(default=1, ge=0)
    pool: Path | None = None
    """Natural images for z units and controls; `--pool` overrides it."""
    controls: tuple[str, ...] = (NATURAL, SCRAMBLED)
    """Kinds of control, each tied to the target image it controls: any of `CONTROLS`."""
    photometry: PhotometrySettings = PhotometrySettings()
    image: ImageSettings = ImageSettings()
    ascent: Ascent = Ascent()
    ensemble: Ensemble = Ensemble()
    gate: Gate = Gate()


@dataclass(frozen=True)
class Wanted:
    """A single target with its goal and the number of images to make."""

    target: Target
    goal: Goal
    count: int

    @property
    def label(self) -> str:
        """The target's name."""
        return self.target.label


def check_order(order: TargetsFile) -> None:
    """Refuse controls that are not known and a parameterization that is not."""
    unknown = [control for control in order.controls if control not in CONTROLS]
    if unknown:
        raise InputError(f"controls: {unknown[0]!r} is not known; choose from {', '.join(CONTROLS)}")
    check_image_settings(order.image)


def expand_targets(order: TargetsFile, models: Sequence[EncodingModel]) -> list[Target]:
    """Return the order's single targets, each of which every model can predict.

    Raises
    ------
    InputError
        When two share a name (names differing only in capitals would share files on some disks), or a model lacks or cannot predict
        what a target names.
    """
    singles = [single for target in order.targets for single in expand_target(target, models)]
    labels = [target.label for target in singles]
    lower_case = [label.lower() for label in labels]
    repeated = [label for label in labels if lower_case.count(label.lower()) > 1]
    if repeated:
        raise InputError(f"targets: two are named {repeated[0]!r}; give each its own 'name'")
    if order.ensemble.members == "models":
        for target in singles:
            _check_terms(target, models)
    return singles


def _check_terms(target: Target, models: Sequence[EncodingModel]) -> None:
    for model in models:
        for term in list_terms([plan_goal(target, _list_predictable([model]))]):
            try:
                weigh_term(model, term)
            except InputError as problem:
                raise InputError(f"target {target.label!r}: {problem}") from None


def _list_predictable(models: Sequence[EncodingModel]) -> list[str]:
    """Return the ROIs that every model has and can predict: those that count against a target of another."""
    return [roi for roi in models[0].rois if all(is_predictable(model, roi) for model in models)]


def plan_order(order: TargetsFile, makers: Sequence[Scorer]) -> list[Wanted]:
    """Return every single target of the order with its goal; doses become z by the makers' predictions for the natural pool."""
    wanted = []
    rois = _list_predictable([maker.model for maker in makers])
    for target in expand_targets(order, [maker.model for maker in makers]):
        goal = plan_goal(target, rois, _measure_dose(target, makers))
        wanted.append(Wanted(target, goal, target.count or order.count))
    return wanted


def _measure_dose(target: Target, makers: Sequence[Scorer]) -> dict[str, float]:
    """Return the z of the target's term at its percentile of natural images, the mean over makers."""
    if target.dose is None:
        return {}
    name = target.roi or target.voxel or join_terms(target.voxels)
    levels = [np.percentile(read_pool(maker.model, maker.pool, Term(name, target.subjects)), target.dose) for maker in makers]
    return {name: float(np.mean(levels))}
