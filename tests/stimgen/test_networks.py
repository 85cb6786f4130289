"""Networks by name: torchvision's as torchvision runs them, one's own by a dotted path, and what cannot be loaded refused."""

import sys
from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from protocols.config import parse_config
from protocols.errors import InputError
from protocols.provenance import hash_file
from stimgen.backbone import Backbone, load_backbone
from stimgen.networks import Preprocessing, read_preprocessing
from stimgen.weights import hash_state
from tests.stimgen.test_maps import make_vit, observe
from tests.stimgen.tiny import TinyNet, draw_images

IMAGENET = Preprocessing(input_px=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SMALL = Preprocessing(input_px=8, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))
MEAN, STD = (torch.tensor(values)[:, None, None] for values in (IMAGENET.mean, IMAGENET.std))
SHARED = TinyNet(3)  # a network that a dotted path names itself, not through a function


def draw_network(name, **options):
    """Return torchvision's own network with random weights and normalization as after training."""
    torch.manual_seed(1)
    network = get_model(name, weights=None, **options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def save(state, folder, name="w.pth"):
    path = folder / name
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    network = draw_network("resnet18")
    path = save(network.state_dict(), tmp_path_factory.mktemp("resnet"))
    yield network, path
    path.unlink()


def is_near(one, other):
    return float((one - other).abs().max()) < 1e-4 * float(other.abs().max())


def test_a_torchvision_network_is_torchvisions_own(resnet):
    network, path = resnet
    backbone = load_backbone("resnet18", path)
    assert backbone.weights_sha256 == hash_file(path)
    assert backbone.preprocessing == IMAGENET
    assert backbone.default_layers == (*("conv1", "layer1.0", "layer1.1", "layer2.0", "layer3.0", "layer3.1", "layer4.0", "layer4.1"),)
    images = draw_images(2, 224).requires_grad_(True)
    layers = ["conv1", "bn1", "layer1.0.conv1", "layer1.0.bn1", "layer2.0.downsample", "layer4", "fc"]
    read = backbone.activations(images, layers)
    read["layer4"].sum().backward()
    assert float(images.grad.abs().sum()) > 0
    for layer in ("conv1", "layer1.0.conv1", "layer2.0.downsample", "layer4"):
        assert is_near(read[layer].detach(), observe(network, ((images - MEAN) / STD).detach(), layer))
    assert is_near(read["fc"].detach()[:, :, 0, 0], observe(network, ((images - MEAN) / STD).detach(), "fc"))


def test_every_torchvision_network_sees_what_its_own_transforms_make():
    checked = 0
    for name in list_models(module=sys.modules["torchvision.models"]):
        for entry in get_model_weights(name):
            preprocessing = read_preprocessing(name, entry)
            size = preprocessing.input_px
            images = draw_images(1, size)
            ported = name in ("inception_v3", "googlenet")
            expected = 2 * images - 1 if ported else entry.transforms(resize_size=size)(images)
            seen = Backbone(name, nn.Identity(), preprocessing, (), "").preprocess(images)
            torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)
            checked += 1
    assert checked > 100


