"""Events are told in the scanner's time, whatever the scanner's clock does to the computer's."""

import numpy as np
import pytest

from experiment.pulse_tracker import PulseTracker
from experiment.scanner_events import convert_events
from experiment.stage import NS_PER_S
from protocols.events import Event

ZERO_NS = 5_000_000_000


def follow(tr_s, times_s):
    tracker = PulseTracker(tr_s)
    for time_s in times_s:
        tracker.add(ZERO_NS + round(time_s * NS_PER_S))
    return tracker.fit()


def convert(rows_s, fit):
    return convert_events([Event(onset, 2.0, "natural", response_time=0.5) for onset in rows_s], fit, ZERO_NS)


def test_a_drifting_clock_is_taken_out_and_the_raw_one_kept():
    drift = 1 + 200e-6
    table = convert([100 * drift, 200 * drift], follow(1.0, np.arange(300) * drift))
    assert table["onset"].tolist() == pytest.approx([100, 200], abs=1e-5)
    assert table["onset_clock"].tolist() == pytest.approx([100 * drift, 200 * drift], abs=1e-6)
    assert table["duration"].tolist() == pytest.approx([2 / drift] * 2, abs=1e-5)
    assert table["response_time"].tolist() == [0.5, 0.5]


def test_a_first_trigger_that_was_heard_late_moves_no_onset():
    times = np.arange(100) * 1.0
    times[1:] -= 0.02  # the first one came 20 ms late, and time 0 on the clock is that one
    table = convert([10.0], follow(1.0, times))
    assert table["onset"].tolist() == pytest.approx([10.02], abs=1e-3)


def test_another_tr_than_the_protocol_s_leaves_seconds_as_they_are():
    table = convert([75.0], follow(1.6, np.arange(100) * 1.5))
    assert table["onset"].tolist() == pytest.approx([75.0], abs=1e-3)


def test_one_trigger_alone_leaves_the_clock():
    table = convert([0.0, 12.0], follow(1.6, [0.0]))
    assert table["onset"].tolist() == [0.0, 12.0]
