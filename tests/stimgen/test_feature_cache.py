"""What was computed once is read afterwards, bit for bit, whoever was interrupted or wrote beside; other features go elsewhere."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from stimgen.design_cache import design_cached, sample_images
from stimgen.feature_cache import FeatureCache, LayerRows, extract_cached
from stimgen.features import FeatureSpace, PooledLayer, extract_files
from stimgen.fit_settings import FitSettings
from stimgen.image_files import write_png
from tests.stimgen.tiny import make_space, make_tiny_backbone

LAYERS = ("first", "second", "third")


class Counter:
    """A backbone's module that counts the images it sees, and may stop after some."""

    def __init__(self, monkeypatch, backbone, stop_after=None):
        self.images = 0
        forward = backbone.module.forward

        def count(images):
            if stop_after is not None and self.images >= stop_after:
                raise KeyboardInterrupt
            self.images += len(images)
            return forward(images)

        monkeypatch.setattr(backbone.module, "forward", count)


@pytest.fixture
def paths(tmp_path):
    """Seventy images, more than two batches."""
    made = np.random.default_rng(1).uniform(0, 1, (70, 8, 8, 3)).astype(np.float32)
    (tmp_path / "images").mkdir()
    files = [tmp_path / "images" / f"{number:02d}.png" for number in range(70)]
    for image, path in zip(made, files, strict=True):
        write_png(image, path)
    return files


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache")


def make_three(seed=0):
    """Return a space of three layers, the second reduced to components."""
    space = make_space(make_tiny_backbone(seed), LAYERS, 24)
    reduced = PooledLayer(name="second", channels=6, grid=3, components=2)
    projection = np.random.default_rng(seed).standard_normal((6, 2)).astype(np.float32)
    return FeatureSpace(space.backbone, (space.layers[0], reduced, space.layers[2]), {"second": projection})


def list_folders(cache):
    return sorted(path.parent for path in cache.folder.glob("*/*/layer.json"))


def test_cached_features_are_those_of_the_files_bit_for_bit(cache, paths):
    space = make_three()
    expected = extract_files(space, paths)
    for _ in range(2):
        np.testing.assert_array_equal(extract_cached(space, paths, cache), expected)


def test_a_second_call_computes_nothing_and_tracks_nothing(cache, paths, monkeypatch):
    space = make_three()
    expected = extract_cached(space, paths, cache)
    seen = Counter(monkeypatch, space.backbone)
    np.testing.assert_array_equal(extract_cached(space, paths, cache, lambda _: pytest.fail("nothing is left to do")), expected)
    assert seen.images == 0


def test_images_may_come_in_any_order_and_twice_and_under_other_names(cache, paths, monkeypatch, tmp_path):
    space = make_three()
    expected = extract_cached(space, paths, cache)
    seen = Counter(monkeypatch, space.backbone)
    order = [*np.random.default_rng(2).permutation(70), 3, 3, 69]
    (tmp_path / "copy.png").write_bytes(paths[5].read_bytes())
    again = extract_cached(space, [*(paths[index] for index in order), tmp_path / "copy.png"], cache)
    np.testing.assert_array_equal(again, expected[[*order, 5]])
    assert seen.images == 0


def test_the_same_image_twice_in_the_first_call_is_computed_once(cache, paths, monkeypatch):
    space = make_three()
    seen = Counter(monkeypatch, space.backbone)
    features = extract_cached(space, [paths[0], paths[1], paths[0]], cache)
    assert seen.images == 2
    np.testing.assert_array_equal(features[0], features[2])


def test_only_missing_images_are_computed(cache, paths, monkeypatch):
    space = make_three()
    expected = extract_files(space, paths)
    extract_cached(space, paths[10:50], cache)
    seen, told = Counter(monkeypatch, space.backbone), []

    def track(starts):
        for start in starts:
            told.append(start)
            yield start

    np.testing.assert_allclose(extract_cached(space, paths, cache, track), expected, rtol=1e-5, atol=1e-6)
    assert (seen.images, told) == (30, [0])


def test_only_missing_layers_are_computed(cache, paths, monkeypatch):
    space = make_three()
    first = FeatureSpace(space.backbone, space.layers[:1])
    extract_cached(first, paths[:40], cache)
    asked, extract = [], FeatureSpace.extract_layers

    def note(self, images, layers):
        asked.append([layer.name for layer in layers])
        return extract(self, images, layers)

    monkeypatch.setattr(FeatureSpace, "extract_layers", note)
    features = extract_cached(space, paths[:40], cache)
    assert asked == [["second", "third"]] * 2
    np.testing.assert_array_equal(features, extract_files(space, paths[:40]))


@pytest.mark.parametrize("done", [0, 32, 64])
def test_an_interrupted_command_goes_on_where_it_stopped(cache, paths, monkeypatch, done):
    space = make_three()
    with monkeypatch.context() as interrupted:
        Counter(interrupted, space.backbone, stop_after=done)
        with pytest.raises(KeyboardInterrupt):
            extract_cached(space, paths, cache)
    seen = Counter(monkeypatch, space.backbone)
    np.testing.assert_array_equal(extract_cached(space, paths, cache), extract_files(make_three(), paths))
    assert seen.images == 70 - done


