"""The verb `pool`: natural crops out of photographs."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.progress import track

from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from stimgen.console import progress_console


def pool(
    out: Annotated[Path, typer.Option(help="Pool folder to write.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of photographs; those in scikit-image's and scikit-learn's wheels otherwise.")
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Crops to cut.")] = 420,
    size_px: Annotated[int, typer.Option(min=32, help="Side of a crop in pixels.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the crops' places and sizes.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Cut a pool of natural images out of photographs: what models are fitted on and controls are chosen from.

    Example: stimgen pool --images photos/ --count 500 --out pool/
    """
    from stimgen.pool import find_photographs, find_public_photographs, write_crops

    refuse_non_empty(out, overwrite)
    photographs = find_photographs(images) if images else find_public_photographs()
    settings = {"images": str(images) if images else "scikit-image and scikit-learn", "count": count, "size_px": size_px}
    provenance = Provenance.collect("stimgen pool", settings, {"images": images} if images else {}, {"seed": seed})
    with staged_folder(out, provenance, overwrite) as folder:
        rng = np.random.default_rng(seed)
        write_crops(photographs, count, size_px, rng, folder, lambda crops: track(crops, "crops", count, console=progress_console()))
    typer.echo(f"wrote {out}: {count} crops of {len(photographs)} photographs")
