"""PsychoPy's window as the session's screen. The only file that imports psychopy, and only when a window is opened."""

import platform
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from experiment.geometry import convert_deg_to_px, measure_patch
from experiment.keyboard import INSTALL_HINT
from experiment.stage import NS_PER_S, Frame
from protocols.errors import InputError
from protocols.protocol import Screen as ScreenSettings

PSYCHOPY_RRID = "RRID:SCR_006571"
_DOT, _CHANGED_DOT = (255, 0, 0), (255, 255, 0)
_TIMED_FLIPS = 40
_TOO_FAST = 1.5  # times nominal: nothing holds the flips back, so there is no vertical blank to wait for
_SPIN_NS = 2_000_000  # sleeping is not exact; the last 2 ms before a virtual refresh are spent awake
_REHEARSE_HINT = "on a machine without one, use xvfb-run, or --rehearse, which needs no screen"


class PsychoPyScreen:
    """A PsychoPy window in pixel units that draws every image pixel for pixel and stamps every flip.

    Where no vertical blank holds the flips back (Xvfb, some virtual machines) it paces itself on a virtual refresh at the
    protocol's rate, so that frame times mean something; `describe` says so.

    Raises
    ------
    InputError
        When there is no display, PsychoPy is missing, the screen does not exist, or its size is not the protocol's.
    """

    def __init__(self, settings: ScreenSettings, windowed: bool = False, index: int = 0, screenshot: Path | None = None) -> None:
        check_display()
        self._settings = settings
        self._visual, self._version = _import_psychopy()
        self._window = self._open_window(windowed, index)
        self._textures: dict[str, Any] = {}
        self._screenshot = screenshot
        self._captured: np.ndarray | None = None
        self._last_frame = Frame()
        self._flip_ns = 0
        self._next_ns = time.monotonic_ns()
        self._dot, self._changed_dot = self._make_dot(_DOT), self._make_dot(_CHANGED_DOT)
        self._patches = self._make_patches() if settings.photodiode else None
        self._text = self._visual.TextStim(
            self._window, text="", units="pix", height=settings.height_px / 32, wrapWidth=settings.width_px * 0.8
        )
        self.measured_hz = self._measure_refresh()
        self.is_paced = self.measured_hz > _TOO_FAST * settings.refresh_hz

    @property
    def period_ns(self) -> int:
        """Time from one refresh to the next: nominal where paced, else as measured."""
        return round(NS_PER_S / (self._settings.refresh_hz if self.is_paced else self.measured_hz))

    @property
    def size_px(self) -> tuple[int, int]:
        """The window's width and height."""
        width, height = self._window.size
        return int(width), int(height)

    def now_ns(self) -> int:
        """Return the monotonic time."""
        return time.monotonic_ns()

    def preload(self, images: Mapping[str, np.ndarray]) -> None:
        """Upload every image as a texture, and draw each once off-line so that its first showing costs nothing."""
        for stim_id, pixels in images.items():
            self._textures[stim_id] = self._make_texture(pixels)
            self._textures[stim_id].draw()
        self._window.clearBuffer()

    def forget_images(self) -> None:
        """Give the textures back."""
        for texture in self._textures.values():
            texture.clearTextures()
        self._textures.clear()

    @property
    def largest_texture_px(self) -> int:
        """The largest side of a texture that the graphics driver takes."""
        from pyglet import gl  # type: ignore[import-untyped]

        largest = gl.GLint()
        gl.glGetIntegerv(gl.GL_MAX_TEXTURE_SIZE, largest)
        return int(largest.value)

    @property
    def renderer(self) -> str:
        """The graphics card, as its driver names it."""
        from pyglet.gl import gl_info  # type: ignore[import-untyped]

        return str(gl_info.get_renderer())

    def predict_ns(self) -> int:
        """Return the time at which the next flip will appear, unless it is missed."""
        return max(time.monotonic_ns(), self._next_ns if self.is_paced else self._flip_ns + self.period_ns)

    def flip(self, frame: Frame) -> int:
        """Draw `frame`, wait for the next refresh (a virtual one where paced), show it, and return its time."""
        self._draw(frame)
        self._capture(frame)
        if self.is_paced:
            self._await_refresh()
        self._window.callOnFlip(self._stamp)
        self._window.flip()
        return self._flip_ns

    def read_drawn(self, image: str) -> np.ndarray:
        """Draw an image without the dot and return the back buffer: height x width x 3, uint8. Nothing is shown."""
        self._textures[image].draw()
        drawn = self._read_back_buffer()
        self._window.clearBuffer()
        return drawn

    def describe(self) -> dict[str, Any]:
        """Return what the events' sidecar says of the presentation."""
        refresh = {"ScreenRefreshRateMeasured": round(self.measured_hz, 3)}
        if self.is_paced:
            refresh["VirtualRefresh"] = True
        return {
            "OperatingSystem": platform.platform(),
            "SoftwareName": "PsychoPy",
            "SoftwareRRID": PSYCHOPY_RRID,
            "SoftwareVersion": self._version,
            "ScreenRefreshRate": self._settings.refresh_hz,
            "ScreenResolution": list(self.size_px),
            **refresh,
        }

    def close(self) -> None:
        """Close the window and save the screenshot, if one was asked for."""
        self._window.close()
        if self._screenshot and self._captured is not None:
            self._screenshot.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(self._captured).save(self._screenshot)

    def _draw(self, frame: Frame) -> None:
        if frame.message:
            if self._text.text != frame.message:
                self._text.text = frame.message
            self._text.draw()
            return
        if frame.image is not None:
            self._textures[frame.image].draw()
        (self._changed_dot if frame.changed_dot else self._dot).draw()
        if self._patches:
            self._patches[frame.image is not None].draw()

    def _stamp(self) -> None:
        self._flip_ns = time.monotonic_ns()

    def _make_texture(self, pixels: np.ndarray) -> Any:
        """Return a texture at its native size; an odd remainder is put half a pixel left and up, or the image would blur."""
        height, width = pixels.shape[:2]
        window_width, window_height = self.size_px
        offset = (-((window_width - width) % 2) / 2, ((window_height - height) % 2) / 2)
        return self._visual.ImageStim(
            self._window, image=Image.fromarray(pixels), size=(width, height), pos=offset, units="pix", interpolate=False
        )

    def _make_patches(self) -> tuple[Any, Any]:
        """Return the photodiode's patch, black and white, in its corner."""
        side, (width, height) = measure_patch(self._settings), self.size_px
        right, top = "right" in self._settings.photodiode, "top" in self._settings.photodiode
        place = ((width - side) / 2 * (1 if right else -1), (height - side) / 2 * (1 if top else -1))
        look = {"width": side, "height": side, "pos": place, "units": "pix", "colorSpace": "rgb255", "lineColor": None}
        black, white = (self._visual.Rect(self._window, fillColor=[level] * 3, **look) for level in (0, 255))
        return black, white

    def _make_dot(self, color: tuple[int, int, int]) -> Any:
        radius = convert_deg_to_px(self._settings.fixation_deg, self._settings) / 2
        return self._visual.Circle(self._window, radius=radius, units="pix", colorSpace="rgb255", fillColor=color, lineColor=None)

    def _open_window(self, windowed: bool, index: int) -> Any:
        _check_screen_index(index)
        settings = self._settings
        window = self._visual.Window(
            size=(settings.width_px, settings.height_px),
            fullscr=not windowed,
            screen=index,
            units="pix",
            winType="pyglet",
            color=[settings.background] * 3,
            colorSpace="rgb255",
            allowGUI=False,
            checkTiming=False,
        )
        window.mouseVisible = windowed
        size = tuple(int(side) for side in window.size)
        if size != (settings.width_px, settings.height_px):
            window.close()
            raise InputError(
                f"screen {index}: the window is {size[0]} x {size[1]} px, the protocol's [screen] says {settings.width_px} x "
                f"{settings.height_px}; set the display to that resolution, plan with the right one, or give --windowed"
            )
        return window

    def _measure_refresh(self) -> float:
        """Return flips per second over a few dozen unpaced flips (the median interval counts)."""
        self.is_paced = False
        times = [self.flip(Frame()) for _ in range(_TIMED_FLIPS)]
        return float(NS_PER_S / np.median(np.diff(times)))

    def _capture(self, frame: Frame) -> None:
        """Keep the first image's frame for the screenshot; on its second refresh, because reading delays the flip."""
        if self._screenshot and self._captured is None and frame.image is not None and frame == self._last_frame:
            self._captured = self._read_back_buffer()
        self._last_frame = frame

    def _await_refresh(self) -> None:
        """Wait until the next virtual refresh is one swap away; those that passed meanwhile are missed, as on a real display."""
        swap_ns = round(NS_PER_S / self.measured_hz)
        late_ns = time.monotonic_ns() + swap_ns - self._next_ns
        if late_ns > 0:
            self._next_ns += (late_ns // self.period_ns + 1) * self.period_ns
        while (left_ns := self._next_ns - swap_ns - time.monotonic_ns()) > 0:
            if left_ns > _SPIN_NS:
                time.sleep((left_ns - _SPIN_NS) / NS_PER_S)
        self._next_ns += self.period_ns  # from here on the refresh after this one

    def _read_back_buffer(self) -> np.ndarray:
        return np.asarray(self._window._getFrame(buffer="back").convert("RGB"))


def check_display() -> None:
    """Refuse to go on where no display answers.

    Raises
    ------
    InputError
        Naming the display that was tried and what to do.
    """
    if not sys.platform.startswith("linux"):
        return
    from experiment.x_display import open_x_display

    try:
        open_x_display().close()
    except InputError as problem:
        raise InputError(f"{problem}; set DISPLAY to a running screen's, or, {_REHEARSE_HINT}") from None


def list_screens() -> list[tuple[int, int]]:
    """Return the width and height in px of every screen of the display."""
    import pyglet  # type: ignore[import-untyped]

    return [(int(screen.width), int(screen.height)) for screen in pyglet.canvas.get_display().get_screens()]


def _check_screen_index(index: int) -> None:
    """PsychoPy silently opens screen 0 where the one asked for does not exist."""
    screens = list_screens()
    if not 0 <= index < len(screens):
        found = ", ".join(f"{number}: {width} x {height} px" for number, (width, height) in enumerate(screens))
        raise InputError(f"screen {index} does not exist; found {found}; give another --screen")


def _import_psychopy() -> tuple[Any, str]:
    """Import PsychoPy's visual part, quietly: its warnings are about its own dependencies."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import psychopy
            from psychopy import logging, visual
    except ImportError as problem:
        raise InputError(f"PsychoPy cannot be imported ({problem}); {INSTALL_HINT}; --rehearse works without it") from None
    logging.console.setLevel(logging.ERROR)
    return visual, str(psychopy.__version__)
