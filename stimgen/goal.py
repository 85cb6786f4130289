"""A target as numbers: for each of its terms (an ROI, a voxel, voxels together) a factor, bounds, or a response to match.

All are in z units of natural images, so that terms weigh the same whatever their gain, and several models' predictions can be
combined. How a term is read from a model is the business of `readings`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from protocols.errors import InputError
from protocols.protocol import split_contrast
from stimgen.target import Target

Score = Literal["sum", "weakest", "match"]


@dataclass(frozen=True)
class Goal:
    """What an image shall do to its terms.

    Attributes
    ----------
    label
        The target's name.
    factors
        Terms whose weighted sum is ascended.
    low, high
        Bounds on terms, met by an augmented Lagrangian.
    matches
        Responses to come near to.
    own
        The terms, with signs, that the image is judged by: what it was made for, without what counts against it.
    score
        How `own` becomes one number: `sum`, the `weakest` side, or minus the root mean square distance from `matches`.
    """

    label: str
    factors: Mapping[str, float] = field(default_factory=dict)
    low: Mapping[str, float] = field(default_factory=dict)
    high: Mapping[str, float] = field(default_factory=dict)
    matches: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, float] = field(default_factory=dict)
    score: Score = "sum"
    subjects: tuple[str, ...] = ()

    @property
    def terms(self) -> list[str]:
        """The terms that the goal reads, each once."""
        return list(dict.fromkeys([*self.factors, *self.low, *self.high, *self.matches, *self.own]))

    def rate(self, z: Mapping[str, Float[np.ndarray, " images"]]) -> Float[np.ndarray, " images"]:
        """Return how well images do what the goal wants, from their terms' z, in z units (larger is better)."""
        if self.score == "match":
            distance = np.stack([z[term] - wanted for term, wanted in self.matches.items()])
            far: npt.NDArray[np.float64] = -np.sqrt((distance**2).mean(axis=0))
            return far
        signed = np.stack([sign * z[term] for term, sign in self.own.items()])
        rated: npt.NDArray[np.float64] = signed.min(axis=0) if self.score == "weakest" else signed.sum(axis=0)
        return rated

    def find_violations(self, z: Mapping[str, float], tolerance: float) -> list[str]:
        """Return the bounds that an image's terms break by more than `tolerance`, as sentences."""
        low = [(term, ">=", bound) for term, bound in self.low.items() if z[term] < bound - tolerance]
        high = [(term, "<=", bound) for term, bound in self.high.items() if z[term] > bound + tolerance]
        return [f"{term} {sign} {bound:.2f} (reached {z[term]:.2f})" for term, sign, bound in low + high]


def join_terms(voxels: Sequence[str]) -> str:
    """Return the name of the term of several voxels together."""
    return "+".join(voxels)


def plan_goal(target: Target, rois: Sequence[str], percentiles: Mapping[str, float] | None = None) -> Goal:
    """Turn a single target into its goal; `rois` are the model's, `percentiles` the z of a term at the target's dose.

    Raises
    ------
    InputError
        When the target stands for several (see `expand_target`).
    """
    hold = {"low": dict.fromkeys(target.hold, -target.hold_within), "high": dict.fromkeys(target.hold, target.hold_within)}
    common: dict[str, object] = {"label": target.label, "subjects": target.subjects}
    if target.kind in ("quadrants", "each_voxel_of"):
        raise InputError(f"target {target.label!r}: stands for several; expand it first")
    if target.pattern is not None:
        return Goal(matches=dict(target.pattern), own=dict.fromkeys(target.pattern, 1.0), score="match", **hold, **common)  # type: ignore[arg-type]
    if target.kind == "up":
        return _plan_sides(target, hold, common)
    factors, own = _weigh_terms(target, rois)
    if target.dose is not None:
        term = next(iter(own))
        wanted = {term: (percentiles or {}).get(term, np.nan)}
        return Goal(matches=wanted, own=own, score="match", **hold, **common)  # type: ignore[arg-type]
    return Goal(factors=factors, own=own, **hold, **common)  # type: ignore[arg-type]


def _plan_sides(target: Target, hold: dict[str, dict[str, float]], common: dict[str, object]) -> Goal:
    signs = {**dict.fromkeys(target.up, 1.0), **dict.fromkeys(target.down, -1.0)}
    low = {**hold["low"], **dict.fromkeys(target.up, target.level)}
    high = {**hold["high"], **dict.fromkeys(target.down, -target.level)}
    factors = {term: sign / len(signs) for term, sign in signs.items()}
    return Goal(factors=factors, low=low, high=high, own=signs, score="weakest", **common)  # type: ignore[arg-type]


def _weigh_terms(target: Target, rois: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the factors of the objective, and those that the image is judged by."""
    if target.contrast is not None:
        plus, minus = split_contrast(target.contrast)
        both = {**dict.fromkeys(plus, 1 / len(plus)), **dict.fromkeys(minus, -1 / len(minus))}
        return both, both
    if target.suppress is not None:
        return {target.suppress: -1.0}, {target.suppress: -1.0}
    if target.roi is None:
        own = {join_terms(target.voxels) if target.voxels else str(target.voxel): 1.0}
        return own, own
    others = [roi for roi in rois if roi != target.roi and roi not in target.hold] if target.minus_others else []
    return {target.roi: 1.0, **{roi: -target.minus_others / len(others) for roi in others}}, {target.roi: 1.0}
