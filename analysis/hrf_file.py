"""HrfChoices: the response function that each subject's localizer runs chose; written by `analysis hrf`, read by `glm --hrf-from`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from analysis.hrf import HRF_MODELS, HrfModel
from analysis.lineage import CHOSEN_FROM, Scan, read_chosen
from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.tables import read_json, write_text

SUFFIX = "hrf.json"


@dataclass(frozen=True)
class HrfChoices:
    """One response function per subject, with the scans that chose it."""

    hrf: dict[str, HrfModel]
    scans: dict[str, tuple[Scan, ...]]
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> "HrfChoices":
        """Read a folder that `analysis hrf` wrote.

        Raises
        ------
        InputError
            When it is incomplete, or a file names no known response function.
        """
        Provenance.read(folder)
        found: dict[str, HrfModel] = {}
        scans: dict[str, tuple[Scan, ...]] = {}
        for path in sorted(folder.glob(f"sub-*/sub-*_{SUFFIX}")):
            values = read_json(path, "run analysis hrf again")
            subject = path.parent.name.removeprefix("sub-")
            if values.get("Hrf") not in HRF_MODELS:
                raise InputError(f"{path}: Hrf is {values.get('Hrf')!r}, expected one of {', '.join(HRF_MODELS)}")
            found[subject], scans[subject] = cast(HrfModel, values["Hrf"]), read_chosen(values, path) or ()
        return cls(found, scans, folder)

    def of(self, subject: str) -> HrfModel:
        """Return a subject's response function.

        Raises
        ------
        InputError
            When none was chosen.
        """
        if subject not in self.hrf:
            chosen = ", ".join(f"sub-{name}" for name in self.hrf) or "nobody"
            raise InputError(
                f"{self.folder}: no response function of sub-{subject}; chosen for {chosen}, run analysis hrf on its localizer"
            )
        return self.hrf[subject]


def write_choice(subject: str, hrf: str, r2: dict[str, float], scans: list[dict[str, Any]], task: str, folder: Path) -> None:
    """Write one subject's choice, with every candidate's cross-validated R2 and the scans that chose."""
    values = {"format_version": 1, "Hrf": hrf, "CrossValidatedR2": r2, CHOSEN_FROM: scans}
    write_text(json.dumps(values, indent=2) + "\n", folder / f"sub-{subject}" / f"sub-{subject}_task-{task}_{SUFFIX}")
