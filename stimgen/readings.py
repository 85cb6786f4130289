"""Terms read off a model: an ROI's, voxel's or several voxels' predicted response as one column of weights on the features.

Responses are linear in the features and terms are linear in the responses, so a term of any number of voxels costs one column.
Each is in z units of the model's own predictions for the natural pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protocols.errors import InputError
from stimgen.encoding_model import EncodingModel
from stimgen.goal import Goal


@dataclass(frozen=True)
class Term:
    """An ROI, a voxel or several (`a+b`), of some subjects or (empty) of all."""

    name: str
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reader:
    """Reads terms off features: z = features @ slopes + offsets. Where `known` is false the model has no such term."""

    slopes: Float[Tensor, "features terms"]
    offsets: Float[Tensor, " terms"]
    known: Bool[Tensor, " terms"]

    def read(self, features: Float[Tensor, "images features"]) -> Float[Tensor, "images terms"]:
        """Return the z of each term; differentiable."""
        return features @ self.slopes + self.offsets

    def to(self, device: torch.device) -> "Reader":
        """Return the reader on another device."""
        return Reader(self.slopes.to(device), self.offsets.to(device), self.known.to(device))


def list_terms(goals: Sequence[Goal]) -> list[Term]:
    """Return the terms of several goals, each once."""
    return list(dict.fromkeys(Term(name, goal.subjects) for goal in goals for name in goal.terms))


def weigh_term(model: EncodingModel, term: Term) -> Float[np.ndarray, " voxels"]:
    """Return each voxel's weight in a term; weights sum to 1.

    Voxels weigh by their squared cross-validated r (their reliability times their squared accuracy), zero where it is not positive.

    Raises
    ------
    InputError
        When the model has no such ROI or voxel, or cannot predict it.
    """
    if term.name in model.rois:
        return model.roi_weights([term.name], term.subjects)[:, 0]
    weights = np.zeros(len(model.voxels), dtype=np.float32)
    for voxel_id in term.name.split("+"):
        match = (model.voxels["voxel_id"] == voxel_id).to_numpy()
        if not match.any():
            raise InputError(
                f"{term.name!r}: neither an ROI of the model ({', '.join(model.rois)}) nor a voxel; "
                f"its voxels are named like {model.voxels['voxel_id'].iloc[0]!r}"
            )
        subject = str(model.voxels["subject"][match].iloc[0])
        if term.subjects and subject not in term.subjects:
            raise InputError(
                f"voxel {voxel_id!r}: is subject {subject}'s, the target asks for {', '.join(term.subjects)}; drop one of them"
            )
        accuracy = float(model.voxels["cv_r"][match].iloc[0])
        if accuracy <= 0:
            raise InputError(f"voxel {voxel_id!r}: not predictable (cross-validated r is 0 or less); choose another")
        weights[match] = accuracy**2
    normalized: npt.NDArray[np.float32] = weights / weights.sum()
    return normalized


def read_pool(model: EncodingModel, pool: Float[np.ndarray, "images voxels"], term: Term) -> Float[np.ndarray, " images"]:
    """Return a term's z for the natural pool, from its predicted responses.

    Raises
    ------
    InputError
        When the model predicts the same response to every natural image, or NaN.
    """
    weights = weigh_term(model, term)
    mean, scale = _measure_pool(pool, weights, term)
    z: npt.NDArray[np.float32] = (pool @ weights - mean) / scale
    return z


def fold_terms(terms: Sequence[Term], model: EncodingModel, pool: Float[np.ndarray, "images voxels"], subject: str | None = None) -> Reader:
    """Fold terms onto a model's features; with `subject`, only that subject's voxels, and terms it lacks are not known.

    Raises
    ------
    InputError
        When the model predicts NaN, or (without `subject`) lacks a term or cannot predict it.
    """
    readout = model.readout
    slopes = np.zeros((model.space.size, len(terms)), dtype=np.float32)
    offsets = np.zeros(len(terms), dtype=np.float32)
    known = np.zeros(len(terms), dtype=bool)
    for column, term in enumerate(terms):
        _check_finite(pool, term)
        try:
            weights = _weigh_subject(model, term, subject)
            mean, scale = _measure_pool(pool, weights, term)
        except InputError:
            if subject is None:
                raise
            continue
        weights = weights / scale
        slopes[:, column] = (readout.coefficients @ weights) / readout.feature_scale
        offsets[column] = readout.intercept @ weights - readout.feature_mean @ slopes[:, column] - mean / scale
        known[column] = True
    return Reader(torch.from_numpy(slopes), torch.from_numpy(offsets), torch.from_numpy(known))


def _check_finite(pool: Float[np.ndarray, "images voxels"], term: Term) -> None:
    if not np.isfinite(pool).all():
        raise InputError(f"{term.name!r}: the model predicts NaN or infinite responses to natural images; fit it again")


def _measure_pool(pool: Float[np.ndarray, "images voxels"], weights: Float[np.ndarray, " voxels"], term: Term) -> tuple[float, float]:
    """Return the mean and standard deviation of a term's responses to the natural pool; refuse those that do not vary."""
    _check_finite(pool, term)
    response = pool @ weights
    scale = float(response.std())
    if scale <= 0:
        raise InputError(f"{term.name!r}: the model predicts the same response to every natural image; it has no predictable voxels")
    return float(response.mean()), scale


def _weigh_subject(model: EncodingModel, term: Term, subject: str | None) -> Float[np.ndarray, " voxels"]:
    """Return a term's weights, of one subject alone; refuse a term that is not that subject's."""
    if subject is None:
        return weigh_term(model, term)
    weights = weigh_term(model, Term(term.name, (subject,)))
    outside = (model.voxels["subject"] != subject).to_numpy()
    if weights[outside].any() or (term.subjects and subject not in term.subjects):
        raise InputError(f"{term.name!r}: not subject {subject}'s; choose another")
    return weights
