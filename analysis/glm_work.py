"""The files of the verb `glm`: every run's model and its result in the store in, the run's files and each subject's maps out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.derivatives import write_contrast, write_description, write_run_contrast
from analysis.efficiency import describe_design
from analysis.first_level import ModelSettings, RunModel, RunResult, SubjectMaps, combine_subject
from analysis.glm import weigh_columns
from analysis.hrf_file import HrfChoices
from analysis.lineage import Scan, write_chosen
from analysis.map_contrasts import MapContrast
from analysis.run_fits import Fitted
from analysis.run_store import RunStore
from protocols.config import config_values
from protocols.tables import write_tsv


@dataclass
class Written:
    """What was written; by run or contrast: voxels left out, BOLD's sha256 and worst VIF."""

    maps: list[SubjectMaps] = field(default_factory=list)
    with_betas: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    vif: dict[str, float] = field(default_factory=dict)


def write_all(
    models: Iterable[tuple[RunModel, Fitted]],
    settings: ModelSettings,
    contrasts: Sequence[MapContrast],
    folder: Path,
    store: RunStore,
    choices: HrfChoices | None = None,
) -> Written:
    """Write what every run gave (sorted by subject and hemisphere) into `folder`, and combine each subject's runs."""
    write_description(folder, "voxdrive first level: responses per stimulus and contrasts", "analysis glm")
    written = Written()
    pending: list[RunResult] = []
    for model, fitted in models:
        if pending and _belongs(pending[0].run) != _belongs(model.run):
            _combine(pending, settings, contrasts, folder, written)
            pending = []
        result = store.read(model, fitted.sha256)
        _write_run(result, contrasts, _describe_model(model, settings, choices), folder)
        _write_designs(model, contrasts, folder, written)
        _note(result, written)
        pending.append(result.without_betas())
    if pending:
        _combine(pending, settings, contrasts, folder, written)
    return written


def _write_run(result: RunResult, contrasts: Sequence[MapContrast], sidecar: dict[str, Any], folder: Path) -> None:
    scan = _describe_scan(result)
    if result.betas is not None:
        result.betas.write(folder, {**sidecar, "Scan": scan})
    for contrast in contrasts:
        if contrast.label in result.contrasts:
            write_run_contrast(result, contrast, result.contrasts[contrast.label], scan, folder)


def _write_designs(model: RunModel, contrasts: Sequence[MapContrast], folder: Path, written: Written) -> None:
    """Write each design's matrix, and how well it tells its regressors and contrasts apart."""
    designs = {"conditions": model.conditions, "stimuli": model.stimuli[0] if model.stimuli else None}
    for kind, design in designs.items():
        if design is None:
            continue
        stem = folder / model.run.name.folder / f"{model.run.name.stem}_desc-{kind}"
        weights = {one.label: weigh_columns(design, one.plus, one.minus) for one in contrasts} if kind == "conditions" else {}
        table = describe_design(design, {label: values for label, values in weights.items() if values is not None})
        write_tsv(table, stem.with_name(f"{stem.name}_efficiency.tsv"))
        write_tsv(design.matrix.assign(volume=design.volumes), stem.with_name(f"{stem.name}_design.tsv"))
        for row in table[table["kind"] == "contrast"].to_dict("records"):
            written.vif[row["name"]] = max(written.vif.get(row["name"], 0.0), float(row["vif"]))


def _combine(
    results: Sequence[RunResult], settings: ModelSettings, contrasts: Sequence[MapContrast], folder: Path, written: Written
) -> None:
    for made in combine_subject(results, contrasts, settings.weights):
        write_contrast(made, [_describe_scan(result) for result in results if made.contrast.label in result.contrasts], folder)
        written.maps.append(made)


def _note(result: RunResult, written: Written) -> None:
    written.with_betas += result.betas is not None
    written.sha256[f"bold {result.run.stem}"] = result.sha256
    if result.left_out:
        run = result.run
        written.left_out[run.name.stem + (f"_hemi-{run.hemisphere}" if run.hemisphere else "")] = result.left_out


def _describe_scan(result: RunResult) -> dict[str, Any]:
    return Scan.of(result.run.name, result.sha256).to_json()


def _belongs(run: Any) -> tuple[str, str | None]:
    return run.name.subject, run.hemisphere


def _describe_model(model: RunModel, settings: ModelSettings, choices: HrfChoices | None) -> dict[str, Any]:
    run = model.run
    return {
        **config_values(settings),
        "RepetitionTime": run.tr_s,
        "slice_time_ref_used": settings.design.choose_reference(run.slice_time_ref),
        "Volumes": len(model.kept),
        "VolumesLeftOut": int((~model.kept).sum()),
        "Hrf": model.hrf,
        "Sources": [run.bold.name, run.events.name],
        **(write_chosen(choices.scans[run.name.subject]) if choices else {}),
    }