def test_images_are_resized_as_torchvision_does():
    entry = get_model_weights("resnet18").DEFAULT
    images = draw_images(1, 300)
    seen = Backbone("resnet18", nn.Identity(), read_preprocessing("resnet18", entry), (), "").preprocess(images)
    torch.testing.assert_close(seen, entry.transforms(resize_size=224)(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("has_heads", [True, False])
def test_googlenet_sees_what_torchvisions_own_transform_input_makes_of_normalized_images(has_heads, tmp_path):
    network = draw_network("googlenet", init_weights=False, aux_logits=has_heads, transform_input=True)
    backbone = load_backbone("googlenet", save(network.state_dict(), tmp_path))
    images = draw_images(1, 224)
    with torch.no_grad():
        read = backbone.activations(images, ["inception4a"])["inception4a"]
    assert is_near(read, observe(network, (images - MEAN) / STD, "inception4a"))
    assert not is_near(read, observe(network, images, "inception4a"))


def test_densenet_files_with_the_names_of_old_are_read(tmp_path):
    network = draw_network("densenet121")
    old = {key.replace("norm1", "norm.1").replace("norm2", "norm.2"): value for key, value in network.state_dict().items()}
    old = {key.replace("conv1", "conv.1").replace("conv2", "conv.2"): value for key, value in old.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    backbone = load_backbone("densenet121", save(old, tmp_path))
    images = draw_images(1, 224)
    with torch.no_grad():
        read = backbone.activations(images, ["features.denseblock2"])["features.denseblock2"]
    assert is_near(read, observe(network, (images - MEAN) / STD, "features.denseblock2"))


def test_a_network_that_needs_more_than_names_and_shapes_gets_it_or_is_refused(tmp_path):
    state = draw_network("mnasnet0_5").state_dict()
    assert load_backbone("mnasnet0_5", save(state, tmp_path)).default_layers[-1] == "layers.14"
    with pytest.raises(InputError, match=r"w.pth: mnasnet0_5 cannot load them .version should be set.*; save its state_dict"):
        load_backbone("mnasnet0_5", save(dict(state), tmp_path))


def test_weights_come_from_torchvisions_cache(resnet, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    (tmp_path / "hub/checkpoints/resnet18-f37072fd.pth").hardlink_to(resnet[1])
    for name in ("resnet18", "resnet18.IMAGENET1K_V1"):
        backbone = load_backbone(name)
        assert (backbone.name, backbone.weights_sha256) == (name, hash_file(resnet[1]))


@pytest.mark.parametrize(("name", "file"), [("resnet50", "resnet50-11ad3fa6.pth"), ("resnet50.IMAGENET1K_V1", "resnet50-0676ba61.pth")])
def test_weights_that_cannot_be_downloaded_are_refused(name, file, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(InputError, match=f"weights .*{file}: not in torchvision's cache and cannot be downloaded .*; give the file with"):
        load_backbone(name)


def test_weights_that_torchvision_does_not_have_are_refused():
    message = "torchvision's resnet50 has no weights 'V3', only IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT; a file .* is named resnet50:V3"
    with pytest.raises(InputError, match=message):
        load_backbone("resnet50.V3")


@pytest.mark.parametrize("name", ["tests.stimgen.tiny:TinyNet", "tests.stimgen.tiny.TinyNet"])
def test_a_network_by_its_dotted_path(name):
    backbone = load_backbone(name, preprocessing=SMALL)
    assert (backbone.name, backbone.preprocessing) == (name, SMALL)
    assert backbone.default_layers == ("first", "second", "third")
    images = draw_images(2, 8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (SMALL.mean, SMALL.std))
    expected = observe(TinyNet().eval(), (images - mean) / std, "second")
    torch.testing.assert_close(backbone.activations(images, ["second"])["second"], expected)
    assert backbone.weights_sha256 == hash_state(TinyNet())


def test_a_network_that_is_named_itself_is_not_touched():
    backbone = load_backbone(f"{__name__}:SHARED", preprocessing=SMALL)
    assert backbone.weights_sha256 == hash_state(SHARED)
    assert SHARED.training
    assert all(parameter.requires_grad for parameter in SHARED.parameters())
    assert not any(parameter.requires_grad for parameter in backbone.module.parameters())


def test_weights_for_a_dotted_path(tmp_path):
    path = save(TinyNet(5).state_dict(), tmp_path)
    backbone = load_backbone("tests.stimgen.tiny:TinyNet", path, preprocessing=SMALL)
    assert backbone.weights_sha256 == hash_file(path)
    assert torch.equal(backbone.module.first.weight, TinyNet(5).first.weight)
    with pytest.raises(InputError, match=f"weights .*w.pth: not weights of {__name__}:SHARED"):
        load_backbone(f"{__name__}:SHARED", save({"weight": torch.zeros(2)}, tmp_path), preprocessing=SMALL)


OWN_FILE = """
import sys
import torch
from torch import nn

def make():
    import own_part  # beside this file, imported when it is needed
    return nn.Sequential(own_part.make_convolution(), nn.ReLU())

def need(size):
    return nn.Conv2d(3, size, 1)

def give_text():
    return "network"

def stop():
    sys.exit(2)

number = 3
"""


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """A current folder with a person's own files, which only the current folder leads to."""
    (tmp_path / "own_network.py").write_text(OWN_FILE)
    (tmp_path / "own_part.py").write_text("from torch import nn\n\ndef make_convolution():\n    return nn.Conv2d(3, 4, 3)\n")
    (tmp_path / "own_broken.py").write_text("import torch\nraise ValueError('no GPU in this house')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder not in ("", str(tmp_path))])
    yield tmp_path
    for name in ("own_network", "own_part", "own_broken"):
        sys.modules.pop(name, None)


def test_a_file_of_the_current_folder_is_found_and_the_search_path_is_left_as_it_was(own_folder):
    before = list(sys.path)
    assert load_backbone("own_network:make", preprocessing=SMALL).default_layers == ("0",)
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.make", "backbone 'no_such_package.make': 'no_such_package' cannot be imported .ModuleNotFoundError: No module"),
        ("own_broken:make", "'own_broken' cannot be imported .ValueError: no GPU in this house.; install it, or run where its file is"),
        (":make", "backbone ':make': '' cannot be imported"),
        ("own_network:mke", "backbone 'own_network:mke': own_network has no 'mke'; name a function of it that returns the network"),
        ("own_network.need", "backbone 'own_network.need': fails when called without arguments .TypeError: need.. missing 1 required"),
        ("own_network.stop", "fails when called without arguments .SystemExit: 2.; name a function that needs none"),
        ("own_network.number", "fails when called without arguments .TypeError: 'int' object is not callable"),
        ("own_network.give_text", "backbone 'own_network.give_text': returns a str, not a torch.nn.Module; name a function that returns"),
        ("torch.nn:Identity", "backbone 'torch.nn:Identity': none of its layers gives a map"),
    ],
)
def test_a_dotted_path_that_leads_to_no_network_is_refused(own_folder, name, message):
    with pytest.raises(InputError, match=message):
        load_backbone(name, preprocessing=SMALL)


def test_a_dotted_path_without_preprocessing_is_refused():
    with pytest.raises(InputError, match=r"add to the fit settings a table \[preprocessing\] with input_px = 224, mean = \[0.485, "):
        load_backbone("tests.stimgen.tiny:TinyNet")


@pytest.mark.parametrize("name", ["tests.stimgen.test_maps:make_vit", "inception_v3"])
def test_an_input_size_that_does_not_suit_the_network_is_refused(name, tmp_path):
    weights = None
    if name == "inception_v3":
        weights = save(draw_network(name, init_weights=False, aux_logits=False).state_dict(), tmp_path)
    with pytest.raises(InputError, match=f"backbone '{name}': fails on an image of 40 x 40 pixels .*; correct input_px"):
        load_backbone(name, weights, preprocessing=Preprocessing(input_px=40, mean=(0, 0, 0), std=(1, 1, 1)))


def test_given_preprocessing_replaces_the_networks_own(resnet):
    given = Preprocessing(input_px=64, mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    backbone = load_backbone("resnet18", resnet[1], preprocessing=given)
    assert (backbone.preprocessing, backbone.input_px) == (given, 64)


def test_a_networks_state_is_named_by_its_names_types_shapes_and_values():
    network = nn.Linear(2, 3)
    reference = hash_state(network)
    assert hash_state(network) == reference

    class Renamed(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights, self.bias = network.weight, network.bias

    reshaped = nn.Linear(3, 2)
    reshaped.weight.data, reshaped.bias = network.weight.data.reshape(2, 3), network.bias
    changed = nn.Linear(2, 3)
    changed.load_state_dict(network.state_dict())
    changed.bias.data[2] += 1e-6
    hashes = [reference, *(hash_state(other) for other in (Renamed(), reshaped, changed, nn.Linear(2, 3).bfloat16()))]
    assert len(set(hashes)) == 5
    assert hash_state(make_vit()) == hash_state(make_vit())
    zeros = [nn.Identity(), nn.Identity()]  # the same bytes of two types
    for module, dtype in zip(zeros, (torch.float32, torch.int32), strict=True):
        module.register_buffer("zeros", torch.zeros(3, dtype=dtype))
    assert hash_state(zeros[0]) != hash_state(zeros[1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"std": (0.2, 0, 0.2)}, r"fit.toml: key 'std\[1\]' is 0: Input should be greater than 0"),
        ({"input_px": 4}, "fit.toml: key 'input_px' is 4: Input should be greater than or equal to 8"),
        ({"mean": (0.5, 0.5)}, r"fit.toml: key 'mean\[2\]' is missing"),
    ],
)
def test_impossible_preprocessing_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse_config({"input_px": 224, "mean": (0.5,) * 3, "std": (0.5,) * 3, **values}, Preprocessing, "fit.toml")
