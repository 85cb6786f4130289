"""Texture-matched controls: the statistics of a network's channels kept, their arrangement in the image lost.

The means and correlations of channels over places (Gram matrices; Gatys, Ecker, Bethge 2015, arXiv 1505.07376) of several layers are
brought to those of an image, from a phase-scrambled copy of it on.
"""

from collections.abc import Sequence
from hashlib import sha256

import torch
from jaxtyping import Float
from torch import Tensor

from stimgen.backbone import Backbone
from stimgen.image import Fourier
from stimgen.match import Matcher

STEPS = 100
_LEARNING_RATE = 0.05
_LEAST_PLACES = 100  # fewer tell where in the image something is
_MOST_LAYERS = 6


def synthesize_texture(
    backbone: Backbone,
    layers: Sequence[str],
    image: Float[Tensor, "1 3 side side"],
    start: Float[Tensor, "1 3 side side"],
    matcher: Matcher | None = None,
) -> Float[Tensor, "1 3 side side"]:
    """Return an image in 0-1 with the channel statistics of `image` in `layers`, found from `start` on; held by `matcher`."""
    fourier = Fourier(image.shape[-1])
    device = backbone.device
    with torch.no_grad():
        wanted = measure_texture(backbone, layers, image.to(device))
    parameters = fourier.encode(start.to(device)).requires_grad_(True)
    optimizer = torch.optim.Adam([parameters], lr=_LEARNING_RATE)
    for _ in range(STEPS):
        shown = _decode(fourier, parameters, matcher)
        distance = compare_textures(measure_texture(backbone, layers, shown), wanted).sum()
        optimizer.zero_grad()
        distance.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return _decode(fourier, parameters, matcher).cpu()


def identify_texture(
    backbone: Backbone, layers: Sequence[str], image: Float[Tensor, "1 3 side side"], start: Tensor, matcher: Matcher | None
) -> str:
    """Return a text that names all that a texture depends on."""
    held = "" if matcher is None else repr((matcher.wishes.tolist(), matcher.size_deg, matcher.background, matcher.most_striped))
    window = b"" if matcher is None or matcher.window is None else matcher.window.numpy().tobytes()
    digests = [sha256(data).hexdigest() for data in (image.numpy().tobytes(), start.numpy().tobytes(), window)]
    return f"{backbone.weights_sha256} {list(layers)} {STEPS} {digests} {held}"


def choose_texture_layers(backbone: Backbone, layers: Sequence[str]) -> list[str]:
    """Return those of `layers` whose maps have many places, at most six, spread from the first to the last."""
    probe = backbone.draw_probe()
    with torch.no_grad():
        maps = backbone.activations(probe, list(dict.fromkeys(layers)))
    large = [name for name, one in maps.items() if one.shape[2] * one.shape[3] >= _LEAST_PLACES]
    if len(large) <= _MOST_LAYERS:
        return large
    return [large[round(step * (len(large) - 1) / (_MOST_LAYERS - 1))] for step in range(_MOST_LAYERS)]


def measure_texture(
    backbone: Backbone, layers: Sequence[str], images: Float[Tensor, "images 3 side side"]
) -> list[Float[Tensor, "images _channels _columns"]]:
    """Return for every layer the mean products of channels over places, and the channels' means as a last column."""
    statistics = []
    for maps in backbone.activations(images, layers).values():
        flat = maps.float().flatten(2)
        means = flat.mean(dim=2, keepdim=True)
        statistics.append(torch.cat([flat @ flat.transpose(1, 2) / flat.shape[2], means], dim=2))
    return statistics


def compare_textures(
    found: Sequence[Float[Tensor, "images _channels _columns"]], wanted: Sequence[Float[Tensor, "images _channels _columns"]]
) -> Float[Tensor, " images"]:
    """Return the squared distance of statistics relative to their own size, the mean over layers; 0 for the same texture."""
    each = [((one - other) ** 2).sum(dim=(1, 2)) / (other**2).sum(dim=(1, 2)) for one, other in zip(found, wanted, strict=True)]
    return torch.stack(each).mean(dim=0)


def _decode(fourier: Fourier, parameters: Tensor, matcher: Matcher | None) -> Float[Tensor, "1 3 side side"]:
    images = fourier.decode(parameters)
    return images if matcher is None else matcher.hold(images)
