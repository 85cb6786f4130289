"""Scanner time: a clock time in, seconds counted in the scanner's own volumes out. No clock is read and no file opened in here.

The triggers of a run lie on a line, volume against clock; its slope is the scanner's TR by this computer's clock. A time is
converted on that line, so neither a lost nor a late trigger, nor a clock that runs differently, shifts an onset against the
volumes. Where the TR changes in the middle of a run, or the scanner begins anew, there is one line for each part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from experiment.robust_line import Line, fit_line
from experiment.stage import NS_PER_S

PulseKind = Literal["volume", "late", "early", "doubled", "glitch"]
LEAST_PULSES = 3  # fewer leave the TR at its nominal value
LEAST_LATE_S = 0.005
_LATE_SD = 5.0
_CHANGED = 0.002  # of the nominal TR; clocks differ by a tenth of it at most


@dataclass(frozen=True)
class Part:
    """A stretch of a run with one TR: its first volume, that volume's fitted clock time in ns, and the TR in s."""

    first_volume: int
    first_ns: int
    tr_s: float


@dataclass(frozen=True)
class ScannerTime:
    """What the triggers of a run say of the scanner's clock. Volumes count from 0; times in s, on the clock in ns.

    `intercept_ns`, `tr_s` and `drift_ppm` are those of the run's first part; `start_delay_s` is how much the first pulse came after its
    place on the fitted line; `lost` are the volumes between the first and the last that were not heard. `tr_changed_at` is the
    volume from which the TR is not the protocol's (0: from the start), or None.
    """

    intercept_ns: int
    tr_s: float
    nominal_tr_s: float
    drift_ppm: float
    start_delay_s: float
    volumes_seen: int
    lost: tuple[int, ...]
    doubled: int
    late: int
    early: int
    glitches: int
    residual_sd_s: float
    tr_changed_at: int | None
    parts: tuple[Part, ...]

    def convert(self, time_ns: int) -> float:
        """Return a clock time as seconds in scanner time: the position in volumes, times the nominal TR.

        scanner time = (t - intercept) / estimated TR * nominal TR
        """
        part = next((one for one in reversed(self.parts) if time_ns >= one.first_ns), self.parts[0])
        return (part.first_volume + (time_ns - part.first_ns) / NS_PER_S / part.tr_s) * self.nominal_tr_s

    def describe(self) -> dict[str, Any]:
        """Return what the events' sidecar says of the scanner's clock; times in s."""
        return {
            "VolumesSeen": self.volumes_seen,
            "VolumesLost": list(self.lost),
            "TriggersDoubled": self.doubled,
            "TriggersLate": self.late,
            "TriggersEarly": self.early,
            "TriggerGlitches": self.glitches,
            "RepetitionTimeNominal": self.nominal_tr_s,
            "RepetitionTimeEstimated": round(self.tr_s, 9),
            "ClockDriftPpm": round(self.drift_ppm, 3),
            "StartDelay": round(self.start_delay_s, 6),
            "TriggerResidualSd": round(self.residual_sd_s, 6),
            "RepetitionTimeChangedAt": self.tr_changed_at,
            "Parts": [
                {
                    "FirstVolume": part.first_volume,
                    "ClockOnset": round((part.first_ns - self.intercept_ns) / NS_PER_S, 6),
                    "RepetitionTime": round(part.tr_s, 9),
                }
                for part in self.parts
            ],
        }


@dataclass(frozen=True)
class HeardPart:
    """Pulses that were taken for volumes of one stretch: volumes, times in s from the run's first pulse, and about its TR in s."""

    volumes: np.ndarray
    times_s: np.ndarray
    tr_s: float


def find_late_s(sd_s: float, tr_s: float) -> float:
    """Return from which residual, in s, a pulse counts as late or early, given the jitter's standard deviation."""
    return min(max(LEAST_LATE_S, _LATE_SD * sd_s), tr_s / 8)


def fit_part(part: HeardPart, nominal_s: float) -> Line:
    """Fit the line of one stretch; fewer than three pulses leave the slope as it was."""
    if len(part.volumes) >= LEAST_PULSES:
        return fit_line(part.volumes.astype(float), part.times_s, part.tr_s, nominal_s)
    return Line(float(part.times_s[0] - part.tr_s * part.volumes[0]), part.tr_s, 0.0)


def summarize(heard: Sequence[HeardPart], doubled: int, glitches: int, origin_ns: int, nominal_s: float) -> ScannerTime:
    """Fit every stretch and count; `origin_ns` is the clock time of the stretches' time 0."""
    lines = [fit_part(part, nominal_s) for part in heard]
    residual_s = np.concatenate([part.times_s - line.predict(part.volumes) for part, line in zip(heard, lines, strict=True)])
    sd_s = max(line.sd_s for line in lines)
    limit_s = find_late_s(sd_s, lines[0].slope_s)
    volumes = np.concatenate([part.volumes for part in heard])
    absent = set(range(int(volumes.min()), int(volumes.max()))) - set(volumes.tolist())
    first = lines[0]
    parts = []
    for part, line in zip(heard, lines, strict=True):
        volume = int(part.volumes[0])
        parts.append(Part(volume, origin_ns + round((line.offset_s + line.slope_s * volume) * NS_PER_S), line.slope_s))
    return ScannerTime(
        intercept_ns=origin_ns + round(first.offset_s * NS_PER_S),
        tr_s=first.slope_s,
        nominal_tr_s=nominal_s,
        drift_ppm=(first.slope_s / nominal_s - 1) * 1e6,
        start_delay_s=float(residual_s[0]),
        volumes_seen=len(volumes),
        lost=tuple(sorted(absent)),
        doubled=doubled,
        late=int((residual_s > limit_s).sum()),
        early=int((residual_s < -limit_s).sum()),
        glitches=glitches,
        residual_sd_s=sd_s,
        tr_changed_at=_find_change(heard, lines, nominal_s),
        parts=tuple(parts),
    )


def _find_change(heard: Sequence[HeardPart], lines: Sequence[Line], nominal_s: float) -> int | None:
    for part, line in zip(heard, lines, strict=True):
        error_s = line.sd_s / max(float(np.sqrt(((part.volumes - part.volumes.mean()) ** 2).sum())), 1)
        if abs(line.slope_s - nominal_s) > max(_CHANGED * nominal_s, _LATE_SD * error_s):
            return int(part.volumes[0])
    return None
