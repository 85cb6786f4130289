"""fMRIPrep's confounds table in, the chosen regressors out, demeaned, without a missing value, and the volumes to keep.

What a strategy takes is decided by nilearn's `load_confounds`, and the volumes that it takes out are honoured: `kept` goes
into the design. It is given a copy of the table's columns that it needs, so that a byte order mark, a file of fMRIPrep before 20.2, a
folder with further tables, a surface's single hemisphere and derivatives that a table lacks do not stop it.
"""

import json
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool
from pydantic import Field

from analysis.dataset import Run
from protocols.config import config
from protocols.errors import InputError
from protocols.tables import check_columns, read_json, read_tsv

Strategy = Literal["none", "motion6", "motion12", "motion24", "simple", "compcor", "scrub"]
MOTION = tuple(f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz")
NON_STEADY = "non_steady_state"
_DERIVATIVE, _SQUARE = "_derivative1", "_power2"
_TISSUES = ("csf", "white_matter")
_OUTLYING = ("framewise_displacement", "std_dvars")
_COMPONENT = "a_comp_cor_"
_HEADER_ROWS = 2
_COPY = "sub-01_task-copy_desc-"
_STRATEGIES: dict[Strategy, dict[str, Any]] = {
    "none": {"strategy": ()},
    "motion6": {"strategy": ("motion",), "motion": "basic"},
    "motion12": {"strategy": ("motion",), "motion": "derivatives"},
    "motion24": {"strategy": ("motion",), "motion": "full"},
    "simple": {"strategy": ("motion", "wm_csf"), "motion": "full", "wm_csf": "basic"},
    # `high_pass` is what load_confounds wants beside CompCor; the copy has no cosine columns, the design has its own drift
    "compcor": {"strategy": ("motion", "high_pass", "compcor"), "motion": "basic", "compcor": "anat_combined"},
    "scrub": {"strategy": ("motion", "wm_csf", "scrub"), "motion": "full", "wm_csf": "basic"},
}


@config
class ConfoundSettings:
    """How two of the strategies choose; the thresholds are fMRIPrep's and Power et al.'s (2014)."""

    components: Annotated[int, Field(ge=1)] | Literal["all"] = 6
    """Anatomical CompCor components, the strongest first; `all` that fMRIPrep kept explain half of the masks' variance."""
    fd_mm: float = Field(default=0.5, gt=0)
    """`scrub`: highest framewise displacement of a volume that is kept, in millimeters."""
    std_dvars: float = Field(default=1.5, gt=0)
    """`scrub`: highest standardized DVARS of a volume that is kept."""
    shortest_segment: int = Field(default=5, ge=0)
    """`scrub`: segments of fewer volumes between two that were taken out go with them; 0: none do."""


@dataclass(frozen=True)
class Confounds:
    """A run's confound regressors, and which volumes to keep.

    Attributes
    ----------
    table
        One row per volume of the run, also of those not kept; no missing value; over the kept volumes every column has mean 0 and
        is not constant.
    kept
        False where a volume is not in a steady state, or scrubbed.
    """

    table: pd.DataFrame
    kept: Bool[np.ndarray, " volumes"]


def read_confounds(run: Run, strategy: Strategy, volumes: int, settings: ConfoundSettings = ConfoundSettings()) -> Confounds:
    """Return the confounds of a run.

    none: no regressor. motion6, motion12, motion24: the motion parameters, with their derivatives, and with the squares of both. simple:
    motion24, white matter and CSF. compcor: motion6 and anatomical CompCor components. scrub: simple, without volumes of much motion and
    those left alone between them. Volumes that fMRIPrep marks as not in a steady state are never kept; `none` takes them
    from the table where there is one. A derivative has no first value; as `load_confounds` does, the second stands in for it.

    Raises
    ------
    InputError
        When columns are missing, the table's length is not the run's, a value is n/a, or no volume is left.
    """
    nothing = Confounds(pd.DataFrame(index=range(volumes)), np.ones(volumes, dtype=bool))
    if strategy == "none" and not run.confounds.is_file():
        return nothing
    table = read_tsv(run.confounds, {})
    if len(table) != volumes:
        raise InputError(f"{run.confounds}: {len(table)} rows, but the BOLD has {volumes} volumes; they are of different runs")
    chosen = _choose_columns(table, strategy, run.confounds)
    if chosen.shape[1] == 0:
        return nothing
    meta = _read_components(run.confounds) if strategy == "compcor" else {}
    loaded, kept = _load(chosen, meta, strategy, settings, run.confounds)
    if not kept.any():
        raise InputError(f"{run.confounds}: {strategy} keeps no volume; raise its thresholds, or leave the run out")
    centered = loaded - loaded[kept].mean()
    changing = centered[kept].abs().max() > 1e-12 * loaded.abs().max()  # a phantom's motion would repeat the constant
    return Confounds(centered.loc[:, changing], kept)


def _choose_columns(table: pd.DataFrame, strategy: Strategy, path: Path) -> pd.DataFrame:
    """Return the columns that a strategy needs, as numbers, with the motion's derivatives and squares.

    These are computed as fMRIPrep does, since a table of other software may have the six parameters alone.
    """
    needed = [*(MOTION if strategy != "none" else ()), *(_TISSUES if strategy in ("simple", "scrub") else ())]
    needed += _OUTLYING if strategy == "scrub" else ()
    absent = [name for name in needed if name not in table]
    components = [str(name) for name in table if str(name).startswith(_COMPONENT)] if strategy == "compcor" else []
    if strategy == "compcor" and not components:
        absent.append(f"{_COMPONENT}00, ...")
    if absent:
        raise InputError(f"{path}: lacks {', '.join(absent)}, which the confounds {strategy!r} need; choose others with --confounds")
    spikes = [str(name) for name in table if str(name).startswith(NON_STEADY)]
    names = [*needed, *components, *spikes]
    numbers = check_columns(table, dict.fromkeys(names, "optional number"), str(path))[names]
    _refuse_absent(numbers, path)
    motion = numbers[[name for name in MOTION if name in needed]]
    both = pd.concat([motion, motion.diff().add_suffix(_DERIVATIVE)], axis=1)
    return pd.concat([numbers, both.iloc[:, motion.shape[1] :], (both**2).add_suffix(_SQUARE)], axis=1)


def _refuse_absent(numbers: pd.DataFrame, path: Path) -> None:
    """Refuse n/a but in the first row of what compares a volume with the one before."""
    absent = numbers.isna()
    absent.loc[0, [name for name in _OUTLYING if name in numbers]] = False
    if absent.any(axis=None):
        row = int(absent.any(axis=1).to_numpy().argmax())
        names = ", ".join(numbers.columns[absent.iloc[row].to_numpy()][:8])
        raise InputError(
            f"{path} row {row + _HEADER_ROWS}: n/a in {names}; only the first row of a derivative may lack one, run fMRIPrep again"
        )


def _read_components(path: Path) -> dict[str, Any]:
    """Return what the sidecar says of the CompCor components: which mask each is of."""
    return read_json(
        path.with_suffix(".json"), "CompCor needs the sidecar that fMRIPrep writes beside the table: copy it, or choose other confounds"
    )


def _load(
    table: pd.DataFrame, meta: dict[str, Any], strategy: Strategy, settings: ConfoundSettings, path: Path
) -> tuple[pd.DataFrame, Bool[np.ndarray, " volumes"]]:
    from nilearn.interfaces.fmriprep import load_confounds

    thresholds = {"scrub": settings.shortest_segment, "fd_threshold": settings.fd_mm, "std_dvars_threshold": settings.std_dvars}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="strategy is empty")  # as is meant
        warnings.filterwarnings("ignore", message="All volumes were marked")  # refused by the caller
        table.to_csv(Path(folder, f"{_COPY}confounds_timeseries.tsv"), sep="\t", index=False, na_rep="n/a")
        Path(folder, f"{_COPY}confounds_timeseries.json").write_text(json.dumps(meta), encoding="utf-8")
        try:
            loaded, sample_mask = load_confounds(
                str(Path(folder, f"{_COPY}preproc_bold.nii.gz")),
                n_compcor=settings.components,
                demean=False,
                **thresholds,
                **_STRATEGIES[strategy],
            )
        except (ValueError, KeyError) as problem:
            raise InputError(
                f"{path}: confounds {strategy!r} cannot be taken from it ({problem}); choose others with --confounds"
            ) from None
    kept = np.ones(len(table), dtype=bool)
    if sample_mask is not None:
        kept[np.setdiff1d(np.arange(len(table)), sample_mask)] = False
    return pd.DataFrame(index=range(len(table))) if loaded is None else loaded, kept
