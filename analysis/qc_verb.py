"""The verb `qc`: BIDS events and fMRIPrep's output in, the quality of every run as tables, pictures and one page out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analysis.console import show_progress
from analysis.options import (
    BidsArgument,
    ConfoundsOption,
    DerivativesOption,
    HighPassOption,
    HrfOption,
    LabelsOption,
    OverwriteOption,
    RoiOption,
    SessionOption,
    SpaceOption,
    StdDvarsOption,
    SubjectOption,
    TaskOption,
)
from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance

if TYPE_CHECKING:
    from analysis.dataset import Run
    from analysis.labels import Region
    from analysis.roi_sources import RoiSource


def qc(
    bids: BidsArgument,
    task: TaskOption,
    out: Annotated[Path, typer.Option(help="Folder to write; qc.html is in it.")],
    masks: Annotated[
        Path | None, typer.Option(help="Folder of ROI masks (default: BIDS/derivatives/rois, if there).", show_default=False)
    ] = None,
    labels: LabelsOption = None,
    roi: RoiOption = None,
    noise: Annotated[str, typer.Option(help="ar1, ar1-white, nilearn-ar1 or ols.")] = "ar1",
    confounds: ConfoundsOption = "motion6",
    hrf: HrfOption = "glover",
    high_pass_s: HighPassOption = 128.0,
    space: SpaceOption = None,
    subject: SubjectOption = None,
    session: SessionOption = None,
    derivatives: DerivativesOption = None,
    fd_mm: Annotated[float, typer.Option(help="Framewise displacement that counts as motion; with scrub, what leaves a volume out.")] = 0.5,
    std_dvars: StdDvarsOption = 1.5,
    overwrite: OverwriteOption = False,
) -> None:
    """Look at every run before its results: tSNR, motion, motion that follows the task, autocorrelation, and the design itself.

    Give the confounds, noise and HRF that the model will have. Nothing is left out; qc.html says which runs to look at, and why.

    Example: analysis qc bids/ --task validation --confounds motion6 --out results/qc
    """
    from analysis.dataset import find_runs, list_inputs
    from analysis.qc_report import PAGE, describe_outcome, write_qc
    from analysis.qc_runs import QcSettings, assess_run, plan_qc
    from analysis.run_checks import describe_differences

    refuse_non_empty(out, overwrite)
    source = _choose_source(bids, masks, labels, tuple(roi or ()))
    model: dict[str, Any] = {"design": {"hrf": hrf, "high_pass_s": high_pass_s}, "noise": noise, "confounds": confounds}
    model["confound_settings"] = {"fd_mm": fd_mm, "std_dvars": std_dvars}
    settings = parse_config({"model": model, "fd_mm": fd_mm}, QcSettings, "analysis qc")
    needed, subjects, sessions = confounds != "none", tuple(subject or ()), tuple(session or ())
    runs = find_runs(bids, task, space, needed, subjects=subjects, sessions=sessions, derivatives=derivatives)
    planned = plan_qc(runs, settings)
    regions = _find_regions(source, runs)
    inputs = list_inputs(runs) | ({"regions": source.root} if source else {})
    provenance = Provenance.collect("analysis qc", {**config_values(settings), "task": task}, inputs)
    with staged_folder(out, provenance, overwrite) as folder:
        found = [assess_run(one, regions.get(one.run.stem, []), settings) for one in show_progress(planned, "quality")]
        write_qc(found, settings, provenance, folder)
    for sentence in describe_differences(runs):
        typer.echo(sentence)
    for one in found:
        if one.look_at:
            typer.echo(f"{one.planned.run.stem}: {'; '.join(one.look_at)}")
    typer.echo(f"wrote {out / PAGE}: {describe_outcome(found)}")


def _choose_source(bids: Path, masks: Path | None, labels: Path | None, rois: tuple[str, ...]) -> "RoiSource | None":
    from analysis.roi_sources import RoiSource

    source = RoiSource.choose(bids, masks, labels, rois)
    if masks or labels or source.root.is_dir():
        return source
    if rois:
        raise InputError(f"{source.root}: no such folder, so there is no region {rois[0]}; name their folder with --masks or --labels")
    return None


def _find_regions(source: "RoiSource | None", runs: "list[Run]") -> "dict[str, list[Region]]":
    """Return each run's regions by its stem."""
    from analysis.lineage import FolderIndex
    from analysis.roi_sources import find_candidates

    if source is None:
        return {}
    index = FolderIndex.build([source.root])
    found: dict[tuple[str, str | None], list[Region]] = {}
    for run in runs:
        key = run.name.subject, run.hemisphere
        if key not in found:
            found[key] = [one.region for one in find_candidates(source, run.name.subject, [run.bold.name], index)]
    return {run.stem: found[run.name.subject, run.hemisphere] for run in runs}
