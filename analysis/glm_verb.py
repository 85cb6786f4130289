"""The verb `glm`: BIDS events and fMRIPrep BOLD in, responses per stimulus and contrast maps out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import typer

from analysis.console import show_progress
from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.protocol import Protocol
from protocols.provenance import Provenance
from protocols.stimulus_set import TABLE, StimulusSet

if TYPE_CHECKING:
    from analysis.dataset import Run
    from analysis.first_level import ModelSettings, SubjectMaps
    from analysis.map_contrasts import MapContrast

_THRESHOLD_Z = 3.1


def glm(
    bids: Annotated[Path, typer.Argument(metavar="BIDS", help="BIDS folder with events, and fMRIPrep's output in derivatives/fmriprep.")],
    out: Annotated[Path, typer.Option(help="Derivative folder to write.")],
    protocol: Annotated[Path | None, typer.Option(help="Protocol (TOML, or a plan's protocol.json): task and planned contrasts.")] = None,
    task: Annotated[str | None, typer.Option(help="Task label, where there is no protocol.")] = None,
    contrast: Annotated[list[str] | None, typer.Option(help="Difference of trial types, e.g. 'house - face'; repeat for more.")] = None,
    set_folder: Annotated[
        Path | None, typer.Option("--set", help="Stimulus set that was shown (default: BIDS/stimuli).", show_default=False)
    ] = None,
    noise: Annotated[str, typer.Option(help="nilearn-ar1 or ols.")] = "nilearn-ar1",
    confounds: Annotated[str, typer.Option(help="none, motion6 or motion24.")] = "motion6",
    hrf: Annotated[str, typer.Option(help="glover or spm.")] = "glover",
    high_pass_s: Annotated[float, typer.Option(help="Period of the slowest signal kept, in seconds.")] = 128.0,
    slice_time_ref: Annotated[
        float | None, typer.Option(help="Moment of the TR that a volume stands for, 0-1; from the sidecar's StartTime, else 0.5.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="Space of the BOLD, where there are several.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace this command's files in OUT.")] = False,
) -> None:
    """Estimate each stimulus's response per run, and contrast maps per subject, in percent signal change.

    Contrasts compare the mean of the terms before '-' with the mean of those after it.

    Example: analysis glm bids/ --protocol protocols/roi_validation.toml --out bids/derivatives/voxdrive
    """
    from analysis.first_level import ModelSettings

    refuse_non_empty(out, overwrite)
    design = {"hrf": hrf, "high_pass_s": high_pass_s, "slice_time_ref": slice_time_ref}
    settings = parse_config({"design": design, "noise": noise, "confounds": confounds}, ModelSettings, "analysis glm")
    runs, contrasts, stimuli = _plan(bids, protocol, task, contrast or [], set_folder, space, settings)
    inputs: dict[str, Path] = {f"{kind} {run.stem}": getattr(run, kind) for run in runs for kind in ("bold", "mask", "events")}
    inputs |= {f"confounds {run.stem}": run.confounds for run in runs if settings.confounds != "none"}
    inputs |= {"protocol": protocol} if protocol else {}
    values = {**config_values(settings), "task": runs[0].name.task, "space": space, "contrasts": [made.expression for made in contrasts]}
    provenance = Provenance.collect("analysis glm", values, inputs)
    with staged_folder(out, provenance, overwrite) as folder:
        summary, with_betas, left_out = _write_all(runs, settings, contrasts, stimuli, folder)
    _print_maps(summary)
    _say_left_out(left_out)
    typer.echo(f"wrote {out}: {len(runs)} runs, {with_betas} with responses per stimulus, {len(contrasts)} contrasts")


def _plan(
    bids: Path,
    protocol: Path | None,
    task: str | None,
    expressions: list[str],
    set_folder: Path | None,
    space: str | None,
    settings: "ModelSettings",
) -> "tuple[list[Run], list[MapContrast], pd.DataFrame | None]":
    """Return the runs, the maps to make and, with a protocol, the table of its stimulus set."""
    from analysis.dataset import find_runs, refuse_other_set
    from analysis.map_contrasts import expand_planned, parse_expressions
    from analysis.run_events import read_events

    needs_confounds = settings.confounds != "none"
    if protocol is not None and (task or expressions):
        raise InputError("give either --protocol or --task with --contrast, not both: what the protocol lacks was not planned")
    if protocol is not None:
        fixed = Protocol.read(protocol)
        shown = StimulusSet.read(_find_set(bids, set_folder, fixed.task))
        runs = find_runs(bids, fixed.task, space, needs_confounds)
        refuse_other_set(runs, shown.sha256, shown.folder)
        return runs, expand_planned(fixed.contrasts, shown.table), shown.table
    if task is None:
        raise InputError("give --protocol P.toml, or --task T with --contrast 'A - B'")
    runs = find_runs(bids, task, space, needs_confounds)
    trial_types = {name for run in runs for name in read_events(run, float("inf"))["trial_type"]}
    return runs, parse_expressions(expressions, trial_types), None


def _find_set(bids: Path, set_folder: Path | None, task: str) -> Path:
    """Return the folder of the set that a task showed: its own below `stimuli/` where there is one, as `experiment run` writes it."""
    own = bids / "stimuli" / f"task-{task}"
    folder = set_folder or (own if (own / TABLE).is_file() else bids / "stimuli")
    if not (folder / TABLE).is_file():
        raise InputError(f"{folder}: has no {TABLE}; name the stimulus set that was shown with --set")
    return folder


def _write_all(
    runs: "list[Run]", settings: "ModelSettings", contrasts: "list[MapContrast]", stimuli: pd.DataFrame | None, folder: Path
) -> "tuple[list[tuple[str, SubjectMaps]], int, dict[str, int]]":
    """Model every run, write what it gives, and combine each subject's runs once the last is done."""
    from analysis.derivatives import write_contrast, write_description
    from analysis.first_level import RunResult, combine_subject, model_run

    write_description(folder, "voxdrive first level: responses per stimulus and contrasts", "analysis glm")
    last = {run.name.subject: run for run in runs}
    summary: list[tuple[str, SubjectMaps]] = []
    pending: list[RunResult] = []
    with_betas, left_out = 0, {}
    for run in show_progress(runs, "first level"):
        result = model_run(run, settings, contrasts, stimuli)
        if result.betas is not None:
            result.betas.write(folder, _describe_model(run, settings))
            with_betas += 1
        if result.left_out:
            left_out[run.name.stem] = result.left_out
        pending.append(result)
        if run == last[run.name.subject]:
            for made in combine_subject(pending, contrasts):
                write_contrast(run.name.subject, run.name.task, run.space, made, folder)
                summary.append((run.name.subject, made))
            pending = []
    return summary, with_betas, left_out


