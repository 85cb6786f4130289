"""The verb `fit`: responses folders in, an encoding model with its report out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from protocols.config import config_values, read_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.responses import Responses
from protocols.tables import write_tsv
from stimgen.console import CacheOption, NoCacheOption, extract_images, open_cache, track_batches

if TYPE_CHECKING:
    from stimgen.backbone import Backbone
    from stimgen.feature_cache import FeatureCache
    from stimgen.fit import FitResult
    from stimgen.fit_settings import FitSettings
    from stimgen.subject_data import SubjectData

_FILE_COLUMNS = 120  # a table that goes into a file is not squeezed into a terminal


def fit(
    settings_file: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="Fit settings (TOML).")],
    responses: Annotated[list[Path] | None, typer.Option(help="Responses folder of one subject; repeat for more subjects.")] = None,
    out: Annotated[Path | None, typer.Option(help="Model folder to write.")] = None,
    list_layers: Annotated[bool, typer.Option("--list-layers", help="Print the backbone's layers with their maps, and stop.")] = False,
    weights: Annotated[Path | None, typer.Option(help="Weights file of the backbone; its own otherwise.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Fit an encoding model: a backbone's layers, ridge regression with a penalty per voxel, accuracy on images held out.

    Features are kept in a cache, so that a second fit on the same images reads them and an interrupted one continues.

    Example: stimgen fit fit.toml --responses responses/sub-01 --responses responses/sub-02 --out models/lite0
    """
    from stimgen.backbone import choose_device, load_backbone
    from stimgen.fit_settings import FitSettings

    settings = read_config(settings_file, FitSettings)
    if list_layers:
        _print_layers(
            load_backbone(settings.backbone, weights or settings.weights, choose_device(device), settings.preprocessing), settings
        )
        return
    if not responses or out is None:
        raise typer.BadParameter("give --responses and --out (or --list-layers)")
    refuse_non_empty(out, overwrite)
    given, subjects = _read_subjects(responses, settings)
    backbone = load_backbone(settings.backbone, weights or settings.weights, choose_device(device), settings.preprocessing)
    result = _fit(settings, backbone, subjects, open_cache(cache, no_cache))
    inputs = {f"responses {one.subject}": one.folder for one in given}
    provenance = Provenance.collect("stimgen fit", config_values(settings), inputs, {"seed": settings.seed})
    with staged_folder(out, provenance, overwrite) as folder:
        _write_report(result, folder)
    _print_accuracy(result.accuracy)
    if len(result.across):
        _print_across(result.across)
    left_out = sum(one.betas.shape[1] for one in given) - len(result.model.voxels)
    typer.echo(f"wrote {out}: {len(result.model.voxels)} voxels" + (f"; {left_out} left out (constant, or NaN)" if left_out else ""))


def _read_subjects(folders: Sequence[Path], settings: "FitSettings") -> "tuple[list[Responses], list[SubjectData]]":
    """Read and check everything about the responses, before a network is loaded."""
    from stimgen.fit import hold_out
    from stimgen.subject_data import average_repetitions

    given = [Responses.read(folder) for folder in folders]
    labels = [one.subject for one in given]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"subject {label!r}: two responses folders have this name; name each folder after its subject")
    for one in given:
        one.verify()
    subjects = [average_repetitions(one, settings.group_by, settings.seed) for one in given]
    hold_out(settings, subjects)  # refuses too few images before the features are computed
    return given, subjects


