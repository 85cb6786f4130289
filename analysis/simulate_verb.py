"""The verb `simulate`: a plan and planted brains' true responses in, a BIDS data set with BOLD and derivatives out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.console import show_progress
from analysis.options import ClusterOption
from protocols.config import config_values, read_config
from protocols.errors import InputError
from protocols.events import write_sidecar
from protocols.output_folder import staged_folder
from protocols.protocol import Protocol
from protocols.provenance import Provenance, hash_file
from protocols.responses import Responses
from protocols.stimulus_set import TABLE, StimulusSet
from protocols.trials import TrialList

if TYPE_CHECKING:
    from analysis.bold import Scan
    from analysis.scan_runs import PlannedRun
    from analysis.simulate import Head


def simulate(
    settings: Annotated[Path, typer.Argument(metavar="SIM.toml", help="Participants, noise and hemodynamics (TOML).")],
    plan: Annotated[Path, typer.Option(help="Plan folder that `experiment plan` wrote.")],
    set_folder: Annotated[Path, typer.Option("--set", help="Stimulus set that the plan shows.")],
    out: Annotated[Path, typer.Option(help="BIDS folder; events that `experiment run` wrote there are used as they are.")],
    cluster: ClusterOption = None,
    overwrite: Annotated[bool, typer.Option(help="Replace BOLD and derivatives in OUT.")] = False,
) -> None:
    """Put planted brains into a scanner: BOLD of every planned run, as raw BIDS and as fMRIPrep leaves it, with ROI masks.

    Example: analysis simulate sim.toml --plan plan/ --set stimuli/set --out bids/
    """
    from analysis.bold import Scan
    from analysis.scan_runs import PlannedRun
    from analysis.simulate import find_events, read_plan, read_responses, shape_head
    from protocols.cluster import check_cluster

    check_cluster(cluster)
    scan = read_config(settings, Scan)
    protocol = Protocol.read(plan / "protocol.json")
    stimulus_set = StimulusSet.read(set_folder)
    truth = read_responses(scan.participants, stimulus_set)
    lists = read_plan(plan, list(truth), stimulus_set.sha256)
    _refuse_present(out, lists, stimulus_set, overwrite)
    runs = [PlannedRun(trials, find_events(out, trials), truth[trials.name.subject]) for trials in lists]
    head = shape_head([person.voxels for person in truth.values()], scan.background_voxels)
    inputs = {"settings": settings, "protocol": plan / "protocol.json", "set": set_folder}
    inputs |= {f"responses sub-{person.subject}": person.responses for person in scan.participants}
    provenance = Provenance.collect("analysis simulate", config_values(scan), inputs, {"seed": scan.seed})
    _scan(scan, runs, head, out, provenance, overwrite, cluster)
    _complete(runs, truth, head, out, set_folder, provenance, overwrite)
    voxels = int(head.brain.sum())
    typer.echo(f"wrote {out}: task {protocol.task}, {len(truth)} participants, {len(runs)} runs, {voxels} brain voxels on a 4 mm MNI grid")


def _refuse_present(out: Path, lists: list[TrialList], stimulus_set: StimulusSet, overwrite: bool) -> None:
    """Refuse to write over BOLD, or beside the images of another set."""
    from analysis.scanner_files import RAW_BOLD

    present = [path for trials in lists if (path := trials.name.path(out, RAW_BOLD)).is_file()]
    if present and not overwrite:
        raise InputError(f"{present[0]}: BOLD is already there; name another folder, or give --overwrite to simulate it again")
    copied = out / "stimuli" / TABLE
    if copied.is_file() and hash_file(copied) != stimulus_set.sha256:
        raise InputError(f"{copied}: is of another stimulus set than {stimulus_set.folder}; name the set that was shown, or another folder")


def _scan(
    scan: "Scan", runs: "list[PlannedRun]", head: "Head", out: Path, provenance: Provenance, overwrite: bool, cluster: str | None
) -> None:
    """Write the BOLD of every run, here or elsewhere, as fMRIPrep leaves it: a folder that is there whole, or not at all."""
    from analysis.derivatives import write_description
    from analysis.scan_runs import scan_runs
    from protocols.cluster import open_workers

    with staged_folder(out / "derivatives" / "fmriprep", provenance, overwrite) as folder:
        write_description(
            folder, "simulated BOLD, laid out as fMRIPrep's output", "analysis simulate", "simulated in MNI space; not preprocessed"
        )
        with open_workers(cluster) as workers:
            for _ in show_progress(scan_runs(runs, scan, head, folder, workers), "scanning", len(runs)):
                pass


def _complete(
    runs: "list[PlannedRun]",
    truth: dict[str, Responses],
    head: "Head",
    out: Path,
    set_folder: Path,
    provenance: Provenance,
    overwrite: bool,
) -> None:
    """Write the masks, then the raw data set, whose BOLD are links to the preprocessed."""
    from analysis.derivatives import write_description
    from analysis.scanner_files import complete_raw, link_raw, write_masks

    derivatives = out / "derivatives"
    with staged_folder(derivatives / "rois", provenance, overwrite) as folder:
        write_description(folder, "ROI masks of the planted brains", "analysis simulate")
        for subject, person in truth.items():
            write_masks(subject, person.voxels, head, folder)
    complete_raw(out, set_folder)
    for run in runs:
        name = run.trials.name
        if not name.path(out, "events.tsv").is_file():
            write_sidecar(run.events.write(out), {})
        link_raw(name, derivatives / "fmriprep", out, run.trials.plan.tr_s)
