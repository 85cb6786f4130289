"""A layer's budget is spent where natural images vary: on places or on components of channels, as planted maps demand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from protocols.errors import InputError
from stimgen.downsample import Moments, count_components, design_features, list_grids
from stimgen.features import pool_map, read_batch
from stimgen.image_files import write_png
from tests.stimgen.tiny import make_tiny_backbone, wrap

SIZE_PX = 12


def write_images(folder, images):
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for image, path in zip(images, paths, strict=True):
        write_png(image.astype(np.float32), path)
    return paths


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Images of independent pixels."""
    return write_images(tmp_path_factory.mktemp("noise"), np.random.default_rng(1).uniform(0, 1, (10, SIZE_PX, SIZE_PX, 3)))


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Images of one color each."""
    return write_images(
        tmp_path_factory.mktemp("flat"), np.random.default_rng(2).uniform(0, 1, (10, 1, 1, 3)).repeat(SIZE_PX, 1).repeat(SIZE_PX, 2)
    )


def mix_colors(weights):
    """Return a backbone whose one layer mixes red, green and blue by `weights` (channels x 3), pixel by pixel."""
    convolution = nn.Conv2d(3, len(weights), 1, bias=False)
    convolution.weight.data = torch.tensor(np.asarray(weights), dtype=torch.float32)[:, :, None, None]
    return wrap(nn.Sequential(convolution), ("0",), SIZE_PX)


def find_span(columns):
    """Return the projector onto the span of some columns."""
    q, _ = np.linalg.qr(columns)
    return q @ q.T


@given(st.integers(1, 300), st.integers(1, 60), st.integers(1, 60), st.integers(1, 5000))
def test_a_budget_is_never_exceeded_always_filled_and_leaves_no_layer_without_features(channels, height, width, budget):
    grids = list_grids(channels, height, width, budget)
    assert grids
    assert len(set(grids)) == len(grids)
    for grid in grids:
        assert 1 <= grid <= min(height, width)
        components = count_components(channels, grid, budget)
        size = components * grid**2
        assert 1 <= components <= channels
        assert size <= budget
        assert size > budget - grid**2 or components == channels
        assert grid <= 16 or components == channels  # finer places than a receptive field's are not bought with channels
    if height == width and channels * height**2 <= budget:
        assert grids == [height]  # all there is
    elif channels <= budget:
        finest = max(grid for grid in grids if count_components(channels, grid, budget) == channels)
        assert (
            finest == min(height, width) or channels * (finest + 1) ** 2 > budget
        )  # the finest grid that keeps all channels is among them


@settings(max_examples=12)
@given(st.integers(1, 120), st.sampled_from(["average", "max"]))
def test_designed_layers_keep_to_the_budget(noise, budget, pooling):
    space = design_features(make_tiny_backbone(), ["first", "second", "third", "head"], budget, noise[:4], pooling)
    for layer, (channels, side) in zip(space.layers, [(4, 8), (6, 4), (5, 4), (7, 1)], strict=True):
        assert (layer.channels, layer.pooling) == (channels, pooling)
        assert 1 <= layer.size <= budget
        assert layer.grid <= side
        if channels * side**2 <= budget:
            assert (layer.components, layer.grid) == (channels, side)
    assert space.extract(read_batch(space.backbone, noise[:2])).shape == (2, space.size)
    assert set(space.projections) == {layer.name for layer in space.layers if layer.components < layer.channels}


def test_components_are_eigenvectors_of_the_channels_covariance_over_images_and_places(noise):
    backbone = make_tiny_backbone()
    space = design_features(backbone, ["second"], 12, noise, batch=3)
    layer = space.layers[0]
    assert layer.is_reduced
    with torch.no_grad():
        maps = backbone.activations(read_batch(backbone, noise), ["second"])["second"]
    rows = pool_map(maps, layer.grid, "average").permute(0, 2, 3, 1).reshape(-1, 6).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(rows.T, bias=True))
    oracle = vectors[:, ::-1][:, : layer.components]
    projection = space.projections["second"]
    np.testing.assert_allclose(np.abs(np.sum(projection * oracle, axis=0)), 1, atol=1e-4)
    np.testing.assert_allclose((rows @ projection).var(axis=0), values[::-1][: layer.components], rtol=1e-3)
    largest = np.abs(projection).argmax(axis=0)
    assert (projection[largest, np.arange(layer.components)] > 0).all()  # the sign is fixed


def test_moments_over_batches_are_those_of_all_at_once():
    pooled = 3 + torch.randn(7, 5, 2, 2, generator=torch.Generator().manual_seed(1)) * torch.arange(1.0, 6)[None, :, None, None]
    moments = Moments()
    for part in (pooled[:3], pooled[3:4], pooled[4:]):
        moments.add(part)
    rows = pooled.permute(0, 2, 3, 1).reshape(-1, 5).double().numpy()
    assert moments.count == 28
    np.testing.assert_allclose(moments.covariance(), np.cov(rows.T, bias=True), atol=1e-4)


def test_components_of_low_rank_maps_span_the_planted_subspace(noise):
    """Seven channels that are mixtures of three colors: three components hold everything that there is."""
    weights = np.random.default_rng(3).standard_normal((7, 3))
    space = design_features(mix_colors(weights), ["0"], 3 * SIZE_PX**2, noise)
    layer = space.layers[0]
    assert (layer.grid, layer.components) == (SIZE_PX, 3)
    np.testing.assert_allclose(find_span(space.projections["0"]), find_span(weights), atol=1e-3)


def test_maps_that_differ_only_between_places_are_given_the_finest_grid(noise):
    space = design_features(mix_colors([[1.0, 1.0, 1.0]] * 6), ["0"], 16, noise)
    assert (space.layers[0].grid, space.layers[0].components) == (4, 1)
    np.testing.assert_allclose(space.projections["0"], np.full((6, 1), 1 / np.sqrt(6)), atol=1e-3)


def test_maps_that_differ_only_between_channels_are_given_all_of_them_at_one_place(flat):
    """Three dimensions of color; a grid of 2 x 2 would leave a budget of 8 two of them."""
    space = design_features(mix_colors([*np.eye(3), *np.eye(3)[::-1] * 2]), ["0"], 8, flat)
    assert (space.layers[0].grid, space.layers[0].components, space.layers[0].is_reduced) == (1, 6, False)
    assert space.projections == {}


def test_no_other_grid_keeps_more_variance(noise):
    """By brute force, on maps that vary between places and channels alike."""
    backbone, budget = make_tiny_backbone(), 20
    layer = design_features(backbone, ["first"], budget, noise).layers[0]
    with torch.no_grad():
        maps = backbone.activations(read_batch(backbone, noise), ["first"])["first"]
    kept = {}
    for grid in list_grids(4, 8, 8, budget):
        rows = pool_map(maps, grid, "average").permute(0, 2, 3, 1).reshape(-1, 4).double().numpy()
        kept[grid] = np.linalg.eigvalsh(np.cov(rows.T, bias=True))[::-1][: count_components(4, grid, budget)].sum()
    assert len(kept) > 2
    assert layer.grid == max(kept, key=kept.get)


def test_the_weights_basis_spans_what_the_layers_weights_do_whatever_the_images(tmp_path):
    """Gray images vary along one direction only; the weights know all three."""
    weights = np.random.default_rng(4).standard_normal((7, 3))
    gray = write_images(tmp_path, np.random.default_rng(5).uniform(0, 1, (6, SIZE_PX, SIZE_PX, 1)).repeat(3, axis=3))
    space = design_features(mix_colors(weights), ["0"], 3 * SIZE_PX**2, gray, basis="weights")
    assert (space.layers[0].grid, space.layers[0].components) == (SIZE_PX, 3)
    u, _, _ = np.linalg.svd(weights)
    np.testing.assert_allclose(np.abs(np.sum(space.projections["0"] * u[:, :3], axis=0)), 1, atol=1e-4)
    by_features = design_features(mix_colors(weights), ["0"], SIZE_PX**2, gray)
    along = weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(find_span(by_features.projections["0"]), find_span(along), atol=1e-3)


def test_the_weights_basis_takes_the_last_convolution_with_as_many_outputs_as_channels(noise):
    """A block of two convolutions and a wider one behind: its map's channels are outputs of the second."""
    block = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 1, bias=False), nn.ReLU())
    backbone = wrap(nn.Sequential(block, nn.Conv2d(6, 9, 1)), ("0",), SIZE_PX)
    space = design_features(backbone, ["0"], 2 * SIZE_PX**2, noise, basis="weights")
    rows = block[2].weight.detach().flatten(1).double().numpy()
    u, _, _ = np.linalg.svd(rows)
    components = space.layers[0].components
    np.testing.assert_allclose(np.abs(np.sum(space.projections["0"] * u[:, :components], axis=0)), 1, atol=1e-4)


