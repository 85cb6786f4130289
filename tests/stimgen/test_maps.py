"""Whatever a layer gives comes out as images x channels x height x width, in the right places, or is refused."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer

from protocols.errors import InputError
from stimgen.maps import choose_layers, to_map
from tests.stimgen.tiny import draw_images, make_tiny_backbone, wrap


def make_vit(layers=2):
    """Return torchvision's own vision transformer, small: 4 x 4 patches of 8 pixels, 12 channels, a class token."""
    torch.manual_seed(2)
    network = VisionTransformer(image_size=32, patch_size=8, num_layers=layers, num_heads=2, hidden_dim=12, mlp_dim=16, num_classes=5)
    nn.init.normal_(network.heads.head.weight)
    return network


def make_swin():
    """Return torchvision's own Swin transformer, small: 8 x 8 then 4 x 4 positions of 12 and 24 channels, channels last."""
    torch.manual_seed(3)
    return SwinTransformer(patch_size=[4, 4], embed_dim=12, depths=[1, 2], num_heads=[2, 2], window_size=[4, 4], num_classes=5)


def observe(network, images, layer):
    """Return the plain output of one submodule, copied before a ReLU in place may overwrite it."""
    seen = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: seen.append(copy.deepcopy(output)))
    with torch.no_grad():
        network(images)
    handle.remove()
    return seen[0]


def test_tokens_of_a_vision_transformer_lie_where_their_patches_are():
    network, images = make_vit(), draw_images(3, 32)
    backbone = wrap(network, (), input_px=32)
    layer = "encoder.layers.encoder_layer_0"
    given = observe(network, images, layer)
    assert given.shape == (3, 17, 12)
    read = backbone.activations(images, [layer])[layer]
    assert read.shape == (3, 12, 4, 4)
    for row in range(4):
        for column in range(4):
            torch.testing.assert_close(read[:, :, row, column], given[:, 1 + 4 * row + column])


def test_the_value_at_a_token_map_follows_the_patch_beneath_it():
    """The patches' own projection is a map; with attention switched off a block's map is a function of the same place alone."""
    network = make_vit(1)
    network.encoder.layers[0].self_attention.out_proj.weight.data.zero_()
    backbone = wrap(network, (), input_px=32)
    images = draw_images(1, 32)
    changed = images.clone()
    changed[:, :, 8:16, 24:32] = 0.5  # the patch of row 1, column 3
    layer = "encoder.layers.encoder_layer_0"
    difference = (backbone.activations(images, [layer])[layer] - backbone.activations(changed, [layer])[layer]).abs().sum(dim=1)[0]
    assert torch.nonzero(difference > 1e-6).tolist() == [[1, 3]]


def test_attention_gives_the_first_of_its_tuple():
    network, images = make_vit(), draw_images(2, 32)
    layer = "encoder.layers.encoder_layer_1.self_attention"
    given = observe(network, images, layer)
    assert isinstance(given, tuple)
    read = wrap(network, (), input_px=32).activations(images, [layer])[layer]
    torch.testing.assert_close(read.flatten(2), given[0][:, 1:].transpose(1, 2))


def test_swin_blocks_channels_come_first():
    network, images = make_swin(), draw_images(2, 32)
    backbone = wrap(network, (), input_px=32)
    layers = ["features.0.0", "features.1.0", "features.3.1"]  # a convolution, and blocks that give channels last
    read = backbone.activations(images, layers)
    assert [tuple(read[layer].shape) for layer in layers] == [(2, 12, 8, 8), (2, 12, 8, 8), (2, 24, 4, 4)]
    torch.testing.assert_close(read["features.0.0"], observe(network, images, "features.0.0"))
    for layer in layers[1:]:
        torch.testing.assert_close(read[layer].permute(0, 2, 3, 1), observe(network, images, layer))


@pytest.mark.parametrize("layer", ["encoder.layers.encoder_layer_1", "encoder.layers.encoder_layer_0.self_attention", "heads.head"])
def test_gradients_flow_through_tokens_tuples_and_vectors(layer):
    images = draw_images(1, 32).requires_grad_(True)
    wrap(make_vit(), (), input_px=32).activations(images, [layer])[layer].square().sum().backward()
    assert float(images.grad.abs().sum()) > 0


