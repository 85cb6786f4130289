"""The verbs `fit` and `predict`: responses folders in, an encoding model out; images in, predicted responses out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from protocols.config import config_values, read_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.responses import Responses
from protocols.tables import write_tsv
from stimgen.console import progress_console

if TYPE_CHECKING:
    from stimgen.features import FeatureSpace

_BATCH = 32


def fit(
    settings_file: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="Fit settings (TOML).")],
    responses: Annotated[list[Path], typer.Option(help="Responses folder of one subject; repeat for more subjects.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    weights: Annotated[Path | None, typer.Option(help="Weights file of the backbone; its own otherwise.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Fit an encoding model: a backbone's layers, ridge regression with a penalty per voxel, accuracy on held-out images.

    Example: stimgen fit fit.toml --responses responses/sub-01 --responses responses/sub-02 --out models/lite0
    """
    from stimgen.accuracy import draw_accuracy, summarize_accuracy
    from stimgen.backbone import choose_device, load_backbone
    from stimgen.features import design_features
    from stimgen.fit import FitSettings, average_repetitions, fit_subjects, hold_out, index_images

    refuse_non_empty(out, overwrite)
    settings = read_config(settings_file, FitSettings)
    given = [Responses.read(folder) for folder in responses]
    _refuse_repeated_subjects(given)
    for one in given:
        one.verify()
    subjects = [average_repetitions(one) for one in given]
    hold_out(settings, subjects)  # refuses too few images before the features are computed
    backbone = load_backbone(settings.backbone, weights or settings.weights, choose_device(device))
    space = design_features(backbone, settings.layers or backbone.default_layers, settings.budget)
    paths, indices = index_images(subjects)
    features = _extract(space, paths)
    typer.echo(
        f"{len(paths)} images, {space.size} features of {len(space.layers)} layers of {backbone.name}; fitting {len(subjects)} subject(s)"
    )
    model, test_responses = fit_subjects(settings, space, features, subjects, indices)
    accuracy = summarize_accuracy(model, test_responses)
    inputs = {f"responses {one.subject}": one.folder for one in given}
    provenance = Provenance.collect("stimgen fit", config_values(settings), inputs, {"seed": settings.seed})
    with staged_folder(out, provenance, overwrite) as folder:
        model.write(folder)
        write_tsv(accuracy.round(4), folder / "accuracy.tsv")
        draw_accuracy(model, folder / "accuracy.png")
    _print_accuracy(accuracy)
    left_out = sum(one.betas.shape[1] for one in given) - len(model.voxels)
    typer.echo(f"wrote {out}: {len(model.voxels)} voxels" + (f"; {left_out} left out (constant, or NaN)" if left_out else ""))


def predict(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, folders of images, or stimulus sets.")],
    out: Annotated[Path, typer.Option(help="TSV file to write.")],
    voxels: Annotated[bool, typer.Option("--voxels", help="One column per voxel instead of one per ROI.")] = False,
    weights: Annotated[Path | None, typer.Option(help="Weights file of the backbone; its own otherwise.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
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
    responses = loaded.readout.predict(_extract(loaded.space, paths))
    rois = [roi for roi in loaded.rois if is_predictable(loaded, roi)]
    columns = list(loaded.voxels["voxel_id"]) if voxels else rois
    values = responses if voxels else responses @ loaded.roi_weights(rois)
    table = pd.DataFrame({"image_file": [str(path) for path in paths]})
    write_tsv(pd.concat([table, pd.DataFrame(np.round(values, 5), columns=columns)], axis=1), out)
    typer.echo(f"wrote {out}: {len(paths)} images x {len(columns)} {'voxels' if voxels else 'ROIs'}")


def _refuse_repeated_subjects(given: list[Responses]) -> None:
    labels = [responses.subject for responses in given]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"subject {label!r}: two responses folders have this name; name each folder after its subject")


def _extract(space: "FeatureSpace", paths: list[Path]) -> np.ndarray:
    from stimgen.features import extract_files

    steps = track(range(0, len(paths), _BATCH), description="features", console=progress_console())
    return extract_files(space, paths, _BATCH, steps)


def _list_image_files(given: list[Path]) -> list[Path]:
    from stimgen.image_files import find_images

    files: list[Path] = []
    for path in given:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder")
        files += find_images(path) if path.is_dir() else [path]
    return files


def _print_accuracy(accuracy: pd.DataFrame) -> None:
    table = Table(title="accuracy on held-out images")
    for column in accuracy.columns:
        table.add_column(column.replace("_", " "), justify="left" if column in ("subject", "roi") else "right")
    for row in accuracy.itertuples(index=False):
        table.add_row(*(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row))
    Console().print(table)
