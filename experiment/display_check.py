"""Go or no-go, with a display: window, refresh, keyboard and every image's pixels."""

import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from experiment.check import Finding, examine
from experiment.keyboard import Keyboard
from experiment.pixels import describe_difference, load_pixels, place_centered
from experiment.plan_folder import PlanFolder
from protocols.errors import InputError

if TYPE_CHECKING:
    from experiment.screen import PsychoPyScreen

_REFRESH_TOLERANCE = 0.02  # of nominal: 59.94 Hz is 60 Hz, 50 or 75 Hz is not
_SELF_TEST_KEY = "Shift_L"  # types nothing anywhere
_SELF_TEST_S = 2.0


def check_display_items(plan: PlanFolder, windowed: bool, index: int, tell: Callable[[int], None]) -> Iterator[Finding]:
    """Open the window and the keyboard as a run would and look at them; `tell` gets the number of images compared."""
    from experiment.screen import PsychoPyScreen

    opened: list[PsychoPyScreen] = []

    def open_window() -> str:
        opened.append(PsychoPyScreen(plan.protocol.screen, windowed, index))
        return "{} x {} px, as the protocol says".format(*opened[0].size_px)

    yield examine("window", open_window)
    if not opened:
        return
    try:
        yield examine("refresh", lambda: check_refresh(opened[0].measured_hz, plan.protocol.screen.refresh_hz, opened[0].is_paced))
        yield examine("keyboard", check_keyboard)
        yield examine("pixels", lambda: check_pixels(plan, opened[0], tell))
    finally:
        opened[0].close()


def check_refresh(measured_hz: float, nominal_hz: float, is_paced: bool) -> str:
    """Check the measured refresh against the protocol's, in Hz.

    Raises
    ------
    InputError
        When they differ by over 2 percent and the flips are held back by a display at all.
    """
    if is_paced:
        return f"no vertical blank ({measured_hz:.0f} flips per second): paced at {nominal_hz:g} Hz; do not scan with this display"
    if abs(measured_hz / nominal_hz - 1) > _REFRESH_TOLERANCE:
        raise InputError(
            f"the display refreshes at {measured_hz:.2f} Hz, [screen] refresh_hz says {nominal_hz:g}; set the display or the protocol, "
            "and switch a compositor off (it can halve the rate)"
        )
    return f"{measured_hz:.2f} Hz"


def check_keyboard() -> str:
    """Open the key queues and, where keys can be injected (X11), hear one.

    Raises
    ------
    InputError
        When psychtoolbox cannot open a keyboard, or an injected key is not heard.
    """
    keyboard = Keyboard()
    try:
        if not os.environ.get("DISPLAY"):
            return f"{keyboard.describe()}; press a key in a rehearsal to be sure"
        if not _hear_injected_key(keyboard):
            raise InputError(f"{keyboard.describe()}: an injected key was not heard; use an X11 session (not Wayland) for the experiment")
        return f"{keyboard.describe()}; an injected key was heard"
    finally:
        keyboard.close()


def check_pixels(plan: PlanFolder, screen: "PsychoPyScreen", tell: Callable[[int], None]) -> str:
    """Draw every image of the plan and compare the back buffer with the file, pixel by pixel.

    Raises
    ------
    InputError
        Naming the first image that is not shown as it is.
    """
    settings = plan.protocol.screen
    for number, stim_id in enumerate(plan.stimuli.table["stim_id"], 1):
        pixels = load_pixels(plan.stimuli.image_path(stim_id), settings)
        compare_drawn(screen, stim_id, pixels, settings.background)
        tell(number)
    resampled = "" if _all_native(plan) else "; files of another size are resampled before the run and compared as such"
    return f"{len(plan.stimuli.table)} images drawn, every pixel as in the file{resampled}"


def compare_drawn(screen: "PsychoPyScreen", stim_id: str, pixels: np.ndarray, background: int) -> None:
    """Draw one image and compare the whole back buffer with what it should hold.

    Raises
    ------
    InputError
        When a pixel differs.
    """
    screen.preload({stim_id: pixels})
    width, height = screen.size_px
    difference = describe_difference(screen.read_drawn(stim_id), place_centered(pixels, background, width, height))
    if difference:
        raise InputError(f"image {stim_id!r} is not shown as it is: {difference}; switch off color profiles and scaling of the display")


def _hear_injected_key(keyboard: Keyboard) -> bool:
    from experiment.scanner_emulator import open_key

    end_s = time.monotonic() + _SELF_TEST_S
    with open_key(_SELF_TEST_KEY) as press:
        press()
        while time.monotonic() < end_s:
            if keyboard.poll():
                return True
            time.sleep(0.01)
    return False


def _all_native(plan: PlanFolder) -> bool:
    from experiment.geometry import fit_image

    sizes = zip(plan.stimuli.table["width_px"], plan.stimuli.table["height_px"], strict=True)
    return all(fit_image(int(width), int(height), plan.protocol.screen) == (width, height) for width, height in set(sizes))
