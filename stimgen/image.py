"""Image parameterizations: a spectrum of free numbers in, an image in 0-1 out.

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


@dataclass(frozen=True)
class Fourier:
    """Decorrelated 1/f Fourier parameterization of square images of `size_px`.

    image = sigmoid(M irfft2(spectrum / max(f, 1 / size_px)) / 4), irfft2 orthonormal, where M mixes the three decorrelated color
    channels of every pixel into RGB; f is in cycles per pixel.
    """

    size_px: int

    def draw(self, generator: torch.Generator) -> Float[Tensor, "3 height half 2"]:
        """Draw the parameters of one nearly gray image (real and imaginary parts)."""
        return _INITIAL_SD * torch.randn(3, self.size_px, self.size_px // 2 + 1, 2, generator=generator)

    def decode(self, parameters: Float[Tensor, "images 3 height half 2"]) -> Float[Tensor, "images 3 height width"]:
        """Return images in 0-1; differentiable."""
        spectrum: Complex[Tensor, "images 3 height half"] = torch.view_as_complex(parameters.contiguous()) * self._scale(parameters.device)
        planes = torch.fft.irfft2(spectrum, s=(self.size_px, self.size_px), norm="ortho") * _GAIN
        return torch.sigmoid(torch.einsum("rc,nchw->nrhw", color_matrix(parameters.device), planes))

    def _scale(self, device: torch.device) -> Float[Tensor, "height half"]:
        rows = torch.fft.fftfreq(self.size_px, device=device)[:, None]
        columns = torch.fft.rfftfreq(self.size_px, device=device)[None, :]
        frequency = torch.sqrt(rows**2 + columns**2)
        return 1 / torch.clamp(frequency, min=1 / self.size_px)


def color_matrix(device: torch.device) -> Float[Tensor, "3 3"]:
    """Return the matrix from decorrelated channels to RGB, its largest column of norm 1."""
    matrix = torch.tensor(_COLOR_SQRT, device=device)
    largest: Tensor = torch.linalg.vector_norm(matrix, dim=0).max()
    return matrix / largest