def test_the_weights_basis_of_a_layer_without_weights_is_that_of_the_convolution_before_it(noise):
    convolution, behind = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 1)
    backbone = wrap(nn.Sequential(convolution, nn.ReLU(), behind), ("1",), SIZE_PX)
    space = design_features(backbone, ["1"], 2 * SIZE_PX**2, noise, basis="weights")
    u, _, _ = np.linalg.svd(convolution.weight.detach().flatten(1).double().numpy())
    components = space.layers[0].components
    np.testing.assert_allclose(np.abs(np.sum(space.projections["1"] * u[:, :components], axis=0)), 1, atol=1e-4)


def test_the_weights_basis_needs_a_convolution_in_the_layer_or_before_it(noise):
    backbone = wrap(nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 12, 1)), ("0",), SIZE_PX)
    with pytest.raises(InputError, match="layer '0': neither in it nor before it is a convolution with 12 outputs; set basis = 'features'"):
        design_features(backbone, ["0"], 5, noise, basis="weights")


def test_the_same_images_give_the_same_design_bit_for_bit(noise):
    one, two = (design_features(make_tiny_backbone(), ["first", "second"], 11, noise) for _ in range(2))
    assert one.layers == two.layers
    for name in ("first", "second"):
        np.testing.assert_array_equal(one.projections[name], two.projections[name])


