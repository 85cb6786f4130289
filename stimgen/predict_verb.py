"""The verb `predict`: an encoding model and any images in, predicted responses out."""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from protocols.errors import InputError
from protocols.tables import write_tsv
from stimgen.console import CacheOption, NoCacheOption, extract_images, open_cache


def predict(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, folders of images, or stimulus sets.")],
    out: Annotated[Path, typer.Option(help="TSV file to write.")],
    voxels: Annotated[bool, typer.Option("--voxels", help="One column per voxel instead of one per ROI.")] = False,
    weights: Annotated[Path | None, typer.Option(help="Weights file of the backbone; its own otherwise.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
) -> None:
    """Predict responses to any images: per ROI (weighted by accuracy on training data) or per voxel.

    Example: stimgen predict models/lite0 photos/ --out predictions.tsv
    """
    from stimgen.backbone import choose_device
    from stimgen.encoding_model import EncodingModel
    from stimgen.judge import is_predictable

    if out.is_dir():
        raise InputError(f"{out}: is a folder; name the TSV file itself")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already; name another file, or give --overwrite")
    loaded = EncodingModel.read(model, weights, choose_device(device))
    paths = _list_image_files(images)
    responses = loaded.readout.predict(extract_images(loaded.space, paths, open_cache(cache, no_cache)))
    rois = [roi for roi in loaded.rois if is_predictable(loaded, roi)]
    columns = list(loaded.voxels["voxel_id"]) if voxels else rois
    values = responses if voxels else responses @ loaded.roi_weights(rois)
    table = pd.DataFrame({"image_file": [str(path) for path in paths]})
    write_tsv(pd.concat([table, pd.DataFrame(np.round(values, 5), columns=columns)], axis=1), out)
    typer.echo(f"wrote {out}: {len(paths)} images x {len(columns)} {'voxels' if voxels else 'ROIs'}")


def _list_image_files(given: list[Path]) -> list[Path]:
    from stimgen.image_files import find_images

    files: list[Path] = []
    for path in given:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        files += find_images(path) if path.is_dir() else [path]
    return files
