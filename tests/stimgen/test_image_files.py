"""Any photograph becomes the same upright RGB square; what cannot be decoded is refused by name; PNGs keep their 8 bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from protocols.errors import InputError
from stimgen.image_files import crop_center, find_images, open_photograph, read_image, write_png

COLORS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [127, 127, 127], [255, 255, 255]]], dtype=np.uint8)


@given(pixels=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_8_bit_values_survive_writing_and_reading(pixels, tmp_path):
    write_png(pixels.astype(np.float32) / 255, tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(open_photograph(tmp_path / "a.png")), pixels)
    side = pixels.shape[0]
    if pixels.shape[1] == side:
        np.testing.assert_array_equal(np.round(read_image(tmp_path / "a.png", side) * 255), pixels)


def test_values_are_rounded_and_clipped_and_never_nan(tmp_path):
    image = np.full((1, 4, 3), 0.0, dtype=np.float32)
    image[0, :, 0] = (-0.5, 0.4 / 255, 0.6 / 255, 1.5)
    write_png(image, tmp_path / "a.png")
    assert np.asarray(open_photograph(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 0, 1, 255]
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"b.png: the image holds values that are not finite"):
            write_png(np.full((2, 2, 3), value, dtype=np.float32), tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: a.transpose(1, 0, 2)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.rot90(a, 2).transpose(1, 0, 2)),
        (8, np.rot90),
    ],
)
def test_a_photograph_is_turned_as_its_exif_says(orientation, turn, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.png", "a.tif"):
        Image.fromarray(COLORS).save(tmp_path / name, exif=exif)
        np.testing.assert_array_equal(np.asarray(open_photograph(tmp_path / name)), turn(COLORS))
    blocks = Image.fromarray(COLORS.repeat(16, axis=0).repeat(16, axis=1))
    blocks.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    np.testing.assert_allclose(np.asarray(open_photograph(tmp_path / "a.jpg"))[8::16, 8::16].astype(int), turn(COLORS), atol=3)


def save(image, path):
    image.save(path)
    return np.asarray(open_photograph(path)).astype(int)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_gray_is_scaled_to_8_bits(suffix, tmp_path):
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    read = save(Image.fromarray(values), tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read, np.repeat([[[0], [1], [128], [255]]], 3, axis=2))


def test_gray_palette_and_bilevel_become_rgb(tmp_path):
    gray = save(Image.fromarray(np.array([[0, 90, 255]], dtype=np.uint8)), tmp_path / "gray.png")
    np.testing.assert_array_equal(gray, np.repeat([[[0], [90], [255]]], 3, axis=2))
    np.testing.assert_array_equal(save(Image.fromarray(COLORS).quantize(6), tmp_path / "palette.gif"), COLORS)
    bilevel = save(Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).convert("1"), tmp_path / "bilevel.png")
    assert bilevel[0].tolist() == [[0] * 3, [255] * 3]


def test_transparent_pixels_become_mid_gray(tmp_path):
    layered = np.dstack([COLORS, np.array([[255, 0, 128], [0, 0, 255]], dtype=np.uint8)])
    read = save(Image.fromarray(layered), tmp_path / "rgba.png")
    assert read[0, 0].tolist() == [255, 0, 0]
    assert read[0, 1].tolist() == read[1, 0].tolist() == [127, 127, 127]
    np.testing.assert_allclose(read[0, 2], [63, 63, 191], atol=1)
    gray = save(Image.fromarray(np.array([[[200, 255], [200, 0]]], dtype=np.uint8), "LA"), tmp_path / "la.png")
    assert gray[0].tolist() == [[200] * 3, [127] * 3]
    palette = Image.fromarray(COLORS).quantize(6)
    index = palette.getpixel((0, 0))
    palette.save(tmp_path / "p.png", transparency=index)
    assert np.asarray(open_photograph(tmp_path / "p.png"))[0, :2].tolist() == [[127] * 3, [0, 255, 0]]


def test_cmyk_becomes_rgb(tmp_path):
    inks = np.zeros((8, 8, 4), dtype=np.uint8)
    inks[..., :] = (0, 255, 255, 0)  # no cyan, full magenta and yellow: red
    read = save(Image.fromarray(inks, "CMYK"), tmp_path / "a.jpg")
    np.testing.assert_allclose(read.mean(axis=(0, 1)), [255, 0, 0], atol=6)
    stored = (tmp_path / "a.jpg").read_bytes()
    start = stored.index(b"\xff\xee")  # Adobe's mark says that inks are stored inverted; programs assume it where it is not
    (tmp_path / "a.jpg").write_bytes(stored[:start] + stored[start + 2 + int.from_bytes(stored[start + 2 : start + 4], "big") :])
    np.testing.assert_allclose(np.asarray(open_photograph(tmp_path / "a.jpg")).mean(axis=(0, 1)), [255, 0, 0], atol=6)


def test_the_first_image_of_an_animation_is_taken(tmp_path):
    frames = [Image.fromarray(pixels) for pixels in (COLORS, COLORS[::-1])]
    for name in ("a.gif", "a.png", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(np.asarray(open_photograph(tmp_path / name)), COLORS)


def test_the_center_square_is_taken_and_resized_without_aliasing(tmp_path):
    wide = np.zeros((8, 20, 3), dtype=np.uint8)
    wide[:, 6:14] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(read_image(tmp_path / "wide.png", 8), np.ones((8, 8, 3)))
    assert crop_center(Image.fromarray(wide)).size == (8, 8)
    stripes = np.repeat((np.arange(64) % 2 * 255).astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    small = read_image(tmp_path / "stripes.png", 16)
    assert (small.dtype, small.shape) == (np.float32, (16, 16, 3))
    assert np.abs(small - 0.5).max() < 0.06


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")  # Pillow warns before it refuses
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".tif", ".webp", ".bmp"])
def test_a_file_cut_short_anywhere_is_refused_by_name(suffix, tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for length in (0, 1, 7, 20, 33, 60, len(whole) // 4, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=rf"a{suffix}: cannot be decoded as an image .*; remove it or copy it again"):
            open_photograph(path)


def test_what_is_no_image_and_what_is_missing_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(InputError, match=r"a.png: cannot be decoded as an image"):
        read_image(tmp_path / "a.png", 8)
    with pytest.raises(InputError, match=r"b.png: no such file"):
        read_image(tmp_path / "b.png", 8)
    (tmp_path / "c.png").mkdir()
    with pytest.raises(InputError, match=r"c.png: cannot be decoded as an image"):
        read_image(tmp_path / "c.png", 8)


def test_images_are_found_below_a_folder_in_order_and_hidden_files_are_not(tmp_path):
    for name in ("b.PNG", "deep/a.jpeg", "a.tiff", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)] == ["a.tiff", "b.PNG", "deep/a.jpeg"]


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no images \(.bmp, .gif"):
        find_images(tmp_path)
