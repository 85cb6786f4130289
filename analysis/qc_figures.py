"""A run's design and motion in, pictures of them as PNG bytes out: of few colors, since a page holds two for every run."""

import io
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from analysis.design import Design
from analysis.figures import BLUE, GRAY, GREEN, ORANGE, VERMILION, Drawing

_DPI = 100
_COLORS = 64
_MOST_NAMES = 48
_STYLE: dict[Any, Any] = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#555555"}


def draw_design(design: Design, volumes: int, tr_s: float) -> bytes:
    """Draw the matrix: volumes from top to bottom, a column per regressor, each scaled to its largest value; volumes left out are red."""
    from matplotlib.colors import ListedColormap

    shown = np.full((volumes, design.matrix.shape[1]), np.nan)
    shown[design.volumes] = design.values / np.abs(design.values).max(axis=0)
    count = shown.shape[1]
    with Drawing((1.2 + max(0.16 * count, 2.5), 4.6), _STYLE, _reduce) as png:
        axes = png.figure.subplots()
        extent = (-0.5, count - 0.5, volumes * tr_s, 0.0)
        axes.imshow(
            np.isnan(shown[:, :1]), cmap=ListedColormap(["#ffffff", VERMILION]), aspect="auto", extent=extent, interpolation="nearest"
        )
        axes.imshow(shown, cmap="gray", vmin=-1, vmax=1, aspect="auto", extent=extent, interpolation="nearest")
        step = -(-count // _MOST_NAMES)
        names = [_shorten(str(name)) for name in design.matrix.columns]
        axes.set_xticks(range(0, count, step), names[::step], rotation=90, fontsize=7)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for place in range(1, count):
            if design.kinds[place] != design.kinds[place - 1]:
                axes.axvline(place - 0.5, color=BLUE, linewidth=1.2)
        axes.set_ylabel("seconds")
    return png.made


def draw_motion(
    displacement: Float[np.ndarray, " volumes"],
    motion: Float[np.ndarray, "volumes 6"] | None,
    kept: Bool[np.ndarray, " volumes"],
    tr_s: float,
    limit_mm: float,
) -> bytes:
    """Draw framewise displacement with its limit, and the motion parameters (rotations as arcs of 50 mm); volumes left out are red."""
    times = np.arange(len(kept)) * tr_s
    with Drawing((7.6, 2.0 if motion is None else 3.4), _STYLE, _reduce) as png:
        grid = png.figure.subplots(1 if motion is None else 2, 1, squeeze=False, sharex=True)[:, 0]
        for axes in grid:
            for start in times[~kept]:
                axes.axvspan(start, start + tr_s, color=VERMILION, alpha=0.35, linewidth=0)
        grid[0].plot(times, displacement, color="black", linewidth=0.9)
        grid[0].axhline(limit_mm, color=GRAY, linewidth=0.8, linestyle="--")
        grid[0].set_ylim(0, max(2 * limit_mm, float(np.nanmax(displacement, initial=0.0)) * 1.05))
        grid[0].set_ylabel("displacement, mm")
        if motion is not None:
            scaled = (motion - motion[0]) * np.array([1, 1, 1, 50, 50, 50])
            for place, (name, values) in enumerate(zip(("x", "y", "z", "pitch", "roll", "yaw"), scaled.T, strict=True)):
                style = {"color": (BLUE, ORANGE, GREEN)[place % 3], "linestyle": "-" if place < 3 else ":"}
                grid[1].plot(times, values, linewidth=0.9, label=name, **style)
            low, high = grid[1].get_ylim()
            grid[1].set_ylim(low, high + 0.2 * (high - low))  # room for the names
            grid[1].set_ylabel("position, mm")
            grid[1].legend(ncols=6, frameon=False, fontsize=7, loc="upper left", borderaxespad=0)
        grid[-1].set_xlabel("seconds")
        grid[-1].set_xlim(0, len(kept) * tr_s)
    return png.made


def _reduce(figure: Any) -> bytes:
    """Return PNG bytes, without dates, in few colors."""
    from PIL import Image

    drawn, reduced = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=_DPI, metadata={"Software": None})
    Image.open(drawn).convert("RGB").quantize(_COLORS).save(reduced, format="PNG", optimize=True)
    return reduced.getvalue()


def _shorten(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
