"""The natural pool where none is named: crops of the public photographs in scikit-image's and scikit-learn's wheels, cut once."""

from pathlib import Path

import numpy as np

from protocols.output_folder import staged_folder
from protocols.provenance import FILE_NAME, Provenance
from stimgen.pool import find_public_photographs, write_crops

COUNT, SIZE_PX, SEED = 420, 256, 1


def find_default_pool(cache: Path) -> Path:
    """Return the folder of the default pool in a cache folder, cutting it where it is not there yet."""
    folder = cache / f"pool-{COUNT}-{SIZE_PX}-{SEED}"
    if (folder / FILE_NAME).is_file():
        return folder
    settings = {"images": "scikit-image and scikit-learn", "count": COUNT, "size_px": SIZE_PX}
    with staged_folder(folder, Provenance.collect("stimgen pool", settings, {}, {"seed": SEED})) as staging:
        write_crops(find_public_photographs(), COUNT, SIZE_PX, np.random.default_rng(SEED), staging)
    return folder