def test_a_vector_is_a_map_of_one_position():
    backbone, images = make_tiny_backbone(), draw_images(2, 8)
    read = backbone.activations(images, ["head"])["head"]
    assert read.shape == (2, 7, 1, 1)
    torch.testing.assert_close(read[:, :, 0, 0], observe(backbone.module, images, "head"))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 5), (2, 5, 1, 1)),
        ((2, 16, 5), (2, 5, 4, 4)),  # a square of tokens
        ((2, 17, 5), (2, 5, 4, 4)),  # with a class token
        ((2, 1, 5), (2, 5, 1, 1)),
        ((2, 2, 5), (2, 5, 1, 1)),
        ((2, 18, 5), (2, 5, 18, 1)),  # neither
        ((2, 5, 4, 4), (2, 5, 4, 4)),
        ((2, 4, 4, 5), (2, 5, 4, 4)),  # channels last
        ((2, 4, 4, 4), (2, 4, 4, 4)),
        ((2, 5, 4, 3), (2, 5, 4, 3)),
        ((2, 5, 1, 1), (2, 5, 1, 1)),
        ((2, 1, 1, 5), (2, 5, 1, 1)),
    ],
)
def test_every_layout_becomes_a_map(shape, expected):
    assert tuple(to_map(torch.rand(shape), 2, "layer").shape) == expected


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "layer 'net.odd': gives a NoneType, not a tensor of activations; choose a layer inside or around it"),
        ({"logits": torch.zeros(2, 3)}, "layer 'net.odd': gives a dict, not a tensor"),
        ((), "layer 'net.odd': gives a tuple, not a tensor"),
        ((None, torch.zeros(2, 3)), "layer 'net.odd': gives a tuple, not a tensor"),
        (torch.zeros(2, 3, dtype=torch.int64), "layer 'net.odd': gives torch.int64 numbers, not a tensor of activations"),
        (torch.zeros(2), r"layer 'net.odd': gives a tensor of shape \(2,\) for 2 image\(s\); maps need images first and 2, 3 or 4 axes"),
        (torch.zeros(2, 3, 4, 4, 4), r"layer 'net.odd': gives a tensor of shape \(2, 3, 4, 4, 4\) for 2 image"),
        (torch.zeros(17, 2, 5), r"layer 'net.odd': gives a tensor of shape \(17, 2, 5\) for 2 image"),
    ],
)
def test_what_is_no_map_is_refused(output, message):
    with pytest.raises(InputError, match=message):
        to_map(output, 2, "net.odd")


class Pair(nn.Module):
    """Gives a dictionary, which the network around it understands."""

    def forward(self, images):
        return {"out": images}


class PairNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair, self.conv = Pair(), nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return self.conv(self.pair(images)["out"])


def test_an_unreadable_layer_is_named_and_leaves_no_hook():
    backbone = wrap(PairNet(), ("conv",))
    with pytest.raises(InputError, match="layer 'pair': gives a dict"):
        backbone.activations(draw_images(1, 8), ["pair", "conv"])
    assert not any(module._forward_hooks for module in backbone.module.modules())
    assert backbone.trace() == {"pair": None, "conv": (2, 8, 8)}


class Table(nn.Module):
    """A bias that is computed from a table and not from the images, as in Swin V2."""

    def __init__(self):
        super().__init__()
        self.conv, self.bias = nn.Conv2d(3, 2, 1), nn.Linear(4, 1)

    def forward(self, images):
        return self.conv(images) + self.bias(torch.ones(1, 8, 8, 4)).permute(0, 3, 1, 2)


def test_what_is_the_same_for_all_images_is_no_map():
    assert wrap(Table(), ()).trace() == {"conv": (2, 8, 8), "bias": None}


def choose(network, input_px):
    backbone = wrap(network, (), input_px=input_px)
    return list(choose_layers(network, backbone.trace()))


def test_default_layers_are_blocks_spread_from_early_to_late():
    assert choose(make_vit(4), 32) == ["conv_proj", *(f"encoder.layers.encoder_layer_{index}" for index in range(4))]
    many = choose(make_vit(13), 32)
    assert len(many) == 8
    assert many[0] == "conv_proj"
    assert many[-1] == "encoder.layers.encoder_layer_12"
    assert choose(make_swin(), 32) == ["features.0.0", "features.1.0", "features.2", "features.3.0", "features.3.1"]


class Listed(nn.Module):
    """Runs the modules of a list, each a block of its own; the list itself never runs."""

    def __init__(self):
        super().__init__()
        self.stem = PairNet()
        self.blocks = nn.ModuleList([PairNet() for _ in range(4)])

    def forward(self, images):
        return sum((block(images) for block in self.blocks), self.stem(images))


def test_blocks_in_a_list_count_like_those_beside_it():
    assert choose(Listed(), 8) == ["stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3"]


def test_default_layers_of_unusual_networks():
    assert choose(nn.Sequential(nn.Flatten(), nn.Linear(192, 9), nn.ReLU(), nn.Linear(9, 4)), 8) == ["1", "3"]  # no maps at all
    assert choose(nn.ModuleDict({"net": make_tiny_backbone().module})["net"], 8) == ["first", "second", "third"]
    assert choose(nn.Sequential(nn.Flatten(), nn.ReLU()), 8) == []
