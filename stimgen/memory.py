"""Will a fit fit into memory? Sizes in; a refusal that says what would fit, or nothing, out."""

import psutil

from protocols.errors import InputError

_VALUE_BYTES = 4
_BASE_BYTES = 1_000_000_000  # Python, PyTorch, a network and a batch of images
_MATRICES = 5  # images x images: the kernel, what is left of it in a fold, its eigenvectors and two products
_COPIES = 4  # images x voxels: responses, of training images, dual weights, predictions


def estimate_fit_bytes(images: int, features: int, voxels: int, bands: int = 1, others: int = 0) -> int:
    """Return about how much memory fitting takes at its peak; `others` are images of other subjects, whose features are held too."""
    kernels = images**2 * (bands * 2 + _MATRICES)
    return _BASE_BYTES + _VALUE_BYTES * ((images + others) * features + kernels + _COPIES * images * voxels + 2 * features * voxels)


def check_memory(images: int, features: int, layers: int, voxels: int, bands: int = 1, others: int = 0) -> None:
    """Refuse a fit that would not fit into the memory that is free, and say what would.

    Raises
    ------
    InputError
        Naming the budget per layer, or else the number of voxels, that would fit.
    """
    free = psutil.virtual_memory().available
    needed = estimate_fit_bytes(images, features, voxels, bands, others)
    if needed <= free:
        return
    size = (
        f"{images} images x {features} features x {voxels} voxels need about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
    )
    spare = free - estimate_fit_bytes(images, 0, voxels, bands)
    fitting = spare // (_VALUE_BYTES * (images + others + 2 * voxels))
    if fitting >= layers:
        raise InputError(f"{size}; {fitting} features would fit: set 'budget' to at most {fitting // layers}, or fit fewer voxels")
    rest = (free - estimate_fit_bytes(images, features, 0, bands, others)) // (_VALUE_BYTES * (_COPIES * images + 2 * features))
    hint = f"about {rest} voxels would fit: fit fewer ROIs at a time" if rest > 0 else "take fewer images, or a machine with more memory"
    raise InputError(f"{size}; {hint}")
