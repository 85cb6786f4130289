"""The verb `lock`: a protocol and a stimulus set in, the plan's hash, fixed before scanning, out."""

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Annotated

import typer

from protocols.errors import InputError
from protocols.protocol import Protocol
from protocols.provenance import describe_code
from protocols.stimulus_set import StimulusSet
from protocols.tables import write_text


def lock(
    protocol: Annotated[Path, typer.Argument(metavar="PROTOCOL.toml", help="Protocol: contrasts, ROIs, exclusions, alpha.")],
    set_folder: Annotated[Path, typer.Option("--set", help="Stimulus set that will be shown.")],
    out: Annotated[
        Path | None, typer.Option(help="Lock to write (default: PROTOCOL.lock.json, where group looks for it).", show_default=False)
    ] = None,
    smdl: Annotated[
        Path | None, typer.Option(help="BIDS Stats Model to write beside it, e.g. model-validation_smdl.json.", show_default=False)
    ] = None,
) -> None:
    """Fix the plan before scanning: what is changed later is refused, and what is asked besides is exploratory.

    Every image of the set is checked against its sha256 first. Keep the lock where others can see its date, such as a registry.

    Example: analysis lock protocols/roi_validation.toml --set stimuli/set --out roi_validation.lock.json
    """
    from analysis.lock import lock_plan, name_lock
    from analysis.stats_model import export_stats_model

    target = out or name_lock(protocol)
    for path in (target, smdl):
        if path is not None and path.exists():
            raise InputError(f"{path}: exists already, and a lock is never replaced; name another file")
    stimuli = StimulusSet.read(set_folder)
    stimuli.verify()
    fixed = lock_plan(Protocol.read(protocol), stimuli, str(protocol))
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    fixed = dataclasses.replace(fixed, created=now, code_version=describe_code())
    fixed.write(target)
    if smdl is not None:
        write_text(json.dumps(export_stats_model(fixed), indent=2) + "\n", smdl)
        typer.echo(f"wrote {smdl}: BIDS Stats Model of the planned contrasts")
    plan = fixed.plan
    images = sum(len(one.stim_ids) for one in fixed.images)
    typer.echo(f"{len(plan.contrasts)} contrasts in {', '.join(plan.rois)}; {images} images; alpha {plan.alpha:g}")
    typer.echo(f"wrote {target}: sha256 {fixed.sha256}")
