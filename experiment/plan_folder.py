"""PlanFolder: everything that a scanner PC needs, in one folder: the resolved protocol, the images, every run's trials."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from protocols.errors import InputError
from protocols.output_folder import list_files
from protocols.protocol import Protocol
from protocols.provenance import Provenance
from protocols.run_name import RunName
from protocols.stimulus_set import StimulusSet
from protocols.trials import SUFFIX, TrialList

PROTOCOL = "protocol.json"
STIMULI = "stimuli"


@dataclass(frozen=True)
class PlanFolder:
    """A complete plan. `names` lists its runs in order; `read_run` reads one."""

    folder: Path
    protocol: Protocol
    stimuli: StimulusSet
    names: tuple[RunName, ...]

    @classmethod
    def read(cls, folder: Path) -> "PlanFolder":
        """Read a complete plan; images and trial lists are checked when they are used.

        Raises
        ------
        InputError
            When the folder has no provenance (it is incomplete), or its protocol, images or trial lists are missing.
        """
        outputs = Provenance.read(folder).outputs  # not what lies there: an overwritten plan may have left other lists
        protocol = Protocol.read(folder / PROTOCOL)
        names = sorted(RunName.parse(path) for path in outputs if path.endswith(f"_{SUFFIX}"))
        if not names:
            raise InputError(f"{folder}: has no trial lists; run 'experiment plan' again")
        return cls(folder, protocol, StimulusSet.read(folder / STIMULI), tuple(names))

    def read_run(self, name: RunName) -> TrialList:
        """Read one run's trials.

        Raises
        ------
        InputError
            When the plan has no such subject, session or run (it says which there are), or was made for other images.
        """
        self._check_known(name)
        trials = TrialList.read(name.path(self.folder, SUFFIX))
        if trials.plan.set_sha256 != self.stimuli.sha256:
            raise InputError(
                f"{name.path(self.folder, SUFFIX)}: was planned for another stimulus set "
                f"({trials.plan.set_sha256[:12]}) than {self.stimuli.folder} ({self.stimuli.sha256[:12]}); copy or make the plan again"
            )
        return trials

    def _check_known(self, name: RunName) -> None:
        if name in self.names:
            return
        subjects = sorted({known.subject for known in self.names})
        if name.subject not in subjects:
            raise InputError(f"{self.folder}: has no subject {name.subject!r}; it has {', '.join(subjects)}")
        sessions = sorted({str(known.session) for known in self.names if known.subject == name.subject})
        if name.session not in sessions:
            raise InputError(f"{self.folder}: subject {name.subject} has no session {name.session!r}; it has {', '.join(sessions)}")
        runs = [str(known.run) for known in self.names if (known.subject, known.session) == (name.subject, name.session)]
        raise InputError(f"{self.folder}: subject {name.subject}, session {name.session} has no run {name.run}; it has {', '.join(runs)}")


def write_plan(folder: Path, protocol: Protocol, stimuli: StimulusSet, runs: Iterable[TrialList]) -> None:
    """Write a plan into `folder` (see `staged_folder`): the protocol, a byte copy of the set, the trial lists."""
    protocol.write(folder / PROTOCOL)
    copy_files(stimuli.folder, folder / STIMULI)
    for trials in runs:
        trials.write(folder)


def copy_files(source: Path, target: Path) -> None:
    """Copy every file below `source` to `target`, byte for byte."""
    for file in list_files(source):
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
