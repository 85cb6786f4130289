"""Other ways to see in an image made for a voxel where the voxel looks, measured beside that of `stimgen.receptive_field`.

- `map_attribution`: integrated gradients (Sundararajan, Taly & Yan 2017, "Axiomatic attribution for deep networks", equation 1), from
  the gray of the image's mean color to the image, smoothed.
- `map_occlusion`: the drive lost when a Gaussian blob of the image turns into that gray (Zeiler & Fergus 2014, "Visualizing and
  understanding convolutional networks", section 4.2; Zhou et al. 2015, "Object detectors emerge in deep scene CNNs").
- `map_contrast`: how far the image is from that gray; no model at all.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Drive = Callable[[Tensor], Tensor]
BLOB_SD = 0.08  # of the image's side
_SIDE, _AT_ONCE = 28, 8


def map_attribution(drive: Drive, image: Tensor, steps: int = 4) -> np.ndarray:
    """Return how much of the drive each place of the image carries."""
    gray = image.mean(dim=(1, 2), keepdim=True)
    portions = (torch.arange(steps) + 0.5) / steps
    shown = (gray + portions[:, None, None, None] * (image - gray)).requires_grad_(True)
    (gradient,) = torch.autograd.grad(drive(shown).sum(), shown)
    return _smooth(((image - gray) * gradient.mean(dim=0)).sum(dim=0))


def map_occlusion(drive: Drive, image: Tensor, side: int = 8) -> np.ndarray:
    """Return the drive lost at each of `side` x `side` places."""
    gray = image.mean(dim=(1, 2), keepdim=True)
    rows, columns = (_draw_blobs(side, size) for size in image.shape[1:])
    blobs = torch.einsum("ih,jw->ijhw", rows, columns).flatten(0, 1)[:, None]
    with torch.no_grad():
        whole = drive(image[None])
        lost = torch.cat([whole - drive(image * (1 - some) + gray * some) for some in torch.split(blobs, _AT_ONCE)])
    return lost.reshape(side, side).numpy()


def map_contrast(image: Tensor) -> np.ndarray:
    """Return the squared distance from gray."""
    return _smooth(((image - image.mean(dim=(1, 2), keepdim=True)) ** 2).sum(dim=0))


def _smooth(values: Tensor) -> np.ndarray:
    rows, columns = (_draw_blobs(_SIDE, size) for size in values.shape)
    return (rows @ values @ columns.T).numpy()


def _draw_blobs(side: int, size_px: int) -> Tensor:
    places = (torch.arange(side) + 0.5) / side
    pixels = (torch.arange(size_px) + 0.5) / size_px
    return torch.exp(-((pixels - places[:, None]) ** 2) / (2 * BLOB_SD**2))
