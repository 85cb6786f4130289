"""The picture of a set that a person looks through before a scan: a block per condition, each target's images together, drive below."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from protocols.stimulus_set import StimulusSet
from stimgen.grid import read_tile, shorten
from stimgen.look import LOOKS
from stimgen.order import TARGET

_WIDTH_PX, _SIDE_PX, _GAP_PX, _TEXT_PX, _LINE_PX = 1600, 96, 6, 13, 18
_MOST_DRAWN = 7  # images of a target and condition
_PAPER, _INK, _FAINT, _FLAG = (255, 255, 255), (20, 20, 20), (110, 110, 110), (190, 30, 30)
_HEAD_PX, _ROW_PX = 2 * _LINE_PX + _GAP_PX, _SIDE_PX + 2 * _LINE_PX + _GAP_PX


@dataclass(frozen=True)
class _Placed:
    """A target's images of one condition, and where they stand."""

    left: int
    top: int
    target: str
    rows: pd.DataFrame


def draw_sheet(stimulus_set: StimulusSet, measured: pd.DataFrame) -> Image.Image:
    """Return the sheet; `measured` has the set's rows with `LOOKS`, `drive_predicted`, `drive_judged` and `flagged`."""
    table = pd.concat([stimulus_set.table[["stim_file", "condition"]], stimulus_set.table["target"].fillna("n/a"), measured], axis=1)
    blocks = [(str(condition), rows) for condition, rows in table.groupby("condition", sort=False)]
    heads, placed, top = [], [], _GAP_PX
    for condition, rows in blocks:
        heads.append((top, condition, rows))
        own = list(_place(rows, top + _HEAD_PX))
        placed += own
        top = own[-1].top + _ROW_PX + 2 * _GAP_PX
    sheet = Image.new("RGB", (_WIDTH_PX, top), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_TEXT_PX)
    for at, condition, rows in heads:
        draw.text((_GAP_PX, at), f"{condition}: {len(rows)} images, {_tell_drive(rows)}", _INK, font=ImageFont.load_default(_TEXT_PX + 3))
        draw.text((_GAP_PX, at + _LINE_PX + 2), _tell_looks(rows, condition == TARGET), _FAINT, font=font)
    for one in placed:
        _draw_group(sheet, draw, one, stimulus_set.folder, font)
    return sheet


def write_sheet(sheet: Image.Image, path: Path) -> None:
    """Write the sheet as PNG, by rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    sheet.save(partial, format="PNG")
    partial.replace(path)


def _place(rows: pd.DataFrame, top: int) -> Iterator[_Placed]:
    """Put a condition's targets beside one another, and below where the line is full."""
    left = _GAP_PX
    for target, own in rows.groupby("target", sort=False):
        width = min(len(own), _MOST_DRAWN) * (_SIDE_PX + _GAP_PX) + 2 * _GAP_PX
        if left > _GAP_PX and left + width > _WIDTH_PX:
            left, top = _GAP_PX, top + _ROW_PX
        yield _Placed(left, top, str(target), own)
        left += width


def _draw_group(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, placed: _Placed, folder: Path, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    count = min(len(placed.rows), _MOST_DRAWN)
    left_out = f", {count} of {len(placed.rows)}" if count < len(placed.rows) else ""
    width = count * (_SIDE_PX + _GAP_PX)
    draw.text((placed.left, placed.top), shorten(f"{placed.target}{left_out}: {_tell_drive(placed.rows)}", font, width), _INK, font=font)
    for column, record in enumerate(placed.rows.head(count).to_dict("records")):
        left, top = placed.left + column * (_SIDE_PX + _GAP_PX), placed.top + _LINE_PX
        sheet.paste(read_tile(folder / str(record["stim_file"]), _SIDE_PX), (left, top))
        ink = _FLAG if record["flagged"] == 1 and record["condition"] == TARGET else _INK
        told = _pair(record["drive_predicted"], record["drive_judged"])
        draw.text((left + _SIDE_PX // 2, top + _SIDE_PX + 2), told, ink, font, anchor="mt")


def _tell_drive(rows: pd.DataFrame) -> str:
    return f"drive {_pair(rows['drive_predicted'].mean(), rows['drive_judged'].mean())} z"


def _pair(predicted: float, judged: float) -> str:
    """Return predicted and judged drive, a dash where there is none."""
    return " / ".join("-" if np.isnan(value) else f"{value:.1f}" for value in (predicted, judged))


def _tell_looks(rows: pd.DataFrame, made: bool) -> str:
    told = ", ".join(f"{look.replace('_', ' ')} {rows[look].mean():.3f}" for look in LOOKS)
    return f"means: {told}; drive is predicted / judged" + (", red where the gate flags the image" if made else "")
