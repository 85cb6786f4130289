"""Tests in, claims out: a fixed sequence that keeps the family-wise error at alpha.

1. The gate: specificity over all ROIs at alpha. Where it fails, nothing is claimed.
2. The primary family: every planned primary contrast in every ROI, Holm-corrected.
3. The secondary family: all planned secondary contrasts, Holm-corrected, where those of ROIs without every primary claim count as p = 1.

If nothing is there, the gate alone bounds the chance of any claim by alpha. If only some effects are real, Holm bounds it within the
primary and within the secondary family, whatever the dependence of the tests; counting untested secondaries as p = 1, instead of
leaving them out, keeps this true although the ROIs were selected by the primary test on the same data.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

PRIMARY, SECONDARY, GATE, EXPLORATORY = "primary", "secondary", "gate", "exploratory"


def correct_holm(p: Sequence[float]) -> Float[np.ndarray, " tests"]:
    """Return Holm's (1979) adjusted p values: step-down Bonferroni."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values)))))
    return adjusted


def decide_claims(tests: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Add `p_corrected` and `claimed` to tests with `family roi estimate_psc p`.

    A claim needs the corrected p at or below alpha, an effect in the planned direction, and all that comes before it in the sequence.
    `p_corrected` is NaN for a secondary test that was not reached.
    """
    decided = tests.assign(p_corrected=np.nan, claimed=False).astype({"claimed": bool})
    gate = decided["family"] == GATE
    decided.loc[gate, "p_corrected"] = decided.loc[gate, "p"]
    passed = bool((decided.loc[gate, "p"] <= alpha).all())
    decided.loc[gate, "claimed"] = passed
    _correct(decided, decided["family"] == EXPLORATORY)
    primary = decided["family"] == PRIMARY
    _correct(decided, primary)
    decided.loc[primary, "claimed"] = passed & _holds(decided[primary], alpha)
    held = decided[primary].groupby("roi")["claimed"].all()
    secondary = decided["family"] == SECONDARY
    reached = secondary & decided["roi"].isin(held.index[held])
    counted = decided.loc[secondary, "p"].where(reached[secondary], 1.0)
    decided.loc[secondary, "p_corrected"] = correct_holm(counted.to_list())
    decided.loc[secondary & ~reached, "p_corrected"] = np.nan
    decided.loc[secondary, "claimed"] = _holds(decided[secondary], alpha)
    return decided


def _correct(tests: pd.DataFrame, chosen: pd.Series) -> None:
    tests.loc[chosen, "p_corrected"] = correct_holm(tests.loc[chosen, "p"].to_list())


def _holds(tests: pd.DataFrame, alpha: float) -> pd.Series:
    return (tests["p_corrected"] <= alpha) & (tests["estimate_psc"] > 0)
