"""Weights of networks: fetched, read from a file, loaded where they fit, and named by a hash."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from protocols.errors import InputError


def fetch_weights(url: str) -> Path:
    """Return the weights file in torchvision's cache, after downloading it where there is a network.

    Raises
    ------
    InputError
        When it is not there and cannot be downloaded.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.split("-")[-1])
    except (OSError, RuntimeError) as problem:  # RuntimeError: what came does not match the hash in the file's name
        raise InputError(
            f"weights {path}: not in torchvision's cache and cannot be downloaded ({problem}); give the file with --weights FILE"
        ) from None
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a file of names and tensors, as `torch.save(network.state_dict(), path)` writes it.

    Raises
    ------
    InputError
        When the file is not one of PyTorch's, or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch.load raises many kinds for a file that is not one of its own
        reason = str(problem).partition("\n")[0] or type(problem).__name__
        raise InputError(f"weights {path}: not a PyTorch weights file ({reason})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"weights {path}: holds something else than names and tensors; save the network's state_dict() alone")
    return state


def load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Load weights strictly; anything that does not fit is another network's file.

    Raises
    ------
    InputError
        When names or shapes differ from those of the network `name`.
    """
    own = _describe(module.state_dict())
    given = _describe(state)
    wrong = sorted(key for key in own.keys() | given.keys() if own.get(key) != given.get(key))
    if wrong:
        raise InputError(
            f"weights {path}: not weights of {name} ({len(wrong)} tensors differ, first {wrong[0]!r}); give that network's own file"
        )
    try:
        module.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as problem:  # a network may demand more than names and shapes (MNASNet: a version)
        raise InputError(f"weights {path}: {name} cannot load them ({problem}); save its state_dict() again") from None


def _describe(state: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors; the counters of batch normalization, which old files lack, do not matter."""
    return {
        key: tuple(value.shape) for key, value in state.items() if isinstance(value, Tensor) and not key.endswith("num_batches_tracked")
    }


def hash_state(module: nn.Module) -> str:
    """Return the sha256 of a network's own state: of each tensor, in the order of names, its name, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
