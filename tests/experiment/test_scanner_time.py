"""Scanner time from triggers that are lost, doubled, late or stray: what was planted is found again."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment.pulse_schedule import ScannerConfig, compute_volume_times, plan_pulses
from experiment.pulse_tracker import PulseTracker
from experiment.robust_line import fit_line

ORIGIN_NS = 5_000_000_000_000
NOISY = {"tr_s": 1.6, "volumes": 400, "drop": 0.05, "double": 0.02, "drift_ppm": 100.0, "jitter_s": 0.001}


def to_ns(time_s):
    return ORIGIN_NS + round(time_s * 1e9)


def follow(times_s, tr_s=1.6):
    tracker = PulseTracker(tr_s)
    for time_s in times_s:
        tracker.add(to_ns(time_s))
    return tracker


def follow_scanner(seed=0, nominal_s=1.6, strays_s=(), **settings):
    """Return the tracker, each pulse's true volume from the first that was sent (None: not one of its own), and when volumes begin."""
    scanner = ScannerConfig(**{"tr_s": nominal_s, "volumes": 200, **settings})
    pulses = [pulse for pulse in plan_pulses(scanner, np.random.default_rng(seed)) if pulse.kind != "dropped"]
    first = min(pulse.volume for pulse in pulses)
    heard = [(pulse.send_s, pulse.volume - first if pulse.kind in ("volume", "late") else None) for pulse in pulses]
    heard = sorted([*heard, *((stray_s, None) for stray_s in strays_s)], key=lambda one: one[0])
    return follow([time_s for time_s, _ in heard], nominal_s), [volume for _, volume in heard], compute_volume_times(scanner)[first:]


def measure_onset_error(fit, begin_s):
    """Return the worst error in s of converted times, at the beginning of volumes."""
    converted = np.array([fit.convert(to_ns(time_s)) for time_s in begin_s])
    return abs(converted - np.arange(len(begin_s)) * fit.nominal_tr_s).max()


@pytest.mark.parametrize("seed", range(30))
def test_volumes_onsets_and_drift_are_found_from_lost_and_doubled_pulses(seed):
    tracker, volumes, begin_s = follow_scanner(seed, **NOISY)
    fit = tracker.fit()
    assert [pulse.volume for pulse in tracker.pulses()] == volumes
    seen = {volume for volume in volumes if volume is not None}
    assert fit.lost == tuple(sorted(set(range(max(seen))) - seen))
    assert fit.volumes_seen == len(seen)
    assert fit.doubled == volumes.count(None)
    assert measure_onset_error(fit, begin_s) < 0.001
    assert abs(fit.drift_ppm - 100) < 2
    assert fit.tr_changed_at is None
    assert fit.residual_sd_s == pytest.approx(0.001, rel=0.3)


def test_first_pulse_late_is_the_start_delay_and_second_lost_is_lost():
    begin_s = np.arange(60) * 1.6
    fit = follow([0.05, *begin_s[1:]]).fit()
    assert fit.start_delay_s == pytest.approx(0.05, abs=1e-4)
    assert fit.intercept_ns == pytest.approx(ORIGIN_NS, abs=1e5)
    assert (fit.late, fit.lost) == (1, ())
    fit = follow([0.0, *begin_s[2:]]).fit()
    assert (fit.lost, fit.drift_ppm, fit.volumes_seen) == ((1,), pytest.approx(0, abs=0.01), 59)


def test_first_pulse_half_a_volume_late_is_volume_0_all_the_same():
    tracker = follow([0.6, *(np.arange(1, 30) * 1.6)])
    assert [pulse.volume for pulse in tracker.pulses()] == list(range(30))


def test_accident_before_the_scan_goes():
    tracker = follow([-30.9, *(np.arange(20) * 1.6)])
    assert [pulse.volume for pulse in tracker.pulses()] == [None, *range(20)]
    fit = tracker.fit()
    assert fit.intercept_ns == pytest.approx(ORIGIN_NS, abs=1e5)
    assert (fit.glitches, fit.lost) == (1, ())


