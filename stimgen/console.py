"""What several verbs share: progress (on stderr, so that a command's own words on stdout stay clean), and the feature cache."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn, track

if TYPE_CHECKING:
    from stimgen.feature_cache import FeatureCache
    from stimgen.features import FeatureSpace

CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", envvar="VOXDRIVE_CACHE", help="Folder that keeps computed features; the user's cache folder otherwise."),
]
_TABLE_COLUMNS = 120
NoCacheOption = Annotated[bool, typer.Option("--no-cache", help="Neither read nor keep computed features.")]


def progress_console() -> Console:
    """Return a console on stderr."""
    return Console(stderr=True)


def table_console() -> Console:
    """Return a console on stdout for wide tables: as wide as the terminal, and wide enough for them where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=_TABLE_COLUMNS)


def track_batches(description: str) -> Callable[[range], Iterable[int]]:
    """Return a function that wraps the starting indices of batches in a progress bar; into a file goes one line, before the work."""

    def wrap(starts: range) -> Iterable[int]:
        console = progress_console()
        if console.is_terminal:
            return track(starts, description=description, console=console)
        console.print(f"{description}: {len(starts)} batches")
        return starts

    return wrap


@contextmanager
def count_progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with the time left; yield what is told how many more of `total` are done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=progress_console()) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.advance(task, done)


def open_cache(folder: Path | None, disabled: bool) -> "FeatureCache | None":
    """Return the feature cache in `folder`, or in the user's cache folder; None where it is disabled."""
    from stimgen.feature_cache import FeatureCache

    return None if disabled else FeatureCache(cache_folder(folder))


def cache_folder(folder: Path | None) -> Path:
    """Return the folder of cached features: the given one, or that of the user's cache."""
    from platformdirs import user_cache_path

    return folder or user_cache_path("voxdrive") / "features"


def extract_images(space: "FeatureSpace", paths: list[Path], cache: "FeatureCache | None") -> np.ndarray:
    """Return the features of image files, images x features, from the cache where it has them; with progress."""
    from stimgen.feature_cache import BATCH, extract_cached
    from stimgen.features import extract_files

    track_features = track_batches("features")
    if cache:
        return extract_cached(space, paths, cache, track_features)
    return extract_files(space, paths, BATCH, track_features(range(0, len(paths), BATCH)))
