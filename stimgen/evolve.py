"""Evolution of one image by CMA-ES, for ratings without a gradient: a function of images in, the best image's parameters out.

The search keeps to few dimensions: of a spectrum only its lowest frequencies are free. Nothing but the given generator is random: the
library gets its normal numbers from it, so that NumPy's global state is neither read nor written.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from protocols.config import config
from protocols.errors import InputError
from stimgen.edit import Edit
from stimgen.image import Fourier
from stimgen.maco import Maco
from stimgen.parameterization import Parameterization

Rate = Callable[[Float[Tensor, "images 3 height width"]], Float[Tensor, " images"]]
_MOST_FULL = 200  # dimensions up to which the covariance is full: beyond, learning it takes longer than a search lasts


@config
class Evolution:
    """How an image is evolved."""

    generations: int = Field(default=200, ge=1)
    population: int | None = Field(default=None, ge=4)
    """Images of a generation; None: 4 + 3 ln(dimensions), the default of the library."""
    sigma: float = Field(default=0.3, gt=0)
    """Standard deviation of the first generation around its start, in units of the parameters."""
    cutoff: int = Field(default=6, ge=1)
    """Of a spectrum, frequencies from this many cycles per side upwards stay what they are at the start: 6 leaves 366 dimensions."""


def evolve(
    rate: Rate, parameterization: Parameterization, start: Tensor, evolution: Evolution, generator: torch.Generator
) -> tuple[Tensor, float]:
    """Search the image that is rated highest, by CMA-ES (Hansen 2016, arXiv 1604.00772), its covariance diagonal above 200 dimensions.

    `start` holds the parameters of one image, without an axis of images. `rate` sees, without gradients, a whole generation at a time,
    and the middle of its distribution as one more image before the others: in the first generation that is the start. Ends early where
    the library finds the search converged.

    Returns
    -------
    parameters, rating
        Of the best image that was rated; parameters as `start`, on its device.

    Raises
    ------
    InputError
        When a rating is NaN or infinite.
    """
    import cma  # type: ignore[import-untyped]

    free = find_free(parameterization, start, evolution.cutoff)
    center = start[free].double().cpu().numpy()
    options = {
        "CMA_diagonal": len(center) > _MOST_FULL,
        "randn": lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64, device=generator.device).cpu().numpy(),
        "seed": np.nan,  # no seed: all normal numbers come from `randn`
        "verbose": -10,  # prints nothing, and looks for no file of signals in the current folder
        "verb_log": 0,
    } | ({} if evolution.population is None else {"popsize": evolution.population})
    search = cma.CMAEvolutionStrategy(center, evolution.sigma, options)
    best, best_rating = start.detach().clone(), -np.inf
    for generation in range(evolution.generations):
        asked = search.ask()
        parameters = _fill(start, free, np.stack([search.mean, *asked]))
        ratings = _rate_all(rate, parameterization, parameters, generation)
        if ratings.max() > best_rating:
            best, best_rating = parameters[int(ratings.argmax())].clone(), float(ratings.max())
        search.tell(asked, (-ratings[1:]).tolist())
        if search.stop():
            break
    return best, best_rating


def find_free(parameterization: Parameterization, start: Tensor, cutoff: int) -> Bool[Tensor, "*parameters"]:
    """Return which parameters of one image are searched: all, or of a spectrum those below `cutoff` cycles per side.

    Rows of negative frequency in the first column repeat those of positive frequency in a real image, and stay at their start.
    """
    free = torch.ones(start.shape, dtype=torch.bool, device=start.device)
    if not isinstance(parameterization, Fourier | Maco | Edit):
        return free
    rows = torch.fft.fftfreq(parameterization.size_px, 1 / parameterization.size_px, device=start.device).round()
    columns = torch.arange(start.shape[2], device=start.device)
    low = (rows.abs()[:, None] < cutoff) & (columns[None, :] < cutoff)
    low[rows < 0, 0] = False
    spread: Tensor = free & low[None, :, :, None]
    return spread


def _fill(start: Tensor, free: Tensor, values: npt.NDArray[np.float64]) -> Tensor:
    """Return the start's parameters once per row of values, the free ones replaced."""
    parameters = start.detach().expand(len(values), *start.shape).clone()
    parameters[:, free] = torch.from_numpy(values).to(parameters)
    return parameters


def _rate_all(rate: Rate, parameterization: Parameterization, parameters: Tensor, generation: int) -> npt.NDArray[np.float64]:
    with torch.no_grad():
        ratings = rate(parameterization.decode(parameters)).double().cpu().numpy()
    wrong = ~np.isfinite(ratings)
    if wrong.any():
        raise InputError(
            f"evolution, generation {generation + 1}: {wrong.sum()} of {len(ratings)} images are rated NaN or infinite; "
            "lower sigma, or mend the model that rates them"
        )
    return ratings
