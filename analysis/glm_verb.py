"""The verb `glm`: BIDS events and fMRIPrep BOLD in, responses per stimulus and contrast maps out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from analysis.console import show_progress
from analysis.options import (
    BidsArgument,
    ClusterOption,
    ConfoundsOption,
    DerivativesOption,
    HighPassOption,
    HrfOption,
    OverwriteOption,
    SessionOption,
    SetOption,
    SpaceOption,
    StdDvarsOption,
    SubjectOption,
)
from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.protocol import Protocol
from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet

if TYPE_CHECKING:
    from analysis.dataset import Run
    from analysis.first_level import ModelSettings, RunModel
    from analysis.glm_work import Written
    from analysis.hrf_file import HrfChoices
    from analysis.map_contrasts import MapContrast
    from analysis.run_fits import Fitted, Fitting

_THRESHOLD_Z = 3.1


def glm(
    bids: BidsArgument,
    out: Annotated[Path, typer.Option(help="Derivative folder to write.")],
    protocol: Annotated[Path | None, typer.Option(help="Protocol (TOML, or a plan's protocol.json): task and planned contrasts.")] = None,
    task: Annotated[str | None, typer.Option(help="Task label, where there is no protocol.")] = None,
    contrast: Annotated[list[str] | None, typer.Option(help="Difference of trial types, e.g. 'house - face'; repeat for more.")] = None,
    set_folder: SetOption = None,
    noise: Annotated[
        str, typer.Option(help="ar1 (corrected for the design), ar1-white (slow noise under white, best for blocks), nilearn-ar1 or ols.")
    ] = "ar1",
    confounds: ConfoundsOption = "motion6",
    hrf: HrfOption = "glover",
    hrf_from: Annotated[
        Path | None, typer.Option(help="Instead: folder of analysis hrf, each subject's own response.", show_default=False)
    ] = None,
    high_pass_s: HighPassOption = 128.0,
    slice_time_ref: Annotated[
        float | None, typer.Option(help="Moment of the TR that a volume stands for, 0-1; from the sidecar's StartTime, else 0.5.")
    ] = None,
    run_weights: Annotated[
        str | None, typer.Option(help="precision or mean; precision, but the mean with nilearn's noise models.", show_default=False)
    ] = None,
    space: SpaceOption = None,
    subject: SubjectOption = None,
    session: SessionOption = None,
    derivatives: DerivativesOption = None,
    fd_mm: Annotated[float, typer.Option(help="scrub: highest framewise displacement of a volume that is kept.")] = 0.5,
    std_dvars: StdDvarsOption = 1.5,
    cache: Annotated[
        Path | None, typer.Option(envvar="VOXDRIVE_CACHE", help="Folder that keeps extracted series for the next model; none otherwise.")
    ] = None,
    cluster: ClusterOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Estimate each stimulus's response per run, and contrast maps per run and subject, in percent signal change.

    Contrasts compare the mean of the terms before '-' with the mean of those after it. Nothing is read but headers before every run's
    design is made; a command that was interrupted, given again, takes up the runs that were finished.

    Example: analysis glm bids/ --protocol protocols/roi_validation.toml --out bids/derivatives/voxdrive
    """
    from analysis.first_level import ModelSettings
    from analysis.hrf_file import HrfChoices
    from analysis.run_model import plan_models
    from protocols.cluster import check_cluster

    refuse_non_empty(out, overwrite)
    check_cluster(cluster)
    design = {"hrf": hrf, "high_pass_s": high_pass_s, "slice_time_ref": slice_time_ref}
    values: dict[str, Any] = {"noise": noise, "confounds": confounds, "run_weights": run_weights}
    values["confound_settings"] = {"fd_mm": fd_mm, "std_dvars": std_dvars}
    settings = parse_config({"design": design, **values}, ModelSettings, "analysis glm")
    question = Question(bids, protocol, task, tuple(contrast or ()), set_folder)
    where = Where(space, tuple(subject or ()), tuple(session or ()), derivatives)
    runs, contrasts, stimulus_set = _plan(question, where, settings)
    choices = HrfChoices.read(hrf_from) if hrf_from else None
    models = plan_models(runs, settings, contrasts, stimulus_set.table if stimulus_set else None, choices)
    asked = Asked(question, choices, cache, cluster)
    written, taken_up = _write(models, settings, contrasts, stimulus_set, asked, out, overwrite)
    _print_maps(written)
    _say_left_out(written.left_out)
    if taken_up:
        typer.echo(f"{taken_up} runs had been finished by an earlier command")
    typer.echo(f"wrote {out}: {len(runs)} runs, {written.with_betas} with responses per stimulus, {len(contrasts)} contrasts")


@dataclass(frozen=True)
class Question:
    """What is asked of which data set: by a protocol, or by a task and contrasts."""

    bids: Path
    protocol: Path | None
    task: str | None
    expressions: tuple[str, ...]
    set_folder: Path | None


@dataclass(frozen=True)
class Where:
    """Which of its runs: space, subjects and sessions (none: all), and where fMRIPrep's output is."""

    space: str | None
    subjects: tuple[str, ...]
    sessions: tuple[str, ...]
    derivatives: Path | None


@dataclass(frozen=True)
class Asked:
    """What a command was asked, the response functions that localizer runs chose, where series are kept, and who does the work."""

    question: Question
    choices: "HrfChoices | None"
    cache: Path | None
    cluster: str | None


