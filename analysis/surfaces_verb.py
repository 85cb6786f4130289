"""The verb `surfaces`: nothing in, the meshes of fsaverage5 as GIFTI files out."""

from pathlib import Path
from typing import Annotated

import typer

from analysis.options import OverwriteOption
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance


def surfaces(
    out: Annotated[Path, typer.Option(help="Folder to write the GIFTI files into.")],
    overwrite: OverwriteOption = False,
) -> None:
    """Write the cortical surfaces of fsaverage5 (pial, inflated, sulcal depth), which `stimgen view --surfaces` draws maps on.

    They come with nilearn; nothing is downloaded. A subject's own surfaces need no command: give the folder that holds them.

    Example: analysis surfaces --out surfaces/
    """
    from analysis.template_meshes import MESH, write_meshes

    refuse_non_empty(out, overwrite)
    with staged_folder(out, Provenance.collect("analysis surfaces", {"mesh": MESH}, {}), overwrite) as folder:
        names = write_meshes(folder)
    typer.echo(f"wrote {out}: {len(names)} GIFTI files of {MESH}")
