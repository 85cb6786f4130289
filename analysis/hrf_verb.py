"""The verb `hrf`: localizer runs in, each subject's hemodynamic response function out, with the runs that chose it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.console import show_progress
from analysis.options import BidsArgument, ConfoundsOption, HighPassOption, OverwriteOption, SubjectOption
from protocols.config import config_values, parse_config
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance

if TYPE_CHECKING:
    import numpy as np

    from analysis.dataset import Run
    from analysis.first_level import ModelSettings
    from analysis.hrf_choice import HrfChoice, LocalizerRun


def hrf(
    bids: BidsArgument,
    task: Annotated[str, typer.Option(help="The localizer's task label.")],
    out: Annotated[Path, typer.Option(help="Folder to write, for analysis glm --hrf-from.")],
    mask: Annotated[
        Path | None, typer.Option(help="Voxels that choose, on the BOLD's grid (default: the whole brain mask).", show_default=False)
    ] = None,
    confounds: ConfoundsOption = "motion6",
    high_pass_s: HighPassOption = 128.0,
    space: Annotated[str | None, typer.Option(help="Space of the BOLD, where there are several; no surface.")] = None,
    subject: SubjectOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Choose each subject's response function on localizer runs: the one that predicts runs it was not fitted to best.

    Runs that chose it must not test anything modelled with it; analysis rois refuses them.

    Example: analysis hrf bids/ --task floc --mask visual_cortex_mask.nii.gz --out derivatives/hrf
    """
    from analysis.dataset import find_runs, list_inputs
    from analysis.first_level import ModelSettings
    from analysis.hrf_choice import choose_hrf
    from analysis.hrf_file import write_choice
    from analysis.run_checks import check_lengths

    refuse_non_empty(out, overwrite)
    settings = parse_config({"design": {"high_pass_s": high_pass_s}, "confounds": confounds}, ModelSettings, "analysis hrf")
    runs = find_runs(bids, task, space, settings.confounds != "none", subjects=tuple(subject or ()))
    lengths = check_lengths(runs)
    inputs = list_inputs(runs) | ({"mask": mask} if mask else {})
    subjects = list(dict.fromkeys(run.name.subject for run in runs))
    provenance = Provenance.collect("analysis hrf", {**config_values(settings), "task": task}, inputs)
    chosen: dict[str, HrfChoice] = {}
    with staged_folder(out, provenance, overwrite) as folder:
        for label in show_progress(subjects, "choosing"):
            own = _read_runs([run for run in runs if run.name.subject == label], lengths, settings, mask)
            chosen[label] = choose_hrf(own, settings.design)
            write_choice(label, chosen[label].hrf, chosen[label].r2, chosen[label].chosen_from, task, folder)
    for label, choice in chosen.items():
        ranked = sorted(choice.r2.items(), key=lambda item: -item[1])
        typer.echo(f"sub-{label}: {choice.hrf}; cross-validated R2 " + ", ".join(f"{name} {value:.4f}" for name, value in ranked[:3]))
    typer.echo(f"wrote {out}: response functions of {len(chosen)} subjects, chosen on {len(runs)} runs")


def _read_runs(runs: "list[Run]", lengths: dict[str, int], settings: "ModelSettings", mask: Path | None) -> "list[LocalizerRun]":
    """Read a subject's localizer runs in the voxels that all of them have."""
    import numpy as np

    from analysis.extract import extract_run
    from analysis.glm import scale_to_percent
    from analysis.hrf_choice import LocalizerRun
    from analysis.images import intersect
    from analysis.lineage import Scan
    from analysis.run_model import list_regressors

    series = [extract_run(run) for run in runs]
    common = intersect([one.mask for one in series])
    if mask is not None:
        common = common & _read_voxels(mask, runs[0])
    made = []
    for run, one in zip(runs, series, strict=True):
        events, times, confounds = list_regressors(run, lengths[run.stem], settings, None)
        values = scale_to_percent(one.values[:, common[one.mask]].astype(np.float64))
        scan = Scan.of(run.name, one.sha256)
        made.append(LocalizerRun(scan.to_json(), values, events, times, confounds.table, confounds.kept))
    return made


def _read_voxels(mask: Path, run: "Run") -> "np.ndarray":
    from analysis.images import read_mask
    from analysis.run_checks import measure_run

    return read_mask(mask, measure_run(run)[0], run.bold)
