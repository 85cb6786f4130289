"""The verb `personalize`: a group's encoding model and a few images' responses of a new subject in, the new subject's model out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.responses import Responses
from protocols.tables import write_tsv
from stimgen.console import CacheOption, NoCacheOption, extract_images, open_cache

if TYPE_CHECKING:
    from stimgen.encoding_model import EncodingModel
    from stimgen.personalize import Ensemble, Predictors
    from stimgen.subject_data import SubjectData

_MODELS = {
    "group": ("group's mean, not fitted", "#D55E00"),
    "personal": ("personalized ensemble", "#0072B2"),
    "scratch": ("ridge from scratch", "#009E73"),
}


def personalize(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="MODEL is the folder of a model of one or more other subjects.")],
    responses: Annotated[Path, typer.Option(help="Responses folder of the new subject; a few images are enough.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    voxels: Annotated[bool, typer.Option("--voxels", help="Combine the group's single voxels instead of its ROIs.")] = False,
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation, 3 or more.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the folds and the bootstrap.")] = 1,
    weights: Annotated[Path | None, typer.Option(help="Weights file of the backbone; its own otherwise.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: CacheOption = None,
    no_cache: NoCacheOption = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this command's files in OUT.")] = False,
) -> None:
    """Build a new subject's model from a few images: each voxel a weighted sum of what the group's models predict.

    Accuracy is cross-validated on the new subject's images. The subject must not be one of the group's, which is checked by label. The
    images may be among those that the group's models were fitted on, which is not checked: the responses are unseen, but the group's
    predictions for familiar images may be better than for others, and flatter all accuracies of the report but that from scratch.

    Example: stimgen personalize models/group --responses responses/sub-09 --out models/sub-09
    """
    from stimgen.backbone import choose_device
    from stimgen.encoding_model import EncodingModel
    from stimgen.personalize import assign_folds, build_readout, choose_predictors, fit_ensemble, list_folds
    from stimgen.subject_data import average_repetitions

    refuse_non_empty(out, overwrite)
    given = Responses.read(responses)
    given.verify()
    rng = np.random.default_rng(seed)
    data = average_repetitions(given)
    fold_of_image = assign_folds(data.groups, folds, rng)  # refuses too few images before the features are computed
    group = EncodingModel.read(model, weights, choose_device(device))
    _refuse_known_subject(group, data.subject, model)
    predictors = choose_predictors(group, voxels)
    features = extract_images(group.space, data.paths, open_cache(cache, no_cache))
    x = group.readout.predict(features).astype(np.float64) @ predictors.mixture
    ensemble = fit_ensemble(x, data.responses, list(data.voxels["roi"]), predictors, list_folds(fold_of_image))
    cv_r, table = _measure(group, data, features, x, predictors, fold_of_image, rng)
    table = table.assign(noise_ceiling=[data.roi_ceiling[roi] for roi in table["roi"]])
    settings = {"voxels": voxels, "folds": folds, "seed": seed}
    made = EncodingModel(
        group.space,
        build_readout(group.readout, predictors, ensemble),
        _list_voxels(data, cv_r),
        _write_card(settings, group, data, ensemble),
    )
    inputs = {"model": model, f"responses {data.subject}": responses}
    with staged_folder(out, Provenance.collect("stimgen personalize", settings, inputs, {"seed": seed}), overwrite) as folder:
        made.write(folder)
        write_tsv(table.round(4), folder / "personalization.tsv")
        _draw(table, folder / "personalization.png")
    _print(table)
    typer.echo(f"wrote {out}: {len(made.voxels)} voxels, each of {x.shape[1]} predictors, fitted to {len(data.paths)} images")


def _refuse_known_subject(group: "EncodingModel", subject: str, folder: Path) -> None:
    if subject in set(group.voxels["subject"]):
        raise InputError(
            f"{folder}: subject {subject!r} is one of its own, whose responses it has seen; "
            "fit the group without this subject, or rename the responses folder if it is another"
        )


def _measure(
    group: "EncodingModel",
    data: "SubjectData",
    features: npt.NDArray[np.float32],
    x: npt.NDArray[np.float64],
    predictors: "Predictors",
    fold_of_image: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[npt.NDArray[np.float64], pd.DataFrame]:
    """Return each voxel's cross-validated r, and the table of the three models' accuracy per ROI."""
    from stimgen.personalize import compare_models, correlate, cross_validate_ensemble, cross_validate_scratch
    from stimgen.ridge import center_folds

    rois = list(data.voxels["roi"])
    names = list(dict.fromkeys(rois))
    predicted = {
        "personal": cross_validate_ensemble(x, data.responses, rois, predictors, fold_of_image),
        "scratch": cross_validate_scratch(features, data.responses, rois, group.space.layer_of_feature, fold_of_image),
    }
    of_group = np.full((len(x), len(names)), np.nan)
    for column, roi in enumerate(names):
        if roi in predictors.rois:
            of_group[:, column] = x @ predictors.means[:, predictors.rois.index(roi)]
    table = compare_models(data.responses, of_group, predicted, rois, names, data.groups, fold_of_image, rng)
    centered = (center_folds(values, fold_of_image) for values in (data.responses, predicted["personal"]))
    return np.nan_to_num(correlate(*centered), nan=0.0), table


def _list_voxels(data: "SubjectData", cv_r: npt.NDArray[np.float64]) -> pd.DataFrame:
    """Return the model's voxel table; with few images none is held out, and `test_r` is n/a."""
    table = data.voxels.assign(subject=data.subject, cv_r=cv_r, test_r=np.nan, noise_ceiling=data.noise_ceiling)
    table = table.assign(split_half_reliability=data.split_half)
    return table.assign(voxel_id=[f"{data.subject}_{voxel}" for voxel in data.voxels["voxel_id"]])


