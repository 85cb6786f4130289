"""The operator's line on stderr: volumes seen and lost, TR and drift, trial, hits, late frames and time left."""

import time
from types import TracebackType

from rich.progress import BarColumn, Progress, TextColumn

from experiment.console import progress_console
from experiment.session import Status

_INTERVAL_S = 0.5


class OperatorView:
    """A progress line that the session redraws where it has time; no thread of its own disturbs the frames."""

    def __init__(self, title: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=10), TextColumn("{task.fields[words]}"))
        self._progress = Progress(*columns, console=progress_console(), auto_refresh=False)
        self._task = self._progress.add_task(title, total=1.0, words="waiting for the scanner")
        self._last = 0.0

    def is_due(self) -> bool:
        """Say whether half a second has passed."""
        return time.monotonic() - self._last > _INTERVAL_S

    def show(self, status: Status) -> None:
        """Redraw the line."""
        self._last = time.monotonic()
        hits = f"hits {status.hits}/{status.probes}"
        lost = f" ({status.volumes_lost} lost)" if status.volumes_lost else ""
        scanner = f"volume {status.volumes_seen}/{status.volumes}{lost} TR {status.tr_s:.4f} {status.drift_ppm:+.0f} ppm"
        trial = f"trial {status.trial}/{status.trials} {hits} late {status.late_flips}  {_clock(status.left_s)} left"
        self._progress.update(self._task, completed=min(1.0, status.volumes_seen / max(1, status.volumes)), words=f"{scanner}  {trial}")
        self._progress.refresh()

    def __enter__(self) -> "OperatorView":
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
