"""What stands beside the group's tests: each subject's own results and, with the stimulus set, prediction, gain, transfer and dose."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.curve import COLUMNS as CURVE_COLUMNS
from analysis.flags import COLUMNS as FLAG_COLUMNS
from analysis.gain import DOSE_COLUMNS, GAIN_COLUMNS, TRANSFER_COLUMNS, tabulate_dose, tabulate_gain, tabulate_transfer
from analysis.image_responses import average_runs
from analysis.mixedlm import COLUMNS as MIXEDLM_COLUMNS
from analysis.mixedlm import tabulate_mixedlm
from analysis.prediction import COLUMNS as PREDICTION_COLUMNS
from analysis.prediction import tabulate_prediction
from analysis.prevalence import PrevalenceSettings
from analysis.subject_results import COLUMNS as SUBJECT_COLUMNS
from analysis.subject_results import PREVALENCE_COLUMNS, describe_prevalence, tabulate_prevalence, tabulate_subjects
from protocols.errors import InputError
from protocols.protocol import Contrast
from protocols.roi_table import RoiTable
from protocols.stimulus_set import StimulusSet
from protocols.tables import Columns, read_tsv, write_tsv

FILES: dict[str, Columns] = {
    "subjects.tsv": SUBJECT_COLUMNS,
    "prevalence.tsv": PREVALENCE_COLUMNS,
    "mixedlm.tsv": MIXEDLM_COLUMNS,
    "prediction.tsv": PREDICTION_COLUMNS,
    "gain.tsv": GAIN_COLUMNS,
    "transfer.tsv": TRANSFER_COLUMNS,
    "dose.tsv": DOSE_COLUMNS,
    "flags.tsv": FLAG_COLUMNS,
    "curve.tsv": CURVE_COLUMNS,
}
FEW_SUBJECTS = 6  # below, a group's t alone is not enough


@dataclass(frozen=True)
class Supplement:
    """Tables by their file's name; those that the data do not allow are not there."""

    tables: dict[str, pd.DataFrame]

    def write(self, folder: Path) -> None:
        """Write each table into the group folder (see `staged_folder`)."""
        for name, table in self.tables.items():
            write_tsv(table, folder / name)

    @classmethod
    def read(cls, folder: Path) -> "Supplement":
        """Read the tables that are in a group folder."""
        return cls({name: read_tsv(folder / name, columns) for name, columns in FILES.items() if (folder / name).is_file()})


def collect_supplement(table: RoiTable, contrasts: Sequence[Contrast], alpha: float, stimuli: StimulusSet | None) -> Supplement:
    """Return every table that the data allow.

    Raises
    ------
    InputError
        When the stimulus set lacks an image that was shown.
    """
    responses = average_runs(table, keep_gaps=True)
    subjects = tabulate_subjects(responses, contrasts, alpha)
    found = {"subjects.tsv": subjects, "prevalence.tsv": tabulate_prevalence(subjects, PrevalenceSettings(alpha=alpha))}
    found["mixedlm.tsv"] = tabulate_mixedlm(responses, contrasts)
    if stimuli is not None:
        absent = sorted(set(table.table["stim_id"]) - set(stimuli.table["stim_id"]))
        if absent:
            raise InputError(f"{stimuli.folder}: lacks {absent[0]!r}, which the ROI table has; name the set that was shown")
        found["prediction.tsv"] = tabulate_prediction(table, stimuli.table)
        found["gain.tsv"] = tabulate_gain(responses, stimuli.table)
        found["transfer.tsv"] = tabulate_transfer(table, stimuli.table)
        found["dose.tsv"] = tabulate_dose(responses, stimuli.table)
    return Supplement({name: rows for name, rows in found.items() if len(rows)})


def describe_subjects(supplement: Supplement, contrasts: Sequence[Contrast]) -> list[str]:
    """Return a sentence for each primary contrast and ROI: how many subjects show it alone, and what prevalence that speaks for."""
    rows = supplement.tables.get("prevalence.tsv", pd.DataFrame(columns=list(PREVALENCE_COLUMNS)))
    primary = rows[rows["contrast"].isin([contrast.name for contrast in contrasts if contrast.family == "primary"])]
    return [describe_prevalence(row) for _, row in primary.iterrows()]


def note_few(subjects: int) -> list[str]:
    """Say that few subjects need more than a group's t."""
    if not 1 < subjects < FEW_SUBJECTS:
        return []
    return [f"{subjects} subjects: read each one's own result (subjects.tsv) and the prevalence beside the group's interval"]
