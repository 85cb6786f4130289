"""Regions from masks, segmentations and surfaces: the right voxels are averaged, overlaps are told, other spaces are left alone."""

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from analysis.bids_name import BidsName, read_sidecar
from analysis.group import Question, analyze
from analysis.images import Grid
from analysis.labels import Region
from analysis.lineage import FolderIndex
from analysis.roi_sources import RoiSource, find_candidates
from analysis.rois import OVERLAP_COLUMNS, Part, find_overlaps, summarize_run
from analysis.run_betas import RunBetas
from analysis.sentences import answer_question
from protocols.errors import InputError
from protocols.roi_table import RoiTable
from protocols.tables import read_tsv
from tests.analysis.measured_runs import AFFINE, GRID, SHAPE, Measured, name_runs, write_glm
from tests.analysis.planted import make_protocol, make_set
from tests.analysis.program import run_analysis
from tests.analysis.tables import draw_table

VOXELS = int(np.prod(SHAPE))
NAMES = "index\tname\themisphere\n1\tFFA\tL\n2\tFFA\tR\n3\tV1\tn/a\n"
PLACES = {1: [3, 4], 2: [50, 51, 52], 3: [90, 91]}


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stimuli") / "set"
    make_set(folder, ("FFA",), per_cell=2, scored=False)
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, stimuli: Path) -> Measured:
    ids = list(pd.read_csv(stimuli / "stimuli.tsv", sep="\t")["stim_id"])
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("measured") / "glm"
    names = name_runs(("01", "02"), runs=2, sessions=("x",))
    return write_glm(folder, names, lambda _: rng.standard_normal((len(ids), VOXELS)), ids, np.arange(len(ids)) < 3)


def write_volume(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values.astype(np.int16), affine), path)
    return path


def write_segmentation(folder: Path, name: str = "space-native_dseg") -> Path:
    values = np.zeros(VOXELS)
    for label, voxels in PLACES.items():
        values[voxels] = label
    (folder / f"{name}.tsv").parent.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.tsv").write_text(NAMES)
    return write_volume(folder / f"{name}.nii.gz", values.reshape(SHAPE))


def write_mask(folder: Path, name: str, voxels: Sequence[int], affine: np.ndarray = AFFINE) -> Path:
    values = np.zeros(VOXELS)
    values[list(voxels)] = 1
    return write_volume(folder / name.split("_", maxsplit=1)[0] / "anat" / f"{name}_mask.nii.gz", values.reshape(SHAPE), affine)


def average(measured: Measured, stimuli: Path, out: Path, *source: object) -> str:
    return run_analysis("rois", "bids", "--betas", measured.folder, "--set", stimuli, "--out", out, *source)


def test_a_segmentation_serves_every_subject(tmp_path: Path, measured: Measured, stimuli: Path) -> None:
    path = write_segmentation(tmp_path)
    average(measured, stimuli, tmp_path / "rois", "--labels", path, "--hemispheres", "separate")
    table = RoiTable.read(tmp_path / "rois").table
    for name, effects in measured.effects.items():
        rows = table[(table["subject"] == name.subject) & (table["run"] == name.run) & (table["roi"] == "FFA")]
        for side, voxels in {"L": PLACES[1], "R": PLACES[2], "LR": PLACES[1] + PLACES[2]}.items():
            own = rows[rows["hemisphere"] == side]
            np.testing.assert_allclose(own["response_psc"], effects.reshape(-1, VOXELS)[:, voxels].mean(axis=1), rtol=1e-5)
            assert set(own["n_voxels"]) == {len(voxels)}
    assert set(table.loc[table["roi"] == "V1", "hemisphere"]) == {"LR"}
    assert set(table["session"]) == {"x"}
    assert read_tsv(tmp_path / "rois" / "overlap.tsv", OVERLAP_COLUMNS).empty


def test_masks_and_a_segmentation_of_the_same_regions_agree(tmp_path: Path, measured: Measured, stimuli: Path) -> None:
    for subject in ("01", "02"):
        write_mask(tmp_path / "masks", f"sub-{subject}_ses-x_hemi-L_space-native_label-FFA", PLACES[1])
        write_mask(tmp_path / "masks", f"sub-{subject}_space-native_hemi-R_label-FFA", PLACES[2])
    average(measured, stimuli, tmp_path / "a", "--masks", tmp_path / "masks", "--hemispheres", "separate")
    average(measured, stimuli, tmp_path / "b", "--labels", write_segmentation(tmp_path), "--hemispheres", "separate", "--roi", "FFA")
    pd.testing.assert_frame_equal(RoiTable.read(tmp_path / "a").table, RoiTable.read(tmp_path / "b").table)


