"""Image parameterizations that take their numbers one by one: pixels, and the decorrelated Fourier spectrum.

The Fourier parameterization spreads a gradient step over all scales as natural images spread their energy (1/f),
and over correlated colors as natural images have them, so that ascent does not run into high-frequency noise.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

# Color correlation of ImageNet training images, square root of the covariance (Olah, Mordvintsev, Schubert 2017, Feature Visualization).
_COLOR_SQRT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
_GAIN = 0.25  # brings a unit spectrum to the middle of the sigmoid's range
_INITIAL_SD = 0.01
_EDGE = 1 / 512  # half a step of 8 bits: 0 and 1 themselves have no finite logit


@dataclass(frozen=True)
class Pixels:
    """Every pixel and channel by itself: image = sigmoid(parameters). What adversarial images are made with."""

    size_px: int

    def draw(self, generator: torch.Generator) -> Float[Tensor, "3 height width"]:
        """Draw the parameters of one nearly gray image."""
        return _INITIAL_SD * torch.randn(3, self.size_px, self.size_px, generator=generator)

    def decode(self, parameters: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 height width"]:
        """Return images in 0-1; differentiable."""
        return torch.sigmoid(parameters)

    def encode(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 height width"]:
        """Return the parameters of images; black and white come back within 1/512."""
        return to_logits(images)


@dataclass(frozen=True)
class Fourier:
    """Decorrelated Fourier parameterization of square images of `size_px`.

    image = sigmoid(M irfft2(spectrum / max(f, 1 / size_px)^decay) / 4), irfft2 orthonormal, where M mixes the three decorrelated color
    channels of every pixel into RGB; f is in cycles per pixel. With another `decay` than 1 the spectrum's energy stays that of 1.
    """

    size_px: int
    decay: float = 1.0

    def draw(self, generator: torch.Generator) -> Float[Tensor, "3 height half 2"]:
        """Draw the parameters of one nearly gray image (real and imaginary parts)."""
        return _INITIAL_SD * torch.randn(3, self.size_px, self.size_px // 2 + 1, 2, generator=generator)

    def decode(self, parameters: Float[Tensor, "images 3 height half 2"]) -> Float[Tensor, "images 3 height width"]:
        """Return images in 0-1; differentiable."""
        return to_image(torch.view_as_complex(parameters.contiguous()) * self._scale(parameters.device), self.size_px)

    def encode(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 height half 2"]:
        """Return the parameters of images; black and white come back within 1/512."""
        return torch.view_as_real(to_spectrum(images) / self._scale(images.device))

    def _scale(self, device: torch.device) -> Float[Tensor, "height half"]:
        frequency = measure_frequency(self.size_px, device).clamp(min=1 / self.size_px)
        scale = frequency**-self.decay
        if self.decay == 1:
            return scale
        energy: Tensor = torch.sqrt((frequency**-2).mean() / (scale**2).mean())
        return scale * energy


def measure_frequency(size_px: int, device: torch.device) -> Float[Tensor, "height half"]:
    """Return the spatial frequency of every term of a half spectrum, in cycles per pixel."""
    rows = torch.fft.fftfreq(size_px, device=device)[:, None]
    columns = torch.fft.rfftfreq(size_px, device=device)[None, :]
    return torch.sqrt(rows**2 + columns**2)


def to_image(spectrum: Complex[Tensor, "images 3 height half"], size_px: int) -> Float[Tensor, "images 3 height width"]:
    """Return images in 0-1 from spectra of decorrelated color channels; differentiable."""
    planes = torch.fft.irfft2(spectrum, s=(size_px, size_px), norm="ortho") * _GAIN
    return torch.sigmoid(torch.einsum("rc,nchw->nrhw", color_matrix(planes.device), planes))


def to_spectrum(images: Float[Tensor, "images 3 height width"]) -> Complex[Tensor, "images 3 height half"]:
    """Return the spectra of images' decorrelated color channels: the inverse of `to_image`."""
    mixing = torch.linalg.inv(color_matrix(images.device))
    planes = torch.einsum("cr,nrhw->nchw", mixing, to_logits(images)) / _GAIN
    spectrum: Tensor = torch.fft.rfft2(planes, norm="ortho")
    return spectrum


def to_logits(images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images 3 height width"]:
    """Return what a sigmoid turns into the images, black and white moved inwards by 1/512."""
    return torch.logit(images.clamp(_EDGE, 1 - _EDGE))


def color_matrix(device: torch.device) -> Float[Tensor, "3 3"]:
    """Return the matrix from decorrelated channels to RGB, its largest column of norm 1."""
    matrix = torch.tensor(_COLOR_SQRT, device=device)
    largest: Tensor = torch.linalg.vector_norm(matrix, dim=0).max()
    return matrix / largest
