"""Segmentations: every named region is where its label is, and no label is lost or moved without a word."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.freesurfer import write_annot
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable

from analysis.images import Grid
from analysis.labels import find_hemisphere, find_segmentations, read_regions, refuse_other_grid
from protocols.errors import InputError

SHAPE = (4, 3, 2)
NAMES = "index\tname\tcolor\n0\tbackground\tn/a\n1\tV1\tred\n7\tFFA\tblue\n"


def write_segmentation(folder: Path, values: np.ndarray, table: str | None = NAMES, name: str = "sub-01_space-T1w_dseg") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2, 2, 1])), path)
    if table is not None:
        (folder / f"{name}.tsv").write_text(table)
    return path


def draw_segmentation(*labels: int) -> np.ndarray:
    """Return a volume whose first voxels, in C order, have these labels."""
    values = np.zeros(SHAPE, dtype=np.int16)
    values.ravel()[: len(labels)] = labels
    return values


def test_regions_are_where_their_labels_are(tmp_path: Path) -> None:
    path = write_segmentation(tmp_path, draw_segmentation(0, 7, 1, 7))
    regions = read_regions(path, tmp_path)
    assert [(one.name, one.hemisphere, one.voxels.tolist()) for one in regions] == [("V1", "LR", [2]), ("FFA", "LR", [1, 3])]
    assert regions[0].grid.matches(Grid(SHAPE, np.diag([2.0, 2, 2, 1])))


def test_only_named_regions_are_taken_and_the_others_may_be_empty(tmp_path: Path) -> None:
    path = write_segmentation(tmp_path, draw_segmentation(1, 1))
    assert [one.name for one in read_regions(path, tmp_path, ["V1"])] == ["V1"]
    with pytest.raises(InputError, match=r"sub-01_space-T1w_dseg.nii.gz: no voxel has the label of FFA; choose the regions that it has"):
        read_regions(path, tmp_path)
    with pytest.raises(InputError, match=r"has no region PPA; its table names V1, FFA"):
        read_regions(path, tmp_path, ["PPA"])


def test_a_table_may_tell_hemispheres_apart(tmp_path: Path) -> None:
    table = "index\tname\themisphere\n1\tFFA\tL\n7\tFFA\tR\n8\tV1\tn/a\n"
    path = write_segmentation(tmp_path, draw_segmentation(1, 7, 7, 8), table)
    assert [(one.name, one.hemisphere, len(one.voxels)) for one in read_regions(path, tmp_path)] == [
        ("FFA", "L", 1),
        ("FFA", "R", 2),
        ("V1", "LR", 1),
    ]


@pytest.mark.parametrize("place", ["dseg.tsv", "sub-01/space-T1w_dseg.tsv", "space-T1w_dseg.tsv"])
def test_a_table_is_inherited_from_the_folders_above(tmp_path: Path, place: str) -> None:
    path = write_segmentation(tmp_path / "sub-01" / "anat", draw_segmentation(1, 7), None)
    (tmp_path / "desc-other_dseg.tsv").write_text("index\tname\n1\tother\n7\tanother\n")
    (tmp_path / "sub-01" / "sub-02_dseg.tsv").write_text("index\tname\n1\tother\n7\tanother\n")
    (tmp_path / place).write_text(NAMES)
    assert [one.name for one in read_regions(path, tmp_path)] == ["V1", "FFA"]


def test_no_table_is_looked_for_outside_the_folder(tmp_path: Path) -> None:
    path = write_segmentation(tmp_path / "rois", draw_segmentation(1, 7), None)
    (tmp_path / "dseg.tsv").write_text(NAMES)
    with pytest.raises(
        InputError, match=r"has no table of names; write sub-01_space-T1w_dseg.tsv with the columns index and name beside it"
    ):
        read_regions(path, tmp_path / "rois")


@pytest.mark.parametrize(
    ("labels", "table", "message"),
    [
        ((1, 7, 300, 300), NAMES, r"dseg.nii.gz: label 300 \(2 voxels\) has no name in its table"),
        ((1, 7), NAMES + "7\tOFA\tgray\n", r"dseg.tsv: index 7 stands there twice"),
        ((1, 7, 8), NAMES + "8\tFFA\tgray\n", r"dseg.tsv: name FFA stands there twice"),
        ((1,), "index\tname\themisphere\n1\tFFA\tleft\n", r"dseg.tsv: hemisphere is 'left', expected L, R or LR"),
        ((1,), "index\tname\n1,5\tFFA\n", r"dseg.tsv row 2: index is '1,5', expected a number; write decimals with a point"),
        ((1,), "label\tname\n1\tFFA\n", r"dseg.tsv: missing column index"),
    ],
)
def test_labels_and_names_that_do_not_fit_are_refused(tmp_path: Path, labels: tuple[int, ...], table: str, message: str) -> None:
    path = write_segmentation(tmp_path, draw_segmentation(*labels), table)
    with pytest.raises(InputError, match=message):
        read_regions(path, tmp_path)


def test_what_is_no_segmentation_is_refused(tmp_path: Path) -> None:
    for values in (np.full(SHAPE, 0.4, dtype=np.float32), np.full(SHAPE, -1, dtype=np.int16), np.full(SHAPE, np.nan, dtype=np.float32)):
        with pytest.raises(InputError, match="holds other values than whole numbers from 0; it was interpolated"):
            read_regions(write_segmentation(tmp_path, values), tmp_path)
    with pytest.raises(InputError, match="has 4 dimensions, expected 3"):
        read_regions(write_segmentation(tmp_path, np.ones((*SHAPE, 2), dtype=np.int16)), tmp_path)


def test_a_segmentation_on_another_grid_is_refused(tmp_path: Path) -> None:
    (region, _) = read_regions(write_segmentation(tmp_path, draw_segmentation(1, 7)), tmp_path)
    refuse_other_grid(region.path, region.grid, Grid(SHAPE, np.diag([2.0, 2, 2, 1])), "betas")
    with pytest.raises(
        InputError, match=r"dseg.nii.gz: is not on the grid of betas \(the same shape, another affine\); resample it yourself"
    ):
        refuse_other_grid(region.path, region.grid, Grid(SHAPE, np.diag([2.0, 2, 3, 1])), "betas")
    with pytest.raises(InputError, match=r"shape \(4, 3, 2\) against \(4, 3, 3\)"):
        refuse_other_grid(region.path, region.grid, Grid((4, 3, 3), np.diag([2.0, 2, 2, 1])), "betas")


def test_a_subjects_own_segmentation_comes_before_a_templates(tmp_path: Path) -> None:
    own = write_segmentation(tmp_path / "sub-01" / "anat", draw_segmentation(1))
    flat = write_segmentation(tmp_path, draw_segmentation(1), name="sub-02_dseg")
    template = write_segmentation(tmp_path, draw_segmentation(1), name="space-MNI_dseg")
    assert find_segmentations(tmp_path, "01") == [own]
    assert find_segmentations(tmp_path, "02") == [flat]
    assert find_segmentations(tmp_path, "03") == [template]
    assert find_segmentations(own, "03") == [own]
    template.unlink()
    with pytest.raises(InputError, match=r"has no segmentation of sub-03 \(\*_dseg.nii.gz, \*.label.gii or \*.annot\); name the file"):
        find_segmentations(tmp_path, "03")
    with pytest.raises(InputError, match="no such file or folder"):
        find_segmentations(tmp_path / "absent", "03")


def write_gifti(path: Path, values: list[int], names: dict[int, str]) -> Path:
    table = GiftiLabelTable()
    for key, name in names.items():
        label = GiftiLabel(key=key, red=0.5, green=0.5, blue=0.5, alpha=1.0)
        label.label = name
        table.labels.append(label)
    array = GiftiDataArray(np.array(values, dtype=np.int32), intent="NIFTI_INTENT_LABEL", datatype="NIFTI_TYPE_INT32")
    nibabel.save(GiftiImage(labeltable=table, darrays=[array]), path)
    return path


def test_surface_labels_of_both_formats(tmp_path: Path) -> None:
    gifti = write_gifti(tmp_path / "hemi-R_space-fsaverage5_dseg.label.gii", [0, 3, 3, 9], {0: "???", 3: "FFA", 9: "unknown"})
    (region,) = read_regions(gifti, tmp_path)
    assert (region.name, region.hemisphere, region.voxels.tolist(), region.grid.shape) == ("FFA", "R", [1, 2], (4,))
    colors = np.array([[0, 0, 0, 0, 0], [200, 10, 10, 0, 0], [10, 200, 10, 0, 0], [10, 10, 200, 0, 0]])
    annotation = tmp_path / "lh.atlas.annot"
    write_annot(annotation, np.array([-1, 1, 2, 2, 0]), colors, ["Unknown", "V1", "FFA", "absent"], fill_ctab=True)
    assert [(one.name, one.hemisphere, one.voxels.tolist()) for one in read_regions(annotation, tmp_path)] == [
        ("V1", "L", [1]),
        ("FFA", "L", [2, 3]),
    ]
    assert read_regions(annotation, tmp_path, ["absent"]) == []  # it may be in the other hemisphere


def test_bad_surface_labels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hemi-L_dseg.label.gii"
    with pytest.raises(InputError, match=r"label 4 \(1 vertices\) has no name in its table"):
        read_regions(write_gifti(path, [0, 3, 4], {3: "FFA"}), tmp_path)
    with pytest.raises(InputError, match=r"atlas.label.gii: its name tells no hemisphere; call it hemi-L_... or lh...."):
        find_hemisphere(tmp_path / "atlas.label.gii")


@pytest.mark.realdata
@pytest.mark.parametrize(("file", "side"), [("lh.visfAtlas.annot", "L"), ("rh.visfAtlas.annot", "R")])
def test_the_visual_atlas_of_fsaverage(measured: Path, file: str, side: str) -> None:
    path = measured / "visfatlas" / file
    regions = read_regions(path, path)
    assert {"mFus-faces", "pFus-faces", "CoS-places", "hMT", "v1d"} <= {one.name for one in regions}
    assert {(one.hemisphere, one.grid.shape) for one in regions} == {(side, (163842,))}
    assert all(100 < len(one.voxels) < 4000 for one in regions)
    assert len(np.unique(np.concatenate([one.voxels for one in regions]))) == sum(len(one.voxels) for one in regions)
