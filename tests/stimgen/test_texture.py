"""Textures keep the statistics of channels, whatever the place; what is synthesized has them and another arrangement."""

import numpy as np
import pytest
import torch

from stimgen.backbone import load_backbone
from stimgen.controls import phase_scramble
from stimgen.display import load_display
from stimgen.match import Matcher
from stimgen.photometry import measure_light
from stimgen.texture import choose_texture_layers, compare_textures, identify_texture, measure_texture, synthesize_texture

LAYERS = ["_blocks.0", "_blocks.2"]


@pytest.fixture(scope="module")
def image():
    """Dark disks of one size on a bright ground."""
    rows, columns = np.mgrid[:64, :64]
    plane = np.ones((64, 64))
    for row, column in ((14, 16), (20, 48), (46, 30), (50, 54)):
        plane[(rows - row) ** 2 + (columns - column) ** 2 < 60] = 0.2
    colors = plane[:, :, None] * np.array([0.8, 0.7, 0.5])
    return colors.astype(np.float32)


def to_tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None]


def test_statistics_do_not_tell_where(lite0, image):
    """An image moved around by a multiple of the networks' stride, its ends joined, differs at its borders alone."""
    wanted = measure_texture(lite0, LAYERS, to_tensor(image))
    moved = measure_texture(lite0, LAYERS, to_tensor(np.roll(image, (32, 16), axis=(0, 1))))
    other = measure_texture(lite0, LAYERS, to_tensor(phase_scramble(image, np.random.default_rng(1))))
    assert float(compare_textures(wanted, wanted)) == 0
    assert float(compare_textures(moved, wanted)) < 0.2 * float(compare_textures(other, wanted))


def test_a_texture_has_the_images_statistics_and_not_its_arrangement(lite0, image):
    start = to_tensor(phase_scramble(image, np.random.default_rng(1)))
    wanted = measure_texture(lite0, LAYERS, to_tensor(image))
    texture = synthesize_texture(lite0, LAYERS, to_tensor(image), start)
    before, after = (float(compare_textures(measure_texture(lite0, LAYERS, one), wanted)) for one in (start, texture))
    assert after < 0.1 * before
    alike = np.corrcoef(texture.flatten().numpy(), to_tensor(image).flatten().numpy())[0, 1]
    assert abs(alike) < 0.5


def test_photometry_is_held(lite0, image, monkeypatch):
    monkeypatch.setattr("stimgen.texture.STEPS", 5)
    wish = torch.tensor([[0.3, 0.5, -1.2, 0.2]])
    matcher = Matcher(load_display(), wish, 8.0)
    texture = synthesize_texture(lite0, LAYERS, to_tensor(image), to_tensor(image), matcher)
    torch.testing.assert_close(measure_light(load_display().to_linear(texture)).stack(), wish, atol=0.05, rtol=0)


def test_layers_that_know_where_things_are_take_no_part(lite0):
    chosen = choose_texture_layers(lite0, [f"_blocks.{number}" for number in range(16)])
    assert len(chosen) == 6
    assert chosen[0] == "_blocks.0"
    shapes = lite0.trace()
    assert all(shapes[name][1] * shapes[name][2] >= 100 for name in chosen)
    assert choose_texture_layers(lite0, ["_blocks.2", "_blocks.15"]) == ["_blocks.2"]


def test_another_image_start_or_match_is_another_texture(image):
    backbone = load_backbone("efficientnet_lite0")
    one, other = to_tensor(image), to_tensor(image[::-1])
    matchers = [None, Matcher(load_display(), torch.tensor([[0.3, 0.5, -1.2, 0.2]]), 8.0), Matcher(load_display(), torch.zeros(1, 4), 8.0)]
    names = {identify_texture(backbone, LAYERS, image, start, m) for image in (one, other) for start in (one, other) for m in matchers}
    assert len(names) == 12
