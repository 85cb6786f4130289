"""Pixels and degrees of visual angle: a screen's measures in, sizes out; exact, 2 atan(w / 2d), never the small-angle formula."""

import math

from protocols.protocol import Screen


def convert_cm_to_deg(width_cm: float, distance_cm: float) -> float:
    """Return the visual angle in degrees of a centered length seen from `distance_cm`: 2 atan(w / 2d)."""
    return math.degrees(2 * math.atan(width_cm / (2 * distance_cm)))


def convert_deg_to_cm(size_deg: float, distance_cm: float) -> float:
    """Return the length in cm that, centered at `distance_cm`, spans `size_deg`: w = 2d tan(deg / 2)."""
    return 2 * distance_cm * math.tan(math.radians(size_deg) / 2)


def convert_px_to_deg(size_px: float, screen: Screen) -> float:
    """Return the visual angle in degrees of `size_px` pixels around the screen's center (square pixels)."""
    return convert_cm_to_deg(size_px * screen.width_cm / screen.width_px, screen.distance_cm)


def convert_deg_to_px(size_deg: float, screen: Screen) -> float:
    """Return the pixels, not rounded, that span `size_deg` around the screen's center."""
    return convert_deg_to_cm(size_deg, screen.distance_cm) * screen.width_px / screen.width_cm


def measure_screen(screen: Screen) -> tuple[float, float]:
    """Return the visual angle in degrees that the whole screen spans: width, height."""
    return convert_px_to_deg(screen.width_px, screen), convert_px_to_deg(screen.height_px, screen)


def measure_patch(screen: Screen) -> int:
    """Return the side in whole pixels of the photodiode's patch."""
    return max(1, round(convert_deg_to_px(screen.photodiode_deg, screen)))


def fit_image(width_px: int, height_px: int, screen: Screen) -> tuple[int, int]:
    """Return the size in whole pixels at which an image is drawn: `size_deg` wide, its own proportions."""
    shown_width = max(1, round(convert_deg_to_px(screen.size_deg, screen)))
    return shown_width, max(1, round(shown_width * height_px / width_px))
