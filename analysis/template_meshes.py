"""FreeSurfer's fsaverage5 out of nilearn's wheel: meshes and sulcal depth of both hemispheres as GIFTI files, for `stimgen view`.

It stands in `analysis` because nilearn does: `stimgen` must run where only networks are installed, and reads GIFTI with nibabel. A
subject's own surfaces go the same way, under the same names, so that `stimgen` knows one layout and not where a surface comes from.
"""

import gzip
from pathlib import Path

from protocols.errors import InputError

MESH = "fsaverage5"
HEMISPHERES = {"L": "left", "R": "right"}
_FILES = {"pial.surf.gii": "pial", "inflated.surf.gii": "infl", "sulc.shape.gii": "sulc"}  # our names, nilearn's


def write_meshes(folder: Path) -> list[str]:
    """Write `hemi-L_pial.surf.gii`, `hemi-L_inflated.surf.gii`, `hemi-L_sulc.shape.gii` and those of R into `folder`; return the names.

    Raises
    ------
    InputError
        When the installed nilearn no longer holds a file.
    """
    from nilearn.datasets import fetch_surf_fsaverage

    sources = fetch_surf_fsaverage(MESH)  # a look into the wheel, no download
    names = []
    for hemisphere, side in HEMISPHERES.items():
        for ending, kind in _FILES.items():
            source = Path(sources[f"{kind}_{side}"])
            if not source.is_file():
                raise InputError(f"{source}: missing from the installed nilearn; install nilearn again")
            name = f"hemi-{hemisphere}_{ending}"
            (folder / name).write_bytes(gzip.decompress(source.read_bytes()))
            names.append(name)
    return names
