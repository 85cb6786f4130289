"""Maps of voxels: what is written lies where the voxels are, NaN or 0 elsewhere, with names; places that do not work are refused."""

import nibabel
import numpy as np
import pandas as pd
import pytest

from protocols.errors import InputError
from protocols.tables import read_tsv
from stimgen.export_maps import find_spaces, write_maps

AFFINE = np.array([[-2.0, 0.1, 0, 90], [0, 2.5, 0, -126], [0.1, 0, 3, -72], [0, 0, 0, 1]])
PLACES = np.array([[3, 4, 5], [4, 4, 5], [3, 6, 5], [3, 4, 9], [8, 2, 1]])


def tabulate_volume(places=PLACES, affine=AFFINE, subject="01"):
    """A voxel table as a model holds it: what it does not check is text."""
    millimeters = places @ affine[:3, :3].T + affine[:3, 3]
    columns = dict(zip(("i", "j", "k"), places.T.astype(str), strict=True))
    columns |= dict(zip(("x_mm", "y_mm", "z_mm"), millimeters.T.astype(str), strict=True))
    return pd.DataFrame({"subject": subject, "hemisphere": "L", **columns})


def tabulate_surface():
    hemispheres = ["L", "L", "R"]
    return pd.DataFrame({"subject": "01", "hemisphere": hemispheres, "i": ["7", "2561", "7"], "j": "0", "k": "0"})


def show(voxels, **columns):
    return pd.DataFrame({"subject": voxels["subject"], **columns})


def test_numbers_lie_in_the_volume_that_the_millimeters_tell(tmp_path):
    voxels = tabulate_volume()
    values = [1.5, -2.0, 3.25, 0.0, np.nan]
    files = write_maps(show(voxels, cv_r=values), find_spaces(voxels, "voxels.tsv"), tmp_path)
    assert [path.name for path in files] == ["sub-01_cv_r.nii.gz"]
    image = nibabel.load(files[0])
    assert np.allclose(image.affine, AFFINE, atol=1e-4)
    volume = image.get_fdata()
    assert np.array_equal(volume[tuple(PLACES.T)], values, equal_nan=True)
    assert np.isfinite(volume).sum() == 4
    assert image.header.get_xyzt_units()[0] == "mm"


def test_indices_below_zero_are_moved_with_the_affine(tmp_path):
    voxels = tabulate_volume(PLACES - [6, 0, 20])
    (path,) = write_maps(show(voxels, x=np.arange(5.0)), find_spaces(voxels, "voxels.tsv"), tmp_path)
    image = nibabel.load(path)
    at = np.argwhere(image.get_fdata() == 4)[0]
    expected = (PLACES[4] - [6, 0, 20]) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    assert np.allclose(nibabel.affines.apply_affine(image.affine, at), expected, atol=1e-3)


def test_a_reference_gives_grid_and_affine(tmp_path):
    reference = tmp_path / "reference.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((10, 11, 12, 2), dtype=np.float32), AFFINE), reference)
    voxels = tabulate_volume().drop(columns=["x_mm", "y_mm", "z_mm"])
    (path,) = write_maps(show(voxels, x=np.arange(5.0)), find_spaces(voxels, "voxels.tsv", reference), tmp_path / "maps")
    image = nibabel.load(path)
    assert image.shape == (10, 11, 12)
    assert np.allclose(image.affine, AFFINE)
    assert image.get_fdata()[8, 2, 1] == 4


def test_labels_of_a_volume_are_numbers_with_a_table_the_same_for_all_subjects(tmp_path):
    voxels = pd.concat([tabulate_volume(), tabulate_volume(subject="02")], ignore_index=True)
    labels = ["V1", "FFA", "V1", "V1", None, "FFA", "FFA", "PPA", "FFA", "FFA"]
    clusters = ["10", "2", "2", "2", "2", "2", "2", "2", "2", "10"]
    write_maps(show(voxels, roi=labels, cluster=clusters), find_spaces(voxels, "voxels.tsv"), tmp_path)
    table = read_tsv(tmp_path / "sub-02_roi.tsv", {"index": "integer", "name": "text", "color": "text"})
    assert dict(zip(table["name"], table["index"], strict=True)) == {"V1": 1, "FFA": 2, "PPA": 3}
    first, second = (np.asarray(nibabel.load(tmp_path / f"sub-{subject}_roi.nii.gz").dataobj) for subject in ("01", "02"))
    assert first.dtype == np.int16
    assert first[tuple(PLACES.T)].tolist() == [1, 2, 1, 1, 0]
    assert second[tuple(PLACES.T)].tolist() == [2, 2, 3, 2, 2]
    assert np.count_nonzero(first) == 4
    assert read_tsv(tmp_path / "sub-01_cluster.tsv", {"index": "integer", "name": "integer"})["name"].tolist() == [2, 10]


