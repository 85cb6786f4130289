"""From the table [photometry] to profiles and windows: which photometry images take, and what the set tells of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from protocols.errors import InputError
from stimgen.display import load_display
from stimgen.image import Fourier
from stimgen.matching import PhotometrySettings, describe_matching, draw_window, plan_matching
from stimgen.photometry import measure_photometry

SIDE = 48


@pytest.fixture
def paths(tmp_path):
    """Twenty images of 1/f noise, as photographs are, of different luminance and contrast."""
    rng, fourier, made = np.random.default_rng(1), Fourier(SIDE), []
    for seed in range(20):
        noise = fourier.decode(fourier.draw(torch.Generator().manual_seed(seed))[None])[0].permute(1, 2, 0).numpy() - 0.5
        image = rng.uniform(0.4, 0.6) + rng.uniform(0.1, 0.2) * noise / noise.std()
        made.append(tmp_path / f"n{seed:02d}.png")
        Image.fromarray((image.clip(0, 1) * 255).astype(np.uint8)).save(made[-1])
    return made


def plan(paths, count=4, seed=1, **settings):
    return plan_matching(PhotometrySettings(**settings), paths, SIDE, count, seed)


def measure(path):
    return list(measure_photometry(np.asarray(Image.open(path), dtype=np.float32) / 255).values())


def test_profiles_are_those_of_natural_images_and_not_of_unusual_ones(paths):
    profiles = plan(paths).profiles.numpy()
    natural = np.array([measure(path) for path in paths])
    nearest = [np.abs(natural - profile).max(axis=1) for profile in profiles]
    assert max(distance.min() for distance in nearest) < 1e-4
    assert len({int(distance.argmin()) for distance in nearest}) == 4
    middle = np.median(natural, axis=0)
    spread = np.quantile(natural, 0.75, axis=0) - np.quantile(natural, 0.25, axis=0)
    distance = (((natural - middle) / spread) ** 2).sum(axis=1)
    chosen = [distance[one.argmin()] for one in nearest]
    assert max(chosen) <= np.median(distance) + 1e-6


def test_profiles_depend_on_the_seed_alone(paths):
    assert torch.equal(plan(paths).profiles, plan(paths).profiles)
    assert not torch.equal(plan(paths).profiles, plan(paths, seed=2).profiles)
    assert plan(paths, count=30).profiles.shape == (30, 4)  # more than there are photographs near the median


def test_a_given_value_is_every_images_and_what_is_not_matched_stays_free(paths):
    matching = plan(paths, match=("luminance", "contrast"), contrast=0.5)
    assert matching.profiles[:, 1].tolist() == [0.5] * 4
    assert matching.profiles[:, 2:].isnan().all()
    assert not matching.profiles[:, :2].isnan().any()


def test_images_are_finished_to_their_own_profiles(paths):
    matching = plan(paths)
    images = [np.asarray(Image.open(path), dtype=np.float32) / 255 for path in paths[:3]]
    finished, broken = matching.finish(images, [2, 0, 2])
    assert broken == ["", "", ""]
    for image, number in zip(finished, (2, 0, 2), strict=True):
        assert list(measure_photometry(image).values()) == pytest.approx(matching.profiles[number].tolist(), abs=5e-3)
    assert matching.finish([], []) == ([], [])


def test_what_cannot_be_reached_is_named(paths):
    impossible = plan(paths, luminance=0.9, contrast=2.0, match=("luminance", "contrast"))
    _, (broken,) = impossible.finish([np.asarray(Image.open(paths[0]), dtype=np.float32) / 255], [0])
    assert "contrast" in broken


def test_without_matching_there_are_no_profiles(paths):
    assert plan(paths, matching="none") is None
    assert plan(paths, matching="inside").inside
    assert not plan(paths, matching="afterwards").inside


def test_the_window_has_its_geometry_in_degrees():
    window = draw_window(PhotometrySettings(size_deg=8, aperture_deg=6, hole_deg=1, edge_deg=0.25), 160).numpy()  # 20 px a degree
    row = window[80]
    assert row[:19].max() == 0  # 3 degrees from the center begins the image: at pixel 20
    assert row[26:69].min() == pytest.approx(1)
    assert row[76:84].max() == 0  # within the hole's inner half degree, less its edge
    assert np.allclose(window, window[::-1, ::-1])
    assert draw_window(PhotometrySettings(), 160) is None


@pytest.mark.parametrize(
    "settings", [{"aperture_deg": 9.0}, {"aperture_deg": 2.0, "hole_deg": 2.0}, {"aperture_deg": 1.0, "hole_deg": 2.0}]
)
def test_an_aperture_that_does_not_fit_is_refused(settings, paths):
    with pytest.raises(InputError, match=r"photometry: aperture_deg .* must lie between hole_deg .* and size_deg 8.4"):
        plan(paths, **settings)


def test_the_sidecar_tells_the_display_and_the_match(paths, tmp_path):
    table = tmp_path / "lum.tsv"
    table.write_text("level\tluminance_cd_m2\n0\t0\n255\t200\n")
    settings = PhotometrySettings(luminance_table=table, match=("luminance", "slope"))
    matching = plan_matching(settings, paths, SIDE, 3, 1)
    told = describe_matching(settings, matching)
    assert told["curve"] == {"level": [0.0, 255.0], "relative_luminance": [0.0, 1.0]}
    assert told["matched"] == ["mean_luminance", "slope"]
    assert set(told["natural_sd"]) == {"mean_luminance", "rms_contrast", "slope", "saturation"}
    without = replace(settings, matching="none")
    assert describe_matching(without, None)["matched"] == []
    linear = load_display(None, table).to_linear(torch.full((1, 3, 1, 1), 0.5))
    assert float(linear[0, 0]) == pytest.approx(0.5)
