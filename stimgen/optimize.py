"""Gradient ascent: jobs (goal, seed) in, images in 0-1 out; many jobs share each forward pass.

Each job has its own random generator, so that an image depends on its seed and not on what else is in its batch. Networks see a few
images at a time, whatever the batch; where memory runs out, half as many.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from protocols.config import config
from protocols.errors import InputError
from stimgen.anchor import BALANCE_STEP, Anchor, balance_gradients
from stimgen.ascent_state import AscentState
from stimgen.evolve import Evolution
from stimgen.goal import Goal
from stimgen.lagrangian import Multipliers, rate_bounded
from stimgen.match import Matcher
from stimgen.naturalness import Naturalness
from stimgen.objective import Ensemble, Wishes, combine_members, rate_wishes, stack_goals
from stimgen.parameterization import Parameterization
from stimgen.predictors import Panel
from stimgen.transforms import Jitter, apply_affine, draw_affine

_CPU_IMAGES = 8  # in a forward pass on the CPU: the maps of more do not fit into its cache
_UPDATE_EVERY = 10  # steps between updates of the multipliers
TRACE_EVERY = _UPDATE_EVERY  # steps that a point of the trace averages over
_DEAD_NORM = 1e-12
_MOST_RESTARTS = 3
_LOUDER = 10.0  # how much larger the starting noise is after each restart


@config
class Ascent:
    """How images are made by gradient ascent."""

    steps: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=0.05, gt=0)
    optimizer: Literal["adam", "nadam", "cma_es"] = "adam"
    """`cma_es` needs no gradient: for generators that have none."""
    evolution: Evolution = Evolution()
    """How `cma_es` searches."""
    batch: int = Field(default=10, ge=1)
    """Images that are climbed together."""
    views: int = Field(default=1, ge=1)
    """Transformed copies of an image that each step averages over."""
    jitter: Jitter = Jitter()
    naturalness: float = Field(default=0.0, ge=0)
    """Weight of the penalty for features unlike those of natural images."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """In which the networks compute; `bfloat16` is faster on processors that have it."""
    depth_share: float = Field(default=1.0, gt=0, le=1)
    """Correlation with the full prediction that suffices: layers beyond it are not computed. 1: all layers that carry weight."""
    validate_every: int = Field(default=20, ge=1)
    """Steps between ratings by the validating models, which keep the best image so far."""
    checkpoint_s: float = Field(default=20.0, gt=0)
    """Seconds between two writings of the state that an interrupted command continues from."""


@dataclass(frozen=True)
class Climb:
    """What stays the same while a batch of images is climbed."""

    goals: tuple[Goal, ...]
    seeds: tuple[int, ...]
    parameterization: Parameterization
    start: Tensor | None
    """Parameters to start from; drawn where None."""
    makers: Panel
    ensemble: Ensemble
    ascent: Ascent
    naturalness: tuple[Naturalness, ...] = ()
    """Per predictor of `makers`."""
    anchor: Anchor | None = None
    validators: Panel | None = None
    matcher: Matcher | None = None
    """Holds the images' photometry while they are made."""

    def decode(self, parameters: Tensor) -> Float[Tensor, "images 3 height width"]:
        """Return the images of the batch from their parameters; differentiable."""
        images = self.parameterization.decode(parameters)
        return images if self.matcher is None else self.matcher.hold(images)

    @property
    def wishes(self) -> Wishes:
        """The goals over the makers' terms."""
        return stack_goals(self.goals, self.makers.terms).to(self.makers.device)


@dataclass(frozen=True)
class Climbed:
    """What a climb gave: images on the CPU, how often each was restarted, whether its gradient stayed dead, its objective on the way."""

    images: Float[Tensor, "images 3 height width"]
    restarts: tuple[int, ...]
    dead: tuple[bool, ...]
    trace: Float[Tensor, "points images"]


