"""A contact sheet of a stimulus set: the images of each target in a row, named, for a person to look through."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from protocols.errors import InputError
from protocols.stimulus_set import StimulusSet
from stimgen.order import TARGET

_GAP_PX, _LABEL_PX, _TEXT_PX = 4, 150, 14
_BACKGROUND, _INK = (255, 255, 255), (0, 0, 0)


def draw_grid(stimulus_set: StimulusSet, side_px: int = 128, condition: str = TARGET) -> Image.Image:
    """Return the images of one condition: a row per target, in the set's order, its name before it."""
    table = stimulus_set.table[stimulus_set.table["condition"] == condition]
    rows = [(str(target), list(some.index)) for target, some in table.groupby("target", sort=False)]
    step = side_px + _GAP_PX
    columns = max(len(members) for _, members in rows)
    sheet = Image.new("RGB", (_LABEL_PX + columns * step, len(rows) * step), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT_PX)
    for row, (target, members) in enumerate(rows):
        draw.text((_GAP_PX, row * step + side_px // 2), shorten(target, font, _LABEL_PX), _INK, font=font, anchor="lm")
        for column, index in enumerate(members):
            tile = read_tile(stimulus_set.folder / str(table["stim_file"][index]), side_px)
            sheet.paste(tile, (_LABEL_PX + column * step, row * step))
    return sheet


def write_grid(stimulus_set: StimulusSet, path: Path) -> None:
    """Write the contact sheet as PNG.

    Raises
    ------
    InputError
        When the file is there already.
    """
    if path.exists():
        raise InputError(f"{path}: is there already; name another file")
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_grid(stimulus_set).save(path, format="PNG")


def read_tile(path: Path, side_px: int) -> Image.Image:
    """Read an image at the size of a contact sheet."""
    with Image.open(path) as image:
        return image.convert("RGB").resize((side_px, side_px), Image.Resampling.LANCZOS)


def shorten(text: str, font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", width_px: int) -> str:
    """Cut a name that does not fit beside its row."""
    if font.getlength(text) <= width_px - 2 * _GAP_PX:
        return text
    while font.getlength(f"{text}…") > width_px - 2 * _GAP_PX:
        text = text[:-1]
    return f"{text}…"
