"""NIfTI files: grids, masks, and series read in one pass that equal what nibabel reads, in little memory."""

import bz2
import gzip
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest

from analysis.images import Grid, count_volumes, read_mask, read_series
from protocols.errors import InputError
from protocols.provenance import hash_file

SHAPE = (5, 4, 3)


def make_mask(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(3).uniform(size=shape) < 0.4


def write_series(path: Path, dtype: str = "i2", slope: tuple[float, float] | None = None, volumes: int = 7) -> None:
    stored = np.random.default_rng(2).uniform(0, 250, (*SHAPE, volumes)).astype(dtype)
    image = nibabel.Nifti1Image(stored, np.diag([2.0, 2, 3, 1]), dtype=stored.dtype)
    image.header.set_slope_inter(*(slope or (None, None)))
    image.header["vox_offset"] = 352
    with path.open("wb") as stream:  # nibabel rescales what it saves: the header goes first, then the values as they are
        content = image.header.binaryblock + bytes(4) + stored.tobytes(order="F")
        stream.write(gzip.compress(content) if path.name.endswith(".gz") else content)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("dtype", "slope"),
    [("i2", None), ("i2", (0.37, 0.0)), ("u1", (1.5, -20.0)), ("u2", (2.0, 0.0)), ("f4", None), ("f8", (0.1, 3.0)), ("i4", None)],
)
def test_a_series_is_what_nibabel_reads(tmp_path: Path, name: str, dtype: str, slope: tuple[float, float] | None) -> None:
    path, mask = tmp_path / name, make_mask()
    write_series(path, dtype, slope)
    series, sha256 = read_series(path, mask)
    expected = nibabel.load(path).get_fdata()[mask].T.astype(np.float32)
    assert series.dtype == np.float32
    np.testing.assert_array_max_ulp(series, expected, maxulp=1)
    assert sha256 == hash_file(path)
    assert count_volumes(path) == 7


def test_big_endian_nifti_2_extensions_and_several_gzip_members_are_read(tmp_path: Path) -> None:
    mask = make_mask()
    values = np.random.default_rng(2).integers(-99, 99, (*SHAPE, 6)).astype(">i2")
    image = nibabel.Nifti2Image(values, np.eye(4), nibabel.Nifti2Header(endianness=">"))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"so much text that the offset moves"))
    nibabel.save(image, tmp_path / "a.nii")
    plain = (tmp_path / "a.nii").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(plain[:1000]) + gzip.compress(b"") + gzip.compress(plain[1000:]) + bytes(700))
    assert nibabel.load(path).dataobj.offset > 544
    for file in (tmp_path / "a.nii", path):
        series, sha256 = read_series(file, mask)
        np.testing.assert_array_equal(series, values[mask].T)
        assert sha256 == hash_file(file)


def test_memory_is_that_of_the_result_and_of_a_volume(tmp_path: Path) -> None:
    mask = np.zeros((40, 40, 20), dtype=bool)
    mask[10:20, 10:20, 5:15] = True
    values = np.random.default_rng(0).integers(0, 1000, (*mask.shape, 60)).astype(np.int16)
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    read_series(path, mask)  # what is imported once is not of the reading
    tracemalloc.start()
    series, _ = read_series(path, mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < series.nbytes + mask.size * 8 + 1_000_000
    assert peak < values.nbytes


@pytest.mark.parametrize("keep", [0.3, 0.95, 0.9999])
def test_a_cut_file_is_named(tmp_path: Path, keep: float) -> None:
    for name in ("a.nii", "a.nii.gz"):
        path = tmp_path / name
        write_series(path, "f4", volumes=200)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
        with pytest.raises(
            InputError, match=rf"{name}: is damaged \((the compressed data end too early|it holds \d+ of 200 volumes)\); copy it"
        ):
            read_series(path, make_mask())


@pytest.mark.parametrize("place", [0.5, 1.0])
def test_a_corrupted_file_is_named(tmp_path: Path, place: float) -> None:
    path = tmp_path / "a.nii.gz"
    write_series(path, "f4", volumes=200)
    content = bytearray(path.read_bytes())
    spot = int(len(content) * place) - 6  # at the end: in the CRC
    content[spot] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"a.nii.gz: is damaged \(Error -3 while decompressing"):
        read_series(path, make_mask())


def test_what_is_no_series_of_the_masks_grid_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_series(path)
    with pytest.raises(InputError, match=r"its volumes are \(5, 4, 3\), the mask is \(5, 4, 2\)"):
        read_series(path, make_mask((5, 4, 2)))
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, dtype=np.int16), np.eye(4)), path)
    with pytest.raises(InputError, match=r"has 3 dimensions, expected x, y, z and time"):
        read_series(path, make_mask())
    nibabel.save(nibabel.Nifti1Image(np.zeros((*SHAPE, 2), dtype=np.complex64), np.eye(4)), path)
    with pytest.raises(InputError, match=r"holds complex64 values, expected one real number per voxel"):
        read_series(path, make_mask())
    (tmp_path / "a.nii.bz2").write_bytes(bz2.compress(gzip.decompress(path.read_bytes())))
    with pytest.raises(InputError, match=r"a.nii.bz2: is neither .nii nor .nii.gz; convert the file"):
        read_series(tmp_path / "a.nii.bz2", make_mask())


def test_a_mask_on_another_grid_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 3, 4), dtype=np.uint8), np.diag([2.0, 2, 2, 1])), path)
    assert read_mask(path, Grid((2, 3, 4), np.diag([2.0, 2, 2, 1])), Path("bold.nii.gz")).all()
    with pytest.raises(InputError, match=r"mask.nii.gz: is not on the grid of bold.nii.gz \(the same shape, another affine\)"):
        read_mask(path, Grid((2, 3, 4), np.diag([2.0, 2, 3, 1])), Path("bold.nii.gz"))
    with pytest.raises(InputError, match=r"shape \(2, 3, 4\) against \(2, 3, 5\)"):
        read_mask(path, Grid((2, 3, 5), np.diag([2.0, 2, 2, 1])), Path("bold.nii.gz"))


def test_damaged_and_empty_images_are_refused(tmp_path: Path) -> None:
    grid = Grid((2, 3, 4), np.eye(4))
    (tmp_path / "text.nii.gz").write_bytes(b"not a gzip file")
    with pytest.raises(InputError, match=r"text.nii.gz: not a readable NIfTI file"):
        read_mask(tmp_path / "text.nii.gz", grid, Path("bold.nii.gz"))
    path = tmp_path / "cut.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).uniform(size=(20, 30, 40)), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:-6000])
    with pytest.raises(InputError, match=r"cut.nii.gz: is damaged"):
        read_mask(path, Grid((20, 30, 40), np.eye(4)), Path("bold.nii.gz"))
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4)), np.eye(4)), tmp_path / "empty.nii.gz")
    with pytest.raises(InputError, match=r"empty.nii.gz: is empty"):
        read_mask(tmp_path / "empty.nii.gz", grid, Path("bold.nii.gz"))
