"""Regions on surfaces, by the public commands: a localizer in both hemispheres, averaged together and apart."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from nibabel.gifti import GiftiDataArray, GiftiImage, GiftiLabel, GiftiLabelTable

from analysis.bids_name import read_sidecar
from analysis.images import Grid
from analysis.lineage import FolderIndex
from analysis.map_files import write_map
from analysis.roi_sources import RoiSource, find_candidates
from analysis.run_betas import RunBetas
from analysis.surface import read_maps
from protocols.errors import InputError
from protocols.output_folder import staged_folder
from protocols.provenance import Provenance
from protocols.roi_table import RoiTable
from protocols.run_name import RunName
from tests.analysis.measured_runs import name_runs
from tests.analysis.planted import make_set
from tests.analysis.program import run_analysis

VERTICES = {"L": 60, "R": 70}
PARCEL = np.arange(10, 50)
PLANTED = {"L": [12, 13, 30, 41], "R": [15, 16, 17, 49]}


def write_parcels(folder: Path, names: dict[str, dict[int, str]]) -> Path:
    folder.mkdir()
    for side, listed in names.items():
        table = GiftiLabelTable()
        for key, name in {0: "???", **listed}.items():
            label = GiftiLabel(key=key, red=0.5, green=0.5, blue=0.5, alpha=1.0)
            label.label = name
            table.labels.append(label)
        values = np.zeros(VERTICES[side], dtype=np.int32)
        values[PARCEL] = next(iter(listed))
        array = GiftiDataArray(values, intent="NIFTI_INTENT_LABEL", datatype="NIFTI_TYPE_INT32")
        nibabel.save(GiftiImage(labeltable=table, darrays=[array]), folder / f"hemi-{side}_space-fsaverage5_dseg.label.gii")
    return folder


def write_run(name: RunName, side: str, ids: list[str], rng: np.random.Generator, root: Path) -> None:
    """Write one hemisphere of one run: target images drive the planted vertices by 8; the first vertices are the medial wall."""
    target = np.array([one.startswith("target") for one in ids])
    mask, grid = np.arange(VERTICES[side]) >= 5, Grid((VERTICES[side],), np.eye(4))
    effects = rng.standard_normal((len(ids), VERTICES[side])).astype(np.float32)
    effects[np.ix_(target, PLANTED[side])] += 8
    stem = f"{name.stem}_hemi-{side}_space-fsaverage5"
    stimuli = pd.DataFrame({"stim_id": ids, "events": 1, "duration": 1.0})
    RunBetas(stem, stimuli, effects[:, mask], np.ones_like(effects[:, mask]), mask, grid).write(root, {})
    contrast = effects[target].mean(axis=0) - effects[~target].mean(axis=0)
    for statistic, values in (("effect", contrast), ("variance", np.ones_like(contrast))):
        path = root / name.folder / f"{stem}_contrast-targets_stat-{statistic}_statmap"
        write_map(values[None, mask], mask, grid, side, str(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one subject, and the stimulus set that was shown."""
    root, rng = tmp_path_factory.mktemp("surface"), np.random.default_rng(0)
    ids = list(make_set(root / "set", ("FFA",), per_cell=3, scored=False).table["stim_id"])
    with staged_folder(root / "glm", Provenance.collect("analysis glm", {}, {})) as staging:
        for name in name_runs(runs=2):
            for side in "LR":
                write_run(name, side, ids, rng, staging)
    return root


def localize(folder: Path, parcels: Path, out: Path, *more: str) -> str:
    return run_analysis("localize", folder / "glm", "--contrast", "targets", "--parcels", parcels, "--out", out, *more)


def average(folder: Path, out: Path, *source: object) -> pd.DataFrame:
    run_analysis("rois", "bids", "--betas", folder / "glm", "--set", folder / "set", "--hemispheres", "separate", "--out", out, *source)
    return RoiTable.read(out).table


def test_a_localizer_in_both_hemispheres(folder: Path, tmp_path: Path) -> None:
    parcels = write_parcels(tmp_path / "parcels", {"L": {3: "FFA"}, "R": {3: "FFA"}})
    assert "wrote" in localize(folder, parcels, tmp_path / "masks")
    for side, run in (("L", 1), ("R", 2)):
        path = (
            tmp_path
            / "masks"
            / "sub-01"
            / "func"
            / f"sub-01_task-main_hemi-{side}_space-fsaverage5_label-FFA_desc-leaverun0{run}_mask.func.gii"
        )
        assert np.flatnonzero(read_maps(path)[0]).tolist() == PLANTED[side]
        assert [scan["run"] for scan in read_sidecar(path)["ChosenFrom"]] == [3 - run]
    table = average(folder, tmp_path / "rois", "--masks", tmp_path / "masks")
    sizes = table.groupby("hemisphere")["n_voxels"].unique().map(list).to_dict()
    assert sizes == {"L": [4], "LR": [8], "R": [4]}
    means = table.groupby(["hemisphere", table["stim_id"].str.startswith("target")])["response_psc"].mean()
    assert np.allclose(means.xs(True, level="stim_id"), 8, atol=0.5)


def test_a_region_of_one_hemisphere(folder: Path, tmp_path: Path) -> None:
    parcels = write_parcels(tmp_path / "parcels", {"L": {3: "VWFA", 4: "FFA"}, "R": {4: "FFA", 3: "VWFA"}})
    table = average(folder, tmp_path / "rois", "--labels", parcels, "--roi", "VWFA")
    assert set(table["hemisphere"]) == {"L", "LR"}
    assert set(table["n_voxels"]) == {len(PARCEL)}
    with pytest.raises(InputError, match=r"hemi-L_space-fsaverage5_dseg.label.gii: has no region PPA; its table names VWFA, FFA"):
        average(folder, tmp_path / "other", "--labels", parcels, "--roi", "PPA")


def test_a_region_that_neither_hemisphere_has(folder: Path, tmp_path: Path) -> None:
    parcels = write_parcels(tmp_path / "parcels", {"L": {3: "VWFA", 5: "PPA"}, "R": {4: "FFA", 5: "PPA", 3: "VWFA"}})
    with pytest.raises(InputError, match=r"parcels: has no region PPA; regions there: VWFA"):
        average(folder, tmp_path / "rois", "--labels", parcels, "--roi", "VWFA", "--roi", "PPA")


def test_parcels_of_another_surface(folder: Path, tmp_path: Path) -> None:
    parcels = write_parcels(tmp_path / "parcels", {"L": {3: "FFA"}})
    (parcels / "hemi-L_space-fsaverage5_dseg.label.gii").rename(parcels / "hemi-R_space-fsaverage5_dseg.label.gii")
    with pytest.raises(InputError, match=r"is not on the grid of .*hemi-R.* \(shape \(60,\) against \(70,\)\)"):
        localize(folder, parcels, tmp_path / "masks")


@pytest.mark.realdata
def test_a_surface_file_is_meant_for_its_own_hemisphere(measured: Path) -> None:
    source = RoiSource(labels=measured / "visfatlas", rois=("hMT",))
    for side in ("L", "R"):
        data = f"sub-01_task-main_run-01_hemi-{side}_space-fsaverage_desc-stimuli_betas.func.gii"
        candidates = find_candidates(source, "01", [data], FolderIndex())
        assert [(one.region.name, one.region.hemisphere) for one in candidates] == [("hMT", side)]
