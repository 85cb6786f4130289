"""The display's curve: sRGB, a gamma, a measured table; there and back; tables that cannot be used."""

import pytest
import torch

from protocols.errors import InputError
from stimgen.display import load_display

GRAYS = torch.linspace(0, 1, 256).expand(1, 3, 1, 256)


def write_table(path, rows):
    path.write_text("level\tluminance_cd_m2\n" + "".join(f"{level}\t{luminance}\n" for level, luminance in rows))
    return path


def test_srgb_is_the_standards_curve():
    light = load_display().to_linear(torch.tensor([0.04, 0.5, 1.0]).expand(1, 3, 1, 3))[0, 0, 0]
    assert light.tolist() == pytest.approx([0.04 / 12.92, ((0.5 + 0.055) / 1.055) ** 2.4, 1.0], abs=1e-5)


@pytest.mark.parametrize("gamma", [None, 1.0, 2.2])
def test_every_gray_level_comes_back(gamma):
    display = load_display(gamma)
    torch.testing.assert_close(display.to_levels(display.to_linear(GRAYS)), GRAYS, atol=1e-4, rtol=0)


def test_a_measured_table_counts_between_its_levels_and_from_its_black(tmp_path):
    display = load_display(None, write_table(tmp_path / "lum.tsv", [(0, 1), (100, 21), (255, 100)]))
    light = display.to_linear(torch.tensor([0.0, 50 / 255, 1.0]).expand(1, 3, 1, 3))[0, 0, 0]
    assert light.tolist() == pytest.approx([0.01, 0.11, 1.0], abs=1e-6)
    assert display.black == pytest.approx(0.01)
    beyond = display.to_levels(torch.tensor([0.0, 2.0]).expand(1, 3, 1, 2))[0, 0, 0]
    assert beyond.tolist() == [0.0, 1.0]


def test_the_curve_can_be_differentiated():
    images = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    load_display(2.0).to_linear(images).sum().backward()
    torch.testing.assert_close(images.grad, torch.ones_like(images), atol=2e-3, rtol=0)  # derivative of x^2 at 1/2


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [(0, 1), (100, 30), (200, 30), (255, 100)],
            r"row 4: luminance_cd_m2 30 does not rise above 30 of the row before; .*measure it again",
        ),
        ([(0, 1), (100, 30), (200, 20), (255, 100)], r"row 4: luminance_cd_m2 20 does not rise above 30"),
        ([(0, 1), (200, 30), (100, 40), (255, 100)], r"row 4: level 100 does not rise above 200"),
        ([(0, -1), (255, 100)], r"row 2: luminance_cd_m2 -1 is below 0"),
        ([(10, 1), (255, 100)], r"levels must begin at 0 and end at 255; measure black and white"),
        ([(0, 1), (250, 100)], r"levels must begin at 0 and end at 255"),
        ([(0, 1)], r"levels must begin at 0 and end at 255"),
    ],
)
def test_a_table_that_is_no_curve_is_refused(rows, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_display(None, write_table(tmp_path / "lum.tsv", rows))
