"""Objectives: what an image shall do to predicted responses, as a number to ascend.

A target names a voxel, an ROI or a contrast of ROIs. Responses are in z units of the natural pool, so that a target's
terms weigh the same whatever their gain, and several models' predictions can be averaged.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from protocols.config import config
from protocols.errors import InputError
from protocols.protocol import split_contrast
from stimgen.encoding_model import EncodingModel


@config
class Target:
    """What one kind of image shall drive: exactly one of `roi`, `voxel` and `contrast`.

    `name` labels the images (letters and digits); it is the ROI's own name unless given.
    """

    roi: str | None = None
    voxel: str | None = None
    """A `voxel_id` of the model."""
    contrast: str | None = None
    """For example `FFA - EBA`."""
    name: str = ""
    minus_others: float = Field(default=0.5, ge=0)
    """For an ROI: how much the mean of the model's other ROIs counts against the image."""
    count: int | None = Field(default=None, ge=1)
    """Images to make; the file's `count` where absent."""

    @field_validator("contrast")
    @classmethod
    def _parses(cls, contrast: str | None) -> str | None:
        if contrast is not None:
            split_contrast(contrast)
        return contrast

    @model_validator(mode="after")
    def _one_kind(self) -> "Target":
        if sum(kind is not None for kind in (self.roi, self.voxel, self.contrast)) != 1:
            raise ValueError("a target has exactly one of the keys roi, voxel and contrast")
        if not (self.label.isascii() and self.label.isalnum()):
            raise ValueError(f"a target's name is letters and digits only, not {self.label!r}; set 'name'")
        return self

    @property
    def label(self) -> str:
        """The name of the target's images."""
        return self.name or self.roi or self.voxel or "contrast"

    def weigh_voxels(self, model: EncodingModel) -> Float[np.ndarray, " voxels terms"]:
        """Return one column of voxel weights per term of the objective, in the order of `term_signs`."""
        if self.voxel is not None:
            return _one_voxel(model, self.voxel)
        return model.roi_weights([roi for roi, _ in self.terms(model.rois)])

    def terms(self, rois: Sequence[str]) -> list[tuple[str, float]]:
        """Return the objective's terms: (ROI or voxel, factor of its z)."""
        if self.voxel is not None:
            return [(self.voxel, 1.0)]
        if self.contrast is not None:
            plus, minus = split_contrast(self.contrast)
            return [(roi, 1 / len(plus)) for roi in plus] + [(roi, -1 / len(minus)) for roi in minus]
        others = [roi for roi in rois if roi != self.roi] if self.minus_others else []
        return [(str(self.roi), 1.0)] + [(roi, -self.minus_others / len(others)) for roi in others]


@dataclass(frozen=True)
class Drive:
    """A target folded onto one model's features: z-scored objective = sum over features of `slope` x feature + `offset`.

    All terms are linear in the responses, and responses in the features, so one column per target is enough.
    """

    slope: Float[Tensor, " features"]
    offset: float


def fold_target(target: Target, model: EncodingModel, pool: Float[np.ndarray, "images voxels"]) -> Drive:
    """Fold a target's terms, each in z units of its predicted responses to the pool's images, onto the model's features.

    Raises
    ------
    InputError
        When an ROI or voxel is not in the model, or is not predictable.
    """
    weights = target.weigh_voxels(model)
    factors = np.array([factor for _, factor in target.terms(model.rois)])
    terms = pool @ weights
    mean, scale = terms.mean(axis=0), terms.std(axis=0)
    if (scale <= 0).any():
        raise InputError(
            f"target {target.label!r}: the model predicts the same response to every natural image; it has no predictable voxels"
        )
    voxel_weights = weights @ (factors / scale)
    readout = model.readout
    slope = (readout.coefficients @ voxel_weights) / readout.feature_scale
    offset = float(readout.intercept @ voxel_weights - readout.feature_mean @ slope - (factors * mean / scale).sum())
    return Drive(torch.from_numpy(slope.astype(np.float32)), offset)


def _one_voxel(model: EncodingModel, voxel_id: str) -> Float[np.ndarray, "voxels 1"]:
    match = (model.voxels["voxel_id"] == voxel_id).to_numpy()
    if not match.any():
        raise InputError(f"voxel {voxel_id!r}: not in the model; its voxels are named like {model.voxels['voxel_id'].iloc[0]!r}")
    if float(model.voxels["cv_r"][match].iloc[0]) <= 0:
        raise InputError(f"voxel {voxel_id!r}: not predictable (cross-validated r is 0 or less); choose another")
    return match.astype(np.float32)[:, None]
