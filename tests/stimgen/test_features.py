"""Features are maps pooled without aliasing and projected to components; what each layer's depend on names them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from stimgen.features import FeatureSpace, PooledLayer, extract_files, pool_map, read_batch
from stimgen.image_files import write_png
from stimgen.networks import Preprocessing
from tests.stimgen.tiny import draw_images, make_space, make_tiny_backbone


def make_mixed_space(pooling="average", seed=0):
    """Return a space of three layers, the second and third reduced to components."""
    rng = np.random.default_rng(seed)
    layers = (
        PooledLayer(name="first", channels=4, grid=3, components=4, pooling=pooling),
        PooledLayer(name="second", channels=6, grid=2, components=2, pooling=pooling),
        PooledLayer(name="third", channels=5, grid=4, components=3, pooling=pooling),
    )
    projections = {layer.name: rng.standard_normal((layer.channels, layer.components)).astype(np.float32) for layer in layers[1:]}
    return FeatureSpace(make_tiny_backbone(), layers, projections)


@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from(["average", "max"]), st.data())
def test_a_constant_map_stays_constant(height, width, pooling, data):
    grid = data.draw(st.integers(1, min(height, width)))
    maps = torch.tensor([[0.3, -2.0]])[:, :, None, None].expand(1, 2, height, width)
    torch.testing.assert_close(pool_map(maps, grid, pooling), maps[:, :, :1, :1].expand(1, 2, grid, grid), atol=1e-5, rtol=0)


@given(st.integers(1, 20), st.data())
def test_every_unit_counts_and_none_counts_against_the_others(size, data):
    """Weights are not negative, and a place's weights sum to 1 over the map; no unit is passed over."""
    grid = data.draw(st.integers(1, size))
    weights = pool_map(torch.eye(size**2).reshape(size**2, 1, size, size), grid, "average").reshape(size**2, grid**2)
    assert float(weights.min()) > -1e-6
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(grid**2), atol=1e-5, rtol=0)
    assert float(weights.sum(dim=1).min()) > 0


def test_a_map_at_its_own_size_is_itself():
    maps = torch.randn(2, 3, 7, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pool_map(maps, 7, "average"), maps)


@pytest.mark.parametrize(("size", "grid"), [(32, 4), (30, 5), (28, 7)])
def test_a_grating_too_fine_for_the_grid_vanishes_instead_of_becoming_a_coarse_one(size, grid):
    """Strided samples of it are a full-size pattern that depends on where the samples happen to fall."""
    cell = size // grid
    x = torch.arange(size).float()
    for period in (2, 1.1 * cell):
        grating = torch.cos(2 * np.pi * x / period)[None, None, None, :].expand(1, 1, size, size)
        pooled, strided = pool_map(grating, grid, "average"), grating[..., cell // 2 :: cell]
        assert float(pooled[..., 1:-1].abs().max()) < 0.12
        assert float(strided.abs().max()) > 0.7


def test_a_small_shift_moves_features_smoothly():
    """Noise shifted by one unit of sixteen to a place: pooled features hardly change, strided samples are other values altogether."""
    noise = torch.randn(1, 50, 64, 64, generator=torch.Generator().manual_seed(2))
    shifted = noise.roll(1, dims=3)

    def change(before, after):
        return float(((after - before) ** 2).mean() / (before**2).mean())

    assert change(pool_map(noise, 4, "average")[..., 1:3, 1:3], pool_map(shifted, 4, "average")[..., 1:3, 1:3]) < 0.03
    assert change(noise[..., 8::16, 8::16], shifted[..., 8::16, 8::16]) > 1.5


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_where_a_blob_is_can_be_read_off_a_coarse_grid(pooling):
    """The centroid of 4 x 4 places follows a blob across the map, between places too, and only where overlapping places allow it."""
    size, grid = 32, 4
    centers = (torch.arange(grid).float() + 0.5) * size / grid
    x = torch.arange(size).float() + 0.5
    positions = torch.arange(6, 27).float()
    across, down = torch.exp(-((x[None] - positions[:, None]) ** 2) / 8), torch.exp(-((x - 13) ** 2) / 8)
    pooled = pool_map((down[None, :, None] * across[:, None, :])[:, None], grid, pooling)[:, 0]
    weight = pooled.sum(dim=(1, 2))
    torch.testing.assert_close((pooled.sum(dim=1) @ centers) / weight, positions, atol=0.35, rtol=0)
    torch.testing.assert_close((pooled.sum(dim=2) @ centers) / weight, torch.full((21,), 13.0), atol=0.35, rtol=0)


def test_max_pooling_is_a_dense_maximum_that_is_averaged():
    maps = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(3))
    padded = F.pad(maps, (1, 1, 1, 1), value=-torch.inf)
    dense = torch.stack([padded[..., row : row + 9, column : column + 9] for row in range(3) for column in range(3)]).max(dim=0).values
    torch.testing.assert_close(pool_map(maps, 9, "max"), dense)
    torch.testing.assert_close(pool_map(maps, 4, "max"), pool_map(dense, 4, "average"))


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_a_reduced_layer_is_its_components_at_each_place(pooling):
    space, images = make_mixed_space(pooling), draw_images(3, 8)
    maps = space.backbone.activations(images, ["first", "second", "third"])
    expected = [pool_map(maps["first"], 3, pooling).numpy().reshape(3, -1)]
    for name, grid, components in (("second", 2, 2), ("third", 4, 3)):
        pooled = pool_map(maps[name], grid, pooling).numpy()
        projected = np.tensordot(space.projections[name].T, pooled, axes=(1, 1)).transpose(1, 0, 2, 3)
        assert projected.shape == (3, components, grid, grid)
        expected.append(projected.reshape(3, -1))
    np.testing.assert_allclose(space.extract(images), np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-4)
    assert space.size == 36 + 8 + 48
    assert np.bincount(space.layer_of_feature).tolist() == [layer.size for layer in space.layers] == [36, 8, 48]


