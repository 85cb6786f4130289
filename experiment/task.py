"""The participant's task: onsets and keys in, event rows and a score out (hits, misses, false alarms, d', reaction times).

The session feeds a `ResponseBook` live and `recover` feeds it from a journal, so both give the same rows.
"""

import statistics
from collections import deque
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import Any

from protocols.events import Event
from protocols.probe import Probe

KEY_DELAY_S = 0.05  # a key that was pressed in time may be read this much later


@dataclass(frozen=True)
class ShownTrial:
    """One trial of a run as the task needs it; `probe` says that a response is due."""

    trial_type: str
    stim_id: str | None
    stim_file: str | None
    probe: bool


@dataclass
class _OpenTrial:
    trial: ShownTrial
    onset_s: float
    offset_s: float | None = None
    key: str | None = None
    reaction_s: float | None = None


@dataclass(frozen=True)
class Score:
    """How the participant did. Rates are log-linear corrected (Hautus 1995); times in seconds."""

    probes: int
    hits: int
    misses: int
    false_alarms: int
    correct_rejections: int
    stray_keys: int
    """Response keys that belong to no trial, or follow another key in the same trial."""
    d_prime: float | None
    d_prime_interval: tuple[float, float] | None
    """95 % interval of d' (Gourevitch and Galanter 1967)."""
    median_reaction_s: float | None

    def describe(self) -> dict[str, Any]:
        """Return the score as the events' sidecar carries it."""
        return asdict(self)


@dataclass
class ResponseBook:
    """Matches keys to trials and closes each trial once its response can no longer come.

    A key belongs to the first unanswered probe in whose response window it falls, else to the latest trial in whose
    window it falls if that is unanswered, else to none.
    """

    probe: Probe
    _open: deque[_OpenTrial] = field(default_factory=deque)
    _closed: list[_OpenTrial] = field(default_factory=list)
    _stray_keys: int = 0

    def begin(self, trial: ShownTrial, onset_s: float) -> None:
        """Note that `trial` appeared at `onset_s`."""
        self._open.append(_OpenTrial(trial, onset_s))

    def end(self, offset_s: float) -> None:
        """Note that the trial begun last disappeared at `offset_s`."""
        if self._open:
            self._open[-1].offset_s = offset_s

    def press(self, key: str, time_s: float) -> None:
        """Give a response key, pressed at `time_s`, to the trial that it belongs to."""
        earliest_s, latest_s = self.probe.response_window_s
        fitting = [one for one in self._open if earliest_s <= time_s - one.onset_s <= latest_s]
        due = [one for one in fitting if one.trial.probe and one.key is None]
        chosen = due[0] if due else fitting[-1] if fitting else None
        if chosen is None or chosen.key is not None:
            self._stray_keys += 1
            return
        chosen.key, chosen.reaction_s = key, time_s - chosen.onset_s

    def close(self, now_s: float) -> list[Event]:
        """Return the rows of the trials that are over and can no longer be answered at `now_s`, in order of onset."""
        rows = []
        while self._open and self._is_over(self._open[0], now_s):
            one = self._open.popleft()
            self._closed.append(one)
            rows.append(_make_event(one, now_s))
        return rows

    def close_all(self, now_s: float) -> list[Event]:
        """Return the rows of every trial still open: the run ends here."""
        if self._open and self._open[-1].offset_s is None:
            self._open[-1].offset_s = now_s
        return self.close(float("inf"))

    def score(self) -> Score:
        """Return the score over the trials closed so far."""
        probes = [one for one in self._closed if one.trial.probe]
        others = [one for one in self._closed if not one.trial.probe]
        hits = [one.reaction_s for one in probes if one.reaction_s is not None and self._says_yes(one)]
        false_alarms = sum(self._says_yes(one) for one in others)
        counts = (len(hits), len(probes), false_alarms, len(others))
        return Score(
            probes=len(probes),
            hits=len(hits),
            misses=len(probes) - len(hits),
            false_alarms=false_alarms,
            correct_rejections=len(others) - false_alarms,
            stray_keys=self._stray_keys,
            d_prime=compute_d_prime(*counts) if probes and others else None,
            d_prime_interval=bound_d_prime(*counts) if probes and others else None,
            median_reaction_s=statistics.median(hits) if hits else None,
        )

    def _says_yes(self, one: _OpenTrial) -> bool:
        """Say whether the key means that the participant noticed a probe: any key does, or in the old/new task those for 'old'."""
        return one.key is not None and (not self.probe.old_keys or one.key in self.probe.old_keys)

    def _is_over(self, one: _OpenTrial, now_s: float) -> bool:
        answered_by = one.onset_s + self.probe.response_window_s[1] + KEY_DELAY_S
        return one.offset_s is not None and now_s > answered_by


def compute_d_prime(hits: int, probes: int, false_alarms: int, others: int) -> float:
    """Return d' = z(H) - z(F), with the log-linear correction of both rates (Hautus 1995): (n + 0.5) / (N + 1)."""
    z = NormalDist().inv_cdf
    return z((hits + 0.5) / (probes + 1)) - z((false_alarms + 0.5) / (others + 1))


def bound_d_prime(hits: int, probes: int, false_alarms: int, others: int) -> tuple[float, float]:
    """Return the 95 % interval of d' from its asymptotic variance (Gourevitch and Galanter 1967), rates corrected as in `compute_d_prime`.

    var d' = H (1 - H) / (N_H phi(z_H)^2) + F (1 - F) / (N_F phi(z_F)^2), phi the standard normal density.
    """
    normal = NormalDist()
    variance = 0.0
    for count, total in ((hits, probes), (false_alarms, others)):
        rate = (count + 0.5) / (total + 1)
        variance += rate * (1 - rate) / ((total + 1) * normal.pdf(normal.inv_cdf(rate)) ** 2)
    middle, half = compute_d_prime(hits, probes, false_alarms, others), normal.inv_cdf(0.975) * variance**0.5
    return middle - half, middle + half


def _make_event(one: _OpenTrial, now_s: float) -> Event:
    offset_s = one.offset_s if one.offset_s is not None else now_s
    trial = one.trial
    return Event(
        one.onset_s, offset_s - one.onset_s, trial.trial_type, trial.stim_id, trial.stim_file, one.key, one.reaction_s, one.onset_s
    )
