"""What an emulated scanner sends, and when: its faults and a random generator in, a list of pulses out. Nothing is sent in here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from protocols.config import config

PulseKind = Literal["volume", "late", "dropped", "doubled", "stuck"]


@config
class ScannerConfig:
    """An emulated scanner: TR, number of volumes, faults. Times in s from the first volume; shares are of all volumes."""

    tr_s: float = Field(gt=0)
    volumes: int = Field(ge=1)
    drift_ppm: float = 0.0
    """How much longer its TR is by the computer's clock, in parts per million."""
    jitter_s: float = Field(default=0.0, ge=0)
    """Standard deviation of each pulse's delay."""
    drop: float = Field(default=0.0, ge=0, le=1)
    """Share of volumes whose pulse is not sent."""
    double: float = Field(default=0.0, ge=0, le=1)
    """Share of pulses that are followed by a second one."""
    doubled_after_s: tuple[float, float] = (0.003, 0.02)
    late: float = Field(default=0.0, ge=0, le=1)
    """Share of pulses that are sent too late."""
    late_by_s: tuple[float, float] = (0.01, 0.04)
    stuck_at: int | None = Field(default=None, ge=0)
    """With this volume's pulse the line sticks: pulses repeat rapidly for a while."""
    stuck_for_s: float = Field(default=2.0, ge=0)
    stuck_every_s: float = Field(default=0.03, gt=0)
    change_at: int | None = Field(default=None, ge=1)
    """From this volume on the TR is another one."""
    changed_tr_s: float | None = Field(default=None, gt=0)


@dataclass(frozen=True)
class PlannedPulse:
    """A pulse of one volume: when the volume begins, when its pulse is sent (in s from the first volume), and what is wrong with it."""

    volume: int
    planned_s: float
    send_s: float
    kind: PulseKind


def plan_pulses(scanner: ScannerConfig, rng: np.random.Generator) -> list[PlannedPulse]:
    """Return every pulse in order of sending, those that are dropped among them."""
    begin_s = compute_volume_times(scanner)
    jitter_s = scanner.jitter_s * rng.standard_normal(scanner.volumes)
    dropped, late, doubled = (rng.random(scanner.volumes) < share for share in (scanner.drop, scanner.late, scanner.double))
    delay_s = np.where(late, rng.uniform(*scanner.late_by_s, scanner.volumes), 0.0)
    after_s = rng.uniform(*scanner.doubled_after_s, scanner.volumes)
    send_s = begin_s + jitter_s + delay_s
    pulses: list[PlannedPulse] = []
    for volume in range(scanner.volumes):
        planned_s, at_s = float(begin_s[volume]), float(send_s[volume])
        kind: PulseKind = "dropped" if dropped[volume] else "late" if late[volume] else "volume"
        pulses.append(PlannedPulse(volume, planned_s, at_s, kind))
        if doubled[volume] and not dropped[volume]:
            pulses.append(PlannedPulse(volume, planned_s, at_s + float(after_s[volume]), "doubled"))
        if volume == scanner.stuck_at:
            pulses.extend(_stick(scanner, volume, planned_s, at_s))
    return sorted(pulses, key=lambda pulse: pulse.send_s)


def compute_volume_times(scanner: ScannerConfig) -> np.ndarray:
    """Return when each volume begins, in s of the computer's clock from the first."""
    tr_s = np.full(scanner.volumes, scanner.tr_s)
    if scanner.change_at is not None and scanner.changed_tr_s is not None:
        tr_s[scanner.change_at :] = scanner.changed_tr_s
    return np.concatenate([[0.0], np.cumsum(tr_s[:-1])]) * (1 + scanner.drift_ppm * 1e-6)


def _stick(scanner: ScannerConfig, volume: int, planned_s: float, at_s: float) -> Iterator[PlannedPulse]:
    for number in range(1, int(scanner.stuck_for_s / scanner.stuck_every_s) + 1):
        yield PlannedPulse(volume, planned_s, at_s + number * scanner.stuck_every_s, "stuck")