def test_a_torn_last_row_or_line_is_written_again_and_read_around(cache, paths):
    """Killed in the middle of a write, a file ends in a part of a row, or in rows whose images were not written down."""
    space = make_three()
    expected = extract_files(space, paths)
    extract_cached(space, paths[:20], cache)
    for number, folder in enumerate(list_folders(cache)):
        stored = (folder / "features.f32").read_bytes()
        if number == 0:
            (folder / "features.f32").write_bytes(stored[:-5])  # the last row is cut
        elif number == 1:
            (folder / "images.txt").write_text((folder / "images.txt").read_text()[:-3])  # the last line is cut
        else:
            (folder / "features.f32").write_bytes(stored + stored[:7])  # a row begun, its image unknown
    np.testing.assert_array_equal(extract_cached(space, paths[:19], cache), expected[:19])  # complete rows are read at once
    np.testing.assert_allclose(extract_cached(space, paths, cache), expected, rtol=1e-5, atol=1e-6)
    for folder in list_folders(cache):
        lines = (folder / "images.txt").read_text().splitlines()
        assert len(lines) == len(set(lines)) == 70
        assert (folder / "features.f32").stat().st_size == 70 * read_layer(folder).size * 4


def test_lines_without_rows_are_forgotten(cache, paths):
    """Half of the rows are lost, as when a disk was full: their images' lines do not outlive the next write."""
    first = FeatureSpace(make_tiny_backbone(), make_three().layers[:1])
    extract_cached(first, paths[:20], cache)
    (folder,) = list_folders(cache)
    stored = (folder / "features.f32").read_bytes()
    (folder / "features.f32").write_bytes(stored[: len(stored) // 2])
    np.testing.assert_allclose(extract_cached(first, paths[:12], cache), extract_files(first, paths[:12]), rtol=1e-5, atol=1e-6)
    assert len((folder / "images.txt").read_text().splitlines()) == 12


def read_layer(folder):
    described = json.loads((folder / "layer.json").read_text())
    return PooledLayer(**{key: value for key, value in described.items() if key not in ("backbone", "weights_sha256")})


def append_some(folder, numbers):
    rows = LayerRows(folder, 3)
    for number in numbers:
        rows.append([f"{number:064d}"], np.full((1, 3), number, dtype=np.float32))


def test_commands_that_append_at_once_lose_nothing(tmp_path):
    """Three writers, each with its own lock on the file as a process has, append the same and other images in turn."""
    shares = [range(0, 25), range(10, 35), range(34, 4, -1)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(append_some, [tmp_path] * 3, shares)) == [None] * 3
    index = LayerRows(tmp_path, 3).index()
    numbers = sorted(index)
    assert [int(number) for number in numbers] == list(range(35))
    rows = LayerRows(tmp_path, 3).read(np.array([index[number] for number in numbers]))
    np.testing.assert_array_equal(rows, np.repeat(np.arange(35.0)[:, None], 3, axis=1))


def test_other_features_have_other_folders_and_the_same_layer_its_own(cache, paths):
    extract_cached(make_three(), paths[:3], cache)
    assert len(list_folders(cache)) == 3
    extract_cached(make_three(seed=1), paths[:3], cache)  # other weights
    assert len(list_folders(cache)) == 6
    space = make_three()
    extract_cached(replace(space, layers=(replace(space.layers[0], pooling="max"), *space.layers[1:])), paths[:3], cache)
    assert len(list_folders(cache)) == 7
    described = json.loads((list_folders(cache)[0] / "layer.json").read_text())
    assert set(described) == {"backbone", "weights_sha256", "name", "channels", "grid", "components", "pooling"}


SETTINGS = FitSettings(budget=12)


def design(cache, paths, backbone=None, layers=LAYERS, settings=SETTINGS):
    return design_cached(backbone or make_tiny_backbone(), list(layers), settings, paths, cache)


def test_a_design_is_read_without_running_the_network(cache, paths, monkeypatch):
    made = design(cache, paths)
    assert made.projections
    backbone = make_tiny_backbone()
    seen = Counter(monkeypatch, backbone)
    again = design_cached(backbone, list(LAYERS), SETTINGS, paths[::-1], cache, lambda _: pytest.fail("nothing is left to do"))
    assert seen.images == 0
    assert again.layers == made.layers
    assert again.projections.keys() == made.projections.keys()
    for name, projection in made.projections.items():
        np.testing.assert_array_equal(again.projections[name], projection)
    without = design(None, paths)
    assert without.layers == made.layers


@pytest.mark.parametrize(
    "changes",
    [
        {"settings": replace(SETTINGS, budget=13)},
        {"settings": replace(SETTINGS, pooling="max")},
        {"settings": replace(SETTINGS, basis="weights")},
        {"layers": ("first", "second")},
        {"layers": ("second", "first", "third")},
        {"backbone": make_tiny_backbone(1)},
        {"backbone": replace(make_tiny_backbone(), name="other")},
        {"paths": slice(0, 69)},
    ],
)
def test_another_design_is_made_anew(cache, paths, changes, monkeypatch):
    design(cache, paths)
    backbone = changes.pop("backbone", None) or make_tiny_backbone()
    seen = Counter(monkeypatch, backbone)
    design(cache, paths[changes.pop("paths", slice(None))], backbone, **changes)
    assert seen.images > 0


def test_what_does_not_shape_features_leaves_the_design_alone(cache, paths, monkeypatch):
    design(cache, paths)
    backbone = make_tiny_backbone()
    seen = Counter(monkeypatch, backbone)
    design(cache, [*paths, paths[0]], backbone, settings=replace(SETTINGS, folds=3, seed=4, test_fraction=0.4, bands={"a": ("first",)}))
    assert seen.images == 0


def test_the_sample_is_the_same_whatever_the_order_and_no_image_twice(paths, tmp_path):
    (tmp_path / "copy.png").write_bytes(paths[5].read_bytes())
    some = list(sample_images([*paths, tmp_path / "copy.png"], 71).values())
    assert len(some) == 70
    assert list(sample_images(paths[::-1], 9).items()) == list(sample_images(paths, 9).items())
    assert len(sample_images(paths, 9)) == 9
    assert list(sample_images(paths, 9).values()) != paths[:9]
