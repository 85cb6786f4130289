"""What `analysis rois` writes: the RoiTable with its lineage, `overlap.tsv`, and `reliability.tsv`."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.lineage import CHOSEN_FROM, SCANS, write_chosen
from analysis.reliability import ReliabilitySettings, tabulate_reliability
from analysis.roi_runs import PlannedRun, collect_choices, list_circular
from analysis.rois import SE_DESCRIPTION
from protocols.roi_table import FILE_NAME, RoiTable
from protocols.tables import write_text, write_tsv

OVERLAP, RELIABILITY = "overlap.tsv", "reliability.tsv"
REGIONS, BECAUSE = "Regions", "CircularBecause"
_ABOUT_RELIABILITY = (
    "Share of the variance over images of the mean over runs that is signal: split_half from random halves of the runs "
    "(Spearman-Brown), reliability from variance components; noise_ceiling is its root, the correlation that a perfect model reaches. "
    "Low and high are ends of 95 % intervals, from images drawn with replacement."
)


def write_rois(table: RoiTable, overlaps: pd.DataFrame, planned: Sequence[PlannedRun], folder: Path) -> None:
    """Write the table, its overlaps and its reliability into `folder` (see `staged_folder`)."""
    psc = "percent signal change"
    scans = [run.scan for run in planned]
    sidecar = {
        "response_psc": {"Units": psc, "Description": "Mean over the ROI's voxels"},
        "se_psc": {"Units": psc, "Description": SE_DESCRIPTION},
        SCANS: write_chosen(scans)[CHOSEN_FROM],
        REGIONS: {roi: write_chosen(chosen) for roi, chosen in collect_choices(planned).items()},
        BECAUSE: [one.describe() for one in list_circular(planned)],
    }
    table.write(folder / FILE_NAME, sidecar)
    write_tsv(overlaps, folder / OVERLAP)
    write_tsv(tabulate_reliability(table, ReliabilitySettings()), folder / RELIABILITY)
    about = {"format_version": 1, "Description": _ABOUT_RELIABILITY, **write_chosen(scans)}
    write_text(json.dumps(about, indent=2) + "\n", folder / RELIABILITY.replace(".tsv", ".json"))