def test_masks_of_another_space_are_left_alone(tmp_path: Path, measured: Measured, stimuli: Path) -> None:
    for subject in ("01", "02"):
        write_mask(tmp_path, f"sub-{subject}_space-native_label-FFA", PLACES[1])
        write_mask(tmp_path, f"sub-{subject}_space-MNI_label-FFA", PLACES[2], np.diag([3.0, 3, 3, 1]))
    average(measured, stimuli, tmp_path / "rois", "--masks", tmp_path)
    assert set(RoiTable.read(tmp_path / "rois").table["n_voxels"]) == {2}
    for path in tmp_path.glob("sub-*/anat/*native*"):
        path.unlink()
    with pytest.raises(InputError, match=r"no region of sub-01 is in space native; spaces there: MNI"):
        average(measured, stimuli, tmp_path / "other", "--masks", tmp_path)


def test_data_that_tell_no_space_are_native(tmp_path: Path) -> None:
    write_mask(tmp_path, "sub-01_space-MNI_label-FFA", [1])
    files = ["sub-01_task-main_run-01_desc-stimuli_betas.nii.gz"]

    def list_spaces() -> list[str | None]:
        found = find_candidates(RoiSource(tmp_path), "01", files, FolderIndex())
        return [BidsName.parse(one.region.path.name).get("space") for one in found]

    assert list_spaces() == ["MNI"]
    write_mask(tmp_path, "sub-01_space-T1w_label-FFA", [1])
    assert list_spaces() == ["T1w"]


def test_overlaps_are_written_and_printed(tmp_path: Path, measured: Measured, stimuli: Path) -> None:
    for subject in ("01", "02"):
        write_mask(tmp_path, f"sub-{subject}_hemi-L_label-A", [1, 2, 3])
        write_mask(tmp_path, f"sub-{subject}_hemi-R_label-A", [7])
        write_mask(tmp_path, f"sub-{subject}_label-B", [2, 3, 7, 8, 9])
        write_mask(tmp_path, f"sub-{subject}_label-C", [11] if subject == "01" else [1, 11])
    printed = average(measured, stimuli, tmp_path / "rois", "--masks", tmp_path)
    assert "sub-01: A and B share 3 of 4 and 5 voxels" in printed
    assert "sub-02: A and C share 1 of 4 and 2 voxels" in printed
    assert "sub-01: A and C" not in printed
    table = read_tsv(tmp_path / "rois" / "overlap.tsv", OVERLAP_COLUMNS)
    assert [tuple(row) for row in table[["subject", "run", "roi", "other_roi", "shared"]].to_numpy()] == [
        ("01", 1, "A", "B", 3),
        ("01", 2, "A", "B", 3),
        ("02", 1, "A", "B", 3),
        ("02", 1, "A", "C", 1),
        ("02", 2, "A", "B", 3),
        ("02", 2, "A", "C", 1),
    ]


def test_regions_that_cannot_be_used_are_refused(tmp_path: Path, measured: Measured, stimuli: Path) -> None:
    path = write_segmentation(tmp_path)
    with pytest.raises(InputError, match=r"give either --masks or --labels, not both"):
        average(measured, stimuli, tmp_path / "rois", "--labels", path, "--masks", tmp_path)
    write_mask(tmp_path, "sub-01_label-FFA", [1])
    with pytest.raises(InputError, match=r"has no region PPA; regions there: FFA"):
        average(measured, stimuli, tmp_path / "rois", "--masks", tmp_path, "--roi", "PPA")
    values = np.zeros((3, 3, 3))
    values[0, 0, :] = (1, 2, 3)
    write_volume(path, values)
    with pytest.raises(InputError, match=r"dseg.nii.gz: is not on the grid of .*betas.nii.gz \(shape \(3, 3, 3\) against \(6, 5, 4\)\)"):
        average(measured, stimuli, tmp_path / "rois", "--labels", path)


def test_a_region_outside_the_modelled_voxels_is_refused() -> None:
    betas = make_betas(mask=np.arange(VOXELS) < 10)
    inside, outside = (Region(name, "LR", np.array(voxels), GRID, Path("mask")) for name, voxels in (("A", [9, 10]), ("B", [10, 11])))
    assert summarize_run([Part(betas, (inside,))], "both")["n_voxels"].tolist() == [1, 1]
    with pytest.raises(InputError, match=r"run-01_space-native: ROI B LR has no voxel that was modelled"):
        summarize_run([Part(betas, (inside, outside))], "both")


def make_betas(
    stem: str = "sub-01_task-main_run-01_space-native", mask: np.ndarray | None = None, ids: Sequence[str] = ("a", "b")
) -> RunBetas:
    brain = (np.ones(VOXELS, dtype=bool) if mask is None else mask).reshape(SHAPE)
    rng = np.random.default_rng(len(stem))
    effects = rng.standard_normal((len(ids), int(brain.sum()))).astype(np.float32)
    stimuli = pd.DataFrame({"stim_id": list(ids), "events": 1, "duration": 1.0})
    return RunBetas(stem, stimuli, effects, np.ones_like(effects), brain, GRID)


