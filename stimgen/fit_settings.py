"""FitSettings: how an encoding model is fitted, as a person writes it in TOML."""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from protocols.config import config
from protocols.errors import InputError
from stimgen.downsample import Basis
from stimgen.features import Pooling
from stimgen.networks import Preprocessing
from stimgen.ridge import Form
from stimgen.subject_data import GroupBy


@config
class FitSettings:
    """How an encoding model is fitted. Paths are relative to the folder the command is run in."""

    backbone: str = "inception_v3"
    """A network's name, or the dotted path of one's own."""
    weights: Path | None = None
    """Weights file; the backbone's own where absent."""
    preprocessing: Preprocessing | None = None
    """What the network sees of an image; the backbone's own where absent."""
    layers: tuple[str, ...] = ()
    """Layers to read, by name or pattern (`_blocks.*`); the backbone's default layers where empty."""
    budget: int = Field(default=2500, ge=1)
    """Most features per layer; they are spent on a grid and on components of the layer's channels."""
    pooling: Pooling = "average"
    basis: Basis = "features"
    """What the components of channels are computed from: pooled features of training images, or the layer's weights."""
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    group_by: GroupBy = "image"
    """What is kept on one side of every split: all trials of an image, or also all images of a run."""
    folds: int = Field(default=5, ge=2)
    log10_penalties: tuple[float, float, Annotated[int, Field(ge=1)]] = (-4.0, 3.0, 15)
    """First and last exponent and number of penalties, relative to the mean squared norm of an image's features."""
    penalty_per: Literal["voxel", "roi"] = "voxel"
    """Whether each voxel has a penalty (and band weights) of its own, or all of an ROI share one: better with few images."""
    form: Form = "auto"
    """Primal or dual; auto takes the smaller problem."""
    bands: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """For banded ridge: names of groups of layers, each with layers by name or pattern; every layer in one."""
    band_candidates: int = Field(default=30, ge=1)
    """Random band weights to try."""
    seed: int = Field(default=1, ge=0)
    resample: int | None = Field(default=None, ge=0)
    """Seed of a bootstrap: training images are drawn with replacement, by group. Several such models make an ensemble for `generate`."""

    @property
    def penalties(self) -> npt.NDArray[np.float64]:
        """The penalties that cross-validation chooses from."""
        first, last, count = self.log10_penalties
        return np.logspace(first, last, count)


def assign_bands(matched: dict[str, list[str]], layers: list[str]) -> list[list[int]]:
    """Return the layer indices of each band; one band of all layers where none are named.

    Raises
    ------
    InputError
        When a band names a layer that is not read, or a layer is in no band or in two.
    """
    if not matched:
        return [list(range(len(layers)))]
    band_of: dict[str, str] = {}
    for band, names in matched.items():
        for name in names:
            if name not in layers:
                raise InputError(f"band {band!r}: layer {name!r} is not among 'layers'; add it there, or leave it out here")
            if name in band_of:
                raise InputError(f"band {band!r}: layer {name!r} is in band {band_of[name]!r} too; name it once")
            band_of[name] = band
    homeless = [name for name in layers if name not in band_of]
    if homeless:
        raise InputError(f"layer {homeless[0]!r}: in none of the bands {', '.join(matched)}; add it to one")
    return [[layers.index(name) for name in names] for names in matched.values()]
