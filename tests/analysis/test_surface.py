"""Surfaces: series, maps and labels by vertex, written, read back, and refused where they are something else."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from analysis.surface import read_extent, read_labels, read_maps, read_series, write_maps
from protocols.errors import InputError
from protocols.provenance import hash_file
from tests.analysis.bids_folder import write_gifti

VERTICES = 9


def make_rows(volumes: int = 6) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((volumes, VERTICES)).astype(np.float32)


def write_label_gifti(path: Path, labels: list[int], names: dict[int, str], maps: int = 1) -> None:
    table = nibabel.gifti.GiftiLabelTable()
    for key, name in names.items():
        label = nibabel.gifti.GiftiLabel(key)
        label.label = name
        table.labels.append(label)
    arrays = [nibabel.gifti.GiftiDataArray(np.array(labels, dtype=np.int32), intent="NIFTI_INTENT_LABEL") for _ in range(maps)]
    nibabel.save(nibabel.gifti.GiftiImage(labeltable=table, darrays=arrays), path)


def test_a_series_is_read_inside_the_mask_with_its_hash(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.func.gii", make_rows()
    write_gifti(path, rows)
    mask = np.arange(VERTICES) % 3 > 0
    series, sha256 = read_series(path, mask)
    np.testing.assert_array_equal(series, rows[:, mask])
    assert series.dtype == np.float32
    assert sha256 == hash_file(path)
    grid, volumes = read_extent(path)
    assert (grid.shape, volumes) == ((VERTICES,), 6)
    np.testing.assert_array_equal(grid.affine, np.eye(4))


def test_one_array_of_vertices_by_volumes_is_a_series_too(tmp_path: Path) -> None:
    path, rows = tmp_path / "a.func.gii", make_rows()
    array = nibabel.gifti.GiftiDataArray(rows.T.copy(), intent="NIFTI_INTENT_TIME_SERIES", datatype="NIFTI_TYPE_FLOAT32")
    nibabel.save(nibabel.gifti.GiftiImage(darrays=[array]), path)
    np.testing.assert_array_equal(read_series(path, np.ones(VERTICES, dtype=bool))[0], rows)
    assert read_extent(path)[1] == 6


@pytest.mark.parametrize(("hemisphere", "structure"), [("L", "CortexLeft"), ("R", "CortexRight")])
def test_maps_are_read_back_and_name_their_hemisphere(tmp_path: Path, hemisphere: str, structure: str) -> None:
    path, mask = tmp_path / "new" / "a.func.gii", np.arange(VERTICES) != 4
    rows = make_rows(3)[:, mask]
    write_maps(rows, mask, hemisphere, path, ["face", "house", "face - house"])
    np.testing.assert_array_equal(read_maps(path)[:, mask], rows)
    assert (read_maps(path)[:, ~mask] == 0).all()
    image = nibabel.load(path)
    assert image.meta["AnatomicalStructurePrimary"] == structure
    assert [array.meta["Name"] for array in image.darrays] == ["face", "house", "face - house"]
    assert {array.data.dtype for array in image.darrays} == {np.dtype(np.float32)}
    again = tmp_path / "again.func.gii"
    write_maps(rows, mask, hemisphere, again, ["face", "house", "face - house"])
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_a_cut_or_foreign_file_is_refused(tmp_path: Path, keep: float) -> None:
    path, mask = tmp_path / "a.func.gii", np.ones(VERTICES, dtype=bool)
    write_gifti(path, make_rows())
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(InputError, match=r"a.func.gii: is no readable GIFTI file \(.*\); copy it again"):
        read_series(path, mask)
    path.write_text("no markup")
    with pytest.raises(InputError, match=r"a.func.gii: is no readable GIFTI file"):
        read_series(path, mask)
    with pytest.raises(InputError, match=r"a.func.gii: is no GIFTI file with data of vertices"):
        read_extent(path)
    with pytest.raises(InputError, match=r"b.func.gii: cannot be read \(No such file"):
        read_extent(tmp_path / "b.func.gii")


def test_corrupted_values_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.func.gii"
    write_gifti(path, make_rows())
    text = path.read_text()
    begin = text.index("<Data>") + 6
    path.write_text(text[: begin + 10] + "AAAAAAAA" + text[begin + 18 :])
    with pytest.raises(InputError, match=r"a.func.gii: is no readable GIFTI file"):
        read_series(path, np.ones(VERTICES, dtype=bool))


def test_geometry_and_another_surface_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.surf.gii"
    points = nibabel.gifti.GiftiDataArray(np.zeros((VERTICES, 3), dtype=np.float32), intent="NIFTI_INTENT_POINTSET")
    nibabel.save(nibabel.gifti.GiftiImage(darrays=[points]), path)
    with pytest.raises(InputError, match="holds a surface's geometry, not data"):
        read_series(path, np.ones(VERTICES, dtype=bool))
    write_gifti(path, make_rows())
    with pytest.raises(InputError, match="has 9 vertices, the mask 10; they are of different surfaces"):
        read_series(path, np.ones(10, dtype=bool))


def test_gifti_labels_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.label.gii"
    write_label_gifti(path, [0, 0, 3, 3, 7, 9, 0, 7, 3], {0: "???", 3: "FFA", 7: "PPA", 9: "Medial_Wall", 11: "EBA"})
    labels, names = read_labels(path)
    assert labels.tolist() == [0, 0, 3, 3, 7, 0, 0, 7, 3]
    assert names == {3: "FFA", 7: "PPA", 11: "EBA"}


@pytest.mark.parametrize(("first", "expected"), [("Unknown", [0, 1, 2, 0]), ("V1", [1, 2, 3, 0])])
def test_an_annotation_is_numbered_by_its_rows(tmp_path: Path, first: str, expected: list[int]) -> None:
    path = tmp_path / "lh.a.annot"
    colors = np.array([[10, 20, 30, 0], [40, 50, 60, 0], [70, 80, 90, 0]])
    nibabel.freesurfer.write_annot(path, np.array([0, 1, 2, -1]), colors, [first, "FFA", "PPA"], fill_ctab=True)
    labels, names = read_labels(path)
    assert labels.tolist() == expected
    assert names == {number: name for number, name in zip(expected, (first, "FFA", "PPA"), strict=False) if number}


def test_bad_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.nii.gz: is neither a .label.gii nor a FreeSurfer .annot"):
        read_labels(tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match=r"a.annot: cannot be read"):
        read_labels(tmp_path / "a.annot")
    (tmp_path / "a.annot").write_bytes(b"\x00\x00\x00")
    with pytest.raises(InputError, match=r"a.annot: is no readable FreeSurfer annotation"):
        read_labels(tmp_path / "a.annot")
    path = tmp_path / "a.label.gii"
    write_label_gifti(path, [1, 2], {1: "FFA", 2: "FFA"})
    with pytest.raises(InputError, match="two labels are called 'FFA'; rename one"):
        read_labels(path)
    write_label_gifti(path, [1, 2], {1: "FFA", 2: "PPA"}, maps=2)
    with pytest.raises(InputError, match="holds 2 maps of labels, expected one"):
        read_labels(path)


@pytest.mark.realdata
@pytest.mark.parametrize(("hemisphere", "regions", "labeled"), [("lh", 17, 13378), ("rh", 16, 13600)])
def test_the_atlas_of_visual_areas(measured: Path, hemisphere: str, regions: int, labeled: int) -> None:
    labels, names = read_labels(measured / "visfatlas" / f"{hemisphere}.visfAtlas.annot")
    assert labels.shape == (163842,)
    assert len(names) == regions
    assert names[1] == "mFus-faces"
    assert (labels > 0).sum() == labeled
    assert set(np.unique(labels)) == {0, *names}
