"""Models as the ascent sees them: one forward pass per feature space, read by every model and subject that shares it.

Layers that carry no weight for the terms at hand are not computed; the forward pass ends at the deepest that does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from protocols.errors import InputError
from stimgen.features import FeatureSpace, PooledLayer
from stimgen.goal import Goal
from stimgen.judge import Scorer
from stimgen.objective import Ensemble, stack_goals
from stimgen.readings import Reader, Term, fold_terms, list_terms


@dataclass(frozen=True)
class Predictor:
    """A feature space, the layers of it that are read, and its readers (one per model and, if so asked, subject)."""

    space: FeatureSpace
    layers: tuple[PooledLayer, ...]
    readers: tuple[Reader, ...]

    def read(
        self, images: Float[Tensor, "images 3 height width"], reduced_precision: bool
    ) -> tuple[Float[Tensor, "readers images terms"], Float[Tensor, "images features"]]:
        """Return every reader's z and the features themselves; differentiable."""
        features = self.space.extract_some(images, self.layers, reduced_precision)
        return torch.stack([reader.read(features) for reader in self.readers]), features


@dataclass(frozen=True)
class Panel:
    """The predictors whose readings together decide, and the terms they read."""

    predictors: tuple[Predictor, ...]
    terms: tuple[Term, ...]

    def read(
        self, images: Float[Tensor, "images 3 height width"], reduced_precision: bool = False
    ) -> Float[Tensor, "members images terms"]:
        """Return every member's z; differentiable."""
        return torch.cat([predictor.read(images, reduced_precision)[0] for predictor in self.predictors])

    @property
    def known(self) -> Bool[Tensor, "members terms"]:
        """Which member has which term, in the order of readings."""
        return torch.stack([reader.known for predictor in self.predictors for reader in predictor.readers])

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.predictors[0].space.backbone.device


def build_panel(scorers: Sequence[Scorer], goals: Sequence[Goal], ensemble: Ensemble, depth_share: float = 1.0) -> Panel:
    """Fold the terms of `goals` onto every model; models on one feature space share their forward pass.

    `depth_share` is the correlation with the full objective, over the natural pool, that suffices: deeper layers are left out once
    those before reach it for every goal. 1 leaves out only layers whose weights are zero.

    Raises
    ------
    InputError
        When a model lacks a term or cannot predict it, or (with a member per subject) when no subject has it.
    """
    terms = list_terms(goals)
    wanted = _list_columns(goals, terms)
    shared: dict[str, list[tuple[Scorer, list[Reader]]]] = {}
    for scorer in scorers:
        subjects = list(dict.fromkeys(scorer.model.voxels["subject"])) if ensemble.members == "subjects" else [None]
        readers = [fold_terms(terms, scorer.model, scorer.pool, subject) for subject in subjects]
        shared.setdefault(_identify(scorer.model.space), []).append((scorer, readers))
    known = [torch.stack([reader.known for _, readers in group for reader in readers]).any(dim=0) for group in shared.values()]
    unread = [term.name for term, is_known in zip(terms, torch.stack(known).any(dim=0), strict=True) if not is_known]
    if unread:
        raise InputError(f"{unread[0]!r}: no subject of the models has it, or none can be predicted; choose another")
    groups = [group for group, some in zip(shared.values(), known, strict=True) if some.any()]  # the others have no say
    return Panel(tuple(_join(group, wanted, depth_share) for group in groups), tuple(terms))


def _identify(space: FeatureSpace) -> str:
    return "".join(space.identify_layer(layer) for layer in space.layers)


def _list_columns(goals: Sequence[Goal], terms: Sequence[Term]) -> Float[np.ndarray, "terms columns"]:
    """Return what must be predicted well: of a goal without bounds its weighted sum, of any other each of its terms."""
    wishes = stack_goals(goals, terms)
    is_bounded = (wishes.low.isfinite() | wishes.high.isfinite() | ~wishes.matches.isnan()).any(dim=1)
    sums = wishes.factors[~is_bounded].T
    used = (wishes.low.isfinite() | wishes.high.isfinite() | ~wishes.matches.isnan() | (wishes.factors != 0))[is_bounded].any(dim=0)
    columns: npt.NDArray[np.float32] = torch.cat([sums, torch.eye(len(terms))[:, used]], dim=1).numpy()
    return columns


def _join(group: Sequence[tuple[Scorer, list[Reader]]], wanted: Float[np.ndarray, "terms columns"], depth_share: float) -> Predictor:
    """Make one predictor of models with the same features, cut at the layers that they need."""
    scorer = group[0][0]
    space = scorer.model.space
    readers = [reader for _, some in group for reader in some]
    slopes = torch.cat([reader.slopes for reader in readers], dim=1).numpy()
    if depth_share < 1:
        slopes = np.concatenate([reader.slopes.numpy() @ wanted for reader in readers], axis=1)
    layers = choose_depth(space, slopes, scorer.features, depth_share)
    columns = torch.from_numpy(space.find_columns(layers))
    means = torch.from_numpy(scorer.features.mean(axis=0))
    left_out = torch.ones(space.size, dtype=torch.bool)
    left_out[columns] = False
    device = space.backbone.device
    cut = []
    for reader in readers:  # what is left out counts as its mean over natural images
        rest = means[left_out] @ reader.slopes[left_out]
        cut.append(Reader(reader.slopes[columns], reader.offsets + rest, reader.known).to(device))
    return Predictor(space, layers, tuple(cut))


def choose_depth(
    space: FeatureSpace,
    slopes: Float[np.ndarray, "features columns"],
    features: Float[np.ndarray, "images features"],
    depth_share: float,
) -> tuple[PooledLayer, ...]:
    """Return the layers to read: without those of zero weight, and only as deep as `depth_share` asks.

    Layers are taken in the order in which the network runs them.
    """
    inside = space.layer_of_feature
    carrying = [number for number in order_layers(space) if np.any(slopes[inside == number])]
    if depth_share >= 1:
        return tuple(space.layers[number] for number in carrying)
    share = measure_shares(space, carrying, slopes, features)
    enough = np.flatnonzero((share >= depth_share).all(axis=1))
    deepest = int(enough[0]) if len(enough) else len(carrying) - 1
    return tuple(space.layers[number] for number in carrying[: deepest + 1])


def order_layers(space: FeatureSpace) -> list[int]:
    """Return the indices of a space's layers in the order in which the network runs them."""
    order = list(space.backbone.trace())
    return sorted(range(len(space.layers)), key=lambda number: order.index(space.layers[number].name))


def measure_shares(
    space: FeatureSpace,
    layers: Sequence[int],
    slopes: Float[np.ndarray, "features columns"],
    features: Float[np.ndarray, "images features"],
) -> Float[np.ndarray, "layers columns"]:
    """Return the correlation over images of what the first of `layers` predict together, one, two, ... of them, with what all predict.

    It is 1 where all predict the same for every image.
    """
    inside = space.layer_of_feature
    parts = np.stack([features[:, inside == number] @ slopes[inside == number] for number in layers])
    parts -= parts.mean(axis=1, keepdims=True)
    whole = parts.sum(axis=0)
    partial = parts.cumsum(axis=0)
    scale = np.sqrt((partial**2).sum(axis=1) * (whole**2).sum(axis=0)) + 1e-12
    share: npt.NDArray[np.float32] = (partial * whole).sum(axis=1) / scale
    share[:, (whole**2).sum(axis=0) == 0] = 1.0
    return share
