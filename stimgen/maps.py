"""One forward pass with hooks in, the outputs of named submodules out, each as images x channels x height x width maps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from protocols.errors import InputError

Shapes = dict[str, tuple[int, int, int] | None]  # layer: channels, height, width of its map; None where it gives none
_FEW, _MANY = 4, 8  # default layers, at least where the network has them, and at most


def record_maps(network: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Return the maps of those of `layers` that a forward pass runs; the pass ends at the last of them.

    Of a module that runs more than once, the first run counts. Differentiable.

    Raises
    ------
    InputError
        When a layer's output cannot be read as maps.
    """
    recorded: dict[str, Tensor] = {}

    def keep(name: str, output: object) -> None:
        if name not in recorded:
            recorded[name] = to_map(output, len(images), name).clone()  # a ReLU in place may overwrite the network's own copy
        if len(recorded) == len(set(layers)):
            raise _AllRecordedError

    with _hooked({name: network.get_submodule(name) for name in layers}, keep), suppress(_AllRecordedError):
        network(images)
    return recorded


def trace_shapes(network: nn.Module, images: Tensor) -> Shapes:
    """Return the shape of the map of every submodule that a forward pass runs, in the order in which they first finish."""
    shapes: Shapes = {}

    def keep(name: str, output: object) -> None:
        if name in shapes:
            return
        try:
            _, channels, height, width = to_map(output, len(images), name).shape
            shapes[name] = (channels, height, width)
        except InputError:
            shapes[name] = None

    with _hooked({name: module for name, module in network.named_modules() if name}, keep), torch.no_grad():
        network(images)
    return shapes


def to_map(output: object, images: int, layer: str) -> Tensor:
    """Return a layer's output as images x channels x height x width; of a tuple or list, its first element.

    - Four axes are maps. Inputs are square, so a second axis as long as the third but not the fourth means that channels come
      last (torchvision's Swin), and they are moved. With as many channels as rows, channels are taken to come first.
    - Three axes are images x tokens x channels. Tokens that fill a square are laid out as one, row by row; if they do after the
      first is dropped, the first is the class token. Any other number of tokens becomes a map one token wide.
    - Two axes are images x features and become maps of one position.

    Raises
    ------
    InputError
        When the output is not such a tensor, or its first axis is not the images (as in transformers with `batch_first=False`).
    """
    tensor = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = f"{tensor.dtype} numbers" if isinstance(tensor, Tensor) else f"a {type(output).__name__}"
        raise InputError(f"layer {layer!r}: gives {kind}, not a tensor of activations; choose a layer inside or around it")
    shape = tuple(tensor.shape)
    if len(shape) not in (2, 3, 4) or shape[0] != images:
        raise InputError(
            f"layer {layer!r}: gives a tensor of shape {shape} for {images} image(s); maps need images first and 2, 3 or 4 axes; "
            "choose another layer"
        )
    if len(shape) == 2:
        return tensor[:, :, None, None]
    if len(shape) == 3:
        return _lay_out_tokens(tensor)
    channels_last = shape[1] == shape[2] != shape[3]
    return tensor.permute(0, 3, 1, 2) if channels_last else tensor


def _lay_out_tokens(tensor: Tensor) -> Tensor:
    images, tokens, channels = tensor.shape
    if isqrt(tokens) ** 2 != tokens and isqrt(tokens - 1) ** 2 == tokens - 1:
        tensor, tokens = tensor[:, 1:], tokens - 1
    side = isqrt(tokens)
    height, width = (side, side) if side**2 == tokens else (tokens, 1)
    return tensor.transpose(1, 2).reshape(images, channels, height, width)


def choose_layers(network: nn.Module, shapes: Shapes) -> tuple[str, ...]:
    """Choose up to eight layers spread evenly from early to late; `shapes` comes from `trace_shapes`.

    Candidates are the network's blocks: its children, where containers (a plain Sequential, or a module that only holds others)
    are replaced by what they contain. One level is opened at a time until at least four blocks give a map of more than one
    position and hold a weight of two or more axes, which leaves out normalization, activation functions and pooling. Where
    a network has no maps (a perceptron), blocks of one position count.
    """
    levels = [_open(network, shapes, [""])]
    while (deeper := _open(network, shapes, levels[-1])) != levels[-1]:
        levels.append(deeper)
    for positions in (2, 1):
        useful = [[name for name in level if _is_useful(network, shapes, name, positions)] for level in levels]
        chosen = next((level for level in useful if len(level) >= _FEW), max(useful, key=len))
        if chosen:
            break
    order = list(shapes)
    chosen = sorted(chosen, key=order.index)
    count = min(len(chosen), _MANY)
    return tuple(chosen[round(index * (len(chosen) - 1) / max(count - 1, 1))] for index in range(count))


def _open(network: nn.Module, shapes: Shapes, names: Sequence[str]) -> list[str]:
    """Replace every module by its children, and children that only contain others by theirs."""
    opened: list[str] = []
    for name in names:
        children = {f"{name}.{key}".lstrip("."): child for key, child in network.get_submodule(name).named_children()}
        for child_name, child in children.items():
            transparent = type(child) is nn.Sequential or child_name not in shapes
            opened += _open(network, shapes, [child_name]) if transparent and any(child.children()) else [child_name]
        if not children:
            opened.append(name)
    return opened


def _is_useful(network: nn.Module, shapes: Shapes, name: str, positions: int) -> bool:
    shape = shapes.get(name)
    if shape is None or shape[1] * shape[2] < positions:
        return False
    return any(parameter.ndim >= 2 for parameter in network.get_submodule(name).parameters())


class _AllRecordedError(Exception):
    """Ends a forward pass whose later layers nobody reads."""


@contextmanager
def _hooked(modules: Mapping[str, nn.Module], keep: Callable[[str, object], None]) -> Iterator[None]:
    """Call `keep` with the name and output of each module as it finishes; the hooks are gone afterwards."""

    def make_hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _inputs, output: keep(name, output)

    handles = [module.register_forward_hook(make_hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
