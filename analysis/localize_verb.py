"""The verb `localize`: contrast maps of single runs and parcels in, masks of the voxels that respond most out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pandas as pd
import typer

from analysis.console import show_progress
from analysis.options import OverwriteOption
from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance

if TYPE_CHECKING:
    from analysis.lineage import FolderIndex
    from analysis.localizer import LocalizerSettings


@dataclass(frozen=True)
class _Task:
    """One subject and one contrast: its maps, and the parcels that it looks into."""

    subject: str
    label: str
    files: tuple[Path, ...]
    rois: tuple[str, ...]


def localize(
    glm: Annotated[Path, typer.Argument(metavar="GLM", help="Folder that `analysis glm` wrote, with contrast maps of single runs.")],
    contrast: Annotated[
        list[str], typer.Option(help="Label of the contrast in the maps' names, for all parcels, or PARCEL=LABEL for one; repeat for more.")
    ],
    parcels: Annotated[Path, typer.Option(help="Segmentation with its table of names (dseg.nii.gz, dseg.tsv), or a folder of them.")],
    out: Annotated[Path, typer.Option(help="Folder of masks to write, for analysis rois --masks.")],
    top_percent: Annotated[float, typer.Option(help="Share of a parcel's voxels to choose, those with the highest t.")] = 10.0,
    scheme: Annotated[str, typer.Option(help="all (to test other data), odd-even or leave-run-out.")] = "leave-run-out",
    roi: Annotated[list[str] | None, typer.Option(help="Parcel to take; repeat for more (default: all).", show_default=False)] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Choose, in each parcel, the voxels that respond most to a contrast: a functional localizer.

    With odd-even and leave-run-out each mask says which runs chose it; analysis rois tests every run in the mask that it did not choose.

    Example: analysis localize derivatives/glm --contrast faceMinusHouse --parcels parcels_dseg.nii.gz --out derivatives/localizer
    """
    from analysis.lineage import FolderIndex
    from analysis.localizer import LocalizerSettings
    from analysis.localizer_files import COLUMNS, write_localizer

    refuse_non_empty(out, overwrite)
    settings = parse_config({"top_percent": top_percent, "scheme": scheme, "rois": roi or []}, LocalizerSettings, "analysis localize")
    Provenance.read(glm)
    tasks = _plan(glm, contrast, settings)
    values = {**config_values(settings), "contrasts": contrast}
    index = FolderIndex.build([glm, parcels])
    provenance = Provenance.collect("analysis localize", values, {"glm": glm, "parcels": parcels})
    with staged_folder(out, provenance, overwrite) as folder:
        rows = [row for task in show_progress(tasks, "localizer") for row in _locate(task, parcels, settings, index, folder)]
        table = pd.DataFrame(rows, columns=list(COLUMNS))
        write_localizer(table, folder)
    for name, part in table.groupby("roi", sort=False):
        low = f"; its lowest t is {part['lowest_t'].min():.2f}" if part["lowest_t"].min() <= 0 else ""
        typer.echo(f"{name}: {int(part['voxels'].median())} of {int(part['parcel_voxels'].median())} voxels (median){low}")
    typer.echo(f"wrote {out}: {len(table)} masks, {table['subject'].nunique()} subjects, scheme {settings.scheme}")


def _plan(glm: Path, contrasts: Sequence[str], settings: "LocalizerSettings") -> list[_Task]:
    """Return what is to be done: one task for each subject and contrast."""
    from analysis.localizer import find_contrast_files

    labels: dict[str, list[str]] = {}
    for one in contrasts:
        parcel, _, label = one.rpartition("=")
        labels.setdefault(label, []).extend([parcel] if parcel else settings.rois)
    everywhere = [label for label, rois in labels.items() if not rois]
    if everywhere and len(labels) > 1:
        raise InputError(f"--contrast {everywhere[0]}: is for all parcels, so no other can be given; write PARCEL=LABEL for each")
    return [
        _Task(subject, label, tuple(files), tuple(rois))
        for label, rois in labels.items()
        for subject, files in find_contrast_files(glm, label).items()
    ]


def _locate(task: _Task, parcels: Path, settings: "LocalizerSettings", index: "FolderIndex", folder: Path) -> list[tuple[Any, ...]]:
    """Choose one subject's voxels, write a mask for each parcel and fold, and return their rows of the table."""
    from analysis.lineage import unite
    from analysis.localizer import list_choosers, locate, plan_folds, read_contrast, split_hemispheres
    from analysis.localizer_files import write_mask
    from analysis.roi_sources import RoiSource, find_candidates
    from protocols.run_name import RunName

    candidates = find_candidates(RoiSource(labels=parcels, rois=task.rois), task.subject, [file.name for file in task.files], index)
    earlier = {(one.region.name, one.region.hemisphere): one.scans for one in candidates}
    how = {"Contrast": task.label, "Scheme": settings.scheme, "TopPercent": settings.top_percent}
    rows = []
    for side, files in split_hemispheres(task.files).items():
        contrasts = [read_contrast(file) for file in files]
        folds = plan_folds([RunName.parse(file.name) for file in files], settings.scheme)
        own = [one.region for one in candidates if side in (None, one.region.hemisphere)]
        for found in locate(contrasts, own, folds, settings.top_percent):
            hemisphere = found.parcel.hemisphere
            scans = unite([*list_choosers(contrasts, found.fold), *earlier[found.parcel.name, hemisphere]])
            label = write_mask(found, [files[run] for run in found.fold.runs], scans, how, folder)
            counts = (len(found.fold.runs), found.modelled, len(found.voxels), found.lowest_t)
            rows.append((task.subject, label, hemisphere, task.label, found.fold.label, *counts))
    return rows
