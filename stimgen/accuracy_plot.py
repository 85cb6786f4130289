"""The picture of a fit: held-out r of every voxel by ROI with its ceiling, and which layers carry each ROI, as a PNG."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"
_HALF_WIDTH = 0.3


def draw_accuracy(voxels: pd.DataFrame, accuracy: pd.DataFrame, layers: pd.DataFrame, path: Path) -> None:
    """Draw `accuracy.png`: above, r on test images of every voxel and of each ROI's mean with its interval; below, the layers' shares."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(layers["layer"])) or ["no ROI is predictable"]
    width = 3.2 + 0.85 * len(accuracy)
    figure = Figure(figsize=(max(width, 6), 4.2 + 0.26 * len(names)), layout="constrained")
    upper, lower = figure.subplots(2, 1, height_ratios=[4.2, 0.8 + 0.26 * len(names)])
    _draw_voxels(upper, voxels, accuracy)
    shown = _draw_layers(lower, accuracy, layers, names)
    figure.colorbar(shown, ax=lower, label="share of predicted variance", pad=0.01)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)


def _draw_voxels(axes: "Axes", voxels: pd.DataFrame, accuracy: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    lowest = 0.0
    for position, row in enumerate(accuracy.to_dict("records")):
        label = _label_first if position == 0 else _label_none
        r = voxels.loc[(voxels["subject"] == row["subject"]) & (voxels["roi"] == row["roi"]), "test_r"]
        lowest = min(lowest, float(r.min()), float(row["roi_test_r_low"]))
        span = (position - _HALF_WIDTH, position + _HALF_WIDTH)
        spread = position + rng.uniform(-0.2, 0.05, len(r))
        axes.plot(spread, r, "o", color=_BLUE, alpha=0.5, markersize=3.5, **label("voxel, images held out"))
        axes.hlines(r.median(), *span, color=_BLUE, **label("median voxel"))
        axes.hlines(row["noise_ceiling"], *span, color=_ORANGE, linestyles="dashed", **label("median noise ceiling of voxels"))
        error = [[row["roi_test_r"] - row["roi_test_r_low"]], [row["roi_test_r_high"] - row["roi_test_r"]]]
        axes.errorbar(
            position + 0.2, row["roi_test_r"], np.abs(error), fmt="D", color=_GREEN, markersize=5, **label("mean of the ROI, 95 % interval")
        )
        axes.hlines(row["roi_noise_ceiling"], position + 0.1, span[1], color=_GREEN, linestyles="dotted", **label("its noise ceiling"))
    axes.axhline(0, color="gray", linewidth=0.5)
    axes.set_xticks(
        range(len(accuracy)), [f"{roi}\nsub-{subject}" for roi, subject in zip(accuracy["roi"], accuracy["subject"], strict=True)]
    )
    axes.set_ylabel("r, predicted with measured")
    axes.set_xlim(-0.6, len(accuracy) - 0.4)
    axes.set_ylim(min(-0.1, lowest - 0.05), 1.03)


def _draw_layers(axes: "Axes", accuracy: pd.DataFrame, layers: pd.DataFrame, names: list[str]) -> Any:
    """Draw layers from early to late against ROIs; white where an ROI has no predictable voxel."""
    shares = np.full((len(names), len(accuracy)), np.nan)
    for row in layers.itertuples(index=False):
        column = (accuracy["subject"] == row.subject) & (accuracy["roi"] == row.roi)
        shares[names.index(str(row.layer)), int(column.to_numpy().argmax())] = row.share
    largest = float(np.nanmax(shares, initial=0.2))
    shown = axes.imshow(shares, aspect="auto", cmap="Blues", vmin=0, vmax=largest)
    for (layer, column), share in np.ndenumerate(shares):
        if np.isfinite(share):
            color = "white" if share > 0.6 * largest else "black"
            axes.text(column, layer, f"{share:.2f}", ha="center", va="center", fontsize=7, color=color)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks([])
    axes.set_xlim(-0.6, len(accuracy) - 0.4)
    axes.set_title("which layers carry the ROI, early to late", fontsize=10)
    return shown


def _label_first(text: str) -> dict[str, Any]:
    return {"label": text}


def _label_none(_text: str) -> dict[str, Any]:
    return {}
