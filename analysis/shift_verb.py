"""The verb `shift`: BIDS events, BOLD and regions in; the responses that the same model finds in BOLD slid against its events out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from analysis.console import show_progress
from analysis.options import BidsArgument, DerivativesOption, LabelsOption, OverwriteOption, RoiOption, SetOption
from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import Provenance

if TYPE_CHECKING:
    from analysis.shift_runs import ShiftSettings
    from protocols.run_name import RunName

_NOT_OF_THE_MODEL = ("task", "space", "contrasts")


def shift(
    bids: BidsArgument,
    betas: Annotated[Path, typer.Option(help="Folder that `analysis glm` wrote: its task, space and model are taken.")],
    out: Annotated[Path, typer.Option(help="Folder to write, for `analysis group --shifted`.")],
    masks: Annotated[
        Path | None, typer.Option(help="Folder of ROI masks, or of a localizer (default: BIDS/derivatives/rois).", show_default=False)
    ] = None,
    labels: LabelsOption = None,
    roi: RoiOption = None,
    set_folder: SetOption = None,
    draws: Annotated[int, typer.Option(help="How often BOLD is slid against events.")] = 100,
    seed: Annotated[int, typer.Option(help="Seed of the shifts.")] = 0,
    derivatives: DerivativesOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Fit each region again with BOLD slid against the events, many times: what would have been found if nothing had driven it?

    `analysis group --shifted OUT` then tells how often the planned analysis claims something in such data. Noise, drifts and the
    likeness of regions are those of the real data.

    Example: analysis shift bids/ --betas bids/derivatives/voxdrive --out results/shifted
    """
    from analysis.circularity import merge_circular, refuse_circular
    from analysis.dataset import find_runs, find_set
    from analysis.permute_runs import plan_tests
    from analysis.roi_sources import RoiSource
    from analysis.rois import label_rows
    from analysis.run_checks import check_lengths
    from analysis.shift_files import Shifted
    from analysis.shift_runs import join_runs, shift_run
    from protocols.roi_table import RoiTable
    from protocols.stimulus_set import StimulusSet

    refuse_non_empty(out, overwrite)
    fitted = Provenance.read(betas)
    task, space, model = _read_model(fitted, betas)
    values = {"draws": draws, "seed": seed}
    stimulus_set = StimulusSet.read(find_set(bids, set_folder, task))
    source = RoiSource.choose(bids, masks, labels, tuple(roi or ()))
    hrfs = _read_hrfs(betas)
    runs = [run for run in find_runs(bids, task, space, model["confounds"] != "none", derivatives=derivatives) if run.name in hrfs]
    planned = plan_tests(runs, check_lengths(runs), source)
    refuse_circular(merge_circular([one for test in planned for one in test.circular]), "analysis shift")
    settings = {name: _choose_settings(model, hrf, values) for name, hrf in hrfs.items()}
    inputs = {"betas": betas, "regions": source.root, "set": stimulus_set.folder}
    with staged_folder(
        out, Provenance.collect("analysis shift", {**values, "model": model}, inputs, {"shifts": seed}), overwrite
    ) as folder:
        made = join_runs([shift_run(one, settings[one.runs[0].name]) for one in show_progress(planned, "sliding")])
        rows = label_rows(made.rows, stimulus_set.table, str(betas))
        Shifted(RoiTable(rows), made.responses).write(folder)
    spread = float(np.sqrt(np.mean(made.responses**2)))
    typer.echo(f"wrote {out}: {draws} draws of {len(rows)} responses; root mean square {spread:.2f} %")


def _read_model(fitted: Provenance, betas: Path) -> tuple[str, str | None, dict[str, Any]]:
    """Return the task, the space and the model's settings of a folder of `analysis glm`."""
    from analysis.first_level import ModelSettings

    if fitted.command != "analysis glm":
        raise InputError(f"{betas}: was written by {fitted.command!r}; name a folder that analysis glm wrote")
    model = {name: value for name, value in fitted.config.items() if name not in _NOT_OF_THE_MODEL}
    return fitted.config["task"], fitted.config["space"], config_values(parse_config(model, ModelSettings, str(betas)))


def _read_hrfs(betas: Path) -> "dict[RunName, str]":
    """Return the response function that each run was fitted with; localizer runs may have chosen it."""
    from analysis.bids_name import read_sidecar
    from analysis.run_betas import find_run_betas
    from protocols.run_name import RunName

    return {RunName.parse(file.name): read_sidecar(file)["Hrf"] for file in find_run_betas(betas)}


def _choose_settings(model: dict[str, Any], hrf: str, values: dict[str, int]) -> "ShiftSettings":
    from analysis.shift_runs import ShiftSettings

    return parse_config({**values, "model": {**model, "design": {**model["design"], "hrf": hrf}}}, ShiftSettings, "analysis shift")
