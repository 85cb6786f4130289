"""The BIDS data set that runs are recorded in: its description, participants and stimuli, written where they are absent."""

import json
import tempfile
from pathlib import Path

import pandas as pd

from experiment.plan_folder import PlanFolder, copy_files
from protocols.errors import InputError
from protocols.run_name import RunName
from protocols.stimulus_set import TABLE, StimulusSet
from protocols.tables import read_tsv, write_text, write_tsv

BIDS_VERSION = "1.10.0"
_README = """{title}

Recorded with voxdrive's `experiment run` from the plan of task {task}.
`stimuli/` holds the images, `sourcedata/` every trigger, key and frame time, and the resolved protocol of each run.
A run whose events sidecar says "Rehearsal": true was made without a participant.
"""


def prepare_root(root: Path, plan: PlanFolder) -> str:
    """Write what a BIDS data set needs beside its runs, where it is absent: nothing that is there is changed.

    The first task's images lie in `stimuli/`, those of another set of another task in `stimuli/task-TASK/`.

    Returns
    -------
    What goes before a stim_file: '', or `task-TASK/`.

    Raises
    ------
    InputError
        When the data set has runs of this task with other images than the plan's.
    """
    root.mkdir(parents=True, exist_ok=True)
    prefix = find_stimuli(root, plan)
    _copy_stimuli(root / "stimuli" / prefix, plan.stimuli)
    title = plan.protocol.title or plan.protocol.task
    description = {"Name": title, "BIDSVersion": BIDS_VERSION, "DatasetType": "raw", "GeneratedBy": [{"Name": "voxdrive"}]}
    _write_absent(json.dumps(description, indent=2) + "\n", root / "dataset_description.json")
    if not list(root.glob("README*")):
        _write_absent(_README.format(title=title, task=plan.protocol.task), root / "README.md")
    return prefix


def find_stimuli(root: Path, plan: PlanFolder) -> str:
    """Return where below `root/stimuli` a plan's images are or will be: '' or `task-TASK/`.

    Raises
    ------
    InputError
        When the data set has other images than the plan's, and no runs of other tasks alone that they could belong to.
    """
    shared, own = root / "stimuli", f"task-{plan.protocol.task}/"
    present = {prefix: StimulusSet.read(shared / prefix).sha256 for prefix in ("", own) if (shared / prefix / TABLE).exists()}
    for prefix, sha256 in present.items():
        if sha256 == plan.stimuli.sha256:
            return prefix
    if not present:
        return ""
    tasks = {RunName.parse(path.name).task for path in root.glob("sub-*/**/func/*_events.tsv")}
    if not tasks or plan.protocol.task in tasks or own in present:
        raise InputError(
            f"{shared}: holds another stimulus set ({list(present.values())[-1][:12]}) than the plan ({plan.stimuli.sha256[:12]}); "
            "record this plan in a data set of its own: give another --bids"
        )
    return own


def add_participant(root: Path, subject: str) -> None:
    """Add a subject of whom there are data to `participants.tsv`, which is made where it is absent.

    Raises
    ------
    InputError
        When participants.tsv is no table with a participant_id.
    """
    path, participant = root / "participants.tsv", f"sub-{subject}"
    columns = {"participant_id": {"Description": "Label of the participant"}}
    _write_absent(json.dumps(columns, indent=2) + "\n", path.with_suffix(".json"))
    if not path.exists():
        write_tsv(pd.DataFrame({"participant_id": [participant]}), path)
        return
    table = read_tsv(path, {"participant_id": "text"})
    if participant not in set(table["participant_id"]):
        write_tsv(pd.concat([table, pd.DataFrame({"participant_id": [participant]})], ignore_index=True), path)


def _write_absent(text: str, path: Path) -> None:
    if not path.exists():
        write_text(text, path)


def _copy_stimuli(target: Path, stimuli: StimulusSet) -> None:
    """Copy the set beside its place and move it there whole, unless it is there."""
    if (target / TABLE).exists():
        return
    staging = Path(tempfile.mkdtemp(prefix=".stimuli.incomplete-", dir=target.parent))
    staging.chmod(target.parent.stat().st_mode & 0o777)
    copy_files(stimuli.folder, staging)
    staging.replace(target)
