"""A run's triggers as BIDS has continuous recordings: `_recording-trigger_stim.tsv.gz`, 1 while a volume begins, else 0."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from protocols.run_name import RunName
from protocols.tables import write_text

SAMPLING_HZ = 1000
_SUFFIX = "recording-trigger_stim.tsv.gz"


def sample_pulses(times_s: Sequence[float]) -> tuple[float, np.ndarray]:
    """Return the start in seconds and the samples (uint8, at `SAMPLING_HZ`) of pulses at `times_s`."""
    if not times_s:
        return 0.0, np.zeros(1, dtype=np.uint8)
    places = np.round((np.asarray(times_s) - times_s[0]) * SAMPLING_HZ).astype(int)
    samples = np.zeros(places.max() + 1, dtype=np.uint8)
    samples[places] = 1
    return round(times_s[0], 6), samples


def write_trigger_recording(root: Path, name: RunName, times_s: Sequence[float]) -> Path:
    """Write every trigger of a run, dummies included; `times_s` on the program's clock, from the first kept trigger, in order.

    Returns
    -------
    The table's path; its sidecar stands beside it.
    """
    start_s, samples = sample_pulses(times_s)
    path = name.path(root, _SUFFIX)
    path.write_bytes(gzip.compress(b"".join(b"%d\n" % sample for sample in samples), mtime=0))
    sidecar = {
        "SamplingFrequency": SAMPLING_HZ,
        "StartTime": start_s,
        "Columns": ["trigger"],
        "trigger": {
            "Description": "1 in the millisecond of a trigger, on the program's clock from the first kept trigger",
            "Levels": {"0": "none", "1": "trigger"},
        },
    }
    write_text(json.dumps(sidecar, indent=2) + "\n", path.with_suffix("").with_suffix(".json"))
    return path
