"""Standardized differences of what images look like, between conditions and between targets: what a drive must not be explained by."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from jaxtyping import Float

from stimgen.look import LOOKS
from stimgen.order import TARGET

LARGEST = 0.1  # a standardized difference beyond it counts (Austin 2009, on balance)
_LEAST_SPREAD = 0.05  # of natural images' sd: images all alike are not told apart by less


def compare_conditions(table: pd.DataFrame, looks: pd.DataFrame, natural_sd: Mapping[str, float]) -> pd.DataFrame:
    """Return one row per pair of conditions: `first second` and the standardized difference of each of `LOOKS`.

    `table` has `condition target`; `looks` the same rows. The difference is that of the means over the pooled standard deviation, the
    latter at least a twentieth of `natural_sd`.
    """
    return _compare(looks, table["condition"], natural_sd)


def compare_targets(table: pd.DataFrame, looks: pd.DataFrame, natural_sd: Mapping[str, float]) -> pd.DataFrame:
    """Return the same for each pair of targets, on their target images."""
    made = (table["condition"] == TARGET).to_numpy()
    return _compare(looks[made], table["target"][made], natural_sd)


def _compare(looks: pd.DataFrame, groups: "pd.Series[str]", natural_sd: Mapping[str, float]) -> pd.DataFrame:
    names = list(dict.fromkeys(groups.fillna("n/a")))
    values = {name: looks[(groups.fillna("n/a") == name).to_numpy()] for name in names}
    rows = []
    for first, second in combinations(names, 2):
        own = {
            look: standardize(values[first][look].to_numpy(), values[second][look].to_numpy(), natural_sd.get(look, 0.0)) for look in LOOKS
        }
        rows.append({"first": first, "second": second, **own})
    return pd.DataFrame(rows, columns=["first", "second", *LOOKS])


def standardize(first: Float[np.ndarray, " images"], second: Float[np.ndarray, " others"], natural_sd: float) -> float:
    """Return the difference of two means, in pooled standard deviations; infinite where neither group varies and they differ."""
    difference = float(np.mean(first) - np.mean(second))
    spread = max(float(np.sqrt((np.var(first) + np.var(second)) / 2)), _LEAST_SPREAD * natural_sd)
    if abs(difference) < 1e-9:
        return 0.0
    return difference / spread if spread > 0 else float(np.copysign(np.inf, difference))


def find_unbalanced(compared: pd.DataFrame, wanted: Sequence[str], what: str) -> list[str]:
    """Return one sentence per pair that differs by more than `LARGEST` in what is not `wanted` to differ."""
    lines = []
    for record in compared.to_dict("records"):
        told = [f"{look} {record[look]:+.2f}" for look in LOOKS if look not in wanted and abs(record[look]) > LARGEST]
        if told:
            lines.append(
                f"{what} {record['first']} and {record['second']} differ by more than {LARGEST:g} standard deviations: {', '.join(told)}; "
                "match it (photometry.match), or list it in photometry.wanted"
            )
    return lines
