"""fMRIPrep's confounds table in, the chosen regressors out, demeaned, without a missing value."""

from pathlib import Path
from typing import Literal

import pandas as pd

from protocols.errors import InputError
from protocols.tables import read_tsv

Strategy = Literal["none", "motion6", "motion24"]
MOTION = tuple(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz")
NON_STEADY = "non_steady_state_outlier"


def read_confounds(path: Path, strategy: Strategy, volumes: int) -> pd.DataFrame:
    """Return the confounds of a run: none, 6 motion parameters, or 24 (with derivatives and the squares of both).

    Volumes that fMRIPrep marks as not in steady state get a regressor each, which takes them out of the model. A
    derivative has no first value; as nilearn's `load_confounds` does, the second stands in for it.

    Raises
    ------
    InputError
        When columns are missing or the table's length is not the run's.
    """
    if strategy == "none":
        return pd.DataFrame(index=range(volumes))
    table = read_tsv(path, dict.fromkeys(MOTION, "optional number"))
    if len(table) != volumes:
        raise InputError(f"{path}: {len(table)} rows, but the BOLD has {volumes} volumes; they are of different runs")
    chosen = table[list(MOTION)]
    if strategy == "motion24":
        both = pd.concat([chosen, chosen.diff().add_suffix("_derivative1")], axis=1)
        chosen = pd.concat([both, (both**2).add_suffix("_power2")], axis=1)
    chosen = chosen.fillna({name: chosen[name].iloc[1] for name in chosen if pd.isna(chosen[name].iloc[0])})
    if chosen.isna().any(axis=None):
        row = int(chosen.isna().any(axis=1).to_numpy().argmax())
        raise InputError(f"{path} row {row + 2}: n/a in a motion parameter; only the first row may lack one, run fMRIPrep again")
    spikes = table[[name for name in table if str(name).startswith(NON_STEADY)]].astype(float)
    return pd.concat([_drop_constant(chosen - chosen.mean()), spikes], axis=1)


def _drop_constant(confounds: pd.DataFrame) -> pd.DataFrame:
    """Leave out parameters that never change, as in a phantom: they would repeat the constant."""
    return confounds.loc[:, confounds.abs().max() > 0]
