"""Regions and which of them touch in, a color each out, told apart by people who see colors differently; and palettes for numbers."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Int

NO_ROI = "none"  # as imports name voxels that are in no region
GRAY = "#8c8c8c"
# Okabe and Ito 2008, "Color universal design", without black, which shading hides.
OKABE_ITO = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
# Sequential for amounts, purple to orange through near-white for differences; both keep their order in every kind of color vision.
PALETTES = {"sequential": "cividis", "ordered": "viridis", "diverging": "PuOr_r"}
_STEPS = 256


def assign_colors(rois: Sequence[str], of_voxel: Sequence[str], touching: Int[np.ndarray, "pairs 2"]) -> dict[str, str]:
    """Return a color for each ROI, so that ROIs with touching voxels differ where seven colors suffice for that.

    With more than seven ROIs colors repeat: outlines and names tell them apart.
    """
    index = {roi: number for number, roi in enumerate(rois)}
    labels = np.array([index[roi] for roi in of_voxel], dtype=np.int64)
    pairs = np.unique(labels[touching.reshape(-1, 2)], axis=0) if len(touching) else np.empty((0, 2), dtype=np.int64)
    colors: dict[str, str] = {}
    used: Counter[str] = Counter()
    for roi in rois:
        if roi == NO_ROI:
            colors[roi] = GRAY
            continue
        beside = pairs[(pairs == index[roi]).any(axis=1)].ravel()
        taken = {colors.get(rois[number]) for number in beside.tolist()}
        free = [color for color in OKABE_ITO if color not in taken] or list(OKABE_ITO)
        colors[roi] = min(free, key=lambda color: (used[color], OKABE_ITO.index(color)))
        used[colors[roi]] += 1
    return colors


def sample_palettes() -> dict[str, npt.NDArray[np.uint8]]:
    """Return each palette as 256 rows of red, green and blue."""
    from matplotlib import colormaps

    steps = np.linspace(0, 1, _STEPS)
    return {kind: (colormaps[name](steps)[:, :3] * 255).round().astype(np.uint8) for kind, name in PALETTES.items()}
