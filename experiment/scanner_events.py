"""Events on the program's clock and the fit of the volumes in; events in scanner time out, the raw clock beside it."""

import dataclasses
from collections.abc import Sequence

import pandas as pd

from experiment.scanner_time import ScannerTime
from experiment.stage import NS_PER_S
from protocols.events import Event


def convert_events(rows: Sequence[Event], scanner: ScannerTime, zero_ns: int) -> pd.DataFrame:
    """Return the table of a run's events with `onset` in scanner time and `onset_clock` as it was measured.

    Scanner time is counted in volumes: 0 is where the fitted line has the first kept volume, and one TR is one nominal TR,
    whatever the two clocks make of it; where the TR turned out to be another one, seconds are the clock's. `duration`
    follows; `response_time` stays as measured.
    """
    converted = []
    for row in rows:
        begin_s, end_s = (_convert(zero_ns + round(at * NS_PER_S), scanner) for at in (row.onset, row.onset + row.duration))
        converted.append(dataclasses.replace(row, onset=begin_s, duration=end_s - begin_s, onset_clock=row.onset))
    table = pd.DataFrame([dataclasses.asdict(row) for row in converted], columns=[field.name for field in dataclasses.fields(Event)])
    return table.round(6)


def _convert(time_ns: int, scanner: ScannerTime) -> float:
    """Convert a clock time; where the scanner's TR is not the protocol's at all, seconds stay the clock's, from the first volume."""
    if scanner.tr_changed_at is None:
        return scanner.convert(time_ns)
    return (time_ns - scanner.intercept_ns) / NS_PER_S
