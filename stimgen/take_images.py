"""Images taken from sets into a new one, with their rows, their recipes and what is told of each."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from protocols.provenance import FILE_NAME
from protocols.stimulus_set import StimulusSet
from stimgen.reproduce import RECIPES
from stimgen.set_tables import read_ascent, read_scores, write_ascent, write_scores


@dataclass(frozen=True)
class Taken:
    """Rows of a set that go into a new one."""

    stimulus_set: StimulusSet
    stim_ids: tuple[str, ...]

    @property
    def table(self) -> pd.DataFrame:
        """The rows, in the set's order."""
        table = self.stimulus_set.table
        return table[table["stim_id"].isin(self.stim_ids)]


def write_taken(taken: Sequence[Taken], description: dict[str, Any], folder: Path) -> StimulusSet:
    """Copy images, rows, drives and recipes into `folder`; columns that a set lacks are n/a in its rows.

    The recipe of every set is kept as `provenance/NAME.json`, so that its images can still be made again.
    """
    for one in taken:
        for name in one.table["stim_file"]:
            shutil.copyfile(one.stimulus_set.folder / name, folder / name)
        _copy_recipes(one.stimulus_set.folder, folder / RECIPES)
    table = pd.concat([one.table for one in taken], ignore_index=True)
    made = StimulusSet(folder, table, description)
    made.write(folder)
    for read, write in ((read_scores, write_scores), (read_ascent, write_ascent)):
        tables = [(found, one) for one in taken if (found := read(one.stimulus_set.folder)) is not None]
        if tables:
            write(pd.concat([found[found["stim_id"].isin(one.stim_ids)] for found, one in tables], ignore_index=True), folder)
    return made


def _copy_recipes(source: Path, place: Path) -> None:
    """Copy a set's own provenance and those that it holds of others, each under a name of its own."""
    place.mkdir(exist_ok=True)
    for path in (source / FILE_NAME, *sorted((source / RECIPES).glob("*.json"))):
        name = source.resolve().name if path.name == FILE_NAME else path.stem
        number, free = 1, place / f"{name}.json"
        while free.exists():
            number += 1
            free = place / f"{name}{number}.json"
        shutil.copyfile(path, free)
