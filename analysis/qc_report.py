"""The quality of runs in; `qc.tsv`, `qc_rois.tsv`, `qc.json`, a picture or two of each run and one self-contained page out."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.dataset import Run
from analysis.qc_figures import draw_design, draw_motion
from analysis.qc_runs import ROI_COLUMNS, RUN_COLUMNS, QcSettings, RunQuality
from protocols.config import config_values
from protocols.provenance import Provenance
from protocols.tables import MISSING, check_columns, write_text, write_tsv

TABLE, ROI_TABLE, SUMMARY, PAGE = "qc.tsv", "qc_rois.tsv", "qc.json", "qc.html"
FORMAT_VERSION = 1
DESIGN, MOTION = "desc-design_qc.png", "desc-motion_qc.png"
_TEMPLATE = "qc.html"
_DIGITS = {"tsnr": 0, "vif_largest": 1}


def write_qc(found: Sequence[RunQuality], settings: QcSettings, provenance: Provenance, folder: Path) -> None:
    """Write everything into `folder`."""
    runs = check_columns(pd.DataFrame([one.row for one in found])[list(RUN_COLUMNS)], RUN_COLUMNS, TABLE)
    rois = pd.DataFrame([row for one in found for row in one.rois], columns=list(ROI_COLUMNS))
    write_tsv(runs, folder / TABLE)
    write_tsv(check_columns(rois, ROI_COLUMNS, ROI_TABLE), folder / ROI_TABLE)
    looked = {_name(one.planned.run): one.look_at for one in found if one.look_at}
    summary = {"format_version": FORMAT_VERSION, "settings": config_values(settings), "runs": len(found), "look_at": looked}
    write_text(json.dumps(summary, indent=2) + "\n", folder / SUMMARY)
    pictures = [_draw(one, settings, folder) for one in found]
    write_text(_render(found, rois, pictures, settings, provenance), folder / PAGE)


def _draw(one: RunQuality, settings: QcSettings, folder: Path) -> dict[str, str]:
    """Write a run's pictures; return them as data URIs."""
    planned = one.planned
    run, place = planned.run, folder / planned.run.name.folder
    pictures = {"design_png": (DESIGN, draw_design(planned.design, len(planned.kept), run.tr_s)), "motion_png": (MOTION, b"")}
    if planned.displacement is not None:
        motion = None if planned.motion is None else planned.motion.to_numpy(dtype=float)
        pictures["motion_png"] = MOTION, draw_motion(planned.displacement, motion, planned.kept, run.tr_s, settings.fd_mm)
    place.mkdir(parents=True, exist_ok=True)
    for suffix, data in pictures.values():
        if data:
            (place / f"{_name(run)}_{suffix}").write_bytes(data)
    encoded = {name: base64.b64encode(data).decode("ascii") for name, (_, data) in pictures.items()}
    return {name: f"data:image/png;base64,{text}" if text else "" for name, text in encoded.items()}


def _render(
    found: Sequence[RunQuality], rois: pd.DataFrame, pictures: Sequence[dict[str, str]], settings: QcSettings, provenance: Provenance
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("analysis", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    runs = [
        {**{key: _format(key, value) for key, value in one.row.items()}, "stem": _name(one.planned.run), **shown}
        for one, shown in zip(found, pictures, strict=True)
    ]
    context = {
        "headline": describe_outcome(found),
        "worrying": any(one.look_at for one in found),
        "task": found[0].planned.run.name.task,
        "settings": settings,
        "noise": settings.model.noise,
        "runs": runs,
        "rois": _lay_out_rois(found, rois),
        "provenance": provenance,
        "config": json.dumps(config_values(settings), indent=1),
    }
    return environment.get_template(_TEMPLATE).render(context)


def describe_outcome(found: Sequence[RunQuality]) -> str:
    """Say in a sentence how many runs need a look."""
    several = sum(bool(one.look_at) for one in found)
    subjects = len({one.planned.run.name.subject for one in found})
    runs = f"{len(found)} run{'s' * (len(found) > 1)} of {subjects} subject{'s' * (subjects > 1)}"
    return f"{runs}: {several or 'none'} to look at" if several != len(found) else f"{runs}: all to look at"


def _lay_out_rois(found: Sequence[RunQuality], rois: pd.DataFrame) -> dict[str, Any]:
    names = list(dict.fromkeys(rois["roi"]))
    rows = []
    for one in found:
        tsnr = {row["roi"]: row["tsnr"] for row in one.rois}
        rows.append({"stem": _name(one.planned.run), "cells": [_format("tsnr", tsnr.get(name)) for name in names]})
    return {"names": names, "rows": rows}


def _format(name: str, value: object) -> str:
    if name == "look_at":
        return str(value or "")
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return MISSING
    return f"{value:.{_DIGITS.get(name, 2)}f}".replace("-", "\N{MINUS SIGN}") if isinstance(value, float) else str(value)


def _name(run: Run) -> str:
    return run.name.stem + (f"_hemi-{run.hemisphere}" if run.hemisphere else "")
