"""NumPy array files in: memory-mapped, never unpickled."""

from pathlib import Path

import numpy as np

from protocols.errors import InputError


def open_array(path: Path, copy: str = "it") -> np.ndarray | None:
    """Open a `.npy` file without reading it whole; None where it is an archive of arrays, which is closed.

    Raises
    ------
    InputError
        When it cannot be read as an array; the message says to copy `copy` again.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise InputError(f"{path}: cannot be read as a NumPy array ({problem}); copy {copy} again") from None
    if isinstance(array, np.ndarray):
        return array
    array.close()
    return None
