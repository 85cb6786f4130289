"""The readout of a few targets out of a model of thousands of voxels: what a batch of a sweep sees of the model.

Work and memory depend on the targets asked for, not on the voxels that the model has.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
from jaxtyping import Bool, Float, Int

from protocols.errors import InputError
from stimgen.encoding_model import EncodingModel, Readout
from stimgen.judge import Scorer
from stimgen.predictors import measure_shares, order_layers
from stimgen.sweep_targets import SweepTarget

_ROI = "targets"  # stands for the ROI of every folded target; none is asked for
_MOST_TARGETS = 512  # folded at a time while they are surveyed
_MOST_VALUES = 50_000_000  # of layers x images x targets, held at a time while depths are measured

Members = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Reading:
    """A model opened for a sweep, with the features of the natural pool."""

    name: str
    model: EncodingModel
    features: Float[np.ndarray, "images features"]

    @cached_property
    def rows(self) -> dict[Hashable, npt.NDArray[np.int64]]:
        """The rows of every voxel's id, and of every pair of subject and ROI."""
        voxels = self.model.voxels
        rows: dict[Hashable, npt.NDArray[np.int64]] = {voxel_id: np.array([row]) for row, voxel_id in enumerate(voxels["voxel_id"])}
        parcels = voxels.groupby(["subject", "roi"], sort=False).indices
        return rows | {parcel: np.asarray(inside) for parcel, inside in parcels.items()}

    def find_members(self, target: SweepTarget) -> Members | None:
        """Return the rows of a target's predictable voxels and their weights, which sum to 1; None where the model has none."""
        rows = self.rows.get((target.subject, target.roi) if target.voxel_id is None else target.voxel_id)
        if rows is None:
            return None
        accuracy = np.clip(self.model.voxels["cv_r"].to_numpy()[rows], 0, None) ** 2
        kept = accuracy > 0
        return (rows[kept], (accuracy[kept] / accuracy.sum()).astype(np.float32)) if kept.any() else None


@dataclass(frozen=True)
class Folded:
    """A model of targets in place of voxels, one a column, and which of them the model it comes from can predict."""

    scorer: Scorer
    known: Bool[np.ndarray, " targets"]

    def rate(self, features: Float[np.ndarray, "images features"]) -> Float[np.ndarray, "images targets"]:
        """Return images' drive of every target in z units of the pool; NaN where it is not known."""
        natural = self.scorer.pool
        scale = np.where(self.known, natural.std(axis=0), np.nan)
        z: npt.NDArray[np.float32] = (respond(self.scorer.model.readout, features) - natural.mean(axis=0)) / scale
        return z


def fold_targets(reading: Reading, targets: Sequence[SweepTarget]) -> Folded:
    """Return a model of these targets alone; its readout takes features as they are, and unknown targets have none."""
    readout = reading.model.readout
    slopes = np.zeros((reading.model.space.size, len(targets)), dtype=np.float32)
    intercept = np.zeros(len(targets), dtype=np.float32)
    known = np.zeros(len(targets), dtype=bool)
    for column, target in enumerate(targets):
        members = reading.find_members(target)
        if members is not None:
            rows, weights = members
            known[column] = True
            slopes[:, column] = readout.coefficients[:, rows] @ weights
            intercept[column] = readout.intercept[rows] @ weights
    slopes /= readout.feature_scale[:, None]
    size = reading.model.space.size
    plain = Readout(slopes, intercept - readout.feature_mean @ slopes, np.zeros(size, np.float32), np.ones(size, np.float32))
    table = pd.DataFrame({"voxel_id": [name_term(column) for column in range(len(targets))], "subject": [one.subject for one in targets]})
    model = EncodingModel(reading.model.space, plain, table.assign(roi=_ROI, cv_r=1.0, test_r=np.nan, noise_ceiling=np.nan), {})
    return Folded(Scorer(reading.name, model, respond(plain, reading.features), reading.features), known)


def name_term(column: int) -> str:
    """Return the name of a folded target, whatever its own id: a plus sign in it, or an ROI of its name, means nothing here."""
    return f"target {column}"


