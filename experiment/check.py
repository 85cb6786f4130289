"""Go or no-go, without a display: a plan folder in, one finding per item out, each with what to do."""

import math
from collections.abc import Iterator
from pathlib import Path

from experiment.cells import find_cells, select_own
from experiment.finding import Finding, Remark, examine
from experiment.geometry import fit_image, measure_patch, measure_screen
from experiment.machine_check import check_data_set, check_machine, check_trigger
from experiment.plan_folder import PlanFolder
from experiment.rules import check_presentations, check_run
from protocols.errors import InputError
from protocols.provenance import Provenance

_MUCH_TEXTURE_BYTES, _MOST_TEXTURE_BYTES = 512_000_000, 4_000_000_000
_TOLERANCE_S = 1e-6


def check_plan(folder: Path, bids: Path | None = None, subject: str | None = None, session: str | None = None) -> Iterator[Finding]:
    """Check everything that needs no window. Where the plan cannot be read, only that and the computer is looked at."""
    complete = examine("plan complete", lambda: _check_complete(folder))
    yield complete
    yield from check_machine(folder)
    if not complete.go:
        return
    plan = PlanFolder.read(folder)
    yield examine("trial lists", lambda: _check_trials(plan))
    yield examine("images", lambda: _check_images(plan))
    yield examine("run length", lambda: _check_length(plan))
    yield examine("visual angle", lambda: check_angle(plan))
    yield examine("photodiode", lambda: check_photodiode(plan))
    yield examine("texture memory", lambda: check_textures(plan))
    yield examine("luminance table", lambda: check_luminance(plan))
    yield examine("trigger", lambda: check_trigger(plan.protocol))
    if bids is not None:
        yield examine("data set", lambda: check_data_set(plan, bids, subject, session))


def check_angle(plan: PlanFolder) -> str:
    """Check that every image fits on the screen; return the angles.

    Raises
    ------
    InputError
        When one does not.
    """
    screen = plan.protocol.screen
    width_deg, height_deg = measure_screen(screen)
    for width, height in _list_sizes(plan):
        shown = fit_image(width, height, screen)
        if shown[0] > screen.width_px or shown[1] > screen.height_px:
            raise InputError(
                f"[screen] size_deg {screen.size_deg:g} makes an image {shown[0]} x {shown[1]} px, the screen has {screen.width_px} x "
                f"{screen.height_px} px ({width_deg:.1f} x {height_deg:.1f} deg); lower size_deg or correct the screen's measures"
            )
    return f"images {screen.size_deg:g} deg on a screen of {width_deg:.1f} x {height_deg:.1f} deg"


def check_photodiode(plan: PlanFolder) -> str:
    """Check that the photodiode's patch covers no part of an image.

    Raises
    ------
    InputError
        When it does.
    """
    screen = plan.protocol.screen
    if not screen.photodiode:
        return "no patch"
    patch_px = measure_patch(screen)
    for width, height in _list_sizes(plan):
        shown = fit_image(width, height, screen)
        if patch_px > (screen.width_px - shown[0]) / 2 and patch_px > (screen.height_px - shown[1]) / 2:
            raise InputError(
                f"[screen] photodiode: a patch of {patch_px} px in a corner covers part of an image of {shown[0]} x {shown[1]} px; "
                "lower photodiode_deg or size_deg, or take the patch out"
            )
    return f"{patch_px} px, {screen.photodiode.replace('_', ' ')}"


def check_textures(plan: PlanFolder) -> str | Remark:
    """Check that the images of the largest run fit a graphics card.

    Raises
    ------
    InputError
        When they need more memory than any display card of a scanner has to give.
    """
    table = plan.stimuli.table.set_index("stim_id")
    screen = plan.protocol.screen
    rows = zip(table.index, table["width_px"], table["height_px"], strict=True)
    sizes = {stim_id: fit_image(int(width), int(height), screen) for stim_id, width, height in rows}
    most = 0
    for name in plan.names:
        shown = set(plan.read_run(name).trials["stim_id"].dropna())
        most = max(most, sum(4 * sizes[stim_id][0] * sizes[stim_id][1] for stim_id in shown))
    words = f"{most / 1e6:.0f} MB for the run with most images"
    if most > _MOST_TEXTURE_BYTES:
        raise InputError(f"{words}; a run may have {_MOST_TEXTURE_BYTES / 1e9:g} GB: show fewer or smaller images per run")
    return Remark(f"{words}: be sure that the graphics card has as much") if most > _MUCH_TEXTURE_BYTES else words


def check_luminance(plan: PlanFolder) -> str | Remark:
    """Say on which display's luminance the images were matched."""
    photometry = plan.stimuli.description.get("photometry")
    if not isinstance(photometry, dict):
        return Remark("the set does not say on which display its luminance holds; match it on the scanner's measured table")
    screen = plan.protocol.screen
    wanted = (screen.size_deg, screen.background)
    made_for = (photometry.get("size_deg"), photometry.get("background"))
    if made_for != wanted:
        return Remark(
            f"the images were made for {made_for[0]} deg on gray {made_for[1]}, the protocol's are {wanted[0]:g} deg on {wanted[1]}"
        )
    if photometry.get("curve"):
        return f"the images were made for a measured table of {len(photometry['curve']['level'])} levels"
    curve = f"gamma {photometry['gamma']:g}" if photometry.get("gamma") else "sRGB"
    return Remark(f"the images were made for {curve}, not for a measured table: measure the scanner's display and give luminance_table")


def _list_sizes(plan: PlanFolder) -> list[tuple[int, int]]:
    pairs = zip(plan.stimuli.table["width_px"], plan.stimuli.table["height_px"], strict=True)
    return sorted({(int(width), int(height)) for width, height in pairs})


def _check_complete(folder: Path) -> str:
    provenance = Provenance.read(folder)
    provenance.verify_outputs(folder)
    PlanFolder.read(folder)
    return f"{len(provenance.outputs)} files, unchanged"


def _check_trials(plan: PlanFolder) -> str:
    runs = [plan.read_run(name) for name in plan.names]
    for run in runs:
        check_run(run, plan.protocol)
    for subject in sorted({name.subject for name in plan.names}):
        cell_of = find_cells(plan.protocol, select_own(plan.protocol, plan.stimuli.table, subject))
        check_presentations([run for run in runs if run.name.subject == subject], plan.protocol, cell_of)
    return f"{len(plan.names)} runs keep the protocol's rules; planned for this stimulus set"


def _check_images(plan: PlanFolder) -> str:
    plan.stimuli.verify()
    return f"{len(plan.stimuli.table)} images present, decodable, unchanged"


def _check_length(plan: PlanFolder) -> str:
    for name in plan.names:
        run = plan.read_run(name).plan
        if run.volumes != math.ceil(run.duration_s / run.tr_s - _TOLERANCE_S) or run.tr_s != plan.protocol.timing.tr_s:
            raise InputError(
                f"{name.stem}: {run.duration_s:g} s is not {run.volumes} volumes of TR {run.tr_s:g} s (the protocol's is "
                f"{plan.protocol.timing.tr_s:g} s); run 'experiment plan' again"
            )
    longest = max((plan.read_run(name).plan for name in plan.names), key=lambda run: run.volumes)
    volumes = longest.volumes + plan.protocol.trigger.dummy_volumes
    return (
        f"{longest.duration_s:g} s, {longest.volumes} volumes of {longest.tr_s:g} s; the scanner needs at least {volumes}, dummies included"
    )
