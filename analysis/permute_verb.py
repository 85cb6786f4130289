"""The verb `permute`: BIDS events, BOLD and regions in; a permutation test of contrasts in each subject's regions out."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer

from analysis.console import show_progress
from analysis.options import (
    BidsArgument,
    ConfoundsOption,
    HighPassOption,
    LabelsOption,
    OverwriteOption,
    RoiOption,
    SessionOption,
    ShapeOption,
    SpaceOption,
    SubjectOption,
    TaskOption,
)
from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.tables import check_columns, write_tsv

if TYPE_CHECKING:
    from analysis.dataset import Run

TABLE = "permutation.tsv"


def permute(
    bids: BidsArgument,
    task: TaskOption,
    contrast: Annotated[list[str], typer.Option(help="Difference of trial types, e.g. 'house - face'; repeat for more.")],
    out: Annotated[Path, typer.Option(help="Folder to write; permutation.tsv is in it.")],
    masks: Annotated[
        Path | None, typer.Option(help="Folder of ROI masks, or of a localizer (default: BIDS/derivatives/rois).", show_default=False)
    ] = None,
    labels: LabelsOption = None,
    roi: RoiOption = None,
    permutations: Annotated[int, typer.Option(help="Labelings to try besides the real one.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the labelings.")] = 0,
    confounds: ConfoundsOption = "motion6",
    hrf: ShapeOption = "glover",
    high_pass_s: HighPassOption = 128.0,
    space: SpaceOption = None,
    subject: SubjectOption = None,
    session: SessionOption = None,
    derivatives: Annotated[
        Path | None, typer.Option(help="Folder with fMRIPrep's output (default: BIDS/derivatives/fmriprep).", show_default=False)
    ] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Test contrasts in each subject's regions by dealing the images' conditions anew, and refitting every time.

    Exact for these images and this subject if their order was random, whatever the noise; `analysis group` asks about other images and
    people. Regions that the tested runs chose are refused.

    Example: analysis permute bids/ --task floc --contrast 'face - house' --masks masks/ --out results/permutation
    """
    from analysis.circularity import merge_circular, refuse_circular
    from analysis.dataset import find_runs
    from analysis.map_contrasts import parse_expressions
    from analysis.permute_runs import COLUMNS, PermutationSettings, permute_subject, plan_tests
    from analysis.roi_sources import RoiSource
    from analysis.run_checks import check_lengths
    from analysis.run_model import list_trial_types

    refuse_non_empty(out, overwrite)
    if masks is not None and labels is not None:
        raise InputError("give either --masks or --labels, not both: regions of the same name could not be told apart")
    if "+" in hrf or hrf == "fir":
        raise InputError(f"--hrf {hrf!r}: a trial has one regressor; choose a shape without derivatives")
    model = {"design": {"hrf": hrf, "high_pass_s": high_pass_s}, "confounds": confounds, "noise": "ols"}
    settings = parse_config({"model": model, "permutations": permutations, "seed": seed}, PermutationSettings, "analysis permute")
    source = RoiSource(masks or (None if labels else bids / "derivatives" / "rois"), labels, tuple(roi or ()))
    subjects, sessions = tuple(subject or ()), tuple(session or ())
    runs = find_runs(bids, task, space, confounds != "none", subjects=subjects, sessions=sessions, derivatives=derivatives)
    contrasts = parse_expressions(contrast, list_trial_types(runs))
    planned = plan_tests(runs, check_lengths(runs), source)
    refuse_circular(merge_circular([one for test in planned for one in test.circular]), "analysis permute")
    values = {**config_values(settings), "task": task, "contrasts": [made.expression for made in contrasts]}
    provenance = Provenance.collect("analysis permute", values, _list_inputs(runs, source.root), {"labelings": settings.seed})
    with staged_folder(out, provenance, overwrite) as folder:
        own = [list(tests) for _, tests in itertools.groupby(planned, key=lambda test: test.runs[0].name.subject)]
        tables = [permute_subject(tests, contrasts, settings) for tests in show_progress(own, "permuting")]
        table = check_columns(pd.concat(tables, ignore_index=True), COLUMNS, TABLE)
        write_tsv(table, folder / TABLE)
    for row in table.to_dict("records"):
        floor = " (the smallest possible)" if row["p"] <= row["p_floor"] else ""
        typer.echo(
            f"sub-{row['subject']} {row['expression']} in {row['roi']}: {row['estimate_psc']:.2f} %, p = {row['p']:.4f}{floor}, "
            f"corrected for the number of regions {row['p_corrected']:.4f}"
        )
    typer.echo(f"wrote {out / TABLE}: {len(table)} tests, {settings.permutations + 1} labelings")


def _list_inputs(runs: "list[Run]", regions: Path) -> dict[str, Path]:
    inputs: dict[str, Path] = {
        f"{kind} {run.stem}": path
        for run in runs
        for kind in ("bold", "mask", "events", "confounds")
        if (path := getattr(run, kind)) is not None and path.is_file()
    }
    return {**inputs, "regions": regions}
