"""A sweep's settings: how its images are made, as a person writes it in TOML; defaults are for thousands of targets."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator

from protocols.config import config
from stimgen.image_settings import ImageSettings
from stimgen.optimize import Ascent

# What a sweep asks of the ascent where nothing else is said.
ASCENT: Mapping[str, Any] = {"steps": 64, "batch": 32, "depth_share": 0.95}


@config
class SweepSettings:
    """A sweep's TOML: how images are made. Paths are relative to the folder the command is run in."""

    size_px: int = Field(default=128, ge=32)
    image: ImageSettings = ImageSettings()
    ascent: Ascent = Ascent(**ASCENT)

    @field_validator("ascent", mode="before")
    @classmethod
    def _fill(cls, given: object) -> object:
        """Take what the table [ascent] leaves out from the sweep's own defaults."""
        return {**ASCENT, **given} if isinstance(given, Mapping) else given


def resolve_paths(settings: SweepSettings) -> SweepSettings:
    """Return the settings with absolute paths, which mean the same in every process."""
    photographs, mask = (path and path.resolve() for path in (settings.image.photographs, settings.image.mask))
    return dataclasses.replace(settings, image=dataclasses.replace(settings.image, photographs=photographs, mask=mask))
