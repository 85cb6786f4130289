"""MACO: the phases of the spectrum are free, its magnitudes those of natural images (Fel et al. 2023, arXiv 2306.06805).

With a budget every magnitude may leave its template by a bounded factor, so that an image keeps a natural spectrum but can be louder
where its target asks for it.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stimgen.image import to_image, to_spectrum


@dataclass(frozen=True)
class Maco:
    """image = sigmoid(M irfft2(magnitude x gain x exp(i phase)) / 4), with the colors of `Fourier`.

    `magnitude` is the template, of all images or each its own; gain lies between 1 / (1 + budget) and 1 + budget, and is 1 without
    a budget. The constant term keeps its template, with its sign.
    """

    size_px: int
    magnitude: Float[Tensor, "*images 3 height half"]
    budget: float = 0.0

    def draw(self, generator: torch.Generator) -> Float[Tensor, "3 height half parts"]:
        """Draw uniform random phases, and gains of 1."""
        phase = 2 * math.pi * torch.rand(3, self.size_px, self.size_px // 2 + 1, generator=generator)
        return torch.stack([phase, torch.zeros_like(phase)], dim=-1) if self.budget else phase[..., None]

    def decode(self, parameters: Float[Tensor, "images 3 height half parts"]) -> Float[Tensor, "images 3 height width"]:
        """Return images in 0-1; differentiable."""
        template = self.magnitude.to(parameters.device)
        away = _mask_constant(parameters[..., 0])
        cosine, sine = _make_real(parameters[..., 0] * away)
        magnitude = template.expand_as(cosine)
        if self.budget:
            magnitude = magnitude * torch.exp(math.log1p(self.budget) * torch.tanh(parameters[..., 1]) * away)
        return to_image(torch.complex(magnitude * cosine, magnitude * sine), self.size_px)

    def encode(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 height half parts"]:
        """Return the nearest parameters: exact for images whose magnitudes are the template's, or within the budget of it."""
        spectrum = to_spectrum(images)
        phase = torch.angle(spectrum)
        if not self.budget:
            return phase[..., None]
        template = self.magnitude.to(images.device).expand_as(phase).abs().clamp(min=1e-12)
        share = torch.log(spectrum.abs().clamp(min=1e-12) / template) / math.log1p(self.budget)
        gain = torch.atanh(share.clamp(-1 + 1e-6, 1 - 1e-6))
        return torch.stack([phase, gain], dim=-1)


def measure_magnitude(images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "3 height half"]:
    """Return the template of natural images: the mean magnitude of every term; of the constant term, the mean with its sign."""
    spectrum = to_spectrum(images)
    magnitude = spectrum.abs().mean(dim=0)
    magnitude[:, 0, 0] = spectrum[:, :, 0, 0].real.mean(dim=0)
    return magnitude


def measure_own_magnitude(images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 height half"]:
    """Return each image's own magnitudes, the constant term with its sign: templates that `encode` is exact with."""
    spectrum = to_spectrum(images)
    magnitude = spectrum.abs()
    magnitude[:, :, 0, 0] = spectrum[:, :, 0, 0].real
    return magnitude


def _mask_constant(phase: Float[Tensor, "images 3 height half"]) -> Float[Tensor, "height half"]:
    mask = torch.ones(phase.shape[-2:], device=phase.device)
    mask[0, 0] = 0.0
    return mask


def _make_real(
    phase: Float[Tensor, "images 3 height half"],
) -> tuple[Float[Tensor, "images 3 height half"], Float[Tensor, "images 3 height half"]]:
    """Return cosine and sine of the phases as a real image can have them, so that its magnitudes are those of the spectrum.

    Half a spectrum holds some terms twice, which an inverse transform averages: here the first of both counts. A few terms are real:
    of their phases only the sign of the cosine counts, and it has no gradient.
    """
    phase = _mirror(phase)
    cosine, sine = torch.cos(phase), torch.sin(phase)
    own = _find_real(phase)
    sign = torch.where(cosine.detach() < 0, -1.0, 1.0)
    return torch.where(own, sign, cosine), torch.where(own, 0.0, sine)


def _mirror(phase: Float[Tensor, "images 3 height half"]) -> Float[Tensor, "images 3 height half"]:
    """Return phases of negative frequency as minus those of positive frequency, in the columns that hold both."""
    size_px, half = phase.shape[-2:]
    phase = phase.clone()
    for column in (0,) if size_px % 2 else (0, half - 1):
        phase[..., size_px // 2 + 1 :, column] = -phase[..., 1 : (size_px + 1) // 2, column].flip(-1)
    return phase


def _find_real(terms: Float[Tensor, "images 3 height half"]) -> Bool[Tensor, "height half"]:
    """Return which terms are their own mirror images, hence real: the constant, and of even sizes three of the finest frequencies."""
    size_px, half = terms.shape[-2:]
    rows, columns = torch.arange(size_px, device=terms.device), torch.arange(half, device=terms.device)
    return (2 * rows % size_px == 0)[:, None] & (2 * columns % size_px == 0)[None, :]
