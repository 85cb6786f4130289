"""The picture of a similarity: voxels laid out by ROI and by cluster, how alike ROIs are, and where voxels look, as a PNG."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from stimgen.export_maps import name_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Group = tuple[str, str, npt.NDArray[np.bool_]]
"""Marker, color, and which rows of the table."""
_MARKERS = "osD^vP*X<>ph"  # beside colors, for those who do not tell them apart
_MOST_NAMED = 24  # ROIs or clusters that a legend lists
_AXES = {"pca": ("first principal component", "second principal component"), "tsne": ("t-SNE, first axis", "t-SNE, second axis")}
_MOST_TOLD = 12  # ROIs whose correlations are written into the picture


def draw_similarity(table: pd.DataFrame, relations: pd.DataFrame, method: str, title: str, path: Path) -> None:
    """Draw `similarity.png` from the table of voxels and the mean correlations of ROIs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 11.5), layout="constrained")
    (by_roi, by_cluster), (alike, fields) = figure.subplots(2, 2)
    groups = _list_groups(table["roi"])
    _scatter(by_roi, table, groups, "voxels by ROI")
    clusters = table["cluster"].astype(str)
    numerals = {name: (f"${name}$", color, inside) for name, (_, color, inside) in _list_groups(clusters).items()}
    _scatter(by_cluster, table, numerals, "the same voxels by cluster")
    for axes in (by_roi, by_cluster):
        axes.set_xlabel(_AXES[method][0])
        axes.set_ylabel(_AXES[method][1])
        _square(axes, table)
    _draw_relations(figure, alike, relations)
    _draw_fields(fields, table, groups)
    figure.suptitle(title)
    figure.savefig(path, dpi=110, bbox_inches="tight", pad_inches=0.2)


def _list_groups(labels: pd.Series) -> "dict[str, Group]":
    """Return marker, color and rows of every label."""
    named = name_labels(labels)
    colors = zip(named["name"], named["color"], strict=True)
    return {name: (_MARKERS[number % len(_MARKERS)], color, (labels == name).to_numpy()) for number, (name, color) in enumerate(colors)}


def _scatter(axes: "Axes", table: pd.DataFrame, groups: "dict[str, Group]", title: str) -> None:
    size = float(np.clip(5500 / len(table), 10, 55))
    for name, (marker, color, inside) in groups.items():
        rows = table[inside]
        axes.scatter(rows["x"], rows["y"], s=size, c=color, marker=marker, linewidths=0, label=f"{name} ({len(rows)})")
    axes.set_title(title)
    _add_legend(axes, len(groups))


def _add_legend(axes: "Axes", entries: int) -> None:
    if entries <= _MOST_NAMED:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)


def _square(axes: "Axes", table: pd.DataFrame) -> None:
    """Give both axes one scale, in a square."""
    middle = (table[["x", "y"]].max() + table[["x", "y"]].min()) / 2
    half = 0.54 * float((table[["x", "y"]].max() - table[["x", "y"]].min()).max()) or 1.0
    axes.set_xlim(middle["x"] - half, middle["x"] + half)
    axes.set_ylim(middle["y"] - half, middle["y"] + half)
    axes.set_box_aspect(1)


def _draw_relations(figure: "Figure", axes: "Axes", relations: pd.DataFrame) -> None:
    values = relations.to_numpy()
    largest = float(np.nanmax(np.abs(values), initial=0.1))
    shown = axes.imshow(values, cmap="RdBu_r", vmin=-largest, vmax=largest)
    names = list(relations.columns)
    many = len(names) > _MOST_TOLD
    axes.set_xticks(range(len(names)), names, rotation=90 if many else 0)
    axes.set_yticks(range(len(names)), names)
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value) and not many:
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if abs(value) > 0.6 * largest else "black")
    axes.set_title("mean correlation of the voxels of two ROIs")
    figure.colorbar(shown, ax=axes, label="r", shrink=0.8)


def _draw_fields(axes: "Axes", table: pd.DataFrame, groups: "dict[str, Group]") -> None:
    """Draw the centers of receptive fields as they lie in the image; sizes are told."""
    size = float(np.clip(5500 / len(table), 10, 55))
    known = table["rf_x"].notna().to_numpy()
    for name, (marker, color, inside) in groups.items():
        rows = table[inside & known]
        told = f"{name}, sd {rows['rf_sd'].median():.2f}" if len(rows) else name
        axes.scatter(rows["rf_x"], rows["rf_y"], s=size, c=color, marker=marker, linewidths=0, label=told)
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    axes.set_aspect("equal")
    axes.set_xlabel("left to right in the image")
    axes.set_ylabel("top to bottom")
    axes.set_title("centers of receptive fields in the image" + ("" if known.all() else f" ({known.sum()} of {len(table)} voxels)"))
    _add_legend(axes, len(groups))
