"""Where a set's inputs lie: models, judges, natural pool, photographs; as a person gave them, and as a set records them."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from protocols.config import config
from stimgen.order import TargetsFile


@config
class Sources:
    """Folders and files that a set is made from."""

    models: tuple[Path, ...]
    judges: tuple[Path, ...] = ()
    validators: tuple[Path, ...] = ()
    pool: Path
    weights: tuple[Path, ...] = ()
    """Weights files of models that were fitted with some."""

    def name_inputs(self, order: TargetsFile) -> dict[str, Path]:
        """Return every input by its name in `provenance.json`; models and judges go by their folders' names."""
        inputs = {"pool": self.pool}
        for role, folders in (("model", self.models), ("judge", self.judges), ("validator", self.validators)):
            inputs |= {f"{role} {number + 1} {folder.name}": folder for number, folder in enumerate(folders)}
        own = {"photographs": order.image.photographs, "mask": order.image.mask, "luminance table": order.photometry.luminance_table}
        return inputs | {name: path for name, path in own.items() if path is not None}


def record_sources(sources: Sources, folder: Path) -> Sources:
    """Return the same places relative to a set's folder."""
    return _map_sources(sources, lambda path: _rebase(path, folder))


def find_sources(recorded: Sources, folder: Path) -> Sources:
    """Return the places that a set in `folder` recorded, as seen from the working folder."""
    return _map_sources(recorded, lambda path: folder / path)


def record_order(order: TargetsFile, folder: Path) -> TargetsFile:
    """Return the order with its paths relative to a set's folder."""
    return _map_order(order, lambda path: _rebase(path, folder))


def find_order(recorded: TargetsFile, folder: Path) -> TargetsFile:
    """Return an order that a set in `folder` recorded, its paths as seen from the working folder."""
    return _map_order(recorded, lambda path: folder / path)


def _rebase(path: Path, folder: Path) -> Path:
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve()))
    except ValueError:  # another drive, on Windows
        return path.resolve()


def _map_sources(sources: Sources, change: Callable[[Path], Path]) -> Sources:
    changed = {name: tuple(change(path) for path in getattr(sources, name)) for name in ("models", "judges", "validators", "weights")}
    return Sources(pool=change(sources.pool), **changed)


def _map_order(order: TargetsFile, change: Callable[[Path], Path]) -> TargetsFile:
    def map_one(path: Path | None) -> Path | None:
        return None if path is None else change(path)

    image = dataclasses.replace(order.image, photographs=map_one(order.image.photographs), mask=map_one(order.image.mask))
    photometry = dataclasses.replace(order.photometry, luminance_table=map_one(order.photometry.luminance_table))
    return dataclasses.replace(order, pool=map_one(order.pool), image=image, photometry=photometry)
