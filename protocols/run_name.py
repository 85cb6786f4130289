"""Which run: subject, session, task and run number, and the BIDS names that follow from them."""

import re
from dataclasses import dataclass
from pathlib import Path

from protocols.errors import InputError

_LABEL = re.compile(r"[0-9A-Za-z]+")
_STEM = re.compile(
    r"sub-(?P<subject>[0-9A-Za-z]+)(?:_ses-(?P<session>[0-9A-Za-z]+))?_task-(?P<task>[0-9A-Za-z]+)"
    r"(?:_(?:acq|ce|rec|dir)-[0-9A-Za-z]+)*(?:_run-(?P<run>\d+))?(?=_|$)"
)


@dataclass(frozen=True, order=True)
class RunName:
    """One run of one subject; labels are BIDS labels (letters and digits). `session` may be None, as in BIDS.

    Raises
    ------
    InputError
        When a label holds anything but letters and digits, or the run number is below 1.
    """

    subject: str
    session: str | None
    task: str
    run: int

    def __post_init__(self) -> None:
        for entity in ("subject", "session", "task"):
            label = getattr(self, entity)
            if not (entity == "session" and label is None) and not _LABEL.fullmatch(label):
                raise InputError(f"{entity} {label!r}: a BIDS label has letters and digits only; rename it")
        if self.run < 1:
            raise InputError(f"run {self.run}: runs are numbered from 1")

    @property
    def stem(self) -> str:
        """The BIDS file name without suffix, e.g. `sub-01_ses-01_task-validation_run-01`."""
        session = f"_ses-{self.session}" if self.session else ""
        return f"sub-{self.subject}{session}_task-{self.task}_run-{self.run:02d}"

    @property
    def folder(self) -> Path:
        """The BIDS folder of the run's files, relative to the data set: `sub-01/ses-01/func`."""
        return Path(f"sub-{self.subject}", *([f"ses-{self.session}"] if self.session else []), "func")

    def path(self, root: Path, suffix: str) -> Path:
        """Return `ROOT/sub-01/ses-01/func/sub-01_ses-01_task-T_run-01_SUFFIX` (suffix with its extension)."""
        return root / self.folder / f"{self.stem}_{suffix}"

    @classmethod
    def parse(cls, file_name: str) -> "RunName":
        """Read the entities from a BIDS file name; a name without a run number is run 1."""
        match = _STEM.match(Path(file_name).name)
        if match is None:
            raise InputError(f"{file_name}: not a BIDS run name such as sub-01_ses-01_task-validation_run-01_events.tsv")
        return cls(match["subject"], match["session"], match["task"], int(match["run"] or 1))
