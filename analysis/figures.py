"""Checked tables in, figures as SVG text out. Colors are Okabe and Ito's, which color-blind readers can tell apart."""

import io
import re
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Float

T = TypeVar("T")
BLUE, ORANGE, GREEN, VERMILION, GRAY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8a8a8a"
COLORS = {"target": BLUE, "other": VERMILION, "natural": GREEN, "scrambled": GRAY}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
}
_RASTER_ABOVE = 3000  # points; more are drawn as pixels, to keep the page small
_ODD_COLORS = (ORANGE, "#CC79A7", "#56B4E9", "#F0E442")


def draw_matrix(means: pd.DataFrame, own: Sequence[tuple[int, int]], title: str = "") -> str:
    """Draw ROIs (rows) by image sets (columns) as a heat map with its numbers; `own` cells are framed."""
    rows, columns = means.shape
    with _open_page((2.0 + 0.72 * columns, 1.3 + 0.5 * rows), "matrix") as page:
        axes = page.figure.subplots()
        reach = float(np.abs(means.to_numpy()).max()) or 1.0
        image = axes.imshow(means.to_numpy(), cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
        for (row, column), value in np.ndenumerate(means.to_numpy()):
            axes.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="white" if abs(value) > 0.62 * reach else "black"
            )
        for row, column in own:
            axes.add_patch(_frame(column, row))
        axes.set_xticks(range(columns), list(means.columns), rotation=35 if columns > 6 else 0, ha="right" if columns > 6 else "center")
        axes.set_yticks(range(rows), list(means.index))
        axes.tick_params(length=0)
        axes.set_xlabel(title if title else "images made for")
        axes.set_ylabel("response of")
        for side in axes.spines.values():
            side.set_visible(False)
        page.figure.colorbar(image, ax=axes, label="% signal change", fraction=0.04, pad=0.02)
    return page.made


