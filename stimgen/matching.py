"""The table [photometry] of a targets file: what every image of a set shall look like on the display, as matchers of images.

Images take turns in a few profiles (luminance, contrast, slope, saturation), each that of a natural image near the pool's median. All
targets and all their controls go through the same profiles, so that conditions have the same photometry, and yet vary as photographs do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from protocols.config import config
from protocols.errors import InputError
from stimgen.display import Display, load_display
from stimgen.image_files import read_image
from stimgen.match import TOLERANCE, Matcher
from stimgen.photometry import FEATURES, Feature, measure_light

Difference = Literal["mean_luminance", "rms_contrast", "slope", "saturation", "edge_density", "complexity"]
_MOST_MEASURED = 256  # natural images that profiles are drawn from
_CENTRAL = 0.5  # share of them, nearest to the median, that a profile may be of


@config
class PhotometrySettings:
    """Which photometry images are brought to, on which display, at which size."""

    matching: Literal["inside", "afterwards", "none"] = "inside"
    """`inside`: while images are made; `afterwards`: once they are made, at the cost of drive; `none`: not at all."""
    match: tuple[Feature, ...] = FEATURES
    """What is matched."""
    luminance: float | None = Field(default=None, gt=0, lt=1)
    """Mean luminance relative to white of every image; that of natural images if absent, and so for the next three."""
    contrast: float | None = Field(default=None, gt=0)
    """RMS contrast."""
    slope: float | None = Field(default=None, lt=0)
    """Slope of log amplitude on log frequency."""
    saturation: float | None = Field(default=None, ge=0)
    """RMS chroma over mean luminance; 0 makes gray images."""
    gamma: float | None = Field(default=None, gt=0)
    """Of the display; sRGB if absent."""
    luminance_table: Path | None = None
    """Of the display: TSV with `level` 0-255 and `luminance_cd_m2`."""
    size_deg: float = Field(default=8.4, gt=0)
    """An image's side on the display, degrees of visual angle."""
    background: int = Field(default=127, ge=0, le=255)
    """Gray level outside the aperture and in the fixation hole."""
    aperture_deg: float | None = Field(default=None, gt=0)
    """Diameter of a round aperture; none if absent."""
    hole_deg: float = Field(default=0.0, ge=0)
    """Diameter of the hole for the fixation."""
    edge_deg: float = Field(default=0.2, ge=0)
    """Width of the aperture's and the hole's soft edge."""
    most_striped: float = Field(default=0.3, gt=0)
    """Largest RMS contrast of stripes of one orientation at 2-4.5 cycles per degree (visual discomfort)."""
    wanted: tuple[Difference, ...] = ("edge_density", "complexity")
    """Differences between conditions that `stimgen check` lets pass."""


@dataclass(frozen=True)
class Matching:
    """Matchers by number of the profile; `profiles` has a row each: luminance, contrast, slope, saturation (NaN: free)."""

    settings: PhotometrySettings
    display: Display
    profiles: Float[Tensor, "profiles 4"]
    window: Float[Tensor, "side side"] | None
    natural_sd: dict[str, float]

    @property
    def inside(self) -> bool:
        """Whether photometry is held while images are made."""
        return self.settings.matching == "inside"

    def choose(self, numbers: Sequence[int]) -> Matcher:
        """Return the matcher of images of the given profiles."""
        wishes = self.profiles[list(numbers)]
        settings = self.settings
        return Matcher(self.display, wishes, settings.size_deg, settings.background / 255, self.window, settings.most_striped)

    def finish(
        self, images: Sequence[Float[np.ndarray, "side side 3"]], numbers: Sequence[int]
    ) -> tuple[list[Float[np.ndarray, "side side 3"]], list[str]]:
        """Return images of their profiles' photometry, in whole 8-bit levels; also what could not be reached, empty where all was."""
        if not images:
            return [], []
        stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        finished, errors = self.choose(numbers).finish(stacked)
        arrays = finished.permute(0, 2, 3, 1).contiguous().numpy()
        tolerance = torch.tensor(list(TOLERANCE.values()))
        broken = [[FEATURES[column] for column in row.nonzero().flatten().tolist()] for row in errors.abs() > tolerance]
        return list(arrays), [", ".join(names) for names in broken]


