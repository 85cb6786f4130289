"""Natural images are as far from their own mean as they are; what is unlike them costs."""

import numpy as np
import pytest
import torch

from stimgen.naturalness import measure_naturalness

CPU = torch.device("cpu")
LAYER_OF_FEATURE = np.repeat([0, 1], [12, 30])


def draw_features(images, seed, factors=5, noise=0.1):
    """Return features that vary along a few directions, and a little along all; the second layer's scale is 100 times larger."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(0).standard_normal((factors, len(LAYER_OF_FEATURE)))
    features = rng.standard_normal((images, factors)) @ directions + noise * rng.standard_normal((images, len(LAYER_OF_FEATURE))) + 3
    return (features * np.where(LAYER_OF_FEATURE == 1, 100, 1)).astype(np.float32)


def measure(natural, features):
    """Return d and r, one number each per image, as the class's docstring has them."""
    z = (torch.from_numpy(features) - natural.mean) / natural.scale
    scores = z @ natural.directions
    return (scores**2 / natural.variance).mean(dim=1), ((z**2).sum(dim=1) - (scores**2).sum(dim=1)) / natural.rest


@pytest.mark.parametrize(("images", "directions"), [(60, 15), (300, 42)])
def test_the_pool_is_at_1_from_its_own_mean_in_its_directions_and_outside_them(images, directions):
    pool = draw_features(images, 1)
    natural = measure_naturalness(pool, LAYER_OF_FEATURE, CPU)
    assert natural.directions.shape == (42, directions)
    distance, outside = measure(natural, pool)
    assert float(distance.mean()) == pytest.approx(1, abs=0.01)
    if directions < 42:
        assert float(outside.mean()) == pytest.approx(1, abs=0.01)


def test_directions_are_orthonormal_and_variances_are_those_of_the_scores():
    pool = draw_features(60, 1)
    natural = measure_naturalness(pool, LAYER_OF_FEATURE, CPU)
    torch.testing.assert_close(natural.directions.T @ natural.directions, torch.eye(15), atol=1e-4, rtol=0)
    scores = (torch.from_numpy(pool) - natural.mean) / natural.scale @ natural.directions
    torch.testing.assert_close(scores.var(dim=0, correction=0), natural.variance, rtol=1e-2, atol=1e-5)


def test_layers_weigh_the_same_whatever_their_number_and_scale_of_features():
    pool = draw_features(60, 1)
    natural = measure_naturalness(pool, LAYER_OF_FEATURE, CPU)
    z = (torch.from_numpy(pool) - natural.mean) / natural.scale
    energy = [float((z[:, layer == LAYER_OF_FEATURE] ** 2).sum(dim=1).mean()) for layer in (0, 1)]
    assert energy == pytest.approx([1, 1], rel=1e-3)
    rescaled = measure_naturalness(pool * 7 + 2, LAYER_OF_FEATURE, CPU)
    unlike = draw_features(5, 2, noise=3)
    expected = natural.penalize(torch.from_numpy(unlike))
    torch.testing.assert_close(rescaled.penalize(torch.from_numpy(unlike * 7 + 2)), expected, rtol=1e-2, atol=1e-3)


def test_other_natural_images_cost_little_and_noise_costs_much():
    natural = measure_naturalness(draw_features(200, 1, noise=1.0), LAYER_OF_FEATURE, CPU)
    fresh, noise = draw_features(50, 2, noise=1.0), draw_features(50, 3, noise=4.0)
    ordinary, strange = (float(natural.penalize(torch.from_numpy(features)).mean()) for features in (fresh, noise))
    assert ordinary < 1
    assert strange > 5 * ordinary


def test_a_pool_of_images_that_are_far_along_a_direction_of_theirs_costs_by_its_distance():
    natural = measure_naturalness(draw_features(60, 1), LAYER_OF_FEATURE, CPU)
    far = (natural.mean + 20 * natural.scale * natural.directions[:, -1] * torch.sqrt(natural.variance[-1]))[None]
    assert float(natural.penalize(far)) == pytest.approx(20**2 / 15 - 1, rel=1e-3)
    assert float(natural.penalize(natural.mean[None])) == 0


def test_what_lies_outside_the_pools_directions_costs_by_its_energy():
    natural = measure_naturalness(draw_features(60, 1), LAYER_OF_FEATURE, CPU)
    away = torch.ones(42) - natural.directions @ (natural.directions.T @ torch.ones(42))
    unlike = natural.mean + natural.scale * away / away.norm() * (5 * natural.rest) ** 0.5
    assert float(natural.penalize(unlike[None])) == pytest.approx(5 - 1, rel=0.01)


def test_the_penalty_has_a_gradient_that_leads_back_to_natural_images():
    natural = measure_naturalness(draw_features(60, 1), LAYER_OF_FEATURE, CPU)
    features = torch.from_numpy(draw_features(4, 2, noise=3.0)).requires_grad_(True)
    before = natural.penalize(features)
    before.sum().backward()
    assert torch.isfinite(features.grad).all()
    step = 0.01 * natural.scale**2 * features.grad / (natural.scale * features.grad).norm(dim=1, keepdim=True)
    assert bool((natural.penalize(features.detach() - step) < before).all())