def test_vertices_become_surfaces_with_hemisphere_names_and_colors(tmp_path):
    voxels = tabulate_surface()
    table = show(voxels, cv_r=[0.5, 0.25, 0.75], roi=["V1", "V2", "V2"])
    space = find_spaces(voxels, "voxels.tsv")
    files = write_maps(table, space, tmp_path)
    assert {path.name for path in files} == {
        "sub-01_hemi-L_cv_r.shape.gii",
        "sub-01_hemi-R_cv_r.shape.gii",
        "sub-01_hemi-L_roi.label.gii",
        "sub-01_hemi-R_roi.label.gii",
    }
    left = nibabel.load(tmp_path / "sub-01_hemi-L_cv_r.shape.gii")
    values = left.darrays[0].data
    assert left.meta["AnatomicalStructurePrimary"] == "CortexLeft"
    assert len(values) == 2562
    assert (values[7], values[2561]) == (0.5, 0.25)
    assert np.isnan(values).sum() == 2560
    right = nibabel.load(tmp_path / "sub-01_hemi-R_roi.label.gii")
    assert right.labeltable.get_labels_as_dict() == {0: "none", 1: "V1", 2: "V2"}
    assert right.labeltable.labels[0].alpha == 0
    assert right.labeltable.labels[1].rgba == pytest.approx((0, 0x72 / 255, 0xB2 / 255, 1))
    assert right.darrays[0].data[7] == 2
    assert np.count_nonzero(right.darrays[0].data) == 1
    assert "taken for fsaverage4" in space["01"].describe()


def test_the_number_of_vertices_can_be_said(tmp_path):
    space = find_spaces(tabulate_surface(), "voxels.tsv", vertices=3000)["01"]
    assert space.describe() == "GIFTI, 3000 vertices a hemisphere"


def test_two_hemispheres_told_apart_by_nobody_are_no_surface():
    with pytest.raises(InputError, match=r"neither their affine nor x_mm y_mm z_mm; give --reference"):
        find_spaces(tabulate_surface().assign(hemisphere="LR", i=["1", "2", "3"]), "voxels.tsv")


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.drop(columns="k"), {}, "no column k, so there is no map of these voxels; give --no-maps"),
        (lambda t: t.drop(columns="y_mm"), {}, "has i j k but neither their affine nor"),
        (lambda t: t.drop(index=3).assign(k="5"), {}, "lie in one plane"),
        (lambda t: t.assign(x_mm=["1", "50", "-3", "4", "5"]), {}, "no affine takes i j k to x_mm y_mm z_mm"),
        (lambda t: pd.concat([t, t.iloc[:1]]), {}, r"two voxels lie at \(3, 4, 5\)"),
        (lambda t: t.assign(i="a"), {}, "row 2: i is 'a', expected a number"),
        (lambda t: t.assign(hemisphere="R", i=["1", "2", "3", "4", "200000"], j="0", k="0"), {}, "vertex 200000, but fsaverage has 163842"),
        (
            lambda t: t.assign(hemisphere="R", i=["1", "2", "3", "4", "9"], j="0", k="0"),
            {"vertices": 9},
            "vertex 9, but 9 vertices were given",
        ),
    ],
)
def test_places_that_cannot_be_mapped_are_refused(change, options, message):
    with pytest.raises(InputError, match=f"voxels.tsv.*{message}"):
        find_spaces(change(tabulate_volume()), "voxels.tsv", **options)


def test_a_reference_that_does_not_fit_is_refused(tmp_path):
    small, broken = tmp_path / "small.nii", tmp_path / "broken.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 9, 10), dtype=np.float32), AFFINE), small)
    broken.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a voxel at \(8, 2, 1\) lies outside of small.nii, of shape \(8, 9, 10\)"):
        find_spaces(tabulate_volume(), "voxels.tsv", small)
    with pytest.raises(InputError, match=r"broken.nii: is no readable volume"):
        find_spaces(tabulate_volume(), "voxels.tsv", broken)
