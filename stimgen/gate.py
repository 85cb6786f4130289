"""Does an image do outside of its models what it was made to do? Judged and predicted drive in, a verdict out."""

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float
from pydantic import Field

from protocols.config import config

PASS, FLAG = "pass", "flag"


@config
class Gate:
    """What an image must reach, by models that took no part in making it."""

    least_percentile: float = Field(default=95.0, ge=0, le=100)
    """Percentage of natural images whose judged drive the image must exceed."""
    least_ratio: float = Field(default=0.35, ge=0)
    """Judged over predicted drive: noise that only its own model answers to stays below."""
    most_high_frequency: float = Field(default=0.35, ge=0, le=1)
    """Largest share of luminance variance above a quarter cycle per pixel."""
    action: Literal["flag", "refuse"] = "flag"
    """`flag` marks an image in the table; `refuse` ends the command without a set."""


def judge_images(
    predicted: Float[np.ndarray, " images"],
    judged: Float[np.ndarray, " images"],
    natural: Float[np.ndarray, " pool"],
    high_frequency: Float[np.ndarray, " images"],
    gate: Gate,
    compare: bool,
) -> pd.DataFrame:
    """Return `drive_predicted drive_judged drive_ratio drive_percentile gate` of images of one goal.

    `natural` is the judged rating of natural images. The ratio is n/a where predicted drive is not positive, or `compare` is false
    (a distance from a response has no ratio).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where((predicted > 0) & compare, judged / predicted, np.nan)
    percentile = 100 * (natural[None, :] < judged[:, None]).mean(axis=1)
    passed = (percentile >= gate.least_percentile) & (high_frequency <= gate.most_high_frequency) & ~(ratio < gate.least_ratio)
    verdict = [None if np.isnan(drive) else PASS if good else FLAG for drive, good in zip(judged, passed, strict=True)]
    percentile = np.where(np.isnan(judged), np.nan, percentile)
    columns = {
        "drive_predicted": predicted.round(4),
        "drive_judged": judged.round(4),
        "drive_ratio": ratio.round(4),
        "drive_percentile": percentile.round(2),
        "gate": verdict,
    }
    return pd.DataFrame(columns)
