"""Where a voxel looks is found: in maps of a known shape, in images of which a known place drives, in readouts of known places."""

import numpy as np
import pytest

from stimgen.encoding_model import Readout
from stimgen.features import PooledLayer
from stimgen.receptive_field import SIDE, locate_field, map_image, map_readout


def draw_gaussian(x, y, sd, side=SIDE):
    at = (np.arange(side) + 0.5) / side
    return np.exp(-((at - y) ** 2)[:, None] / (2 * sd**2) - ((at - x) ** 2)[None] / (2 * sd**2))


@pytest.mark.parametrize(("x", "y", "sd"), [(0.3, 0.7, 0.1), (0.55, 0.42, 0.08), (0.7, 0.3, 0.12)])
def test_center_and_size_of_a_gaussian_are_found(x, y, sd):
    field = locate_field(draw_gaussian(x, y, sd))
    assert (field.x, field.y) == pytest.approx((x, y), abs=0.005)
    assert field.sd == pytest.approx(sd, abs=0.01)


def test_a_weak_background_and_places_that_suppress_do_not_move_the_center():
    carried = draw_gaussian(0.3, 0.6, 0.1) + 0.3 - draw_gaussian(0.8, 0.2, 0.1)
    field = locate_field(carried)
    assert (field.x, field.y) == pytest.approx((0.3, 0.6), abs=0.01)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_no_field_where_no_place_carries_drive(value):
    assert locate_field(np.full((SIDE, SIDE), value)) is None


LAYERS = (
    PooledLayer(name="a", channels=2, grid=6, components=2),
    PooledLayer(name="b", channels=1, grid=3, components=1),
    PooledLayer(name="c", channels=4, grid=1, components=4),
)
SIZE = sum(layer.size for layer in LAYERS)


def make_readout():
    """Two voxels that read one place of two layers each, row 1 and column 4 or the reverse, and a layer of one place that tells nothing."""
    coefficients = np.zeros((SIZE, 2), dtype=np.float32)
    for voxel, (row, column) in enumerate([(1, 4), (4, 1)]):
        coefficients[[row * 6 + column, 36 + row * 6 + column, 72 + (row // 2) * 3 + column // 2], voxel] = (1.0, -1.0, 0.5)
    coefficients[-4:] = 3.0
    mean = np.linspace(-1, 1, SIZE, dtype=np.float32)
    return Readout(coefficients, np.zeros(2, dtype=np.float32), mean, np.linspace(0.5, 2, SIZE, dtype=np.float32))


def test_places_of_an_image_add_up_to_its_drive():
    """But for the layer of one place; places are densities, whose mean over the image is their sum."""
    readout = make_readout()
    image = np.random.default_rng(1).standard_normal(SIZE).astype(np.float32)
    one_place = 3.0 * ((image - readout.feature_mean) / readout.feature_scale)[-4:].sum()
    drive = readout.predict(image[None])[0] - one_place
    for voxel in range(2):
        assert map_image(readout, voxel, image, LAYERS).mean() == pytest.approx(drive[voxel], rel=0.05)


def test_the_place_that_drives_is_found_in_an_image():
    readout = make_readout()
    for voxel, (x, y) in enumerate([(0.75, 0.25), (0.25, 0.75)]):
        image = readout.feature_mean + 2 * readout.feature_scale * np.sign(readout.coefficients[:, voxel])
        field = locate_field(map_image(readout, voxel, image.astype(np.float32), LAYERS))
        assert (field.x, field.y) == pytest.approx((x, y), abs=0.08)


def test_readouts_tell_where_their_features_lie():
    readout = make_readout()
    features = readout.feature_scale * np.random.default_rng(0).standard_normal((80, SIZE)).astype(np.float32)
    for carried, (x, y) in zip(map_readout(readout, features, LAYERS), [(0.75, 0.25), (0.25, 0.75)], strict=True):
        field = locate_field(carried)
        assert (field.x, field.y) == pytest.approx((x, y), abs=0.08)
