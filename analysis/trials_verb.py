"""The verb `trials`: BIDS events, BOLD and regions in; responses to single trials, a folder per subject that `stimgen fit` reads, out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from analysis.console import show_progress
from analysis.options import (
    BidsArgument,
    ConfoundsOption,
    HighPassOption,
    LabelsOption,
    OverwriteOption,
    SetOption,
    ShapeOption,
    SubjectOption,
    TaskOption,
)
from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.responses import Responses
from protocols.stimulus_set import StimulusSet
from protocols.tables import write_text

if TYPE_CHECKING:
    from analysis.trial_responses import Method


def trials(
    bids: BidsArgument,
    task: TaskOption,
    out: Annotated[Path, typer.Option(help="Folder to write, with a responses folder for each subject.")],
    method: Annotated[
        str, typer.Option(help="lss (a model per trial), lsa (one for all) or ridge (one, shrunk; images repeat).")
    ] = "ridge",
    masks: Annotated[Path | None, typer.Option(help="Folder of ROI masks (default: BIDS/derivatives/rois).", show_default=False)] = None,
    labels: LabelsOption = None,
    set_folder: SetOption = None,
    confounds: ConfoundsOption = "motion6",
    hrf: ShapeOption = "glover",
    high_pass_s: HighPassOption = 128.0,
    space: Annotated[str | None, typer.Option(help="Space of the BOLD, where there are several.")] = None,
    subject: SubjectOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Estimate the response to every single trial: what an encoding model is fitted to.

    Onsets count where they are, also between volumes. Images that were shown again keep all their trials.

    Example: analysis trials bids/ --task nsdcore --masks derivatives/rois --out responses/
    """
    from analysis.dataset import find_runs, find_set, list_inputs
    from analysis.first_level import ModelSettings
    from analysis.hrf import require_one_column
    from analysis.lineage import write_chosen
    from analysis.roi_sources import RoiSource
    from analysis.run_checks import check_lengths
    from analysis.trial_responses import Method, copy_images, estimate_trials, find_voxels

    if method not in get_args(Method):
        raise InputError(f"--method {method!r}: choose {', '.join(get_args(Method))}")
    require_one_column(hrf)
    settings = parse_config({"design": {"hrf": hrf, "high_pass_s": high_pass_s}, "confounds": confounds}, ModelSettings, "analysis trials")
    source = RoiSource.choose(bids, masks, labels)
    shown = StimulusSet.read(find_set(bids, set_folder, task))
    runs = find_runs(bids, task, space, settings.confounds != "none", subjects=tuple(subject or ()))
    lengths = check_lengths(runs)
    subjects = list(dict.fromkeys(run.name.subject for run in runs))
    for label in subjects:
        refuse_non_empty(out / f"sub-{label}", overwrite)
    for label in show_progress(subjects, "trials"):
        own = [run for run in runs if run.name.subject == label]
        regions, voxels = find_voxels(source, own)
        found = estimate_trials([(run, lengths[run.stem]) for run in own], regions, voxels, settings, cast("Method", method))
        inputs = {**list_inputs(own), "set": shown.folder, "regions": source.root}
        provenance = Provenance.collect("analysis trials", {**config_values(settings), "method": method}, inputs)
        with staged_folder(out / f"sub-{label}", provenance, overwrite) as folder:
            images = copy_images(shown.table, shown.folder, folder, set(found.trials["stim_id"]))
            Responses(folder, found.trials, found.betas.astype("float32"), found.voxels, images).write(folder)
            chosen = write_chosen(found.scans if method == "ridge" else ())
            write_text(json.dumps({"format_version": 1, **chosen}, indent=2) + "\n", folder / "voxels.json")
        typer.echo(f"sub-{label}: {len(found.trials)} trials of {len(images)} images, {len(found.voxels)} voxels, {len(own)} runs")
    typer.echo(f"wrote {out}: responses of {len(subjects)} subjects, for stimgen fit --responses")
