"""The natural pool: crops that the seed determines, of photographs whose licenses are recorded; or any folder of images."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from protocols.errors import InputError
from protocols.provenance import Provenance
from stimgen.pool import PUBLIC_PHOTOGRAPHS, NaturalPool, cut_crops, find_photographs, find_public_photographs, write_crops


def make_photographs(folder, sizes=((40, 30), (30, 50), (64, 64))):
    """Write photographs in which red is the column and green the row, so that a crop tells where it comes from."""
    folder.mkdir(exist_ok=True)
    for number, (width, height) in enumerate(sizes):
        pixels = np.zeros((height, width, 3), dtype=np.uint8)
        pixels[..., 0] = np.linspace(0, 255, width)[None, :]
        pixels[..., 1] = np.linspace(0, 255, height)[:, None]
        pixels[..., 2] = 40 * number
        Image.fromarray(pixels).save(folder / f"p{number}.png")
    return find_photographs(folder)


def cut(photographs, count, seed, size_px=32):
    return [(source, np.asarray(crop)) for source, crop in cut_crops(photographs, count, size_px, np.random.default_rng(seed))]


def test_crops_depend_on_the_seed_alone(tmp_path):
    photographs = make_photographs(tmp_path)
    one, again, other = (cut(photographs, 9, seed) for seed in (1, 1, 2))
    for (source, crop), (same_source, same_crop), (_, other_crop) in zip(one[3:], again[3:], other[3:], strict=True):
        assert source == same_source
        np.testing.assert_array_equal(crop, same_crop)
        assert (crop != other_crop).any()


def test_photographs_take_turns_and_the_first_crop_of_each_is_its_center(tmp_path):
    crops = cut(make_photographs(tmp_path), 7, 1)
    assert [source for source, _ in crops] == ["p0.png", "p1.png", "p2.png"] * 2 + ["p0.png"]
    assert {crop.shape for _, crop in crops} == {(32, 32, 3)}
    wide = crops[0][1].astype(int)
    np.testing.assert_allclose(wide[:, [0, -1], 0].mean(axis=0), [255 * 5 / 39, 255 * 34 / 39], atol=8)
    np.testing.assert_allclose(wide[[0, -1], :, 1].mean(axis=1), [0, 255], atol=8)


def test_crops_lie_inside_and_are_between_a_third_and_all_of_the_short_side(tmp_path):
    photographs = make_photographs(tmp_path, [(200, 100)])
    extents = []
    for _, crop in cut(photographs, 120, 3)[1:]:
        width = (int(crop[:, -1, 0].mean()) - int(crop[:, 0, 0].mean())) / 255 * 200
        height = (int(crop[-1, :, 1].mean()) - int(crop[0, :, 1].mean())) / 255 * 100
        extents.append((width, height))
    widths, heights = np.array(extents).T
    np.testing.assert_allclose(widths, heights, atol=8)  # square in the photograph's own pixels
    assert 25 < widths.min() < 40
    assert 90 < widths.max() <= 101


def test_the_public_photographs_are_there_with_their_licenses():
    photographs = find_public_photographs()
    assert len(photographs) == len(PUBLIC_PHOTOGRAPHS) == 16
    assert photographs["source"].is_unique
    assert all(Path(path).is_file() for path in photographs["path"])
    assert photographs["license"].str.contains("public domain|CC").all()
    assert photographs.set_index("source").loc["china", "license"] == "CC BY 2.0, danielbuechele"


def test_crops_are_written_with_their_sources_and_licenses(tmp_path):
    photographs = make_photographs(tmp_path / "photos").assign(license=["CC0", "mine", "unknown"])
    tracked, out = [], tmp_path / "pool"
    out.mkdir()
    made = write_crops(photographs, 4, 32, np.random.default_rng(7), out, lambda crops: (tracked.append(crop) or crop for crop in crops))
    assert list(made.table["stim_id"]) == ["nat00001", "nat00002", "nat00003", "nat00004"]
    assert list(made.table["source"]) == ["p0.png", "p1.png", "p2.png", "p0.png"]
    assert list(made.table["license"]) == ["CC0", "mine", "unknown", "CC0"]
    assert len(tracked) == 4
    for (source, crop), (_, row) in zip(cut(photographs, 4, 7), made.table.iterrows(), strict=True):
        assert source == row["source"]
        np.testing.assert_array_equal(np.asarray(Image.open(out / row["image_file"])), crop)
    Provenance("stimgen pool").write(out)
    pd.testing.assert_frame_equal(NaturalPool.read(out).table, made.table)


def test_a_pool_written_is_read_again(tmp_path):
    table = pd.DataFrame({"stim_id": ["a1", "b2"], "image_file": ["a1.png", "b2.png"], "source": ["x", "y"], "license": ["CC0", "unknown"]})
    for name in table["image_file"]:
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    NaturalPool(tmp_path, table).write(tmp_path)
    with pytest.raises(InputError, match=r"has no provenance.json, so it is incomplete"):
        NaturalPool.read(tmp_path)
    Provenance("stimgen pool").write(tmp_path)
    again = NaturalPool.read(tmp_path)
    pd.testing.assert_frame_equal(again.table, table, check_dtype=False)
    assert again.image_paths() == [tmp_path / "a1.png", tmp_path / "b2.png"]
    (tmp_path / "b2.png").unlink()
    with pytest.raises(InputError, match=r"images.tsv row 3: image 'b2.png' is missing; copy the pool again"):
        NaturalPool.read(tmp_path)


def test_any_folder_is_a_pool_with_ids_of_letters_and_digits(tmp_path):
    names = ["01 dog.png", "cats/tabby-1.png", "cats/tabby 2.jpg", "Zoo.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    table = NaturalPool.read(tmp_path).table
    assert sorted(table["stim_id"]) == ["Zoo", "catstabby1", "catstabby2", "i01dog"]
    assert table["stim_id"].is_unique
    assert list(table["source"]) == list(table["stim_id"])
    assert set(table["license"]) == {"unknown"}


@pytest.mark.parametrize("names", [("a-b.png", "ab.jpg"), ("a.png", "a.jpg"), ("1.png", "i1.png"), ("дом.png", "лес.png")])
def test_files_whose_ids_would_be_the_same_are_refused(names, tmp_path):
    for name in names:
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    with pytest.raises(InputError, match=r"would have the same stim_id '\w+'; rename one"):
        NaturalPool.read(tmp_path)


def test_a_folder_without_images_is_no_pool(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        NaturalPool.read(tmp_path)
