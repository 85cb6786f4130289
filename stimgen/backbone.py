"""A pretrained vision network; images in 0-1 in, maps of many layers out of one forward pass.

Each network's preprocessing is part of its backbone, so that nothing else has to know it, and whatever the network's layers give
(maps, tokens, vectors) comes out as maps.
"""

import dataclasses
import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from protocols.errors import InputError
from stimgen.maps import Shapes, choose_layers, record_maps, trace_shapes
from stimgen.networks import Preprocessing, load_network


@dataclass(frozen=True)
class Backbone:
    """A frozen network in evaluation mode.

    Attributes
    ----------
    name
        The name that `load_backbone` loads it by.
    module
        The network; its parameters need no gradient.
    preprocessing
        What it sees of an image.
    default_layers
        Layers from early to late that an encoding model reads when none are named.
    weights_sha256
        Identity of the weights: of their file, or of the state of a network that came without one.
    """

    name: str
    module: nn.Module
    preprocessing: Preprocessing
    default_layers: tuple[str, ...]
    weights_sha256: str

    @property
    def input_px(self) -> int:
        """Side of the square input; other sizes are resized with antialiasing."""
        return self.preprocessing.input_px

    @property
    def device(self) -> torch.device:
        """Where the network's parameters are."""
        tensors = itertools.chain(self.module.parameters(), self.module.buffers())
        return next(tensors, torch.empty(0)).device

    def preprocess(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 input input"]:
        """Resize images in 0-1 to the network's input (antialiased bilinear) and scale them as it was trained."""
        if images.shape[-2:] != (self.input_px, self.input_px):
            size = (self.input_px, self.input_px)
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.preprocessing.mean, self.preprocessing.std))
        return ((images - mean) / std).contiguous(memory_format=torch.channels_last)

    def activations(
        self, images: Float[Tensor, "images 3 height width"], layers: Sequence[str]
    ) -> dict[str, Float[Tensor, "images _channels _height _width"]]:
        """Return the maps of `layers` for images in 0-1, in one forward pass.

        The pass ends at the deepest of the layers. Differentiable with respect to the images. Of a module that runs more
        than once, the first run counts. `to_map` says how tokens and vectors are laid out as maps.

        Raises
        ------
        InputError
            When a layer takes no part in the network's forward pass, or its output cannot be read as maps.
        """
        recorded = record_maps(self.module, self.preprocess(images), layers)
        idle = [layer for layer in layers if layer not in recorded]
        if idle:
            raise InputError(f"layer {idle[0]!r}: {self.name} does not run it on its way to the output; choose another layer")
        return {layer: recorded[layer] for layer in layers}

    def draw_probe(self) -> Float[Tensor, "2 3 input input"]:
        """Return black images of the input size, which show what a forward pass runs and gives.

        They are two, so that what a layer gives of all images together, or of none, does not pass for one map per image.
        """
        return torch.zeros(2, 3, self.input_px, self.input_px, device=self.device)

    def trace(self) -> Shapes:
        """Return channels, height and width of the map of every layer that runs, in order of execution, from one pass.

        A layer whose output cannot be read as maps has None.

        Raises
        ------
        InputError
            When the network cannot be run on an image of its input size.
        """
        try:
            return trace_shapes(self.module, self.preprocess(self.draw_probe()))
        except Exception as problem:  # whatever a network raises when an image does not suit it
            reason = f"{type(problem).__name__}: {problem}".partition("\n")[0]
            raise InputError(
                f"backbone {self.name!r}: fails on an image of {self.input_px} x {self.input_px} pixels ({reason}); "
                "correct input_px of the preprocessing, or the network"
            ) from None

    def check_layers(self, layers: Sequence[str]) -> None:
        """Refuse a layer that the network does not have, naming the nearest one."""
        known = {name for name, _ in self.module.named_modules() if name}
        for layer in layers:
            if layer not in known:
                nearest = difflib.get_close_matches(layer, known, n=1)
                hint = f"did you mean {nearest[0]!r}? " if nearest else ""
                raise InputError(f"layer {layer!r}: {self.name} has no such layer; {hint}default layers: {', '.join(self.default_layers)}")


def load_backbone(name: str, weights: Path | None = None, device: str = "cpu", preprocessing: Preprocessing | None = None) -> Backbone:
    """Load a network by name (see `load_network`), with its own pretrained weights and preprocessing or those given.

    Default layers that nobody has chosen by hand are chosen by `choose_layers`, from one forward pass.

    Raises
    ------
    InputError
        When the network cannot be found, its weights are missing or belong to another network, or it cannot be run.
    """
    network = load_network(name, weights, preprocessing)
    network.module.requires_grad_(False)
    network.module.to(device=torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload]
    backbone = Backbone(name, network.module, network.preprocessing, network.default_layers, network.weights_sha256)
    if network.default_layers and preprocessing is None:
        return backbone
    shapes = backbone.trace()
    layers = network.default_layers or choose_layers(backbone.module, shapes)
    if not layers:
        raise InputError(f"backbone {name!r}: none of its layers gives a map; a network needs layers that are modules of their own")
    return dataclasses.replace(backbone, default_layers=layers)


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
