"""The tables that may stand beside a set's own: each model's drive of every image, and the drive of images while they were made."""

from pathlib import Path

import pandas as pd

from protocols.tables import Columns, read_tsv, write_tsv

SCORES, ASCENT = "scores.tsv", "ascent.tsv"
_SCORES: Columns = {"stim_id": "text", "model": "text", "role": "text", "drive": "optional number"}
_ASCENT: Columns = {"stim_id": "text", "step": "integer", "drive": "optional number"}


def write_scores(table: pd.DataFrame, folder: Path) -> None:
    """Write `stim_id model role drive`: z of an image's own target by each model, whose role is `maker` or `judge`."""
    write_tsv(table, folder / SCORES)


def read_scores(folder: Path) -> pd.DataFrame | None:
    """Read what `write_scores` wrote; None where it is not there."""
    return read_tsv(folder / SCORES, _SCORES) if (folder / SCORES).is_file() else None


def write_ascent(table: pd.DataFrame, folder: Path) -> None:
    """Write `stim_id step drive`: z of a target image by its makers, the mean of the steps since the row before."""
    write_tsv(table, folder / ASCENT)


def read_ascent(folder: Path) -> pd.DataFrame | None:
    """Read what `write_ascent` wrote; None where it is not there."""
    return read_tsv(folder / ASCENT, _ASCENT) if (folder / ASCENT).is_file() else None
