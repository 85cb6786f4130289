"""The scanner's clock from faulty triggers, beside rounding from the first trigger with the nominal TR; a part of bench_triggers."""

import numpy as np

from experiment.pulse_schedule import ScannerConfig, compute_volume_times, plan_pulses
from experiment.pulse_tracker import PulseTracker

SCANNERS = {
    "5 % lost, 2 % doubled, 100 ppm, 1 ms": {"drop": 0.05, "double": 0.02, "drift_ppm": 100, "jitter_s": 0.001},
    "nothing lost, 100 ppm, 1 ms": {"drift_ppm": 100, "jitter_s": 0.001},
    "20 % lost, 10 % doubled, 10 % late": {"drop": 0.2, "double": 0.1, "late": 0.1, "drift_ppm": -150, "jitter_s": 0.001},
    "a line stuck for 5 s": {"stuck_at": 150, "stuck_for_s": 5.0, "drop": 0.05, "drift_ppm": 100, "jitter_s": 0.001},
    "TR 2.0 from the start (protocol 1.6)": {"tr_s": 2.0, "drop": 0.05, "double": 0.02, "jitter_s": 0.001},
}


def measure_scanner_time(seeds: int, volumes: int = 400) -> list[list[object]]:
    """Return rows of the third table: runs with a wrong volume index, worst error of a converted onset in ms and of the drift in ppm."""
    rows = []
    for title, faults in SCANNERS.items():
        settings = {"tr_s": 1.6, "volumes": volumes, **faults}
        found = np.array([follow_scanner(ScannerConfig(**settings), seed) for seed in range(seeds)])
        wrong, onset_ms, drift_ppm, naive_wrong, naive_ms = found.T
        rows.append([title, seeds, int((wrong > 0).sum()), onset_ms.max(), drift_ppm.max(), int((naive_wrong > 0).sum()), naive_ms.max()])
    return rows


def follow_scanner(scanner: ScannerConfig, seed: int, nominal_s: float = 1.6) -> tuple[float, float, float, float, float]:
    """Return, for one run, wrong indices, the worst onset error (ms) and the drift's error (ppm); then indices and onsets of rounding."""
    pulses = [pulse for pulse in plan_pulses(scanner, np.random.default_rng(seed)) if pulse.kind != "dropped"]
    tracker = PulseTracker(nominal_s)
    for pulse in pulses:
        tracker.add(round(pulse.send_s * 1e9))
    fit, first = tracker.fit(), min(pulse.volume for pulse in pulses)
    own = [pulse.kind in ("volume", "late") for pulse in pulses]
    pairs = [(heard.volume, pulse.volume - first) for heard, pulse, is_own in zip(tracker.pulses(), pulses, own, strict=True) if is_own]
    wrong = sum(found is not None and found != true for found, true in pairs)
    begin_s = compute_volume_times(scanner)[first:]
    truth_s = np.arange(len(begin_s)) * nominal_s
    onsets_s = np.array([fit.convert(round(time_s * 1e9)) for time_s in begin_s])
    drift_ppm = (scanner.tr_s * (1 + scanner.drift_ppm * 1e-6) / nominal_s - 1) * 1e6
    zero_s = pulses[0].send_s
    naive = [round((pulse.send_s - zero_s) / nominal_s) for pulse in pulses]
    naive_wrong = sum(number != pulse.volume - first for number, pulse in zip(naive, pulses, strict=True) if pulse.kind != "stuck")
    naive_ms = 1e3 * abs(begin_s - zero_s - truth_s).max()
    return wrong, 1e3 * abs(onsets_s - truth_s).max(), abs(fit.drift_ppm - drift_ppm), naive_wrong, naive_ms
