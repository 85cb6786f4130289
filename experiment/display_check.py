"""Go or no-go, with a display: window, refresh, keyboard and every image's pixels."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from experiment.finding import Finding, Remark, examine
from experiment.keyboard import Keyboard
from experiment.pixels import load_images
from experiment.plan_folder import PlanFolder
from experiment.proof import prove_images
from protocols.errors import InputError

if TYPE_CHECKING:
    from experiment.screen import PsychoPyScreen

_REFRESH_TOLERANCE = 0.02  # of nominal: 59.94 Hz is 60 Hz, 50 or 75 Hz is not
_SELF_TEST_KEY = "Shift_L"  # types nothing anywhere
_SELF_TEST_S = 2.0
_BATCH = 40


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
        yield examine("screens", lambda: check_screens(plan, index))
        yield examine("graphics", lambda: check_largest_texture(plan, opened[0]))
        yield examine("refresh", lambda: check_refresh(opened[0].measured_hz, plan.protocol.screen.refresh_hz, opened[0].is_paced))
        yield examine("keyboard", check_keyboard)
        yield examine("pixels", lambda: check_pixels(plan, opened[0], tell))
    finally:
        opened[0].close()


def check_screens(plan: PlanFolder, index: int) -> str | Remark:
    """Name the screens, and say where the one chosen has not the protocol's size."""
    from experiment.screen import list_screens

    sizes = list_screens()
    words = ", ".join(f"{number}: {width} x {height} px" for number, (width, height) in enumerate(sizes))
    wanted = (plan.protocol.screen.width_px, plan.protocol.screen.height_px)
    if sizes[index] != wanted:
        return Remark(f"{words}; the protocol's is {wanted[0]} x {wanted[1]} px: only a window of that size can be shown here")
    return f"{words}; screen {index} is used"


def check_refresh(measured_hz: float, nominal_hz: float, is_paced: bool) -> str | Remark:
    """Check the measured refresh against the protocol's, in Hz.

    Raises
    ------
    InputError
        When they differ by over 2 percent and the flips are held back by a display at all.
    """
    if is_paced:
        return Remark(f"no vertical blank ({measured_hz:.0f} flips per second): paced at {nominal_hz:g} Hz; do not scan with this display")
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
    settings, names = plan.protocol.screen, list(plan.stimuli.table["stim_id"])
    for first in range(0, len(names), _BATCH):  # a few at a time: a set may have more images than a card has room for
        images = load_images(plan.stimuli, names[first : first + _BATCH], settings)
        screen.preload(images)
        prove_images(screen, images, settings.background, partial(_tell_after, tell, first))
        screen.forget_images()
    resampled = "" if _all_native(plan) else "; files of another size are resampled before the run and compared as such"
    return f"{len(names)} images drawn, every pixel as in the file{resampled}"


def check_largest_texture(plan: PlanFolder, screen: "PsychoPyScreen") -> str:
    """Check the images' sizes against the largest texture that the graphics driver takes.

    Raises
    ------
    InputError
        When one is larger.
    """
    largest = screen.largest_texture_px
    widest = max(int(side) for side in (*plan.stimuli.table["width_px"], *plan.stimuli.table["height_px"]))
    if widest > largest:
        raise InputError(
            f"the graphics driver takes textures of {largest} px at most, the set has images of {widest} px; make smaller ones"
        )
    return f"{screen.renderer}; textures of up to {largest} px"


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


def _tell_after(tell: Callable[[int], None], before: int, number: int) -> None:
    tell(before + number)


def _all_native(plan: PlanFolder) -> bool:
    from experiment.geometry import fit_image

    sizes = zip(plan.stimuli.table["width_px"], plan.stimuli.table["height_px"], strict=True)
    return all(fit_image(int(width), int(height), plan.protocol.screen) == (width, height) for width, height in set(sizes))
