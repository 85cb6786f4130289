"""The picture of a similarity: voxels laid out by ROI and by cluster, how alike ROIs are, and where voxels look, as a PNG."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from stimgen.export_maps import name_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vP*X<>ph"  # beside colors, for those who do not tell them apart
_MOST_NAMED = 24  # ROIs or clusters that a legend lists
_AXES = {"pca": ("first principal component", "second principal component"), "tsne": ("t-SNE, first axis", "t-SNE, second axis")}
_MOST_TOLD = 12  # ROIs whose correlations are written into the picture


def draw_similarity(table: pd.DataFrame, relations: pd.DataFrame, method: str, title: str, path: Path) -> None:
    """Draw `similarity.png` from the table of voxels and the mean correlations of ROIs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 11.5), layout="constrained")
    (by_roi, by_cluster), (alike, fields) = figure.subplots(2, 2)
    colors = _color_groups(table["roi"])
    _scatter(by_roi, table, "x", "y", "roi", "voxels by ROI")
    _scatter(by_cluster, table, "x", "y", "cluster", "the same voxels by cluster")
    for axes in (by_roi, by_cluster):
        axes.set_xlabel(_AXES[method][0])
        axes.set_ylabel(_AXES[method][1])
        axes.set_aspect("equal", adjustable="datalim")
    _draw_relations(figure, alike, relations)
    _draw_fields(fields, table, colors)
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def _color_groups(labels: pd.Series) -> dict[str, str]:
    named = name_labels(labels.astype(str))
    return dict(zip(named["name"], named["color"], strict=True))


def _scatter(axes: "Axes", table: pd.DataFrame, x: str, y: str, group: str, title: str) -> None:
    labels = table[group].astype(str)
    size = float(np.clip(4000 / len(table), 6, 40))
    for number, (name, color) in enumerate(_color_groups(labels).items()):
        rows = table[(labels == name).to_numpy()]
        marker = _MARKERS[number % len(_MARKERS)]
        axes.scatter(rows[x], rows[y], s=size, c=color, marker=marker, alpha=0.8, linewidths=0, label=f"{name} ({len(rows)})")
    axes.set_title(title)
    if labels.nunique() <= _MOST_NAMED:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)


def _draw_relations(figure: "Figure", axes: "Axes", relations: pd.DataFrame) -> None:
    values = relations.to_numpy()
    largest = float(np.nanmax(np.abs(values), initial=0.1))
    shown = axes.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest)
    names = list(relations.columns)
    axes.set_xticks(range(len(names)), names, rotation=45 if len(names) > 6 else 0, ha="right" if len(names) > 6 else "center")
    axes.set_yticks(range(len(names)), names)
    if len(names) <= _MOST_TOLD:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if abs(value) > 0.6 * largest else "black")
    axes.set_title("mean correlation of the voxels of two ROIs")
    figure.colorbar(shown, ax=axes, label="r", shrink=0.8)


def _draw_fields(axes: "Axes", table: pd.DataFrame, colors: dict[str, str]) -> None:
    """Draw receptive fields as they lie in the image, as circles of one standard deviation around their centers."""
    from matplotlib.patches import Circle, Rectangle

    axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, color="gray"))
    known = table.dropna(subset=["rf_x", "rf_y"])
    faint = float(np.clip(60 / max(len(known), 1), 0.03, 0.5))
    for x, y, sd, roi in known[["rf_x", "rf_y", "rf_sd", "roi"]].itertuples(index=False):
        axes.add_patch(Circle((x, y), sd, fill=False, color=colors[str(roi)], alpha=faint, linewidth=1))
    for number, (name, color) in enumerate(colors.items()):
        rows = known[(known["roi"] == name).to_numpy()]
        axes.scatter(rows["rf_x"], rows["rf_y"], s=14, c=color, marker=_MARKERS[number % len(_MARKERS)], linewidths=0)
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(1.03, -0.03)
    axes.set_aspect("equal")
    axes.set_xlabel("left to right in the image")
    axes.set_ylabel("top to bottom")
    axes.set_title(f"where {len(known)} of {len(table)} voxels look in the image: centers, circles of one sd")