def draw_conditions(means: dict[str, pd.DataFrame], intervals: pd.DataFrame) -> str:
    """Draw, for each ROI, each subject's mean response per condition (dots joined by lines), and below it the contrasts' intervals.

    `means[roi]` has a row per subject and a column per condition; `intervals` has the rows of `group.tsv` to draw.
    """
    columns = min(len(means), 5)
    blocks = -(-len(means) // columns)
    with _open_page((1.0 + 2.0 * columns, 4.4 * blocks), "conditions") as page:
        grid = page.figure.subplots(2 * blocks, columns, squeeze=False, gridspec_kw={"height_ratios": [2.2, 1.0] * blocks}, sharey="row")
        for position, (roi, table) in enumerate(means.items()):
            block, column = divmod(position, columns)
            _draw_subjects(grid[2 * block][column], table, roi)
            _draw_intervals(grid[2 * block + 1][column], intervals[intervals["roi"] == roi])
        for block in range(blocks):
            grid[2 * block][0].set_ylabel("% signal change")
        for position in range(len(means), blocks * columns):
            block, column = divmod(position, columns)
            grid[2 * block][column].set_visible(False)
            grid[2 * block + 1][column].set_visible(False)
    return page.made


def draw_prediction(points: dict[str, pd.DataFrame], score: str) -> str:
    """Draw each ROI's measured response to every image against the model's score; `points[roi]` has `score response condition`."""
    columns = min(len(points), 5)
    rows = -(-len(points) // columns)
    many = sum(len(table) for table in points.values()) > _RASTER_ABOVE
    with _open_page((1.0 + 2.0 * columns, 0.5 + 2.2 * rows), f"prediction {score}") as page:
        grid = page.figure.subplots(rows, columns, squeeze=False)
        for axes, (roi, table) in zip(grid.flat, points.items(), strict=False):
            for condition, part in table.groupby("condition", sort=False):
                style = {"color": choose_color(str(condition)), "alpha": 0.75, "markersize": 3.5, "markeredgewidth": 0, "rasterized": many}
                axes.plot(part["score"], part["response"], "o", label=condition, **style)
            axes.set_title(f"{roi}   r = {_correlate(table):.2f}", fontsize=9)
        for axes in list(grid.flat)[len(points) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("measured, %")
        for axes in grid[-1]:
            axes.set_xlabel(f"{score}, z")
        page.figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return page.made


def draw_curve(curve: pd.DataFrame, planned: str) -> str:
    """Draw a specification curve: for each contrast and ROI every variant's estimate and interval in the order given, `planned` in blue.

    `curve` has `variant expression roi estimate_psc ci_low ci_high`.
    """
    panels = list(curve.groupby(["expression", "roi"], sort=False))
    columns = min(len(panels), 5)
    rows = -(-len(panels) // columns)
    with _open_page((1.0 + 2.0 * columns, 0.6 + 2.6 * rows), "curve") as page:
        grid = page.figure.subplots(rows, columns, squeeze=False)
        for axes, ((expression, roi), part) in zip(grid.flat, panels, strict=False):
            for place, row in enumerate(part.to_dict("records")):
                color = BLUE if row["variant"] == planned else GRAY
                axes.vlines(place, row["ci_low"], row["ci_high"], color=color, linewidth=1.6)
                axes.plot([place], [row["estimate_psc"]], "o", color=color, markersize=5)
            axes.axhline(0, color="#999999", linewidth=0.6)
            axes.set_xticks(range(len(part)), list(part["variant"]), rotation=60, ha="right", fontsize=7)
            axes.set_title(f"{roi}\n{_shorten(str(expression))}", fontsize=8)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("difference, %")
    return page.made


def choose_color(condition: str) -> str:
    """Return a condition's color, the same in every figure."""
    return COLORS.get(condition) or _ODD_COLORS[sum(condition.encode()) % len(_ODD_COLORS)]


class Drawing(Generic[T]):
    """A matplotlib figure in a style; what `render` makes of it is in `made` once the `with` block is left."""

    def __init__(self, size: tuple[float, float], style: dict[Any, Any], render: Callable[[Any], T]) -> None:
        self._size, self._style, self._render = size, style, render
        self.made: T

    def __enter__(self) -> "Drawing[T]":
        import matplotlib
        from matplotlib.figure import Figure

        self._context = matplotlib.rc_context(self._style)
        self._context.__enter__()
        self.figure = Figure(figsize=self._size, layout="constrained")
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: Any) -> None:
        try:
            if failure is None:
                self.made = self._render(self.figure)
        finally:
            self._context.__exit__(kind, failure, trace)


def _open_page(size: tuple[float, float], salt: str) -> Drawing[str]:
    """Return a drawing that becomes SVG text, without dates."""
    return Drawing(size, {**_STYLE, "svg.hashsalt": salt}, lambda figure: _to_svg(figure, salt))


def _to_svg(figure: Any, salt: str) -> str:
    """Return the `<svg>` element alone; ids get a prefix, since several figures share a page."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    prefix = re.sub(r"\W", "-", salt)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)


def _draw_subjects(axes: Any, table: pd.DataFrame, roi: str) -> None:
    places = np.arange(table.shape[1])
    for values in table.to_numpy():
        axes.plot(places, values, color="#cccccc", linewidth=0.8, zorder=1)
    for place, condition in zip(places, table.columns, strict=True):
        axes.plot(np.full(len(table), place), table[condition], "o", color=choose_color(str(condition)), markersize=5, alpha=0.85, zorder=2)
        axes.hlines(table[condition].mean(), place - 0.28, place + 0.28, color="black", linewidth=1.6, zorder=3)
    axes.axhline(0, color="#999999", linewidth=0.6)
    axes.set_xticks(places, [{"target": "own"}.get(str(name), str(name)) for name in table.columns], rotation=35, ha="right")
    axes.set_xlim(-0.5, len(places) - 0.5)
    axes.set_title(roi, fontsize=10, fontweight="bold")


def _draw_intervals(axes: Any, rows: pd.DataFrame) -> None:
    """Draw estimates with 95 % intervals; filled where claimed, hollow where not."""
    for place, row in enumerate(rows.to_dict("records")):
        color = BLUE if row["claimed"] else GRAY
        axes.vlines(place, row["ci_low"], row["ci_high"], color=color, linewidth=1.6)
        axes.plot([place], [row["estimate_psc"]], "o", color=color, markerfacecolor=color if row["claimed"] else "white", markersize=6)
    axes.axhline(0, color="#999999", linewidth=0.6)
    labels = [_shorten(row["expression"]) for row in rows.to_dict("records")]
    axes.set_xticks(range(len(rows)), labels, rotation=35, ha="right")
    axes.set_xlim(-0.6, max(len(rows), 1) - 0.4)
    axes.set_ylabel("difference, %" if axes.get_subplotspec().is_first_col() else "")


def _shorten(expression: str) -> str:
    return expression.replace("target - ", "own \N{MINUS SIGN} ").replace(" - ", " \N{MINUS SIGN} ")


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, edgecolor="black", linewidth=1.8)


def _correlate(table: pd.DataFrame) -> float:
    pair: Float[np.ndarray, "2 images"] = table[["score", "response"]].to_numpy(dtype=np.float64).T
    return float(np.corrcoef(pair)[0, 1]) if len(table) > 2 and (pair.std(axis=1) > 0).all() else float("nan")
