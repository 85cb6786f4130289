"""What the events' JSON says of a run beyond its columns: presentation, geometry, images by hash, task score, how it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiment.frame_plan import Showing
from experiment.geometry import convert_px_to_deg, fit_image, measure_screen
from experiment.plan_folder import PlanFolder
from experiment.session import Outcome
from experiment.stage import Screen
from experiment.trigger import TriggerSource
from protocols.protocol import Protocol
from protocols.provenance import Provenance
from protocols.trials import TrialList

UNFINISHED = "unfinished: the program was stopped from outside; 'experiment recover' completes the events from the journal"


def describe_run(
    plan: PlanFolder,
    trials: TrialList,
    showings: Sequence[Showing],
    screen: Screen,
    source: TriggerSource,
    proof: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Return what is known before the first trial. Sizes in px and degrees, the screen in meters as BIDS has it.

    `proof` is the sha256 of each image's pixels as they were read back from the window (see `prove_images`).
    """
    settings = plan.protocol.screen
    height_cm = settings.height_px * settings.width_cm / settings.width_px
    geometry = {"ScreenSize": [round(settings.width_cm / 100, 5), round(height_cm / 100, 5)], "ScreenDistance": settings.distance_cm / 100}
    width_deg, height_deg = measure_screen(settings)
    return {
        "TaskName": plan.protocol.task,
        "StimulusPresentation": {**screen.describe(), **geometry, "ScreenSizeDegrees": [round(width_deg, 4), round(height_deg, 4)]},
        "ImagePresentation": {**_describe_images(plan, showings), "ShownPixelsSha256": proof},
        "Trigger": {"Source": source.describe(), "DummyVolumes": plan.protocol.trigger.dummy_volumes},
        "Task": describe_task(plan.protocol),
        "Plan": {"StimulusSetSha256": trials.plan.set_sha256, "Seed": trials.plan.seed, "Volumes": trials.plan.volumes},
        "RunState": UNFINISHED,
    }


def describe_task(protocol: Protocol) -> dict[str, Any]:
    """Return the participant's task."""
    probe = protocol.probe
    return {
        "Kind": probe.kind,
        "Keys": list(probe.keys),
        "ResponseWindow": list(probe.response_window_s),
        "Instructions": protocol.instructions,
    }


def describe_outcome(outcome: Outcome, tr_s: float) -> dict[str, Any]:
    """Return what is known once the run is over."""
    return {
        "RunState": outcome.state,
        "Duration": round(outcome.duration_s, 6),
        "TrialsShown": outcome.trials_shown,
        "TrialsSkipped": outcome.trials_skipped,
        "TriggersSeen": outcome.scanner.volumes_seen,
        "TriggersExpected": int(outcome.duration_s / tr_s) + 1,
        "ScannerTime": outcome.scanner.describe(),
        "Flips": outcome.flips,
        "LateFlips": outcome.late_flips,
        "LargestOnsetError": round(outcome.largest_onset_error_s, 6),
        "Failures": list(outcome.notes),
        "TaskScore": outcome.score.describe(),
    }


def _describe_images(plan: PlanFolder, showings: Sequence[Showing]) -> dict[str, Any]:
    """Return the shown size of each image size of the set, how it was reached, and the sha256 of every image shown."""
    table = plan.stimuli.table.set_index("stim_id")
    shown = list(dict.fromkeys(one.trial.stim_id for one in showings if one.trial.stim_id is not None))
    settings = plan.protocol.screen
    sizes = []
    for width, height in sorted({(int(table["width_px"][one]), int(table["height_px"][one])) for one in shown}):
        fitted = fit_image(width, height, settings)
        how = (
            "pixel for pixel"
            if fitted == (width, height)
            else "resampled once before the run (Pillow, bicubic), then drawn pixel for pixel"
        )
        degrees = [round(convert_px_to_deg(side, settings), 4) for side in fitted]
        sizes.append({"FileSizePixels": [width, height], "ShownSizePixels": list(fitted), "ShownSizeDegrees": degrees, "Drawn": how})
    return {"Sizes": sizes, "BackgroundLevel": settings.background, "Sha256": {one: str(table["sha256"][one]) for one in shown}}


def describe_software(plan: Path, rehearsal: bool) -> dict[str, Any]:
    """Return which plan was shown by which versions, when, and whether nobody was there."""
    made = asdict(Provenance.collect("experiment run", {}, {"plan": plan}))
    return {"Rehearsal": rehearsal, "Recorded": {key: made[key] for key in ("created", "code_version", "packages", "inputs")}}
