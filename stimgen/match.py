"""Images brought to a wished photometry: differentiably, while they are made, and to the last of 8 bits, when they are saved.

An image's light is filtered (spectral slope, stripes), its luminance scaled and shifted, its chroma scaled, and cut off at black and white.
The few numbers of this adjustment are found by measuring what comes out and correcting them, so that clipping, aperture and rounding are
allowed for. While an image is made, the last correction is differentiated through: the gradient then has no part that photometry forbids.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from stimgen.display import Display
from stimgen.image import measure_frequency
from stimgen.photometry import FEATURES, Photometry, mark_wedges, measure_light, measure_stripes, to_luminance

_ROUNDS = 1  # corrections before the one that is differentiated
_MOST_ROUNDS = 40
_CLOSE = 2e-4  # where the corrections of a saved image end
TOLERANCE = dict(zip(FEATURES, (0.003, 0.01, 0.02, 0.01), strict=True))  # a tenth of natural spread or less
_DAMPING = 0.9
_MOST_SPREAD = 20.0  # nearly all is black or white then
_MOST_CHROMA = 1.5  # times the wished one: no colors are made out of the noise of a gray photograph
_FAINT = 0.004  # twice the root mean square of 8-bit rounding


@dataclass(frozen=True)
class _Adjustment:
    """Per image, before light is cut off: mean luminance, its sd, RMS chroma, exponent of the filter, factor of each wedge."""

    offset: Float[Tensor, " images"]
    spread: Float[Tensor, " images"]
    chroma: Float[Tensor, " images"]
    tilt: Float[Tensor, " images"]
    stripes: Float[Tensor, "images wedges"]


@dataclass(frozen=True)
class Matcher:
    """What images are brought to.

    Attributes
    ----------
    wishes
        One row per image: luminance, contrast, slope, saturation; NaN leaves the image's own.
    window
        1 where the image is seen, 0 where the background is; None without aperture and fixation hole.
    background
        Gray level 0-1 around the image.
    most_striped
        Largest RMS contrast of stripes of one orientation near 3 cycles per degree; None without limit.
    """

    display: Display
    wishes: Float[Tensor, "images 4"]
    size_deg: float
    background: float = 127 / 255
    window: Float[Tensor, "side side"] | None = None
    most_striped: float | None = None

    def select(self, rows: slice) -> "Matcher":
        """Return the matcher of some of the images."""
        return replace(self, wishes=self.wishes[rows])

    def hold(self, images: Float[Tensor, "images 3 side side"]) -> Float[Tensor, "images 3 side side"]:
        """Return images of nearly the wished photometry; differentiable.

        Each by itself: the last bits of a sum depend on what else is in a batch, and an ascent makes another image of them.
        """
        return torch.cat([self.select(slice(row, row + 1))._hold_one(images[row : row + 1]) for row in range(len(images))])

    def _hold_one(self, images: Float[Tensor, "1 3 side side"]) -> Float[Tensor, "1 3 side side"]:
        linear = self.display.to_linear(images)
        spectrum = torch.fft.rfft2(linear)
        wishes = self._complete(linear.detach())
        with torch.no_grad():
            adjustment = self._begin(linear, wishes)
            for _ in range(_ROUNDS):
                adjustment = self._correct(adjustment, self._show(spectrum, adjustment), wishes)
        adjustment = self._correct(adjustment, self._show(spectrum, adjustment), wishes)
        return self.display.to_levels(self._show(spectrum, adjustment))

    def finish(self, images: Float[Tensor, "images 3 side side"]) -> tuple[Float[Tensor, "images 3 side side"], Float[Tensor, "images 4"]]:
        """Return images of the wished photometry in whole 8-bit levels, and what is left of each difference from the wish."""
        done = [self.select(slice(row, row + 1))._finish_one(images[row : row + 1].float()) for row in range(len(images))]
        return torch.cat([image for image, _ in done]), torch.cat([error for _, error in done])

    @torch.no_grad()
    def _finish_one(self, image: Float[Tensor, "1 3 side side"]) -> tuple[Float[Tensor, "1 3 side side"], Float[Tensor, "1 4"]]:
        linear = self.display.to_linear(image)
        spectrum = torch.fft.rfft2(linear)
        wishes = self._complete(linear)
        adjustment = self._begin(linear, wishes)
        best, smallest, error = image, torch.inf, wishes
        for _ in range(_MOST_ROUNDS):
            levels = (self.display.to_levels(self._show(spectrum, adjustment)) * 255).round() / 255
            shown = self.display.to_linear(levels)
            left = measure_light(shown, self.window).stack() - wishes
            excess = 0.0 if self.most_striped is None else float(self._measure_stripes(shown).max()) - self.most_striped
            size = max(float(left.abs().max()), excess)
            if size < smallest:
                best, smallest, error = levels, size, left
            if size < _CLOSE:
                break
            adjustment = self._correct(adjustment, shown, wishes)
        return best, error

    def _complete(self, linear: Tensor) -> Float[Tensor, "images 4"]:
        """Return the wishes, an image's own photometry where none is given."""
        wishes = self.wishes.to(linear)
        own = measure_light(linear, self.window).stack() if bool(wishes.isnan().any()) else wishes
        return torch.where(wishes.isnan(), own, wishes)

    def _begin(self, linear: Tensor, wishes: Float[Tensor, "images 4"]) -> _Adjustment:
        own = measure_light(linear, self.window)
        luminance, contrast, slope, saturation = wishes.unbind(1)
        stripes = torch.ones(len(linear), len(mark_wedges(8, 1.0, linear.device)), device=linear.device)
        return _Adjustment(luminance, contrast * luminance, saturation * luminance, (slope - own.slope).clamp(-1.5, 1.5), stripes)

    def _correct(self, adjustment: _Adjustment, shown: Tensor, wishes: Float[Tensor, "images 4"]) -> _Adjustment:
        """Return the adjustment that would have come nearer."""
        luminance, contrast, slope, saturation = wishes.unbind(1)
        own: Photometry = measure_light(shown, self.window)
        stripes = adjustment.stripes
        if self.most_striped is not None:
            excess = self._measure_stripes(shown) / (0.98 * self.most_striped)
            stripes = stripes / torch.where(stripes < 1, excess.clamp(min=0.5), excess.clamp(min=1.0))
            stripes = stripes.clamp(max=1.0)
        return _Adjustment(
            (adjustment.offset + luminance - own.luminance).clamp(0, 1.5),
            (adjustment.spread * (contrast / own.contrast.clamp(min=1e-4)) ** _DAMPING).clamp(max=_MOST_SPREAD),
            torch.minimum(
                adjustment.chroma * (saturation / own.saturation.clamp(min=1e-4)) ** _DAMPING, _MOST_CHROMA * saturation * luminance
            ),
            (adjustment.tilt + _DAMPING * (slope - own.slope)).clamp(-2, 2),
            stripes,
        )

    def _measure_stripes(self, shown: Tensor) -> Float[Tensor, "images wedges"]:
        return measure_stripes(shown, self.size_deg, self.window)

    def _show(self, spectrum: Complex[Tensor, "images 3 side half"], adjustment: _Adjustment) -> Float[Tensor, "images 3 side side"]:
        """Return the adjusted light, cut off at black and white, on the background outside the window."""
        filtered = self._filter(spectrum, adjustment)
        luminance = to_luminance(filtered)[:, None]
        seen = torch.ones_like(luminance[0, 0]) if self.window is None else self.window.to(filtered)
        mean = (luminance * seen).sum(dim=(2, 3), keepdim=True) / seen.sum()
        offset, spread, chroma = (value[:, None, None, None] for value in (adjustment.offset, adjustment.spread, adjustment.chroma))
        light = offset + spread * _normalize(luminance - mean, seen) + chroma * _normalize(filtered - luminance, seen)
        shown = light.clamp(self.display.black, 1.0)
        if self.window is None:
            return shown
        gray = self.display.to_linear(filtered.new_full((1, 3, 1, 1), self.background))
        framed: Tensor = gray + seen * (shown - gray)
        return framed

    def _filter(self, spectrum: Complex[Tensor, "images 3 side half"], adjustment: _Adjustment) -> Float[Tensor, "images 3 side side"]:
        """Multiply the spectrum by frequency to the power of the tilt, and each wedge by its factor; the mean stays."""
        side = spectrum.shape[-2]
        factor = torch.exp(adjustment.tilt[:, None, None] * _log_frequency(side, spectrum.device))
        if self.most_striped is not None:
            wedge = mark_wedges(side, self.size_deg, spectrum.device)
            factor = factor * (1 + torch.einsum("nk,khw->nhw", adjustment.stripes - 1, wedge))
        filtered: Tensor = torch.fft.irfft2(spectrum * factor[:, None], s=(side, side))
        return filtered


def _normalize(planes: Float[Tensor, "images channels side side"], seen: Float[Tensor, "side side"]) -> Tensor:
    """Return planes whose root mean square over channels and what is seen is 1."""
    square = (planes**2).mean(dim=1, keepdim=True) * seen
    normalized: Tensor = planes / torch.sqrt(square.sum(dim=(2, 3), keepdim=True) / seen.sum() + _FAINT**2)
    return normalized


@lru_cache(maxsize=8)
def _log_frequency(side: int, device: torch.device) -> Float[Tensor, "side half"]:
    """Return the logarithm of every term's cycles per image; 0 for the mean."""
    frequency = measure_frequency(side, device) * side
    frequency[0, 0] = 1.0
    return torch.log(frequency)
