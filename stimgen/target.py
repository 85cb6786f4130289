"""Targets: what a person asks an image to do, as TOML tables, and each table as one or more single targets.

A target has exactly one kind, which says what to drive, and may add conditions. `quadrants` and `each_voxel_of` stand for several.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

from pydantic import Field, field_validator, model_validator

from protocols.config import config
from protocols.errors import InputError
from protocols.protocol import split_contrast
from stimgen.encoding_model import EncodingModel

KINDS = ("roi", "voxel", "voxels", "contrast", "suppress", "up", "quadrants", "pattern", "each_voxel_of")


@config
class Target:
    """What one kind of image shall drive: exactly one of `KINDS` (`down` may stand beside `up`, or alone).

    `name` labels the images (letters and digits); it is the name of the ROI or voxel unless given.
    """

    roi: str | None = None
    """Drive an ROI: its predictable voxels, weighted by accuracy."""
    voxel: str | None = None
    """Drive one voxel, by its `voxel_id`."""
    voxels: tuple[str, ...] = ()
    """Drive several voxels together, weighted by accuracy."""
    contrast: str | None = None
    """For example `FFA - EBA`: drive a difference."""
    suppress: str | None = None
    """Bring an ROI's response down."""
    up: tuple[str, ...] = ()
    """ROIs or voxels that must each lie at `level` or above."""
    down: tuple[str, ...] = ()
    """ROIs or voxels that must each lie at -`level` or below."""
    quadrants: tuple[str, str] | None = None
    """A pair of ROIs; stands for four targets: up and up, up and down, down and up, down and down."""
    pattern: Mapping[str, float] | None = None
    """ROIs or voxels and the response each shall have."""
    each_voxel_of: str | None = None
    """Stands for one target per predictable voxel of an ROI."""
    name: str = ""
    minus_others: float = Field(default=0.5, ge=0)
    """For an ROI: how much the mean of the model's other ROIs counts against the image."""
    hold: tuple[str, ...] = ()
    """ROIs or voxels that stay within `hold_within` of the mean of natural images."""
    hold_within: float = Field(default=0.5, gt=0)
    dose: float | None = Field(default=None, gt=0, lt=100)
    """For an ROI, voxel or voxels: aim at this percentile of natural images instead of as high as possible."""
    level: float = Field(default=2.0, gt=0)
    """How far `up`, `down` and `quadrants` must be from the mean of natural images."""
    subjects: tuple[str, ...] = ()
    """Only the voxels of these subjects count; of all where absent."""
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
        if len(self._kinds()) != 1:
            raise ValueError(f"a target has exactly one of the keys {', '.join(KINDS)}")
        if self.dose is not None and not (self.roi or self.voxel or self.voxels):
            raise ValueError("dose goes with roi, voxel or voxels")
        if self.pattern is not None and not all(math.isfinite(value) for value in self.pattern.values()):
            raise ValueError("a pattern's responses are numbers")
        both = sorted(set(self.up) & set(self.down)) or sorted(set(self.hold) & set(self.named()))
        if both:
            raise ValueError(f"{both[0]!r} is asked for two things that cannot both be; name it once")
        if self.quadrants is not None and self.quadrants[0] == self.quadrants[1]:
            raise ValueError(f"quadrants names {self.quadrants[0]!r} twice; name two ROIs")
        if not (self.label.isascii() and self.label.isalnum()):
            raise ValueError(f"a target's name is letters and digits only, not {self.label!r}; set 'name'")
        return self

    def _kinds(self) -> list[str]:
        present = [kind for kind in KINDS if getattr(self, kind) not in (None, (), {})]
        return present if self.up or not self.down else [*present, "up"]

    @property
    def kind(self) -> str:
        """The one of `KINDS` that is given."""
        return self._kinds()[0]

    @property
    def label(self) -> str:
        """The name of the target's images."""
        sides = "".join([f"{one}up" for one in self.up] + [f"{one}down" for one in self.down])
        suppressed = f"{self.suppress}down" if self.suppress else ""
        return self.name or self.roi or self.voxel or self.each_voxel_of or sides or suppressed or self.kind

    def named(self) -> list[str]:
        """Return the ROIs and voxels that the target names, those of `hold` apart."""
        plus, minus = split_contrast(self.contrast) if self.contrast else ([], [])
        single = [one for one in (self.roi, self.voxel, self.suppress, self.each_voxel_of) if one]
        several = [*self.voxels, *self.up, *self.down, *(self.quadrants or ()), *(self.pattern or {})]
        return [*single, *several, *plus, *minus]


def expand_target(target: Target, models: Sequence[EncodingModel]) -> list[Target]:
    """Return the single targets that a target stands for: four for `quadrants`, one per predictable voxel for `each_voxel_of`."""
    if target.quadrants is not None:
        one, other = target.quadrants
        sides = [((one, other), ()), ((one,), (other,)), ((other,), (one,)), ((), (one, other))]
        return [_rename(target, up=up, down=down, quadrants=None) for up, down in sides]
    if target.each_voxel_of is not None:
        voxels = models[0].voxels
        asked = voxels["subject"].isin(target.subjects) if target.subjects else True
        chosen = voxels["voxel_id"][(voxels["roi"] == target.each_voxel_of) & (voxels["cv_r"] > 0) & asked]
        if not len(chosen):
            raise InputError(f"target {target.label!r}: ROI {target.each_voxel_of!r} has no predictable voxel in the model")
        return [_rename(target, voxel=str(voxel), each_voxel_of=None) for voxel in chosen]
    return [target]


def _rename(target: Target, **changes: object) -> Target:
    """Return a single target, named by what it drives, after the prefix that `name` gives."""
    single = dataclasses.replace(target, name="x", **changes)  # type: ignore[arg-type]
    sides = "".join([f"{one}up" for one in single.up] + [f"{one}down" for one in single.down])
    own = re.sub("[^0-9A-Za-z]", "", sides or single.voxel or "")
    return dataclasses.replace(single, name=f"{target.name}{own}")