def _plan(question: Question, where: Where, settings: "ModelSettings") -> "tuple[dict[Run, int], list[MapContrast], StimulusSet | None]":
    """Return the runs with their numbers of volumes, the maps to make and, with a protocol, its stimulus set."""
    from analysis.dataset import find_set, refuse_other_set
    from analysis.map_contrasts import expand_planned, parse_expressions
    from analysis.run_model import list_trial_types

    bids, protocol = question.bids, question.protocol
    if protocol is not None and (question.task or question.expressions):
        raise InputError("give either --protocol or --task with --contrast, not both: what the protocol lacks was not planned")
    if protocol is not None:
        fixed = Protocol.read(protocol)
        shown = StimulusSet.read(find_set(bids, question.set_folder, fixed.task))
        runs = _find(bids, fixed.task, where, settings)
        refuse_other_set(list(runs), shown.sha256, shown.folder)
        return runs, expand_planned(fixed.contrasts, shown.table), shown
    if question.task is None:
        raise InputError("give --protocol P.toml, or --task T with --contrast 'A - B'")
    runs = _find(bids, question.task, where, settings)
    return runs, parse_expressions(question.expressions, list_trial_types(runs)), None


def _find(bids: Path, task: str, where: Where, settings: "ModelSettings") -> "dict[Run, int]":
    """Return the runs and their numbers of volumes, once all their files fit together; say what may be a mistake."""
    from analysis.dataset import find_runs
    from analysis.run_checks import check_lengths, describe_differences

    needed = settings.confounds != "none"
    runs = find_runs(bids, task, where.space, needed, subjects=where.subjects, sessions=where.sessions, derivatives=where.derivatives)
    lengths = check_lengths(runs)
    for note in describe_differences(runs):
        typer.echo(f"note: {note}")
    return {run: lengths[run.stem] for run in runs}


def _write(
    models: "list[RunModel]",
    settings: "ModelSettings",
    contrasts: "list[MapContrast]",
    stimulus_set: StimulusSet | None,
    asked: Asked,
    out: Path,
    overwrite: bool,
) -> "tuple[Written, int]":
    """Fit and write everything; each BOLD's sha256 comes from the one time that it is read. Say how many runs had been finished before."""
    from analysis.dataset import list_inputs
    from analysis.glm_work import write_all
    from analysis.run_fits import Fitting
    from analysis.run_store import RunStore, name_common

    runs = [model.run for model in models]
    inputs = list_inputs(runs, without=("bold",))
    inputs |= {"protocol": asked.question.protocol} if asked.question.protocol else {}
    inputs |= {"hrf": asked.choices.folder} if asked.choices else {}
    values = {**config_values(settings), "task": runs[0].name.task, "space": runs[0].space}
    values["contrasts"] = [made.expression for made in contrasts]
    provenance = Provenance.collect("analysis glm", values, inputs)
    common = name_common(settings, contrasts, stimulus_set.sha256 if stimulus_set else None, provenance.code_version)
    store = RunStore.open(out.resolve().parent / f".{out.resolve().name}.work", common)
    fitted = _fit(models, Fitting(contrasts, settings.noise, store, asked.cache), asked.cluster)
    with staged_folder(out, provenance, overwrite) as folder:
        written = write_all(zip(models, fitted, strict=True), settings, contrasts, folder, store, asked.choices)
        provenance.inputs.update(written.sha256)
    store.clear()
    return written, sum(one.taken_up for one in fitted)


def _fit(models: "list[RunModel]", fitting: "Fitting", cluster: str | None) -> "list[Fitted]":
    """Fit every run, here or elsewhere."""
    from analysis.run_fits import fit_runs
    from protocols.cluster import open_workers

    with open_workers(cluster) as workers:
        fitted = dict(show_progress(fit_runs(models, fitting, workers), "first level", len(models)))
    return [fitted[index] for index in range(len(models))]


def _print_maps(written: "Written") -> None:
    """Print one row per contrast: of several subjects the lowest and the highest of each figure, of runs the highest VIF."""
    from rich.console import Console
    from rich.table import Table

    if not written.maps:
        return
    table = Table(title="contrast maps: z of the runs combined (lowest to highest subject)", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("contrast", "subjects", "z max", "z min", f"z > {_THRESHOLD_Z}", "VIF"):
        table.add_column(column, justify="left" if column == "contrast" else "right", no_wrap=True)
    for contrast in dict.fromkeys(made.contrast for made in written.maps):
        maps = [made.maps.z for made in written.maps if made.contrast == contrast]
        counts = [float((z > _THRESHOLD_Z).sum()) for z in maps]
        ranges = (_say_range([z.max() for z in maps], 2), _say_range([z.min() for z in maps], 2), _say_range(counts, 0))
        table.add_row(contrast.expression, str(len(maps)), *ranges, f"{written.vif[contrast.label]:.1f}")
    Console().print(table)


def _say_range(values: list[float], digits: int) -> str:
    low, high = (f"{bound:.{digits}f}" for bound in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _say_left_out(left_out: dict[str, int]) -> None:
    for stem, count in left_out.items():
        typer.echo(f"{stem}: {count} voxels of the brain mask left out (constant, not finite, or mean not above 0)")