def _write_card(settings: dict[str, Any], group: "EncodingModel", data: "SubjectData", ensemble: "Ensemble") -> dict[str, Any]:
    return {
        "settings": settings,
        "subjects": [data.subject],
        "images": {data.subject: len(data.paths)},
        "test_groups": [],
        "penalties": [round(float(value), 6) for value in ensemble.penalties],
        "ensemble_of": list(dict.fromkeys(group.voxels["subject"])),
        "refit": "weights refitted on all images; cv_r measured before, by nested cross-validation within folds",
    }


def _print(table: pd.DataFrame) -> None:
    shown = Table(title=f"r of each ROI's mean response to {table['images'].iloc[0]} images, cross-validated (95 % interval)")
    for column in ("roi", "group's mean", "personalized", "from scratch", "ceiling"):
        shown.add_column(column, justify="left" if column == "roi" else "right")
    for row in table.to_dict("records"):
        shown.add_row(row["roi"], *(_format_interval(*(row[f"{name}_r{end}"] for end in ("", "_low", "_high"))) for name in _MODELS),
                      _format(row["noise_ceiling"]))  # fmt: skip
    Console().print(shown)


def _format_interval(r: float, low: float, high: float) -> str:
    return f"{_format(r)} ({_format(low)}, {_format(high)})" if np.isfinite(low) else _format(r)


def _format(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1) if np.isfinite(value) else "n/a"


def _draw(table: pd.DataFrame, path: Path) -> None:
    """Draw r and its interval of the three models in every ROI, with the noise ceiling, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.5 + 1.1 * len(table), 4.2), layout="constrained")
    axes = figure.subplots()
    position = np.arange(len(table))
    lowest = 0.0
    for shift, (name, (label, color)) in zip((-0.22, 0.0, 0.22), _MODELS.items(), strict=True):
        r, low, high = (table[f"{name}_r{end}"].to_numpy() for end in ("", "_low", "_high"))
        axes.vlines(position + shift, low, high, color=color, linewidth=1.5)
        axes.plot(position + shift, r, "o", color=color, markersize=6, label=label)
        lowest = min(lowest, float(np.nanmin([*low, 0.0])), float(np.nanmin([*r, 0.0])))
    ceiling = table["noise_ceiling"].to_numpy()
    axes.hlines(ceiling, position - 0.38, position + 0.38, color="black", linestyles="dashed", linewidth=1, label="noise ceiling")
    axes.axhline(0, color="gray", linewidth=0.5)
    axes.set_xticks(position, list(table["roi"]))
    axes.set_xlim(-0.6, len(table) - 0.4)
    axes.set_ylim(lowest - 0.05, 1.02)
    axes.set_ylabel(f"r of the ROI's mean response\n(cross-validated, {table['images'].iloc[0]} images)")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=120)
