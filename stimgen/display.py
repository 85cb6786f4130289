"""The display's luminance curve: gray levels 0-1 in, luminance relative to white out, and back; differentiable.

Without a measurement the curve is that of sRGB. A measured gamma or a table of levels and luminances replaces it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from protocols.errors import InputError
from protocols.tables import Columns, read_tsv

_STEPS = 1024  # places at which the curve is tabulated: four per 8-bit level
COLUMNS: Columns = {"level": "number", "luminance_cd_m2": "number"}
BT709 = (0.2126, 0.7152, 0.0722)  # luminance of the primaries (ITU-R BT.709)


@dataclass(frozen=True)
class Display:
    """A display whose three channels have one curve.

    `levels` and `luminance` rise together; `luminance` is relative to white and begins at the black level.
    """

    levels: Float[Tensor, " points"]
    luminance: Float[Tensor, " points"]

    @property
    def black(self) -> float:
        """Luminance of black relative to white."""
        return float(self.luminance[0])

    def to_linear(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 height width"]:
        """Return each channel's light relative to white."""
        return _interpolate(images, self.levels, self.luminance)

    def to_levels(self, linear: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 height width"]:
        """Return the gray levels, 0-1, that show this light; light beyond black or white becomes black or white."""
        return _interpolate(linear, self.luminance, self.levels)


def load_display(gamma: float | None = None, table: Path | None = None) -> Display:
    """Return the curve of a measured gamma, of a measured table (`level luminance_cd_m2`, levels 0-255), or of sRGB.

    Raises
    ------
    InputError
        When the table does not begin at level 0 and end at 255, or luminance does not rise with every level.
    """
    if table is not None:
        return _read_table(table)
    levels = torch.linspace(0, 1, _STEPS + 1, dtype=torch.float64)
    luminance = levels**gamma if gamma is not None else torch.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return Display(levels.float(), luminance.float())


def _read_table(path: Path) -> Display:
    measured = read_tsv(path, COLUMNS)
    levels, luminance = (measured[name].to_numpy(dtype=np.float64) for name in COLUMNS)
    if len(levels) < 2 or levels[0] != 0 or levels[-1] != 255:
        raise InputError(f"{path}: levels must begin at 0 and end at 255; measure black and white as well")
    for values, name in ((levels, "level"), (luminance, "luminance_cd_m2")):
        falls = np.flatnonzero(np.diff(values) <= 0)
        if len(falls):
            row = int(falls[0])
            raise InputError(
                f"{path} row {row + 3}: {name} {values[row + 1]:g} does not rise above {values[row]:g} of the row before; "
                "a luminance table must rise with every level: measure it again, or leave out levels that cannot be told apart"
            )
    if luminance[0] < 0:
        raise InputError(f"{path} row 2: luminance_cd_m2 {luminance[0]:g} is below 0; subtract no more than the stray light")
    return Display(torch.from_numpy(levels / 255).float(), torch.from_numpy(luminance / luminance[-1]).float())


def _interpolate(values: Tensor, places: Float[Tensor, " points"], heights: Float[Tensor, " points"]) -> Tensor:
    """Interpolate linearly, values beyond the ends becoming the ends; differentiable in `values`."""
    places, heights = places.to(values), heights.to(values)
    within = values.clamp(places[0], places[-1])
    right = torch.bucketize(within.detach().contiguous(), places).clamp_(1, len(places) - 1)
    slope = (heights[1:] - heights[:-1]) / (places[1:] - places[:-1])
    base = heights[:-1] - places[:-1] * slope
    left = right.sub_(1)
    return base[left] + within * slope[left]