def make_surface(side: str, ids: Sequence[str] = ("a", "b"), vertices: int = 9) -> RunBetas:
    """Return one hemisphere's responses; the first vertex is on the medial wall."""
    effects = np.random.default_rng(vertices).standard_normal((len(ids), vertices - 1)).astype(np.float32)
    stimuli = pd.DataFrame({"stim_id": list(ids), "events": 1, "duration": 1.0})
    stem = f"sub-01_task-main_run-01_hemi-{side}_space-fsaverage5"
    return RunBetas(stem, stimuli, effects, np.ones_like(effects), np.arange(vertices) > 0, Grid((vertices,), np.eye(4)))


def make_patch(side: str, vertices: Sequence[int], size: int = 9) -> Region:
    return Region("FFA", side, np.array(vertices), Grid((size,), np.eye(4)), Path(f"hemi-{side}_dseg.label.gii"))


def test_the_hemispheres_of_a_surface_are_averaged_together_and_apart() -> None:
    left, right = make_surface("L"), make_surface("R", ids=("b", "a"), vertices=7)
    parts = [Part(left, (make_patch("L", [0, 1, 3]),)), Part(right, (make_patch("R", [6], 7),))]
    rows = summarize_run(parts, "separate")
    assert rows["hemisphere"].tolist() == ["LR", "LR", "L", "L", "R", "R"]
    assert rows["n_voxels"].tolist() == [3, 3, 2, 2, 1, 1]  # the medial wall was not modelled
    np.testing.assert_allclose(rows["response_psc"][2:4], left.effects[:, [0, 2]].mean(axis=1))
    np.testing.assert_allclose(rows["response_psc"][4:], right.effects[[1, 0], 5], rtol=1e-6)
    np.testing.assert_allclose(rows["response_psc"][:2] * 3, 2 * rows["response_psc"][2:4].to_numpy() + rows["response_psc"][4:].to_numpy())
    assert find_overlaps(parts).empty
    with pytest.raises(InputError, match=r"hemi-L_dseg.label.gii: is not on the grid of .*hemi-R.* \(shape \(9,\) against \(7,\)\)"):
        summarize_run([Part(right, (make_patch("L", [0]),))], "both")
    with pytest.raises(InputError, match="the hemispheres of a run list different stimuli"):
        summarize_run([parts[0], Part(make_surface("R", ids=("b", "c")), (make_patch("R", [6]),))], "both")


def test_nothing_is_claimed_from_a_circular_table(tmp_path: Path) -> None:
    drawn = draw_table(np.random.default_rng(1), effect=2.0)
    planned = Question(make_protocol().contrasts, planned=True, alpha=0.05)
    assert analyze(drawn, planned).tests["claimed"].all()
    RoiTable(drawn.table, circular=True).write(tmp_path / "roi_table.tsv", {"CircularBecause": ["ROI FFA ..."]})
    result = analyze(RoiTable.read(tmp_path), planned)
    assert not result.tests["claimed"].any()
    assert set(result.tests["family"]) == {"gate", "exploratory"}
    assert result.summary["circular"] is True
    assert any("chose" in note for note in result.summary["notes"])
    assert answer_question(result).startswith("circular, so nothing is claimed: ")
    make_protocol().write(tmp_path / "protocol.json")
    printed = run_analysis("group", tmp_path, "--protocol", tmp_path / "protocol.json", "--out", tmp_path / "group")
    assert "0 claimed" in printed
    assert RoiTable.read(tmp_path / "group").circular
    run_analysis("report", tmp_path / "group")
    assert "nothing is claimed" in (tmp_path / "group" / "report.html").read_text()


def test_a_table_says_circular_as_true_or_false_only(tmp_path: Path) -> None:
    table = draw_table(np.random.default_rng(1))
    table.write(tmp_path / "roi_table.tsv")
    assert not (tmp_path / "roi_table.json").exists()
    assert RoiTable.read(tmp_path).circular is False
    (tmp_path / "roi_table.json").write_text('{"Circular": "no"}')
    with pytest.raises(InputError, match=r"roi_table.json: Circular is 'no', expected true or false"):
        RoiTable.read(tmp_path)


def test_names_are_taken_apart_and_sidecars_inherited(tmp_path: Path) -> None:
    name = BidsName.parse("sub-01_ses-x_hemi-L_space-T1w_label-FFA_desc-odd_mask.nii.gz")
    assert (name.entities["label"], name.get("hemi"), name.suffix, name.get("run")) == ("FFA", "L", "mask", None)
    assert BidsName.parse("ffa.nii").entities == {}
    for file, text in (
        ("sub-01_mask.json", '{"a": 1, "b": 1}'),
        ("sub-01_label-FFA_mask.json", '{"b": 2}'),
        ("sub-01_label-V1_mask.json", '{"a": 3}'),
    ):
        (tmp_path / file).write_text(text)
    assert read_sidecar(tmp_path / "sub-01_label-FFA_mask.nii.gz") == {"a": 1, "b": 2}
    assert read_sidecar(tmp_path / "sub-02_label-FFA_mask.nii.gz") == {}
