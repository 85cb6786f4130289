"""A practice run: the first trials of a run without the scanner, its files apart from the data set's."""

import dataclasses

from experiment.perform import RunOptions
from experiment.recorder import RunFiles
from protocols.protocol import Protocol
from protocols.trials import TrialList

_TRIALS, _PROBES = 10, 2
FOLDER = "practice"


def prepare_practice(files: RunFiles, trials: TrialList, protocol: Protocol, options: RunOptions) -> tuple[RunFiles, RunOptions]:
    """Return where a practice run's files go (`ROOT/sourcedata/practice/`, the next free run number) and how it is shown.

    It begins a second after the instructions without a scanner, and ends after ten trials or as many more as two probes need.
    """
    kept = dataclasses.replace(files, root=files.root / "sourcedata" / FOLDER)
    while kept.exist():
        kept = dataclasses.replace(kept, name=dataclasses.replace(kept.name, run=kept.name.run + 1))
    trigger = None if options.rehearse else f"emulate:{protocol.timing.tr_s:g}"
    return kept, dataclasses.replace(options, max_trials=options.max_trials or count_trials(trials), trigger=trigger, safe=False)


def count_trials(trials: TrialList) -> int:
    """Return how many trials of a run make a practice."""
    counts = trials.trials["probe"].cumsum()
    enough = counts[counts >= min(_PROBES, int(counts.iloc[-1]))].index[0] + 1
    return int(max(_TRIALS, enough + 1))