def test_every_component_has_its_largest_entry_positive(noise):
    for seed in range(8):
        for name, projection in design_features(make_tiny_backbone(seed), ["second", "third"], 20, noise[:5]).projections.items():
            assert (projection.max(axis=0) >= np.abs(projection.min(axis=0))).all(), (seed, name)


def test_a_grid_finer_than_the_budget_still_has_one_component():
    assert (count_components(7, 5, 24), count_components(7, 5, 25), count_components(7, 5, 50)) == (1, 1, 2)


def test_progress_goes_over_the_batches(noise):
    told = []

    def track(starts):
        for start in starts:
            told.append(start)
            yield start

    space = design_features(make_tiny_backbone(), ["first"], 11, noise, progress=track(range(0, 10, 4)), batch=4)
    assert told == [0, 4, 8]
    assert space.layers == design_features(make_tiny_backbone(), ["first"], 11, noise).layers


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        (["first", "frist"], {}, "layer 'frist': tiny has no such layer; did you mean 'first'"),
        (["first", "third", "first"], {}, "layers first, third, first: a layer is named twice; name each once"),
        (["spare"], {}, "layer 'spare': tiny does not run it on its way to the output; choose another layer"),
    ],
)
def test_layers_that_cannot_be_read_are_refused(noise, layers, options, message):
    with pytest.raises(InputError, match=message):
        design_features(make_tiny_backbone(), layers, 3, noise, **options)


def test_a_design_needs_images():
    with pytest.raises(InputError, match="layer 'first': no images to choose its features from; give some"):
        design_features(make_tiny_backbone(), ["first"], 24, [])
