"""Runs and settings in, the quality of each (its rows of `qc.tsv` and `qc_rois.tsv`, and what is drawn of it) out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from pydantic import Field

from analysis.confounds import MOTION
from analysis.dataset import Run
from analysis.design import Design, build_design
from analysis.efficiency import describe_design
from analysis.extract import RunSeries, extract_run
from analysis.first_level import ModelSettings
from analysis.glm import scale_to_percent
from analysis.labels import Region, refuse_other_grid
from analysis.noise import NoiseModel
from analysis.qc import TaskMotion, compute_displacement, compute_tsnr, expect_white, measure_autocorrelation, measure_task_motion
from analysis.response_timing import measure_lag
from analysis.run_checks import check_lengths
from analysis.run_model import list_regressors
from protocols.config import config
from protocols.errors import InputError
from protocols.tables import Columns, check_columns, read_tsv

RUN_COLUMNS: Columns = {
    "subject": "text",
    "session": "optional text",
    "run": "integer",
    "hemisphere": "optional text",
    "tr_s": "number",
    "volumes": "integer",
    "volumes_left_out": "integer",
    "regressors": "integer",
    "voxels": "integer",
    "voxels_left_out": "integer",
    "tsnr": "optional number",
    "fd_mean_mm": "optional number",
    "fd_max_mm": "optional number",
    "fd_above": "optional number",
    "task_motion_r2": "optional number",
    "task_motion_chance": "optional number",
    "lag_volumes": "optional number",
    "lag1": "optional number",
    "lag1_whitened": "optional number",
    "lag1_white": "number",
    "vif_largest": "number",
    "look_at": "optional text",
}
ROI_COLUMNS: Columns = {
    "subject": "text",
    "session": "optional text",
    "run": "integer",
    "hemisphere": "optional text",
    "roi": "text",
    "n_voxels": "integer",
    "tsnr": "optional number",
    "lag1": "optional number",
    "lag1_whitened": "optional number",
}
_SAMPLE = 2000  # voxels whose autocorrelation is measured, evenly taken from more
_LAG_SAMPLE = 500
_DISPLACEMENT = "framewise_displacement"


@config
class QcSettings:
    """The model whose designs and noise are looked at, and beyond which values a run is to be looked at. None of it leaves a run out."""

    model: ModelSettings = ModelSettings()
    fd_mm: float = Field(default=0.5, gt=0)
    """Framewise displacement of a volume that counts in `fd_above`, in millimeters; also the highest mean of a run."""
    left_out: float = Field(default=0.2, gt=0, le=1)
    """Highest share of volumes left out, and of volumes above `fd_mm`."""
    autocorrelation: float = Field(default=0.1, gt=0)
    """Highest distance of whitened residuals' autocorrelation from that of white noise."""
    vif: float = Field(default=5.0, gt=1)
    """Highest variance inflation factor of a condition."""


@dataclass(frozen=True)
class PlannedQc:
    """A run, its design, the volumes that are kept, and the motion that its confounds tell (None: they do not)."""

    run: Run
    design: Design
    kept: Bool[np.ndarray, " volumes"]
    motion: pd.DataFrame | None
    displacement: Float[np.ndarray, " volumes"] | None


@dataclass(frozen=True)
class RunQuality:
    """What was found: the run's row, its ROIs' rows."""

    planned: PlannedQc
    row: dict[str, object]
    rois: list[dict[str, object]]
    look_at: list[str]


def plan_qc(runs: Sequence[Run], settings: QcSettings) -> list[PlannedQc]:
    """Return every run's design, a regressor per trial type.

    Raises
    ------
    InputError
        Naming all runs whose files do not fit together or whose design cannot be estimated, with the reason for each.
    """
    lengths = check_lengths(runs)
    planned, problems = [], []
    for run in runs:
        try:
            planned.append(_plan_run(run, lengths[run.stem], settings.model))
        except InputError as problem:
            problems.append(str(problem))
    if problems:
        raise InputError("\n".join(problems))
    return planned


def assess_run(planned: PlannedQc, regions: Sequence[Region], settings: QcSettings) -> RunQuality:
    """Read a run's series once and measure everything.

    Raises
    ------
    InputError
        When a region is on another grid.
    """
    series, design = extract_run(planned.run), planned.design
    voxels = _locate(regions, series, planned.run.bold.name)
    values = series.values[planned.kept]
    tsnr = compute_tsnr(values, design.select("drift"))
    noise = settings.model.noise
    everywhere = _measure_noise(values, np.arange(values.shape[1]), design, noise)
    rois = [
        {
            **_name(planned.run),
            "roi": name,
            "n_voxels": len(members),
            "tsnr": _median(tsnr[members]),
            **_measure_noise(values, members, design, noise),
        }
        for name, members in voxels.items()
    ]
    row = {
        **_name(planned.run),
        "tr_s": planned.run.tr_s,
        "volumes": len(planned.kept),
        "volumes_left_out": int((~planned.kept).sum()),
        "regressors": design.matrix.shape[1],
        "voxels": values.shape[1],
        "voxels_left_out": series.left_out,
        "tsnr": _median(tsnr),
        **_describe_motion(planned, settings),
        "lag_volumes": _measure_lag(values, voxels, design),
        **everywhere,
        "lag1_white": expect_white(design),
        "vif_largest": _find_largest_vif(design),
    }
    look_at = _list_concerns(row, rois, settings)
    return RunQuality(planned, {**row, "look_at": "; ".join(look_at) or None}, rois, look_at)