@pytest.mark.parametrize("seed", range(5))
def test_late_pulses_bend_nothing_and_are_counted(seed):
    tracker, volumes, begin_s = follow_scanner(seed, late=0.1, jitter_s=0.001, drift_ppm=-80)
    fit = tracker.fit()
    assert [pulse.volume for pulse in tracker.pulses()] == volumes
    true = sum(pulse.kind == "late" for pulse in plan_pulses(ScannerConfig(tr_s=1.6, volumes=200, late=0.1), np.random.default_rng(seed)))
    assert fit.late == true > 5
    assert measure_onset_error(fit, begin_s) < 0.001
    assert abs(fit.drift_ppm + 80) < 5


@pytest.mark.parametrize("every_s", [0.002, 0.03, 0.1, 0.2])
def test_stuck_line_is_one_volume_and_many_glitches(every_s):
    tracker, volumes, begin_s = follow_scanner(3, stuck_at=80, stuck_for_s=6.0, stuck_every_s=every_s, jitter_s=0.001)
    fit = tracker.fit()
    found = [pulse.volume for pulse in tracker.pulses()]
    assert all(one in (None, true) for one, true in zip(found, volumes, strict=True))
    assert set(fit.lost) <= {81, 82, 83}
    assert fit.glitches >= 6.0 / every_s - 1
    assert measure_onset_error(fit, begin_s) < 0.001
    assert fit.tr_changed_at is None


@pytest.mark.parametrize(("nominal_s", "true_s"), [(1.6, 2.0), (1.6, 1.5), (1.6, 3.2), (2.0, 0.5), (1.6, 1.61)])
def test_other_tr_from_the_start_is_told_and_not_taken_for_lost_pulses(nominal_s, true_s):
    for seed in range(5):
        tracker, volumes, begin_s = follow_scanner(seed, nominal_s, tr_s=true_s, drop=0.05, jitter_s=0.001)
        fit = tracker.fit()
        assert fit.tr_changed_at == 0
        assert fit.tr_s == pytest.approx(true_s, rel=1e-5)
        assert fit.volumes_seen + len(fit.lost) == len(begin_s) or volumes[-1] < 199
        assert len(fit.lost) < 20
        assert measure_onset_error(fit, begin_s) < 0.003


@pytest.mark.parametrize("changed_s", [2.0, 1.5, 0.8, 3.2])
def test_tr_that_changes_on_the_way_is_told(changed_s):
    tracker, volumes, begin_s = follow_scanner(1, change_at=100, changed_tr_s=changed_s, jitter_s=0.001)
    fit = tracker.fit()
    assert [pulse.volume for pulse in tracker.pulses()] == volumes
    assert fit.tr_changed_at == 100
    assert [part.tr_s for part in fit.parts] == pytest.approx([1.6, changed_s], rel=1e-4)
    assert fit.tr_s == pytest.approx(1.6, rel=1e-5)
    assert measure_onset_error(fit, begin_s) < 0.001


def test_strays_between_volumes_are_glitches():
    strays_s = [10.3, 55.0, 130.9, 222.25]
    tracker, volumes, begin_s = follow_scanner(2, strays_s=strays_s, jitter_s=0.001)
    assert [pulse.volume for pulse in tracker.pulses()] == volumes
    assert tracker.fit().glitches == 4
    assert measure_onset_error(tracker.fit(), begin_s) < 0.001


@pytest.mark.parametrize(("tr_s", "before_s"), [(1.6, 0.06), (3.0, 0.4)])
def test_pulse_takes_its_volume_from_a_stray_before_it(tr_s, before_s):
    times_s = list(np.arange(30) * tr_s)
    tracker = follow(sorted([*times_s, 20 * tr_s - before_s]), tr_s)
    assert [pulse.volume for pulse in tracker.pulses()] == [*range(20), None, *range(20, 30)]


@pytest.mark.parametrize("drift_ppm", [150, 1500])
def test_cable_out_for_a_while_loses_no_count(drift_ppm):
    tracker, _, begin_s = follow_scanner(5, volumes=400, jitter_s=0.001, drift_ppm=drift_ppm)
    times_s = [(pulse.time_ns - ORIGIN_NS) / 1e9 for number, pulse in enumerate(tracker.pulses()) if not 80 <= number < 300]
    fit = follow(times_s).fit()
    assert fit.lost == tuple(range(80, 300))
    assert len(fit.parts) == 1  # the TR learnt before the gap leads across it
    assert measure_onset_error(fit, begin_s) < 0.001


