"""Odd photographs: deep, of other color profiles, huge, or of a kind that is not read. Each is read rightly, or refused with the reason."""

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from protocols.errors import InputError
from stimgen import image_files, pool
from stimgen.image_files import crop_center, find_images, open_photograph, read_image

COLORS = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [127, 127, 127], [255, 255, 255]]], dtype=np.uint8)


def write_deep_png(path, width, height, samples):
    """Write a PNG of 16-bit color, which Pillow cannot."""
    header, pixels = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0), b"".join(b"\0" + struct.pack(">3H", *row) for row in samples)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    framed = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))


def write_tiff(path, data, bits, photometric, kind=1, order="<"):
    """Write a TIFF of one row of two pixels of a sort that Pillow cannot write; `kind`: 1 unsigned, 2 signed."""
    samples = 3 if photometric == 2 else 1
    shorts = {256: 2, 257: 1, 258: bits, 259: 1, 262: photometric, 277: samples, 278: 1, 339: kind}
    longs = {273: 8 + 2 + 12 * 10 + 4, 279: len(data)}
    fields = {tag: (3, struct.pack(order + "HH", value, 0)) for tag, value in shorts.items()}
    fields |= {tag: (4, struct.pack(order + "I", value)) for tag, value in longs.items()}
    three = struct.pack(order + "3H", bits, bits, bits) if samples == 3 else b""
    if three:
        fields[258] = (3, struct.pack(order + "I", longs[273] + len(data)))
    counts = {258: samples}
    entries = b"".join(struct.pack(order + "HHI", tag, fields[tag][0], counts.get(tag, 1)) + fields[tag][1] for tag in sorted(fields))
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(order + "HIH", 42, 8, len(fields))
    path.write_bytes(head + entries + struct.pack(order + "I", 0) + data + three)


def test_16_bit_color_keeps_its_high_byte(tmp_path):
    write_deep_png(tmp_path / "a.png", 1, 1, [(0x12FF, 0x8000, 0xFFFF)])
    assert np.asarray(open_photograph(tmp_path / "a.png")).tolist() == [[[0x12, 0x80, 0xFF]]]
    for order in "<>":
        write_tiff(tmp_path / "a.tif", struct.pack(order + "6H", 0x12FF, 0x8000, 0xFFFF, 0, 1, 0x0100), 16, 2, order=order)
        assert np.asarray(open_photograph(tmp_path / "a.tif")).tolist() == [[[0x12, 0x80, 0xFF], [0, 0, 1]]]


@pytest.mark.parametrize(
    ("data", "bits", "photometric", "order", "levels"),
    [
        (struct.pack("<2H", 257, 65535), 16, 1, "<", [1, 255]),
        (struct.pack(">2H", 257, 65535), 16, 1, ">", [1, 255]),
        (struct.pack("<2H", 257, 65535), 16, 0, "<", [254, 0]),
        (bytes([0x80, 0x0F, 0xFF]), 12, 1, "<", [128, 255]),
    ],
    ids=["little endian", "big endian", "white is zero", "12 bits"],
)
def test_deep_gray_is_scaled_as_its_tiff_says(data, bits, photometric, order, levels, tmp_path):
    write_tiff(tmp_path / "a.tif", data, bits, photometric, order=order)
    assert np.asarray(open_photograph(tmp_path / "a.tif"))[0].tolist() == [[level] * 3 for level in levels]


def test_numbers_with_a_sign_are_refused(tmp_path):
    write_tiff(tmp_path / "a.tif", struct.pack("<2h", -5, 7), 16, 1, kind=2)
    with pytest.raises(InputError, match=r"a.tif: its pixels are of mode 'I', whole numbers of more than 16 bits or with a sign; save it"):
        open_photograph(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Image.new("F", (4, 4), 0.5), "'F', floating-point numbers whose black and white are not known"),
        (Image.new("I", (4, 4), 200), "'I', whole numbers of more than 16 bits or with a sign"),
        (Image.new("LAB", (4, 4)), "'LAB', a color space without a known white"),
    ],
    ids=["float", "32 bits", "LAB"],
)
def test_values_of_no_known_range_are_refused_with_the_reason(image, reason, tmp_path):
    image.save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=rf"a.tif: its pixels are of mode {reason}; save it as an 8-bit RGB image"):
        open_photograph(tmp_path / "a.tif")


# Columns: XYZ of the red, green and blue primaries, adapted to D50 (IEC 61966-2-1; Adobe RGB (1998) Color Image Encoding, 4.3.5.3)
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])


def encode_srgb(light):
    """Return sRGB levels of linear light (IEC 61966-2-1)."""
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.clip(light, 1e-9, 1) ** (1 / 2.4) - 0.055)


