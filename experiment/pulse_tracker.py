"""Which trigger belongs to which volume, told live: clock times in, one by one; a kind and a volume for each out.

A pulse right behind another is a second pulse of the same one (doubled, a bouncing key, a stuck line). The others lie on the grid of
volumes, or they are strays. The grid is that of the last pulses, so a late one shifts nothing; its TR follows the pulses.
Where pulses come regularly that the grid does not explain, the grid was wrong: the TR is another one, the first trigger
was an accident, or the scanner began anew. The pulses since then are placed again.
"""

from dataclasses import dataclass

import numpy as np

from experiment.robust_line import fit_line
from experiment.scanner_time import HeardPart, PulseKind, ScannerTime, find_late_s, summarize
from experiment.stage import NS_PER_S

BURST_S = 0.25  # a stuck key repeats faster than that, no scanner acquires a volume in less
_SHORTEST_TR_S = 0.3
_TOLERANCE = 0.15  # of a TR: how far from the grid a pulse still belongs to a volume
_RECENT = 9
_REFIT_EVERY, _REFIT_FROM, _REFIT_LAST = 8, 8, 200
_EQUAL_INTERVALS = 4
_EQUAL_MULTIPLES = 12  # intervals of two TR, say, can also be lost pulses
_EQUAL, _OTHER = 0.02, 0.01  # of an interval: what counts as equal, and as another TR
_EQUAL_S, _OTHER_S = 0.02, 0.01
_FIRST_GAP_TR = 3.0  # a lone first trigger that is followed by a longer silence was an accident
_SUSPECTED_SD_S = 0.002


@dataclass(frozen=True)
class Pulse:
    """A trigger at a clock time in ns: what it is, and the volume (from 0) that it announces, if any."""

    time_ns: int
    kind: PulseKind
    volume: int | None