def _describe_model(run: "Run", settings: "ModelSettings") -> dict[str, Any]:
    reference = run.slice_time_ref if settings.design.slice_time_ref is None else settings.design.slice_time_ref
    return {
        **config_values(settings),
        "RepetitionTime": run.tr_s,
        "slice_time_ref_used": reference,
        "Sources": [run.bold.name, run.events.name],
    }


def _print_maps(summary: "list[tuple[str, SubjectMaps]]") -> None:
    """Print one row per contrast; where there are several subjects, the lowest and the highest of each figure."""
    from rich.console import Console
    from rich.table import Table

    if not summary:
        return
    table = Table(title="contrast maps: z of the runs combined (lowest to highest subject)", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("contrast", "subjects", "z max", "z min", f"z > {_THRESHOLD_Z}"):
        table.add_column(column, justify="left" if column == "contrast" else "right", no_wrap=True)
    for expression in dict.fromkeys(made.contrast.expression for _, made in summary):
        maps = [made.maps.z for _, made in summary if made.contrast.expression == expression]
        counts = [float((z > _THRESHOLD_Z).sum()) for z in maps]
        ranges = (_say_range([z.max() for z in maps], 2), _say_range([z.min() for z in maps], 2), _say_range(counts, 0))
        table.add_row(expression, str(len(maps)), *ranges)
    Console().print(table)


def _say_range(values: list[float], digits: int) -> str:
    low, high = (f"{bound:.{digits}f}" for bound in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _say_left_out(left_out: dict[str, int]) -> None:
    for stem, count in left_out.items():
        typer.echo(f"{stem}: {count} voxels of the brain mask left out (constant, not finite, or mean not above 0)")
