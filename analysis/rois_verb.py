"""The verb `rois`: responses per stimulus and ROI masks in, the RoiTable out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pandas as pd
import typer

from analysis.console import show_progress
from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance
from protocols.roi_table import FILE_NAME, RoiTable
from protocols.stimulus_set import TABLE, StimulusSet
from protocols.tables import write_text

if TYPE_CHECKING:
    from analysis.rois import RoiSettings


def rois(
    bids: Annotated[Path, typer.Argument(metavar="BIDS", help="BIDS folder.")],
    betas: Annotated[Path, typer.Option(help="Folder that `analysis glm` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to write; roi_table.tsv is in it.")],
    masks: Annotated[Path | None, typer.Option(help="Folder of ROI masks (default: BIDS/derivatives/rois).", show_default=False)] = None,
    set_folder: Annotated[
        Path | None, typer.Option("--set", help="Stimulus set that was shown (default: BIDS/stimuli).", show_default=False)
    ] = None,
    hemispheres: Annotated[str, typer.Option(help="both: one row for both together (LR); separate: L and R as well.")] = "both",
    overwrite: Annotated[bool, typer.Option(help="Replace this command's files in OUT.")] = False,
) -> None:
    """Average responses over each ROI's voxels: one row per subject, session, run, ROI and image.

    Example: analysis rois bids/ --betas bids/derivatives/voxdrive --out results/rois
    """
    from analysis.rois import SE_DESCRIPTION, RoiSettings

    refuse_non_empty(out, overwrite)
    settings = parse_config({"hemispheres": hemispheres}, RoiSettings, "analysis rois")
    Provenance.read(betas)
    folder, set_folder = masks or bids / "derivatives" / "rois", set_folder or bids / "stimuli"
    if not (set_folder / TABLE).is_file():
        raise InputError(f"{set_folder}: has no {TABLE}; name the stimulus set that was shown with --set")
    table = _summarize(betas, folder, StimulusSet.read(set_folder), settings)
    inputs = {"betas": betas, "masks": folder, "set": set_folder}
    provenance = Provenance.collect("analysis rois", config_values(settings), inputs)
    with staged_folder(out, provenance, overwrite) as staging:
        RoiTable(table).write(staging / FILE_NAME)
        columns = {"response_psc": {"Units": "percent signal change", "Description": "Mean over the ROI's voxels"}}
        columns["se_psc"] = {"Units": "percent signal change", "Description": SE_DESCRIPTION}
        write_text(json.dumps({"format_version": 1, **columns}, indent=2) + "\n", staging / FILE_NAME.replace(".tsv", ".json"))
    counts = table.groupby("roi", sort=False)["n_voxels"].median()
    sizes = ", ".join(f"{roi} {int(count)}" for roi, count in counts.items())
    typer.echo(f"wrote {out / FILE_NAME}: {len(table)} responses, {table['subject'].nunique()} subjects; voxels per ROI (median): {sizes}")


def _summarize(betas: Path, masks: Path, stimulus_set: StimulusSet, settings: "RoiSettings") -> pd.DataFrame:
    from analysis.rois import find_masks, label_rows, sort_rows, summarize_run
    from analysis.run_betas import RunBetas, find_run_betas

    parts = []
    for path in show_progress(find_run_betas(betas), "ROIs"):
        run = RunBetas.read(path)
        rows = summarize_run(run, find_masks(masks, run.name.subject), settings.hemispheres, path)
        parts.append(label_rows(rows, stimulus_set.table, str(path)))
    return sort_rows(pd.concat(parts, ignore_index=True), stimulus_set)