class PulseTracker:
    """Follow the triggers of one run whose protocol says a TR of `tr_s` s.

    What `add` returns is what is known at that time; `pulses` is how everything heard is understood now.
    """

    def __init__(self, tr_s: float) -> None:
        self._nominal_s = self._tr_s = tr_s
        self._sd_s = _SUSPECTED_SD_S
        self._times_ns: list[int] = []
        self._times_s: list[float] = []  # from the first pulse
        self._volumes: list[int | None] = []
        self._kinds: list[PulseKind] = []
        self._heads: list[int] = []  # pulses that stand for themselves: the first of each burst
        self._accepted: list[int] = []  # pulses that are volumes, of the present part
        self._parts: list[tuple[int, float]] = []  # first pulse and TR of each part
        self._burst: list[int] = []
        self._known: ScannerTime | None = None

    def add(self, time_ns: int) -> Pulse:
        """Take a trigger at a clock time in ns, in order of time, and say what it seems to be."""
        number = len(self._times_ns)
        self._known = None
        self._times_ns.append(time_ns)
        self._times_s.append((time_ns - self._times_ns[0]) / NS_PER_S)
        self._volumes.append(None)
        self._kinds.append("glitch")
        behind_s = min(BURST_S, self._nominal_s / 4)
        if number and self._times_s[-1] - self._times_s[-2] < behind_s:
            self._burst.append(number)
            self._place_follower(number)
        else:
            self._burst = [number]
            self._place_head(number)
        return Pulse(time_ns, self._kinds[number], self._volumes[number])

    def pulses(self) -> tuple[Pulse, ...]:
        """Return every trigger as it is understood now."""
        return tuple(map(Pulse, self._times_ns, self._kinds, self._volumes))

    def fit(self) -> ScannerTime:
        """Return the scanner's clock as the triggers so far tell it; ask after the first one.

        Raises
        ------
        ValueError
            When no trigger was added.
        """
        if not self._times_ns:
            raise ValueError("no trigger was added: there is nothing to fit")
        if self._known is None:
            heard = []
            ends = [first for first, _ in self._parts[1:]] + [len(self._times_ns)]
            for (first, tr_s), end in zip(self._parts, ends, strict=True):
                taken = [number for number in range(first, end) if self._volumes[number] is not None]
                volumes = np.array([self._volumes[number] for number in taken], dtype=np.int64)
                heard.append(HeardPart(volumes, np.array([self._times_s[number] for number in taken]), tr_s))
            doubled, glitches = (self._kinds.count(kind) for kind in ("doubled", "glitch"))
            self._known = summarize(heard, doubled, glitches, self._times_ns[0], self._nominal_s)
        return self._known

    def _place_head(self, number: int) -> None:
        """Place a pulse that stands for itself."""
        self._heads.append(number)
        if not self._accepted:
            self._parts = [(number, self._tr_s)]
            self._accept(number, 0, 0.0)
            return
        volume, residual_s = self._locate(self._times_s[number])
        if volume is not None and volume > self._last_volume():
            self._accept(number, volume, residual_s)
        elif volume is not None:
            self._swap(number, volume, residual_s)
        self._look_for_another_grid()

    def _place_follower(self, number: int) -> None:
        """Place a pulse right behind another: it is a volume only where it fits closely and the one before does not."""
        volume, residual_s = self._locate(self._times_s[number])
        taken = any(self._volumes[one] is not None for one in self._burst)
        if len(self._burst) > 2:
            if self._kinds[number - 1] == "doubled":
                self._kinds[number - 1] = "glitch"
        elif taken:
            self._kinds[number] = "doubled"
            if volume is not None:
                self._swap(number, volume, residual_s)
        elif volume is not None and volume > self._last_volume() and abs(residual_s) < self._late_s():
            self._heads[-1] = number
            self._accept(number, volume, residual_s)

    def _locate(self, time_s: float) -> tuple[int | None, float]:
        """Return the volume at whose place a time is, None between volumes, and how much later than its place it is, in s."""
        recent = self._accepted[-_RECENT:]
        phases = sorted(self._times_s[one] - self._index(one) * self._tr_s for one in recent)
        start_s = phases[len(phases) // 2]
        volume = round((time_s - start_s) / self._tr_s)
        residual_s = time_s - start_s - volume * self._tr_s
        return (volume if abs(residual_s) <= _TOLERANCE * self._tr_s else None), residual_s

    def _accept(self, number: int, volume: int, residual_s: float) -> None:
        self._accepted.append(number)
        self._volumes[number] = volume
        self._kinds[number] = "volume" if abs(residual_s) <= self._late_s() else "late" if residual_s > 0 else "early"
        if len(self._accepted) >= _REFIT_FROM and len(self._accepted) % _REFIT_EVERY == 0:
            last = self._accepted[-_REFIT_LAST:]
            volumes = np.array([self._index(one) for one in last], dtype=float)
            line = fit_line(volumes, np.array([self._times_s[one] for one in last]), self._tr_s)
            self._tr_s, self._sd_s = line.slope_s, line.sd_s

    def _swap(self, number: int, volume: int, residual_s: float) -> None:
        """Let a pulse have its volume instead of the stray that was taken for it, where it fits closely and that one does not."""
        last = self._accepted[-1]
        if volume == self._volumes[last] and self._kinds[last] in ("late", "early") and abs(residual_s) < self._late_s():
            self._accepted.pop()
            self._volumes[last], self._kinds[last] = None, "glitch"
            if self._parts[-1][0] == last:
                self._parts[-1] = (number, self._parts[-1][1])
            if last in self._burst:
                self._heads[-1] = number
            self._accept(number, volume, residual_s)

    def _look_for_another_grid(self) -> None:
        """Place pulses again where the last ones come regularly but not as expected."""
        for count in (_EQUAL_INTERVALS, _EQUAL_MULTIPLES):
            recent = self._heads[-count - 1 :]
            intervals_s = np.diff([self._times_s[one] for one in recent])
            if len(intervals_s) < count or np.ptp(intervals_s) > max(_EQUAL * intervals_s[0], _EQUAL_S):
                return
            tr_s = float(intervals_s.mean())
            if tr_s < min(_SHORTEST_TR_S, self._nominal_s / 2):
                return
            multiple = max(1, round(tr_s / self._tr_s))
            explained = abs(tr_s - multiple * self._tr_s) <= max(_OTHER * tr_s, _OTHER_S)
            off_grid = all(self._volumes[one] is None for one in recent)
            if not explained or (multiple == 1 and off_grid) or (multiple > 1 and count == _EQUAL_MULTIPLES):
                self._place_again(tr_s)
                return

    def _place_again(self, tr_s: float) -> None:
        """Follow a new grid from the pulse on from which it explains the intervals better than the old one."""
        begin = self._find_begin(tr_s)
        placed = self._heads[begin:]
        volume = self._number_first(placed[0])
        for one in range(placed[0], len(self._volumes)):
            if self._volumes[one] is not None:
                self._volumes[one], self._kinds[one] = None, "glitch"
        self._parts = [part for part in self._parts if part[0] < placed[0] and self._has_volume(part[0])]
        self._parts.append((placed[0], tr_s))
        self._tr_s, self._accepted = tr_s, []
        for before, one in zip([placed[0], *placed], placed, strict=False):
            volume += round((self._times_s[one] - self._times_s[before]) / tr_s)
            self._accept(one, volume, 0.0)

    def _find_begin(self, tr_s: float) -> int:
        """Return the place among the heads from which on the grid of a TR in s explains every interval."""
        change_s = abs(tr_s - self._tr_s)
        tolerance_s = min(0.3 * change_s, 0.05 * tr_s) if change_s > _OTHER * tr_s else 0.05 * tr_s
        intervals_s = np.diff([self._times_s[one] for one in self._heads])
        new, old = (np.maximum(1, np.round(intervals_s / one)) for one in (tr_s, self._tr_s))
        explained = np.abs(intervals_s - new * tr_s) <= np.minimum(new * tolerance_s, _TOLERANCE * tr_s)
        # the old grid with fewer lost pulses; one such interval alone is a lost pulse of the new grid
        simpler = (old < new) & (np.abs(intervals_s - old * self._tr_s) <= tolerance_s)
        begin = len(intervals_s)
        while begin > 0 and explained[begin - 1] and not (simpler[begin - 1] and begin > 1 and simpler[begin - 2]):
            begin -= 1
        return begin

    def _number_first(self, first: int) -> int:
        """Return the volume of the first pulse of a new part; where hardly anything came before, that was an accident and goes."""
        own = self._volumes[first]
        if own is not None:
            return own
        before = [one for one in range(first) if self._volumes[one] is not None]
        gap_tr = (self._times_s[first] - self._times_s[before[-1]]) / self._tr_s
        if len(before) < 3 and (gap_tr > _FIRST_GAP_TR or gap_tr < 0.5):
            for one in before:
                self._volumes[one], self._kinds[one] = None, "glitch"
            return 0
        return self._index(before[-1]) + max(1, round(gap_tr))

    def _has_volume(self, number: int) -> bool:
        return self._volumes[number] is not None

    def _index(self, number: int) -> int:
        volume = self._volumes[number]
        return 0 if volume is None else volume

    def _last_volume(self) -> int:
        return self._index(self._accepted[-1])

    def _late_s(self) -> float:
        return find_late_s(self._sd_s, self._tr_s)
