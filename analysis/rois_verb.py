"""The verb `rois`: responses per stimulus and regions in, the RoiTable with its lineage, overlaps and reliability out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer

from analysis.console import show_progress
from analysis.options import LabelsOption, OverwriteOption, RoiOption, SetOption
from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.roi_table import FILE_NAME, RoiTable
from protocols.stimulus_set import StimulusSet

if TYPE_CHECKING:
    from analysis.roi_runs import PlannedRun
    from analysis.roi_sources import RoiSource

_MOST_PAIRS = 10


def rois(
    bids: Annotated[Path, typer.Argument(metavar="BIDS", help="BIDS folder.")],
    betas: Annotated[Path, typer.Option(help="Folder that `analysis glm` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to write; roi_table.tsv is in it.")],
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder of ROI masks, or one that `analysis localize` wrote (default: BIDS/derivatives/rois).", show_default=False
        ),
    ] = None,
    labels: LabelsOption = None,
    roi: RoiOption = None,
    set_folder: SetOption = None,
    hemispheres: Annotated[str, typer.Option(help="both: one row for both together (LR); separate: L and R as well.")] = "both",
    chosen: Annotated[
        list[Path] | None, typer.Option(help="A further file whose choice counts (voxel table, noise ceiling, HRF); repeat for more.")
    ] = None,
    allow_circular: Annotated[bool, typer.Option(help="Go on where tested data chose a region; nothing can be claimed then.")] = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Average responses over each ROI's voxels: one row per subject, session, run, ROI and image.

    Refuses to test a region, a model or a noise ceiling in runs whose data chose it. Of a localizer's folds each run takes the one that
    it took no part in.

    Example: analysis rois bids/ --betas bids/derivatives/voxdrive --out results/rois
    """
    from analysis.circularity import refuse_circular
    from analysis.dataset import find_set
    from analysis.roi_files import write_rois
    from analysis.roi_runs import average_runs, list_circular
    from analysis.roi_sources import RoiSource
    from analysis.rois import RoiSettings, label_rows, sort_rows

    refuse_non_empty(out, overwrite)
    values = {"hemispheres": hemispheres, "rois": roi or [], "allow_circular": allow_circular}
    settings = parse_config(values, RoiSettings, "analysis rois")
    stimulus_set = StimulusSet.read(find_set(bids, set_folder, str(Provenance.read(betas).config.get("task", ""))))
    source = RoiSource.choose(bids, masks, labels, settings.rois)
    planned = _plan(betas, source, chosen or [])
    circular = list_circular(planned)
    if not settings.allow_circular:
        refuse_circular(circular, "analysis rois")
    averaged = average_runs(planned, settings.hemispheres, lambda runs: show_progress(runs, "ROIs"))
    rows = sort_rows(label_rows(averaged.rows, stimulus_set.table, str(betas)), stimulus_set)
    inputs = {"betas": betas, "labels" if labels else "masks": source.root, "set": stimulus_set.folder}
    inputs |= {f"chosen {file.name}": file for file in chosen or []}
    with staged_folder(out, Provenance.collect("analysis rois", config_values(settings), inputs), overwrite) as folder:
        write_rois(RoiTable(rows, circular=bool(circular)), averaged.overlaps, planned, folder)
    for one in circular:
        typer.echo(f"circular: {one.describe()}; nothing can be claimed from this table")
    _print_overlaps(averaged.overlaps)
    counts = rows.groupby("roi", sort=False)["n_voxels"].median()
    sizes = ", ".join(f"{name} {int(count)}" for name, count in counts.items())
    typer.echo(f"wrote {out / FILE_NAME}: {len(rows)} responses, {rows['subject'].nunique()} subjects; voxels per ROI (median): {sizes}")


def _plan(betas: Path, source: "RoiSource", chosen: list[Path]) -> "list[PlannedRun]":
    """Find the runs and the regions that each is averaged over."""
    from analysis.lineage import FolderIndex
    from analysis.roi_runs import plan_runs
    from analysis.run_betas import find_run_betas

    absent = [str(file) for file in chosen if not file.is_file()]
    if absent:
        raise InputError(f"{', '.join(absent)}: no such file; name with --chosen what took part in a choice")
    return plan_runs(find_run_betas(betas), source, chosen, FolderIndex.build([betas, source.root, *chosen]))


def _print_overlaps(overlaps: pd.DataFrame) -> None:
    """Say which regions share voxels: the largest overlap of each pair over runs."""
    pairs = overlaps.sort_values("shared", ascending=False, kind="stable").drop_duplicates(["subject", "roi", "other_roi"])
    for row in pairs.head(_MOST_PAIRS).to_dict("records"):
        sizes = f"{row['n_voxels']} and {row['other_n_voxels']}"
        typer.echo(f"sub-{row['subject']}: {row['roi']} and {row['other_roi']} share {row['shared']} of {sizes} voxels")
    if len(pairs) > _MOST_PAIRS:
        typer.echo(f"{len(pairs) - _MOST_PAIRS} further pairs share voxels; overlap.tsv lists them")
