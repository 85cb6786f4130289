"""Will a fit fit into memory? Sizes in; a refusal that says what would fit, or nothing, out."""

from bisect import bisect_right

import psutil

from protocols.errors import InputError

_VALUE_BYTES = 4
_BASE_BYTES = 1_000_000_000  # Python, PyTorch, a network and a batch of images


def estimate_fit_bytes(images: int, features: int, voxels: int, bands: int = 1, subjects: int = 1, others: int = 0) -> int:
    """Return about how much memory fitting takes at its peak.

    That is reached while hyperparameters are searched (kernels, their copies in a fold, eigenvectors and products; responses, training
    responses, their centered copy and predictions) or while the readout is solved (fewer of both, and the coefficients, twice where
    those of several subjects are joined). `others` are images of other subjects, whose features are held too.
    """
    search = images**2 * (2 * bands + 6) + 4 * images * voxels
    solve = images**2 * (bands + 4) + 2 * images * voxels + min(subjects, 2) * features * voxels
    return _BASE_BYTES + _VALUE_BYTES * ((images + others) * features + max(search, solve))


def check_memory(images: int, features: int, layers: int, voxels: int, bands: int = 1, subjects: int = 1, others: int = 0) -> None:
    """Refuse a fit that would not fit into the memory that is free, and say what would.

    Raises
    ------
    InputError
        Naming the budget per layer, or else the number of voxels, that would fit.
    """
    free = psutil.virtual_memory().available
    needed = estimate_fit_bytes(images, features, voxels, bands, subjects, others)
    if needed <= free:
        return
    size = (
        f"{images} images x {features} features x {voxels} voxels need about {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
    )
    budgets = range(1, features // layers + 1)
    budget = bisect_right(budgets, free, key=lambda one: estimate_fit_bytes(images, one * layers, voxels, bands, subjects, others))
    if budget > 0:
        raise InputError(f"{size}; {budget * layers} features would fit: set 'budget' to at most {budget}, or fit fewer voxels")
    counts = range(1, voxels + 1)
    fewer = bisect_right(counts, free, key=lambda one: estimate_fit_bytes(images, features, one, bands, subjects, others))
    hint = f"about {fewer} voxels would fit: fit fewer ROIs at a time" if fewer > 0 else "take fewer images, or a machine with more memory"
    raise InputError(f"{size}; {hint}")
