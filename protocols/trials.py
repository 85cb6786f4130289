"""TrialList: what one run will show, and when; made beforehand, reviewable, and never changed at the scanner."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from protocols.config import config, parse_config
from protocols.errors import InputError
from protocols.run_name import RunName
from protocols.tables import Columns, check_columns, read_json, read_tsv, write_text, write_tsv

SUFFIX = "trials.tsv"
BLANK = "blank"  # the trial_type of a trial that shows only the background; its stim_id and stim_file are n/a
COLUMNS: Columns = {
    "onset": "number",
    "duration": "number",
    "trial_type": "text",
    "stim_id": "optional text",
    "stim_file": "optional text",
    "probe": "integer",
}
_TOLERANCE_S = 1e-6


@config
class RunPlan:
    """What holds for the whole run. `set_sha256` names the StimulusSet that the run was planned for."""

    format_version: Literal[1] = 1
    duration_s: float = Field(gt=0)
    tr_s: float = Field(gt=0)
    volumes: int = Field(ge=1)
    set_sha256: str
    seed: int


@dataclass(frozen=True)
class TrialList:
    """One run's trials in order of onset (seconds from the first kept volume). `probe` is 1 where a response is due.

    Raises
    ------
    InputError
        When trials overlap, are out of order, lie outside the run, or an image trial lacks its stimulus.
    """

    name: RunName
    trials: pd.DataFrame
    plan: RunPlan

    def __post_init__(self) -> None:
        where = f"{self.name.stem}_{SUFFIX}"
        trials = check_columns(self.trials, COLUMNS, where).reset_index(drop=True)
        object.__setattr__(self, "trials", trials)
        ends = trials["onset"] + trials["duration"]
        for row in range(len(trials)):
            if trials["duration"][row] <= 0 or trials["onset"][row] < 0:
                raise InputError(f"{where} row {row + 2}: onset must be 0 or later and duration positive; plan the run again")
            if row and trials["onset"][row] < ends[row - 1] - _TOLERANCE_S:
                raise InputError(f"{where} row {row + 2}: begins before the trial above it ends; plan the run again")
            if (trials["stim_id"][row] is None) != (trials["trial_type"][row] == BLANK):
                raise InputError(f"{where} row {row + 2}: a {BLANK!r} trial has no stim_id, and every other trial has one")
            if (trials["stim_id"][row] is None) != (trials["stim_file"][row] is None):
                raise InputError(f"{where} row {row + 2}: stim_id and stim_file stand together or are both n/a")
            if trials["probe"][row] not in (0, 1):
                raise InputError(f"{where} row {row + 2}: probe is {trials['probe'][row]}, expected 0 or 1")
        if len(trials) and ends.iloc[-1] > self.plan.duration_s + _TOLERANCE_S:
            raise InputError(
                f"{where}: the last trial ends at {ends.iloc[-1]:g} s, the run at {self.plan.duration_s:g} s; plan the run again"
            )

    @classmethod
    def read(cls, path: Path) -> "TrialList":
        """Read `..._trials.tsv` and its sidecar `..._trials.json`."""
        sidecar = path.with_suffix(".json")
        values = read_json(sidecar, "copy the plan again")
        return cls(RunName.parse(path.name), read_tsv(path, COLUMNS), parse_config(values, RunPlan, str(sidecar)))

    def write(self, root: Path) -> Path:
        """Write the list and its sidecar below `root` under its BIDS name; return the table's path."""
        path = self.name.path(root, SUFFIX)
        write_tsv(self.trials, path)
        write_text(json.dumps(asdict(self.plan), indent=2) + "\n", path.with_suffix(".json"))
        return path