def frame_profile(space, connection, tags, kind=b"mntr"):
    """Return a version 2 ICC profile of these tags (ICC.1:2001-04, 6.1 and 6.2)."""
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(body), b"lcms", 0x02400000, kind, space, connection) + bytes(12) + b"acsp"
    return (header + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)).ljust(128, b"\0") + table + body


def make_profile(space, curve, primaries=None):
    """Return the profile of a display: a tone curve (a gamma, or a table of light) and, for color, its primaries."""
    points = [round(curve * 256)] if np.isscalar(curve) else np.round(np.asarray(curve) * 65535).astype(int).tolist()
    tone = b"curv" + struct.pack(f">II{len(points)}H", 0, len(points), *points)
    colors = {} if primaries is None else dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries.T, strict=True))
    places = {b"wtpt": (0.9642, 1.0, 0.8249), **colors}
    tags = {name: b"XYZ " + struct.pack(">I3i", 0, *(round(value * 65536) for value in place)) for name, place in places.items()}
    return frame_profile(space, b"XYZ ", tags | dict.fromkeys((b"kTRC",) if primaries is None else (b"rTRC", b"gTRC", b"bTRC"), tone))


ADOBE = make_profile(b"RGB ", 563 / 256, ADOBE_RGB)
MUTED = np.array([[[100, 150, 120], [200, 190, 60], [90, 90, 160]], [[0, 0, 0], [127, 127, 127], [255, 255, 255]]], dtype=np.uint8)


def convert_adobe(levels):
    return encode_srgb((levels / 255) ** (563 / 256) @ ADOBE_RGB.T @ np.linalg.inv(SRGB).T)


def test_colors_of_another_profile_become_those_of_srgb(tmp_path):
    Image.fromarray(MUTED).save(tmp_path / "a.png", icc_profile=ADOBE)
    read = open_photograph(tmp_path / "a.png")
    np.testing.assert_allclose(np.asarray(read), convert_adobe(MUTED), atol=1.01)
    assert np.abs(np.asarray(read).astype(int) - MUTED).max() > 20
    read.save(tmp_path / "b.png")
    assert b"iCCP" not in (tmp_path / "b.png").read_bytes()  # a profile with the time of day would change every file that is made of it


def test_a_profile_is_applied_below_transparency_a_palette_and_gray(tmp_path):
    layered = np.dstack([MUTED, np.array([[255, 0, 255], [255, 255, 0]], dtype=np.uint8)])
    expected = np.where(layered[..., 3:] > 0, convert_adobe(MUTED), 127)
    Image.fromarray(layered).save(tmp_path / "a.png", icc_profile=ADOBE)
    np.testing.assert_allclose(np.asarray(open_photograph(tmp_path / "a.png")), expected, atol=1.01)
    Image.fromarray(MUTED).quantize(6).save(tmp_path / "p.png", icc_profile=ADOBE)
    np.testing.assert_allclose(np.asarray(open_photograph(tmp_path / "p.png")), convert_adobe(MUTED), atol=1.01)
    gray = MUTED[..., 0]
    Image.fromarray(gray).save(tmp_path / "l.png", icc_profile=ADOBE)
    np.testing.assert_allclose(np.asarray(open_photograph(tmp_path / "l.png")), convert_adobe(gray[..., None].repeat(3, axis=2)), atol=1.01)


@pytest.mark.parametrize("alpha", [False, True])
def test_gray_by_its_own_tone_curve_becomes_that_of_srgb(alpha, tmp_path):
    gray = np.array([[0, 20, 128, 255]], dtype=np.uint8)
    image = Image.fromarray(gray)
    if alpha:
        image.putalpha(255)
        image.putpixel((3, 0), (255, 0))
    image.save(tmp_path / "a.png", icc_profile=make_profile(b"GRAY", 1.0))
    levels = encode_srgb(gray[0] / 255)
    levels[3] = 127 if alpha else 255
    np.testing.assert_allclose(np.asarray(open_photograph(tmp_path / "a.png"))[0], levels[:, None].repeat(3, axis=1), atol=1.01)


def test_inks_become_what_their_printer_makes_of_them(tmp_path):
    """The printer of this profile makes black of black ink, and nothing of the others."""
    paper, black = (255, 128, 128), (0, 128, 128)  # L* a* b* in 8 bits
    lattice = bytes(level for _ in range(8) for level in (*paper, *black))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *(np.eye(3, dtype=int).ravel() * 65536).tolist())
    table += bytes(range(256)) * 4 + lattice + bytes(range(256)) * 3
    inks = np.zeros((8, 16, 4), dtype=np.uint8)
    inks[:, :8], inks[:, 8:] = (0, 255, 255, 0), (0, 0, 0, 255)
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.jpg", icc_profile=frame_profile(b"CMYK", b"Lab ", {b"A2B0": table}, b"prtr"))
    read = np.asarray(open_photograph(tmp_path / "a.jpg")).astype(int)
    np.testing.assert_allclose(read[4, [3, 12]], [[255] * 3, [0] * 3], atol=4)


