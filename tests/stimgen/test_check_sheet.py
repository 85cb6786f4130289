"""The contact sheet of the check: every image stands on it once, and no block covers another."""

import numpy as np
import pandas as pd
from PIL import Image

from stimgen.check_sheet import draw_sheet, write_sheet
from stimgen.image_files import write_png
from stimgen.look import LOOKS
from tests.stimgen.test_set_check import make_set


def fill(made, folder):
    """Give each image of a set a color of its own."""
    rng = np.random.default_rng(3)
    colors = rng.integers(60, 200, (len(made.table), 3))
    for name, color in zip(made.table["stim_file"], colors, strict=True):
        write_png(np.broadcast_to(color / 255, (16, 16, 3)).astype(np.float32), folder / name)
    return colors


def measure(count, flagged=0.0):
    return pd.DataFrame({**dict.fromkeys((*LOOKS, "drive_predicted", "drive_judged"), np.ones(count)), "flagged": np.full(count, flagged)})


def count_pixels(sheet, color):
    return int((np.abs(np.asarray(sheet).astype(int) - color).max(axis=2) <= 1).sum())


def test_every_image_stands_on_the_sheet_once_and_whole(tmp_path):
    made = make_set(tmp_path)
    colors = fill(made, tmp_path)
    sheet = draw_sheet(made, measure(len(made.table)))
    assert [count_pixels(sheet, color) for color in colors] == [96 * 96] * len(colors)


def test_a_flag_is_red_on_images_that_were_made_and_not_on_controls(tmp_path):
    made = make_set(tmp_path)
    red = {}
    for name, flagged in (("none", [0.0] * 5), ("target", [1.0, 0, 0, 0, 0]), ("control", [0.0, 0, 0, 1, 1])):
        sheet = draw_sheet(made, measure(5).assign(flagged=flagged))
        red[name] = count_pixels(sheet, (190, 30, 30))
    assert red["none"] == red["control"]
    assert red["target"] > red["none"]


def test_the_sheet_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "check.png"
    for color in ("red", "blue"):
        write_sheet(Image.new("RGB", (4, 4), color), path)
    assert Image.open(path).getpixel((0, 0)) == (0, 0, 255)
    assert [file.name for file in path.parent.iterdir()] == ["check.png"]
