"""The contact sheet shows every target's own images, in their order."""

import numpy as np
import pytest
from PIL import Image

from protocols.errors import InputError
from stimgen.grid import draw_grid, write_grid
from tests.stimgen.test_set_check import make_set


def test_each_targets_images_stand_in_a_row(tmp_path):
    made = make_set(tmp_path)
    sheet = np.asarray(draw_grid(made, side_px=16))
    assert sheet.shape[0] == 2 * (16 + 4)
    left = sheet.shape[1] - 2 * (16 + 4)
    for number, (row, column) in enumerate([(0, 0), (0, 1), (1, 0)]):  # V3 twice, LO once; controls are left out
        shown = sheet[row * 20 : row * 20 + 16, left + column * 20 : left + column * 20 + 16]
        np.testing.assert_array_equal(shown, np.asarray(Image.open(tmp_path / f"stim-a{number}_image.png")))
    assert (sheet[20:36, left + 20 :] == 255).all()


def test_names_stand_before_the_rows(tmp_path):
    sheet = np.asarray(draw_grid(make_set(tmp_path), side_px=32))
    labels = sheet[:, : sheet.shape[1] - 2 * 36]
    assert all((labels[row * 36 : row * 36 + 32] < 128).any() for row in (0, 1))


def test_a_sheet_is_written_once_and_replaces_nothing(tmp_path):
    made, path = make_set(tmp_path), tmp_path / "new" / "grid.png"
    write_grid(made, path)
    with pytest.raises(InputError, match=r"grid\.png: is there already; name another file"):
        write_grid(made, path)