def _plan_run(run: Run, volumes: int, model: ModelSettings) -> PlannedQc:
    events, times, confounds = list_regressors(run, volumes, model, None)
    design = build_design(events, "regressor", times, confounds.table, model.design, run.name.stem, confounds.kept)
    return PlannedQc(run, design, confounds.kept, *_read_motion(run))


def _read_motion(run: Run) -> tuple[pd.DataFrame | None, Float[np.ndarray, " volumes"] | None]:
    """Return the six parameters and the framewise displacement, as the confounds have it or computed."""
    if not run.confounds.is_file():
        return None, None
    table = read_tsv(run.confounds, {})
    names = [name for name in (*MOTION, _DISPLACEMENT) if name in table]
    numbers = check_columns(table, dict.fromkeys(names, "optional number"), str(run.confounds))
    motion = numbers[list(MOTION)] if set(MOTION) <= set(names) and not numbers[list(MOTION)].isna().any(axis=None) else None
    if _DISPLACEMENT in names:
        return motion, numbers[_DISPLACEMENT].to_numpy(dtype=np.float64)
    return motion, None if motion is None else compute_displacement(motion.to_numpy(dtype=np.float64))


def _name(run: Run) -> dict[str, object]:
    return {"subject": run.name.subject, "session": run.name.session, "run": run.name.run, "hemisphere": run.hemisphere}


def _locate(regions: Sequence[Region], series: RunSeries, of: str) -> dict[str, Int[np.ndarray, " voxels"]]:
    """Return which columns of the series each region has, both sides together; of several definitions, those of any."""
    found: dict[str, list[Int[np.ndarray, " voxels"]]] = {}
    for region in regions:
        refuse_other_grid(region.path, region.grid, series.grid, of)
        found.setdefault(region.name, []).append(series.locate(region.voxels))
    joined = {name: np.unique(np.concatenate(parts)) for name, parts in found.items()}
    return {name: members[members >= 0] for name, members in joined.items()}


def _measure_noise(
    values: Float[np.ndarray, "rows voxels"], members: Int[np.ndarray, " members"], design: Design, noise: NoiseModel
) -> dict[str, float]:
    if not len(members):
        return {"lag1": np.nan, "lag1_whitened": np.nan}
    sample = members[np.linspace(0, len(members) - 1, min(len(members), _SAMPLE)).astype(np.int64)]
    before, after = measure_autocorrelation(scale_to_percent(values[:, sample]), design, noise)
    return {"lag1": float(np.nanmean(before)), "lag1_whitened": float(np.nanmean(after))}


def _measure_lag(values: Float[np.ndarray, "rows voxels"], voxels: dict[str, Int[np.ndarray, " _"]], design: Design) -> float:
    """Return how late the regions' voxels respond; all voxels' where there is no region."""
    members = np.unique(np.concatenate(list(voxels.values()))) if voxels else np.empty(0, dtype=np.int64)
    members = members if len(members) else np.arange(values.shape[1])
    sample = members[np.linspace(0, len(members) - 1, min(len(members), _LAG_SAMPLE)).astype(np.int64)]
    return measure_lag(scale_to_percent(values[:, sample]), design)


def _median(values: Float[np.ndarray, " voxels"]) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else float("nan")


def _describe_motion(planned: PlannedQc, settings: QcSettings) -> dict[str, float]:
    fd = np.full(1, np.nan) if planned.displacement is None else planned.displacement
    known = fd[np.isfinite(fd)]
    values = [known.mean(), known.max(), (known > settings.fd_mm).mean()] if len(known) else [np.nan] * 3
    follows = TaskMotion(np.full(1, np.nan), np.nan)
    if planned.motion is not None:
        follows = measure_task_motion(planned.motion.to_numpy(dtype=np.float64)[planned.kept], planned.design)
    names = ("fd_mean_mm", "fd_max_mm", "fd_above", "task_motion_r2", "task_motion_chance")
    return dict(zip(names, [*(float(value) for value in values), follows.largest, follows.chance], strict=True))


def _find_largest_vif(design: Design) -> float:
    table = describe_design(design, {})
    names = [str(name) for name, kind in zip(design.matrix.columns, design.kinds, strict=True) if kind == "task"]
    return float(table.loc[table["name"].isin(names), "vif"].max())


def _list_concerns(row: dict[str, object], rois: Sequence[dict[str, object]], settings: QcSettings) -> list[str]:
    """Say in words what lies beyond the settings' bounds."""
    number = {name: float(str(value)) for name, value in row.items() if isinstance(value, int | float)}
    share = number["volumes_left_out"] / number["volumes"]
    found = {
        f"{share:.0%} of volumes left out": share > settings.left_out,
        f"mean displacement {number['fd_mean_mm']:.2f} mm": number["fd_mean_mm"] > settings.fd_mm,
        f"{number['fd_above']:.0%} of volumes moved by more than {settings.fd_mm:g} mm": number["fd_above"] > settings.left_out,
        f"motion follows the task (R2 {number['task_motion_r2']:.2f})": number["task_motion_r2"] > number["task_motion_chance"],
        f"residuals correlate after whitening ({number['lag1_whitened']:.2f})": (
            abs(number["lag1_whitened"] - number["lag1_white"]) > settings.autocorrelation
        ),
        f"conditions can hardly be told apart (VIF {number['vif_largest']:.1f})": number["vif_largest"] > settings.vif,
    }
    empty = [str(roi["roi"]) for roi in rois if not roi["n_voxels"]]
    return [*(text for text, holds in found.items() if holds), *([f"no voxel of {', '.join(empty)}"] if empty else [])]
