"""Evolution: known optima are found without gradients, from the given generator alone."""

import re

import cma
import numpy as np
import pytest
import torch

from protocols.errors import InputError
from stimgen.edit import Edit
from stimgen.evolve import Evolution, evolve, find_free
from stimgen.image import Fourier, Pixels
from stimgen.maco import Maco
from stimgen.user_generator import UserGenerator

RED = torch.tensor([0.9, 0.1, 0.2])[:, None, None]


def rate_red(images):
    return -((images - RED) ** 2).mean(dim=(1, 2, 3))


def search(rate, parameterization, seed=1, generator=None, **settings):
    """Evolve from the draw of seed 0."""
    start = parameterization.draw(torch.Generator().manual_seed(0))
    return start, *evolve(rate, parameterization, start, Evolution(**settings), generator or torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size_px", [4, 9])  # 48 numbers with a full covariance, 243 with a diagonal one
def test_a_red_image_is_found_pixel_by_pixel(size_px):
    start, best, rating = search(rate_red, Pixels(size_px), generations=250, sigma=0.5)
    assert rating > -0.005 > float(rate_red(Pixels(size_px).decode(start[None])))
    image = Pixels(size_px).decode(best[None])
    assert float(rate_red(image)) == pytest.approx(rating, rel=1e-5)
    np.testing.assert_allclose(image.mean(dim=(0, 2, 3)), RED.flatten(), atol=0.05)


def test_a_low_frequency_pattern_is_found():
    """A grating of two cycles per image, in red against green."""
    fourier, wave = Fourier(24), torch.sin(2 * torch.pi * 2 * (torch.arange(24) + 0.5) / 24)

    def rate(images):
        return ((images[:, 0] - images[:, 1]) * wave).mean(dim=(1, 2))

    _, best, rating = search(rate, fourier, generations=120, cutoff=4)
    image = fourier.decode(best[None])[0]
    along = np.corrcoef((image[0] - image[1]).mean(dim=0), wave)[0, 1]
    assert along > 0.9
    assert rating > 0.3  # of 2 / pi at most


@pytest.mark.parametrize(("size_px", "full"), [(8, True), (9, False)])  # 192 and 243 numbers
def test_the_covariance_is_full_up_to_200_numbers_and_diagonal_beyond(size_px, full, monkeypatch):
    made, build = [], cma.CMAEvolutionStrategy
    monkeypatch.setattr(cma, "CMAEvolutionStrategy", lambda *given: made.append(build(*given)) or made[-1])
    search(rate_red, Pixels(size_px), generations=4)
    assert (made[0].sm.covariance_matrix is not None) == full  # the library keeps variances alone elsewhere, as `sigma_vec`


def test_few_numbers_are_found_exactly():
    class Gray:
        latent_shape = (3,)

        def decode(self, latents):
            return torch.sigmoid(latents)[..., None, None].expand(-1, 3, 4, 4)

    _, best, rating = search(rate_red, UserGenerator("gray", 4, (3,), Gray()), generations=100)
    np.testing.assert_allclose(torch.sigmoid(best), RED.flatten(), atol=1e-3)
    assert rating == pytest.approx(0, abs=1e-6)


def test_frequencies_from_the_cutoff_upwards_stay_at_their_start():
    start, best, _ = search(rate_red, Fourier(12), generations=2, cutoff=3)
    changed = (best != start).any(dim=0).any(dim=-1)
    rows = np.abs(np.fft.fftfreq(12, 1 / 12))
    assert not changed[rows >= 3].any()
    assert not changed[:, 3:].any()
    assert changed[:3, :3].all()
    assert changed[-2:, 1:3].all()


@pytest.mark.parametrize("size_px", [12, 13])
def test_what_is_searched(size_px):
    magnitude = torch.ones(3, size_px, size_px // 2 + 1)
    photographs = torch.full((1, 3, size_px, size_px), 0.5)
    for made, parts in (
        (Fourier(size_px), 2),
        (Edit(photographs, 0.1), 2),
        (Maco(size_px, magnitude), 1),
        (Maco(size_px, magnitude, 0.5), 2),
    ):
        start = made.draw(torch.Generator())
        free = find_free(made, start, 3)
        assert free.shape == start.shape
        assert int(free.sum()) == 3 * parts * (3 + 5 * 2)  # three rows of the first column, five of two more
        assert int(find_free(made, start, 100).sum()) == start.numel() - 3 * parts * ((size_px + 1) // 2 - 1 + (size_px % 2 == 0))
    assert find_free(Pixels(size_px), torch.zeros(3, size_px, size_px), 3).all()
    assert int(find_free(Fourier(224), Fourier(224).draw(torch.Generator()), Evolution().cutoff).sum()) == 366  # as documented


def test_the_generator_alone_decides():
    numpy_before = np.random.get_state()
    torch_before = torch.get_rng_state()
    outcomes = []
    for seed in (1, 1, 2):
        np.random.seed(len(outcomes))
        state = np.random.get_state()
        outcomes.append(search(rate_red, Pixels(5), seed, generations=5)[1:])
        for before, after in zip(state, np.random.get_state(), strict=True):
            np.testing.assert_array_equal(before, after)
    np.random.set_state(numpy_before)
    assert torch.equal(torch_before, torch.get_rng_state())
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1] == outcomes[1][1]
    assert not torch.equal(outcomes[0][0], outcomes[2][0])


def test_whole_generations_are_rated_without_gradients_and_the_start_among_them():
    seen = []

    def rate(images):
        assert not torch.is_grad_enabled()
        assert not images.requires_grad
        seen.append(images)
        return rate_red(images)

    pixels = Pixels(5)
    start, _, rating = search(rate, pixels, generations=3, population=7)
    assert [len(images) for images in seen] == [8, 8, 8]  # a generation and its middle
    torch.testing.assert_close(seen[0][:1], pixels.decode(start[None]))
    assert rating == float(torch.cat([rate_red(images) for images in seen]).max())


def test_a_start_that_is_best_is_kept():
    pixels = Pixels(5)
    start = pixels.encode(RED.expand(1, 3, 5, 5))[0]
    before = start.clone()
    best, _ = evolve(rate_red, pixels, start, Evolution(generations=2), torch.Generator().manual_seed(1))
    assert torch.equal(best, before)
    assert torch.equal(start, before)


def test_a_flat_rating_ends_without_a_warning():
    _, _, rating = search(lambda images: torch.zeros(len(images)), Pixels(4), generations=60)
    assert rating == 0


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_ratings_that_are_no_numbers_are_refused(wrong):
    def rate(images):
        ratings = rate_red(images)
        ratings[2:4] = wrong
        return ratings

    message = "evolution, generation 1: 2 of 9 images are rated NaN or infinite; lower sigma"
    with pytest.raises(InputError, match=re.escape(message)):
        search(rate, Pixels(4), population=8)
