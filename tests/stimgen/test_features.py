"""Features are the layers averaged to a grid that is fixed once, within the budget, and the same from files as from tensors."""

import numpy as np
import pytest
import torch

from protocols.errors import InputError
from stimgen.features import design_features, extract_files, read_batch
from stimgen.image_files import write_png
from tests.stimgen.tiny import draw_images, make_tiny_backbone


@pytest.mark.parametrize(
    ("budget", "grids"),
    [
        (1, (1, 1, 1)),  # below the channel counts (4, 6, 5): one value per channel remains
        (16, (2, 1, 1)),
        (24, (2, 2, 2)),
        (54, (3, 3, 3)),
        (10_000, (8, 4, 4)),  # never finer than the maps, 8 x 8 and 4 x 4
    ],
)
def test_grids_are_the_finest_within_the_budget_and_the_map(budget, grids):
    space = design_features(make_tiny_backbone(), ["first", "second", "third"], budget)
    assert tuple(layer.grid for layer in space.layers) == grids
    assert [layer.channels for layer in space.layers] == [4, 6, 5]
    assert all(layer.size <= max(budget, layer.channels) for layer in space.layers)
    assert space.extract(draw_images(2, 8)).shape == (2, space.size)
    assert np.bincount(space.layer_of_feature).tolist() == [layer.size for layer in space.layers]


def test_features_are_means_over_the_cells_of_the_grid_and_keep_position():
    backbone, images = make_tiny_backbone(), draw_images(2, 8)
    space = design_features(backbone, ["first"], budget=16)
    activation = backbone.activations(images, ["first"])["first"]
    by_hand = activation.reshape(2, 4, 2, 4, 2, 4).mean(dim=(3, 5)).flatten(1)
    torch.testing.assert_close(space.extract(images), by_hand)


def test_features_do_not_depend_on_the_size_of_the_batch_or_its_company():
    space, images = design_features(make_tiny_backbone(), ["first", "third"], 20), draw_images(5, 8)
    torch.testing.assert_close(space.extract(images)[3:4], space.extract(images[3:4]))


def test_features_are_differentiable():
    space, images = design_features(make_tiny_backbone(), ["second", "third"], 24), draw_images(1, 8).requires_grad_(True)
    slope = torch.linspace(-1, 1, space.size)
    (gradient,) = torch.autograd.grad((space.extract(images) * slope).sum(), images)
    step = 1e-3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        change = ((space.extract(images + step) - space.extract(images - step)) * slope).sum() / 2
    torch.testing.assert_close((gradient * step).sum(), change, rtol=0.02, atol=1e-4)


def test_features_of_files_are_those_of_their_tensors_in_any_batch(tmp_path):
    space, rng = design_features(make_tiny_backbone(), ["first", "second"], 24), np.random.default_rng(3)
    pixels = (rng.integers(0, 256, (5, 8, 8, 3)) / 255).astype(np.float32)
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for image, path in zip(pixels, paths, strict=True):
        write_png(image, path)
    expected = space.extract(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(extract_files(space, paths, batch=2), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(extract_files(space, paths, 3, iter(range(0, 5, 3))), expected, rtol=1e-5, atol=1e-6)
    assert read_batch(space.backbone, paths[:2]).shape == (2, 3, 8, 8)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["first", "frist"], "layer 'frist': tiny has no such layer; did you mean 'first'"),
        (["first", "third", "first"], "layers first, third, first: a layer is named twice; name each once"),
        (["first", "head"], r"layer 'head': gives \(1, 7\), not images x channels x height x width; choose a convolutional layer"),
        (["spare"], "layer 'spare': tiny does not run it on its way to the output; choose another layer"),
    ],
)
def test_layers_that_cannot_be_read_are_refused(layers, message):
    with pytest.raises(InputError, match=message):
        design_features(make_tiny_backbone(), layers, 24)
