"""The verb `permute`: BIDS events, BOLD and regions in; a permutation test of contrasts in each subject's regions out."""

import itertools
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis.console import show_progress
from analysis.options import (
    BidsArgument,
    ConfoundsOption,
    DerivativesOption,
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
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.tables import check_columns, write_tsv

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
    derivatives: DerivativesOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Test contrasts in each subject's regions by dealing the images' conditions anew, and refitting every time.

    Exact for these images and this subject if their order was random, whatever the noise; `analysis group` asks about other images and
    people. Regions that the tested runs chose are refused.

    Example: analysis permute bids/ --task floc --contrast 'face - house' --masks masks/ --out results/permutation
    """
    from analysis.circularity import merge_circular, refuse_circular
    from analysis.dataset import find_runs, list_inputs
    from analysis.hrf import require_one_column
    from analysis.map_contrasts import parse_expressions
    from analysis.permute_runs import COLUMNS, PermutationSettings, permute_subject, plan_tests
    from analysis.roi_sources import RoiSource
    from analysis.run_checks import check_lengths
    from analysis.run_model import list_trial_types

    refuse_non_empty(out, overwrite)
    require_one_column(hrf)
    model = {"design": {"hrf": hrf, "high_pass_s": high_pass_s}, "confounds": confounds, "noise": "ols"}
    settings = parse_config({"model": model, "permutations": permutations, "seed": seed}, PermutationSettings, "analysis permute")
    source = RoiSource.choose(bids, masks, labels, tuple(roi or ()))
    subjects, sessions = tuple(subject or ()), tuple(session or ())
    runs = find_runs(bids, task, space, confounds != "none", subjects=subjects, sessions=sessions, derivatives=derivatives)
    contrasts = parse_expressions(contrast, list_trial_types(runs))
    planned = plan_tests(runs, check_lengths(runs), source)
    refuse_circular(merge_circular([one for test in planned for one in test.circular]), "analysis permute")
    values = {**config_values(settings), "task": task, "contrasts": [made.expression for made in contrasts]}
    provenance = Provenance.collect("analysis permute", values, {**list_inputs(runs), "regions": source.root}, {"labelings": settings.seed})
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