def _fit(settings: "FitSettings", backbone: "Backbone", subjects: "Sequence[SubjectData]", cache: "FeatureCache | None") -> "FitResult":
    from stimgen.design_cache import design_cached
    from stimgen.fit import fit_subjects, hold_out
    from stimgen.fit_settings import assign_bands
    from stimgen.layers import match_layers
    from stimgen.memory import check_memory
    from stimgen.subject_data import index_images

    layers = match_layers(backbone, settings.layers or backbone.default_layers)
    bands = assign_bands({name: match_layers(backbone, patterns) for name, patterns in settings.bands.items()}, layers)
    paths, indices = index_images(subjects)
    is_train = np.zeros(len(paths), dtype=bool)
    for index, is_test in zip(indices, hold_out(settings, subjects), strict=True):
        is_train[index[~is_test]] = True
    train = [path for path, used in zip(paths, is_train, strict=True) if used]
    space = design_cached(backbone, layers, settings, train, cache, track_batches("choosing features"))
    most = max(len(data.paths) for data in subjects)
    check_memory(most, space.size, len(layers), sum(len(data.voxels) for data in subjects), len(bands), len(subjects), len(paths) - most)
    features = extract_images(space, paths, cache)
    typer.echo(f"{len(paths)} images, {space.size} features of {len(layers)} layers of {backbone.name}; fitting {len(subjects)} subject(s)")
    return fit_subjects(settings, space, features, subjects, indices, bands)


def _write_report(result: "FitResult", folder: Path) -> None:
    from stimgen.accuracy_plot import draw_accuracy

    result.model.write(folder)
    tables = {"accuracy": result.accuracy, "layers": result.layers, "bands": result.bands, "across_subjects": result.across}
    for name, table in tables.items():
        if len(table):
            write_tsv(table.round(4), folder / f"{name}.tsv")
    draw_accuracy(result.model.voxels, result.accuracy, result.layers, folder / "accuracy.png")


def _print_layers(backbone: "Backbone", settings: "FitSettings") -> None:
    from stimgen.layers import list_layers, match_layers

    chosen = set(match_layers(backbone, settings.layers or backbone.default_layers))
    table = Table(title=f"layers of {backbone.name} in the order in which they run; * those that these settings read")
    for column in ("", "layer", "module", "channels", "height", "width"):
        table.add_column(column, justify="right" if column in ("channels", "height", "width") else "left")
    for row in list_layers(backbone).itertuples(index=False):
        values = ("n/a" if pd.isna(value) else str(value) for value in row)
        table.add_row("*" if row.layer in chosen else "", *values)
    _print(table)


def _print_accuracy(accuracy: pd.DataFrame) -> None:
    table = Table(title="accuracy on images held out (accuracy.tsv has more)")
    table.add_column("subject, ROI")
    for heading in ("voxels", "cv r", "test r", "ceiling", "r²/rel.", "ROI's r (95 %)", "ceiling"):
        table.add_column(heading, justify="right")
    for row in accuracy.itertuples(index=False):
        voxels = (row.cv_r, row.test_r, row.noise_ceiling, row.normalized_accuracy)
        interval = _show_interval(row.roi_test_r, row.roi_test_r_low, row.roi_test_r_high)
        medians = (_show(value) for value in voxels)
        table.add_row(f"{row.subject} {row.roi}", str(row.voxels), *medians, interval, _show(row.roi_noise_ceiling))
    _print(table)


def _print_across(across: pd.DataFrame) -> None:
    table = Table(title="leave one subject out: the ROI's mean response by the other subjects' models")
    for heading in ("subject, ROI", "own r", "others' r", "ceiling"):
        table.add_column(heading, justify="left" if heading == "subject, ROI" else "right")
    for row in across.itertuples(index=False):
        interval = _show_interval(row.others_r, row.others_r_low, row.others_r_high)
        table.add_row(f"{row.subject} {row.roi}", _show(row.own_r), interval, _show(row.roi_noise_ceiling))
    _print(table)


def _show(value: Any) -> str:
    return "n/a" if pd.isna(value) else f"{value:.2f}"


def _show_interval(r: Any, low: Any, high: Any) -> str:
    """Return r with its interval, which too few groups of test images do not give."""
    return _show(r) if pd.isna(low) else f"{_show(r)} ({_show(low)} to {_show(high)})"


def _print(table: Table) -> None:
    console = Console()
    (console if console.is_terminal else Console(width=_FILE_COLUMNS)).print(table)