def plan_matching(settings: PhotometrySettings, paths: Sequence[Path], size_px: int, count: int, seed: int) -> Matching | None:
    """Draw the profiles of a set from its natural pool; None where nothing is matched.

    Raises
    ------
    InputError
        When the aperture does not fit the image, or the luminance table cannot be used.
    """
    display = load_display(settings.gamma, settings.luminance_table)
    window = draw_window(settings, size_px)
    if settings.matching == "none":
        return None
    step = max(1, len(paths) // _MOST_MEASURED)
    natural = torch.cat([_measure_file(path, size_px, display, window) for path in paths[::step]])
    profiles = _draw_profiles(natural, count, np.random.default_rng(seed))
    for column, name in enumerate(FEATURES):
        given = getattr(settings, name)
        if name not in settings.match:
            profiles[:, column] = torch.nan
        elif given is not None:
            profiles[:, column] = given
    sd = dict(zip(FEATURES, natural.std(dim=0, correction=0).tolist(), strict=True))
    return Matching(settings, display, profiles, window, sd)


def describe_matching(settings: PhotometrySettings, matching: Matching | None) -> dict[str, object]:
    """Return what the set's sidecar tells of the display, the geometry and the match."""
    curve = None
    display = load_display(settings.gamma, settings.luminance_table)
    if settings.luminance_table is not None:
        curve = {"level": (display.levels * 255).tolist(), "relative_luminance": display.luminance.tolist()}
    names = {"luminance": "mean_luminance", "contrast": "rms_contrast"}
    return {
        "matching": settings.matching,
        "matched": [] if matching is None else [names.get(name, name) for name in settings.match],
        "wanted": list(settings.wanted),
        "gamma": settings.gamma,
        "curve": curve,
        "size_deg": settings.size_deg,
        "background": settings.background,
        "aperture_deg": settings.aperture_deg,
        "hole_deg": settings.hole_deg,
        "edge_deg": settings.edge_deg,
        "most_striped": settings.most_striped,
        "natural_sd": {} if matching is None else {names.get(name, name): round(sd, 6) for name, sd in matching.natural_sd.items()},
    }


def draw_window(settings: PhotometrySettings, size_px: int) -> Float[Tensor, "side side"] | None:
    """Return 1 where the image is seen, 0 outside the aperture and in the hole, with raised-cosine edges; None without either."""
    aperture, hole = settings.aperture_deg, settings.hole_deg
    if aperture is None and not hole:
        return None
    if aperture is not None and not hole < aperture <= settings.size_deg:
        raise InputError(f"photometry: aperture_deg {aperture:g} must lie between hole_deg {hole:g} and size_deg {settings.size_deg:g}")
    axis = (torch.arange(size_px) + 0.5 - size_px / 2) * settings.size_deg / size_px
    radius = torch.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    window = torch.ones(size_px, size_px) if aperture is None else _fall(radius, aperture / 2, settings.edge_deg)
    return window * (1 - _fall(radius, hole / 2, settings.edge_deg)) if hole else window


def _fall(radius: Tensor, end_deg: float, edge_deg: float) -> Tensor:
    """Return 1 inside, falling to 0 at `end_deg` over a raised cosine."""
    inward = ((end_deg - radius) / max(edge_deg, 1e-6)).clamp(0, 1)
    return (1 - torch.cos(torch.pi * inward)) / 2


def _measure_file(path: Path, size_px: int, display: Display, window: Tensor | None) -> Float[Tensor, "1 4"]:
    image = torch.from_numpy(read_image(path, size_px)).permute(2, 0, 1)[None]
    return measure_light(display.to_linear(image), window).stack()


def _draw_profiles(natural: Float[Tensor, "images 4"], count: int, rng: np.random.Generator) -> Float[Tensor, "profiles 4"]:
    """Draw images among those nearest to the median, in units of each measure's interquartile range."""
    low, median, high = torch.quantile(natural, torch.tensor([0.25, 0.5, 0.75]), dim=0)
    distance = (((natural - median) / (high - low).clamp(min=1e-6)) ** 2).sum(dim=1)
    central = torch.argsort(distance, stable=True)[: max(1, round(_CENTRAL * len(natural)))].numpy()
    chosen = rng.choice(central, count, replace=len(central) < count)
    return natural[torch.from_numpy(np.sort(chosen))].clone()
