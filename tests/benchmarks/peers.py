"""Peers' ways of drawing and climbing, for side-by-side measurements with one encoding model and one objective.

VWAM's and Horama's own functions are called from checkouts of their repositories; only the loops around them are ours, with the settings of
VWAM's demo notebook and of Horama's defaults.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision import transforms

Rate = Callable[[Tensor], Tensor]  # images in 0-1 to one number per image
VWAM_STEPS, VWAM_PX = 1000, 500


def import_vwam(checkout: Path) -> Any:
    """Return the module `vwam.utils` of a checkout of github.com/MShinkle/VWAM."""
    sys.path.insert(0, str(checkout))
    from vwam import utils  # type: ignore[import-not-found]

    return utils


def import_horama(checkout: Path) -> Any:
    """Return the package `horama` of a checkout of github.com/serre-lab/Horama."""
    sys.path.insert(0, str(checkout))
    import horama  # type: ignore[import-not-found]

    return horama


def build_vwam_jitter(size_px: int) -> Callable[[Tensor], Tensor]:
    """Return the demo notebook's random transforms."""
    made: Callable[[Tensor], Tensor] = transforms.Compose(
        [
            transforms.RandomCrop((size_px, size_px), padding=5),
            transforms.RandomRotation([-5, 5]),
            transforms.RandomResizedCrop((size_px, size_px), scale=(0.95, 1.05), ratio=(1, 1)),
            transforms.RandomCrop((size_px, size_px), padding=3),
        ]
    )
    return made


def climb_vwam(vwam: Any, rate: Rate, seeds: list[int], steps: int = VWAM_STEPS, size_px: int = VWAM_PX) -> Tensor:
    """Climb as the demo notebook does: a complex spectrum, its modulus as the image, Adam at 2.5, unbounded, its transforms.

    Several images at once, each with its own transforms and seed, as if each were climbed alone. Images are clipped to 0-1 when shown.
    """
    jitter = build_vwam_jitter(size_px)
    base = torch.fft.fft2(torch.full((1, 3, size_px, size_px), 140 / 255))
    drawn = [torch.randn(1, 3, size_px, size_px, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    spectra = (torch.cat(drawn) + base).requires_grad_(True)
    optimizer = torch.optim.Adam([spectra], lr=2.5)

    def draw() -> Tensor:
        mixed: Tensor = vwam.linear_decorrelate_color(torch.abs(torch.fft.ifft2(spectra)))
        return mixed

    torch.manual_seed(seeds[0])  # its transforms know no other generator
    for _ in range(steps):
        optimizer.zero_grad()
        images = draw()
        rated = rate(torch.stack([jitter(image) for image in images]))
        (-rated.sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return draw().detach().clamp(0, 1)


def climb_horama_maco(horama: Any, rate: Rate, magnitude: Tensor, seed: int, steps: int, size_px: int, input_px: int) -> Tensor:
    """Climb with Horama's MACO and its default settings (NAdam 1.0, crops of 20-25 %, noise .05); ImageNet's spectrum cannot be fetched
    everywhere, so the template is `magnitude`, the mean of the pool's. One image, in the network's value range mapped to 0-1.
    """
    from horama import maco_fv  # type: ignore[import-not-found]

    torch.manual_seed(seed)
    original = maco_fv.init_maco_buffer

    def start(shape: tuple[int, int], std_deviation: float = 1.0) -> tuple[Tensor, Tensor]:
        return magnitude, std_deviation * torch.randn(3, shape[0], shape[1] // 2 + 1)

    maco_fv.init_maco_buffer = start
    try:
        settings = {"total_steps": steps, "image_size": size_px, "model_input_size": input_px, "values_range": (0.0, 1.0), "device": "cpu"}
        image, _ = maco_fv.maco(lambda crops: rate(crops).mean(), **settings)
    finally:
        maco_fv.init_maco_buffer = original
    return image.detach().clamp(0, 1)[None]
