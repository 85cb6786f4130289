"""The screen's changes are laid down before the run, and no flip, however late, shifts one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from experiment.frame_plan import FramePlan, Showing, compile_changes
from experiment.stage import NS_PER_S, Frame
from experiment.task import ShownTrial

PERIOD_NS = round(NS_PER_S / 60)


def make_showings(lengths_s, gaps_s):
    showings, now_s = [], 1.0
    for number, (length_s, gap_s) in enumerate(zip(lengths_s, gaps_s, strict=True)):
        showings.append(Showing(now_s, now_s + length_s, ShownTrial("natural", f"a{number}", None, False), False))
        now_s += length_s + gap_s
    return showings


def test_trials_that_touch_change_once_and_others_go_back_to_the_background():
    changes = compile_changes(make_showings([1.0, 1.0, 2.0], [0.5, 0.0, 0.0]))
    assert [(change.due_ns / NS_PER_S, change.row, change.frame) for change in changes] == [
        (1.0, 0, Frame("a0")),
        (2.0, None, Frame()),
        (2.5, 1, Frame("a1")),
        (3.5, 2, Frame("a2")),
        (5.5, None, Frame()),
    ]


lengths = st.lists(st.sampled_from([0.1, 0.4, 0.5, 1 / 3, 2.0]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(lengths, st.floats(0, 1), st.floats(-0.4, 0.4))
def test_every_change_is_on_the_flip_nearest_to_its_time(shown_s, phase, jitter):
    showings = make_showings(shown_s, [0.2] * len(shown_s))
    plan, rng, seen = FramePlan(showings), np.random.default_rng(0), {}
    for flip in range(round((showings[-1].offset_s + 1) * 60)):
        time_ns = round((flip + phase + jitter * rng.uniform(-0.1, 0.1)) * PERIOD_NS)
        step = plan.step(time_ns, PERIOD_NS)
        assert step.passed == ()
        if step.change:
            seen.setdefault(plan.changes.index(step.change), time_ns)
    assert sorted(seen) == list(range(len(plan.changes)))
    assert max(abs(time_ns - plan.changes[place].due_ns) for place, time_ns in seen.items()) <= 0.6 * PERIOD_NS


def test_a_stall_passes_over_what_it_hid_and_shifts_nothing():
    plan = FramePlan(make_showings([1.0] * 4, [1.0] * 4))  # onsets at 1, 3, 5, 7 s
    assert plan.step(NS_PER_S, PERIOD_NS).change.row == 0
    stalled = plan.step(round(5.5 * NS_PER_S), PERIOD_NS)
    assert (stalled.change.row, stalled.passed) == (2, (1,))
    assert plan.step(round(6.9 * NS_PER_S), PERIOD_NS).change.row is None
    assert plan.step(7 * NS_PER_S, PERIOD_NS).change.row == 3


def test_quiet_means_that_nothing_is_due():
    plan = FramePlan(make_showings([1.0], [0.0]))
    assert plan.is_quiet(0, NS_PER_S)
    assert not plan.is_quiet(round(0.9 * NS_PER_S), NS_PER_S // 4)
    plan.step(3 * NS_PER_S, PERIOD_NS)
    assert plan.is_quiet(3 * NS_PER_S, NS_PER_S)