def respond(readout: Readout, features: Float[np.ndarray, "images features"]) -> Float[np.ndarray, "images targets"]:
    """Return the responses of a folded readout, which takes features as they are, without a standardized copy of them."""
    responses: npt.NDArray[np.float32] = features @ readout.coefficients + readout.intercept
    return responses


@dataclass(frozen=True)
class Survey:
    """What is known of targets before anything is made: their drive by natural images, and the deepest layer that each needs."""

    z: Float[np.ndarray, "images targets"]
    """NaN for targets that the model predicts to respond alike to every natural image."""
    depth: Int[np.ndarray, " targets"]
    """Index into the layers, in the order in which the network runs them."""
    layers: tuple[str, ...]


def survey_targets(reading: Reading, targets: Sequence[SweepTarget], depth_share: float) -> Survey:
    """Predict the natural pool for all targets, and say how deep each must be read; a few hundred targets at a time.

    Raises
    ------
    InputError
        When the model predicts NaN.
    """
    space = reading.model.space
    order = order_layers(space)
    at_once = max(1, min(_MOST_TARGETS, _MOST_VALUES // (len(order) * len(reading.features))))
    z, depth = [], []
    for start in range(0, len(targets), at_once):
        folded = fold_targets(reading, targets[start : start + at_once])
        if not np.isfinite(folded.scorer.pool).all():
            raise InputError(f"{reading.name}: the model predicts NaN or infinite responses to natural images; fit it again")
        varies = np.ptp(folded.scorer.pool, axis=0) > 0  # the standard deviation of equal numbers is not always 0
        scale = np.where(varies, folded.scorer.pool.std(axis=0), np.nan)
        z.append((folded.scorer.pool - folded.scorer.pool.mean(axis=0)) / scale)
        slopes = folded.scorer.model.readout.coefficients / np.where(varies, scale, 1)
        depth.append(_find_depths(reading, slopes, order, depth_share))
    return Survey(np.concatenate(z, axis=1), np.concatenate(depth), tuple(space.layers[number].name for number in order))


def _find_depths(
    reading: Reading, slopes: Float[np.ndarray, "features targets"], order: Sequence[int], depth_share: float
) -> Int[np.ndarray, " targets"]:
    """Return how deep each target by itself must be read, as `predictors.choose_depth` chooses for several together."""
    space = reading.model.space
    if depth_share < 1:
        enough = measure_shares(space, order, slopes, reading.features) >= depth_share
    else:
        carrying = np.stack([np.any(slopes[space.layer_of_feature == number], axis=0) for number in order])
        enough = np.cumsum(carrying[::-1], axis=0)[::-1] <= 1  # from the deepest layer with a weight on
        enough &= carrying
    depth: npt.NDArray[np.int64] = np.where(enough.any(axis=0), enough.argmax(axis=0), len(order) - 1)
    return depth


def choose_starts(z: Float[np.ndarray, "images targets"], sources: Sequence[str], count: int) -> Int[np.ndarray, "count targets"]:
    """Return the natural images that each target's images start from: those it likes best, from different sources as far as these go.

    Of a source at most count / sources images are taken, rounded up, while other sources have some left (as `controls.best_natural`).

    Raises
    ------
    InputError
        When the pool has fewer images.
    """
    if len(z) < count:
        raise InputError(f"the natural pool has {len(z)} images, but each target needs {count}; give a larger pool, or fewer --images")
    source = np.unique(np.asarray(sources), return_inverse=True)[1]
    per_source = -(-count // (source.max() + 1))
    left, used = z.copy(), np.zeros((source.max() + 1, z.shape[1]), dtype=np.int64)
    columns = np.arange(z.shape[1])
    chosen = np.empty((count, z.shape[1]), dtype=np.int64)
    for number in range(count):
        allowed = np.where(used[source] < per_source, left, -np.inf)
        exhausted = np.isneginf(allowed.max(axis=0))
        chosen[number] = np.where(exhausted, left.argmax(axis=0), allowed.argmax(axis=0))
        left[chosen[number], columns] = -np.inf
        used[source[chosen[number]], columns] += 1
    return chosen