def test_few_pulses_give_the_nominal_tr_from_the_first():
    with pytest.raises(ValueError, match="no trigger was added"):
        PulseTracker(1.6).fit()
    for times_s in ([0.0], [0.0, 1.61]):
        fit = follow(times_s).fit()
        assert (fit.tr_s, fit.drift_ppm, fit.intercept_ns, fit.tr_changed_at) == (1.6, 0.0, ORIGIN_NS, None)
        assert fit.convert(to_ns(10.0)) == pytest.approx(10.0)
    early = follow(np.arange(4) * 1.6 + np.array([0, 0.001, -0.001, 0.002])).fit()
    assert abs(early.drift_ppm) < 250  # four pulses alone would say 470


def test_what_is_told_of_a_pulse_at_once():
    tracker = PulseTracker(1.6)
    said = [tracker.add(to_ns(time_s)) for time_s in (0.0, 1.6, 1.605, 3.2, 4.0, 4.8)]
    assert [(pulse.kind, pulse.volume) for pulse in said] == [
        ("volume", 0),
        ("volume", 1),
        ("doubled", None),
        ("volume", 2),
        ("glitch", None),
        ("volume", 3),
    ]


def test_sidecar_words():
    described = follow([0.0, 1.6, 4.8, 6.4, 6.41]).fit().describe()
    assert described["VolumesLost"] == [2]
    assert (described["VolumesSeen"], described["TriggersDoubled"], described["RepetitionTimeChangedAt"]) == (4, 1, None)
    assert all(key[0].isupper() and "_" not in key for key in described)


@given(st.lists(st.floats(0, 60), min_size=1, max_size=60), st.sampled_from([0.5, 1.0, 2.2]))
def test_any_pulses_keep_the_invariants(times_s, tr_s):
    tracker = follow(sorted(times_s), tr_s)
    fit, pulses = tracker.fit(), tracker.pulses()
    volumes = [pulse.volume for pulse in pulses if pulse.volume is not None]
    assert volumes == sorted(set(volumes))
    assert volumes[0] >= 0
    assert all((pulse.volume is None) == (pulse.kind in ("doubled", "glitch")) for pulse in pulses)
    assert fit.volumes_seen + fit.doubled + fit.glitches == len(pulses)
    assert len(fit.lost) == volumes[-1] - volumes[0] + 1 - len(volumes)
    assert np.isfinite([fit.tr_s, fit.start_delay_s, fit.convert(to_ns(70.0))]).all()
    assert fit.tr_s > 0


@given(st.floats(-200, 200), st.floats(0.4, 3.0), st.integers(0, 1000), st.floats(-500, 500))
def test_clean_pulses_are_converted_exactly_and_time_only_moves_the_origin(drift_ppm, tr_s, seed, shift_s):
    begin_s = np.arange(80) * tr_s * (1 + drift_ppm * 1e-6)
    kept = begin_s[np.concatenate([[True], np.random.default_rng(seed).random(79) > 0.1])]
    fit, moved = follow(kept, tr_s).fit(), follow(kept + shift_s, tr_s).fit()
    assert measure_onset_error(fit, begin_s) < 1e-5
    assert fit.drift_ppm == pytest.approx(drift_ppm, abs=0.1)
    assert moved.lost == fit.lost
    assert moved.convert(to_ns(12.3 + shift_s)) == pytest.approx(fit.convert(to_ns(12.3)), abs=1e-6)


def test_robust_line_is_the_line_under_gross_errors():
    rng = np.random.default_rng(0)
    volumes = np.arange(101.0)
    times_s = 3.0 + 1.5 * volumes + 0.001 * rng.standard_normal(101)
    times_s[::10] += 0.3
    line = fit_line(volumes, times_s, 1.6)
    clean = np.polyfit(np.delete(volumes, np.s_[::10]), np.delete(times_s, np.s_[::10]), 1)
    assert [line.slope_s, line.offset_s] == pytest.approx(clean, abs=1e-4)
    assert line.sd_s == pytest.approx(0.001, rel=0.3)


def test_thousand_volumes_are_followed_in_no_time():
    tracker = follow(np.arange(1000) * 1.6)
    costs_s = []
    for number in range(1000, 1032):
        start_s = time.perf_counter()
        tracker.add(to_ns(number * 1.6))
        tracker.fit()
        costs_s.append(time.perf_counter() - start_s)
    assert np.median(costs_s) < 0.004