def test_some_layers_alone_are_their_part_of_all_features():
    space, images = make_mixed_space(), draw_images(3, 8)
    whole, third = space.extract(images), space.extract_layers(images, space.layers[2:])
    assert list(third) == ["third"]
    assert torch.equal(third["third"], whole[:, 44:])
    assert torch.equal(torch.cat(list(space.extract_layers(images, space.layers).values()), dim=1), whole)


def test_features_do_not_depend_on_the_size_of_the_batch_or_its_company():
    space, images = make_mixed_space(), draw_images(5, 8)
    torch.testing.assert_close(space.extract(images)[3:4], space.extract(images[3:4]))


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_features_are_differentiable(pooling):
    space, images = make_mixed_space(pooling), draw_images(1, 8).requires_grad_(True)
    slope = torch.linspace(-1, 1, space.size)
    (gradient,) = torch.autograd.grad((space.extract(images) * slope).sum(), images)
    step = 3e-4 * torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        change = ((space.extract(images + step) - space.extract(images - step)) * slope).sum() / 2
    torch.testing.assert_close((gradient * step).sum(), change, rtol=0.03, atol=1e-4)


def test_features_of_files_are_those_of_their_tensors_in_any_batch(tmp_path):
    space, rng = make_mixed_space(), np.random.default_rng(3)
    pixels = (rng.integers(0, 256, (5, 8, 8, 3)) / 255).astype(np.float32)
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for image, path in zip(pixels, paths, strict=True):
        write_png(image, path)
    expected = space.extract(torch.from_numpy(pixels).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(extract_files(space, paths, batch=2), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(extract_files(space, paths, 3, iter(range(0, 5, 3))), expected, rtol=1e-5, atol=1e-5)
    assert read_batch(space.backbone, paths[:2]).shape == (2, 3, 8, 8)


def identify(space, position=1):
    return space.identify_layer(space.layers[position])


def change_layer(space, **changes):
    return replace(space, layers=(space.layers[0], replace(space.layers[1], **changes), space.layers[2]))


@pytest.mark.parametrize(
    "change",
    [
        lambda space: replace(space, backbone=replace(space.backbone, weights_sha256="1" * 64)),
        lambda space: replace(space, backbone=replace(space.backbone, name="other")),
        lambda space: replace(
            space, backbone=replace(space.backbone, preprocessing=Preprocessing(input_px=16, mean=(0, 0, 0), std=(1, 1, 1)))
        ),
        lambda space: replace(
            space, backbone=replace(space.backbone, preprocessing=Preprocessing(input_px=8, mean=(0, 0, 0), std=(1, 1, 0.5)))
        ),
        lambda space: change_layer(space, name="third"),
        lambda space: change_layer(space, grid=3),
        lambda space: change_layer(space, pooling="max"),
        lambda space: change_layer(space, components=6),
        lambda space: replace(space, projections={**space.projections, "second": space.projections["second"] * np.float32(1.0001)}),
    ],
)
def test_whatever_changes_a_layers_features_gives_them_another_name(change):
    space = make_mixed_space()
    assert identify(change(space)) != identify(space)


def test_nothing_else_does():
    space = make_mixed_space()
    assert identify(make_mixed_space()) == identify(space)
    fewer = FeatureSpace(space.backbone, space.layers[1:], {"second": space.projections["second"]})
    assert identify(fewer, 0) == identify(space)
    others = replace(space, projections={**space.projections, "third": 2 * space.projections["third"]})
    assert identify(others) == identify(space)
    laid_out = replace(space, projections={**space.projections, "second": np.asfortranarray(space.projections["second"])})
    assert identify(laid_out) == identify(space)
    assert identify(replace(space, backbone=replace(space.backbone, default_layers=("first",)))) == identify(space)


def test_a_layer_with_all_its_channels_needs_no_components():
    space = make_space(make_tiny_backbone(), ["first", "third"], 45)
    assert [(layer.channels, layer.components, layer.grid, layer.is_reduced) for layer in space.layers] == [
        (4, 4, 3, False),
        (5, 5, 3, False),
    ]
    assert space.extract(draw_images(2, 8)).shape == (2, 36 + 45)