def begin(climb: Climb) -> AscentState:
    """Return the state before the first step."""
    device = climb.makers.device
    generators = [torch.Generator().manual_seed(seed) for seed in climb.seeds]
    drawn = [climb.parameterization.draw(generator) for generator in generators]
    parameters = (torch.stack(drawn) if climb.start is None else climb.start.clone()).to(device).requires_grad_(True)
    make = torch.optim.NAdam if climb.ascent.optimizer == "nadam" else torch.optim.Adam
    multipliers = Multipliers.start(climb.wishes)
    count = len(climb.seeds)
    return AscentState(
        step=0,
        parameters=parameters,
        optimizer=make([parameters], lr=climb.ascent.learning_rate),
        generators=generators,
        multipliers=multipliers,
        readings=torch.zeros(2, *multipliers.low.shape, device=device),
        averaged=0,
        best=parameters.detach().clone(),
        best_rating=torch.full((count,), -torch.inf, device=device),
        restarts=torch.zeros(count, dtype=torch.int64),
        dead=torch.zeros(count, dtype=torch.bool),
        anchor_weight=torch.zeros(count, device=device),
        trace=torch.zeros(climb.ascent.steps // TRACE_EVERY, count),
    )


def climb_on(
    climb: Climb, state: AscentState, on_step: Callable[[int], None] = lambda images: None, after_step: Callable[[], None] = lambda: None
) -> Climbed:
    """Take the steps that are left and return the images.

    `on_step` is told after every step how many images took it; `after_step` may write the state.

    Raises
    ------
    InputError
        When a model predicts NaN, or memory does not suffice for one image.
    """
    wishes = climb.wishes
    at_once = _CPU_IMAGES if climb.makers.device.type == "cpu" else max(len(climb.seeds), 1)
    while state.step < climb.ascent.steps:
        at_once = _take_step(climb, wishes, state, at_once)
        on_step(len(climb.seeds))
        after_step()
    _validate(climb, state)
    with torch.no_grad():
        chosen = state.parameters if climb.validators is None else state.best
        images = climb.decode(chosen).cpu()
    return Climbed(images, tuple(state.restarts.tolist()), tuple(state.dead.tolist()), state.trace)


def _take_step(climb: Climb, wishes: Wishes, state: AscentState, at_once: int) -> int:
    """Take one step; return how many images a forward pass may hold."""
    images = climb.decode(state.parameters)
    gradient = torch.zeros_like(images)
    for _ in range(climb.ascent.views):
        affine = torch.stack([draw_affine(climb.ascent.jitter, generator) for generator in state.generators])
        seen, at_once = _differentiate(climb, wishes, state, images.detach(), affine, at_once)
        gradient += seen
    state.optimizer.zero_grad()
    images.backward(-gradient / climb.ascent.views)  # type: ignore[no-untyped-call]
    _restart_dead(climb, state, gradient)
    state.optimizer.step()
    state.step += 1
    if state.step % _UPDATE_EVERY == 0:
        low, high = state.readings / state.averaged
        state.multipliers.update(low, high, wishes)
        state.trace[state.step // TRACE_EVERY - 1] = rate_bounded(low, high, wishes).cpu()
        state.readings.zero_()
        state.averaged = 0
    if state.step % climb.ascent.validate_every == 0:
        _validate(climb, state)
    return at_once


def _differentiate(
    climb: Climb, wishes: Wishes, state: AscentState, images: Tensor, affine: Tensor, at_once: int
) -> tuple[Float[Tensor, "images 3 height width"], int]:
    """Return the gradient of the objective at images; forward passes of `at_once` images, half as many where memory runs out."""
    gradient = torch.empty_like(images)
    start = 0
    while start < len(images):
        rows = slice(start, start + at_once)
        try:
            shown = images[rows].clone().requires_grad_(True)
            low, high, value, features = _rate(climb, wishes, state.multipliers, rows, apply_affine(shown, affine[rows]))
            value = value - _hold_to_photographs(climb, state, rows, shown, affine[rows], value, features)
            value.sum().backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError:
            if at_once == 1:
                raise InputError("memory does not suffice for one image; take fewer models, a smaller network, or --device cpu") from None
            at_once //= 2
            torch.cuda.empty_cache()
            continue
        gradient[rows] = shown.grad if shown.grad is not None else 0.0
        state.readings[:, rows] += torch.stack([low, high]).detach()
        start += at_once
    state.averaged += 1
    return gradient, at_once


def _rate(
    climb: Climb, wishes: Wishes, multipliers: Multipliers, rows: slice, images: Tensor
) -> tuple[Float[Tensor, "images terms"], Float[Tensor, "images terms"], Float[Tensor, " images"], list[Tensor]]:
    """Return the combined readings of some of the batch's images, the objective to ascend, and each predictor's features."""
    some = Wishes(*(matrix[rows] for matrix in vars(wishes).values()))
    reduced = climb.ascent.precision == "bfloat16"
    read = [predictor.read(images, reduced) for predictor in climb.makers.predictors]
    low, high = combine_members(torch.cat([z for z, _ in read]), climb.makers.known.to(images.device), climb.ensemble)
    held = Multipliers(*(matrix[rows] for matrix in vars(multipliers).values()))
    value = rate_wishes(low, high, some) - held.penalize(low, high, some)
    broken = ~torch.isfinite(value.detach())
    if broken.any():
        label = climb.goals[rows][int(broken.nonzero()[0])].label
        raise InputError(f"target {label!r}: a model predicts NaN for the image; lower learning_rate, or fit the model again")
    for natural, (_, features) in zip(climb.naturalness, read, strict=False):
        value = value - climb.ascent.naturalness * natural.penalize(features) / len(climb.naturalness)
    return low, high, value, [features for _, features in read]


def _hold_to_photographs(
    climb: Climb, state: AscentState, rows: slice, shown: Tensor, affine: Tensor, drive: Tensor, features: list[Tensor]
) -> Tensor:
    """Return the weighted distance of images from their photographs, seen under the same transform; set the weights when it is time."""
    anchor = climb.anchor
    if anchor is None or state.step < BALANCE_STEP:
        return torch.zeros_like(drive)
    with torch.no_grad():
        seen = apply_affine(anchor.photographs[rows].to(shown), affine)
        kept = [predictor.read(seen, climb.ascent.precision == "bfloat16")[1] for predictor in climb.makers.predictors]
    distance = anchor.measure(features, kept)
    if state.step == BALANCE_STEP:
        state.anchor_weight[rows] = balance_gradients(drive, distance, shown, anchor.balance)
    return state.anchor_weight[rows] * distance


def _restart_dead(climb: Climb, state: AscentState, gradient: Float[Tensor, "images 3 height width"]) -> None:
    """Draw images anew to which no network answers with a gradient, each time from louder noise; a few times at most.

    The gradient at the image decides, not at the parameters: those of a saturated image have none, but it is done.
    """
    state.dead = (gradient.flatten(1).norm(dim=1) < _DEAD_NORM).cpu()
    rows = [row for row in state.dead.nonzero().flatten().tolist() if state.restarts[row] < _MOST_RESTARTS]
    if rows:
        fresh = [climb.parameterization.draw(state.generators[row]) * _LOUDER ** (int(state.restarts[row]) + 1) for row in rows]
        state.restart(rows, torch.stack(fresh))


def _validate(climb: Climb, state: AscentState) -> None:
    """Keep the parameters of every image that the validating models rate best."""
    if climb.validators is None:
        return
    panel = climb.validators
    with torch.no_grad():
        images = climb.decode(state.parameters)
        read = panel.read(images)
        wishes = stack_goals(climb.goals, panel.terms).to(images.device)
        low, high = combine_members(read, panel.known.to(images.device), climb.ensemble)
        rating = rate_bounded(low, high, wishes)
        better = rating > state.best_rating
        state.best[better] = state.parameters[better].detach()
        state.best_rating = torch.maximum(rating, state.best_rating)