def test_an_srgb_profile_a_broken_one_and_one_of_other_colors_change_nothing(tmp_path):
    colors = np.random.default_rng(2).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    light = np.linspace(0, 1, 1024)
    measured = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    standard = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    unnamed, gray, truncated = make_profile(b"RGB ", measured, SRGB), make_profile(b"GRAY", 1.0), ADOBE[:140]
    foreign = ADOBE[:16] + b"\xff\xfe\xfd\xfc" + ADOBE[20:]
    for profile in (standard, unnamed, gray, truncated, foreign, b"no profile"):
        Image.fromarray(colors).save(tmp_path / "a.png", icc_profile=profile)
        np.testing.assert_array_equal(np.asarray(open_photograph(tmp_path / "a.png")), colors)


def test_a_huge_jpeg_is_read_small_and_like_one_that_is_decoded_whole(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    for name in ("a.jpg", "a.png"):
        coarse.resize((1024, 768), Image.Resampling.BICUBIC).save(tmp_path / name, quality=95)
    whole = read_image(tmp_path / "a.jpg", 30)
    assert open_photograph(tmp_path / "a.jpg", least_px=30).size == (1024, 768)
    monkeypatch.setattr(image_files, "_HUGE_PIXELS", 1024 * 768 - 1)
    assert open_photograph(tmp_path / "a.jpg").size == open_photograph(tmp_path / "a.png", least_px=30).size == (1024, 768)
    assert open_photograph(tmp_path / "a.jpg", least_px=30).size == (256, 192)  # an eighth would be less than four times 30
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg", 30), whole, atol=2 / 255)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg", 30), read_image(tmp_path / "a.jpg", 30))


def test_a_photograph_of_108_megapixels_is_read_without_a_warning(tmp_path):
    Image.new("L", (12000, 9000), 90).save(tmp_path / "a.jpg")
    np.testing.assert_array_equal(np.round(read_image(tmp_path / "a.jpg", 8) * 255), np.full((8, 8, 3), 90))


def test_a_photograph_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path):
    write_deep_png(tmp_path / "a.png", 20000, 10001, [])
    with pytest.raises(InputError, match=r"a.png: is too large \(20000 x 10001 pixels, at most 200 megapixels are read\); scale it down"):
        read_image(tmp_path / "a.png", 10)


def test_photographs_beyond_the_memory_are_opened_again_for_the_same_crops(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    for name in ("a.png", "b.png"):
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / name)
    opened = []
    monkeypatch.setattr(pool, "open_photograph", lambda path: opened.append(path.name) or open_photograph(path))

    def cut():
        opened.clear()
        crops = pool.cut_crops(pool.find_photographs(tmp_path), 6, 8, np.random.default_rng(1))
        return [(source, np.asarray(crop).tolist()) for source, crop in crops]

    held = cut()
    assert opened == ["a.png", "b.png"]
    monkeypatch.setattr(pool, "_MOST_HELD_PX", 20 * 30)
    assert cut() == held
    assert opened == ["a.png", "b.png", "b.png", "b.png"]


def test_large_squares_are_cut_without_a_warning(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert crop_center(Image.new("RGB", (60, 50))).size == (50, 50)
    assert Image.MAX_IMAGE_PIXELS == 2000


def test_reading_in_threads_leaves_pillow_and_warnings_as_they_were(tmp_path):
    Image.fromarray(COLORS.repeat(40, axis=0)).save(tmp_path / "a.png")
    before = (Image.MAX_IMAGE_PIXELS, list(warnings.filters))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: read_image(tmp_path / "a.png", 3), range(400)))
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before


@pytest.mark.parametrize("name", ["a.HEIC", "a.dng", "a.avif"])
def test_photographs_of_a_kind_that_is_not_read_are_refused_and_not_passed_over(name, tmp_path):
    Image.fromarray(COLORS).save(tmp_path / "b.png")
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic")
    suffix = name.removeprefix("a")
    for read in (lambda: find_images(tmp_path), lambda: open_photograph(tmp_path / name)):
        with pytest.raises(
            InputError, match=rf"{name}: {suffix} photographs are not read; save it as PNG or JPEG, or take it out of the folder"
        ):
            read()


def test_an_image_without_pixels_is_refused(tmp_path):
    write_deep_png(tmp_path / "a.png", 0, 5, [])
    with pytest.raises(InputError, match=r"a.png: cannot be decoded as an image"):
        open_photograph(tmp_path / "a.png")
