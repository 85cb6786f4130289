"""The functional localizer: it finds planted voxels, its folds leave out what is tested, and on noise it finds nothing that holds."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from analysis.bids_name import read_sidecar
from analysis.lineage import Scan, read_chosen
from analysis.localizer import Fold, combine_t, plan_folds, select_top
from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.roi_table import RoiTable
from protocols.run_name import RunName
from protocols.tables import read_tsv
from tests.analysis.measured_runs import AFFINE, SHAPE, Measured, describe_scan, name_runs, write_glm
from tests.analysis.planted import make_set
from tests.analysis.program import run_analysis

VOXELS = int(np.prod(SHAPE))
PARCEL = np.arange(20, 80)  # flat indices of the parcel FFA
PLANTED = np.array([23, 40, 41, 58, 66, 79])
CONDITIONS = ("target", "natural")


@pytest.fixture(scope="module")
def stimuli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stimuli") / "set"
    make_set(folder, ("FFA",), per_cell=4, scored=False)
    return folder


def list_images(stimuli: Path) -> list[str]:
    table = pd.read_csv(stimuli / "stimuli.tsv", sep="\t")
    return list(table["stim_id"][table["condition"].isin(CONDITIONS)])


def write_parcels(folder: Path, extra: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    values = np.zeros(VOXELS, dtype=np.int16)
    values[PARCEL] = 4
    path = folder / "space-native_dseg.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values.reshape(SHAPE), AFFINE), path)
    (folder / "space-native_dseg.tsv").write_text("index\tname\n4\tFFA\n" + extra)
    return path


def measure(folder: Path, stimuli: Path, names: Sequence[RunName], effect: float, seed: int, **settings: object) -> Measured:
    """Write runs in which target images drive the planted voxels by `effect`."""
    ids, rng = list_images(stimuli), np.random.default_rng(seed)
    target = np.array([name.startswith("target") for name in ids])

    def draw(_: RunName) -> np.ndarray:
        values = rng.standard_normal((len(ids), VOXELS))
        values[np.ix_(target, PLANTED)] += effect
        return values

    return write_glm(folder, names, draw, ids, target, **settings)  # type: ignore[arg-type]


def localize(measured: Measured, parcels: Path, out: Path, scheme: str, *more: object) -> str:
    command = ("localize", measured.folder, "--contrast", "aMinusB", "--parcels", parcels, "--out", out, "--scheme", scheme)
    return run_analysis(*command, *more)


def average(measured: Measured, stimuli: Path, masks: Path, out: Path, *more: object) -> str:
    return run_analysis("rois", "bids", "--betas", measured.folder, "--masks", masks, "--set", stimuli, "--out", out, *more)


def find_effects(folder: Path) -> pd.Series:
    """Return target minus natural for each subject and run."""
    table = RoiTable.read(folder).table
    means = table.assign(session=table["session"].fillna("")).pivot_table("response_psc", ["subject", "session", "run"], "condition")
    return means["target"] - means["natural"]


def read_voxels(path: Path) -> list[int]:
    return list(np.flatnonzero(nibabel.load(path).get_fdata().ravel()))


def test_planted_voxels_are_found_and_their_effect_is_right(tmp_path: Path, stimuli: Path) -> None:
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01", "02"), runs=4), effect=8.0, seed=1)
    printed = localize(measured, write_parcels(tmp_path / "parcels"), tmp_path / "masks", "leave-run-out")
    assert "FFA: 6 of 60 voxels (median)" in printed
    assert "wrote" in printed
    assert "8 masks, 2 subjects, scheme leave-run-out" in printed
    path = tmp_path / "masks" / "sub-02" / "func" / "sub-02_task-main_space-native_label-FFA_desc-leaverun03_mask.nii.gz"
    assert read_voxels(path) == list(PLANTED)
    names = [name for name in measured.bolds if name.subject == "02" and name.run != 3]
    scans = [Scan.from_json(describe_scan(name, measured.bolds[name]), "") for name in names]
    assert read_chosen(read_sidecar(path), path) == tuple(scans)
    average(measured, stimuli, tmp_path / "masks", tmp_path / "rois")
    assert find_effects(tmp_path / "rois").mean() == pytest.approx(8.0, abs=0.3)


@pytest.mark.parametrize("scheme", ["leave-run-out", "odd-even"])
def test_on_noise_a_localized_region_has_no_effect(tmp_path: Path, stimuli: Path, scheme: str) -> None:
    subjects = [f"{number:02d}" for number in range(1, 13)]
    measured = measure(tmp_path / "glm", stimuli, name_runs(subjects, runs=4), effect=0.0, seed=2)
    localize(measured, write_parcels(tmp_path / "parcels"), tmp_path / "masks", scheme)
    average(measured, stimuli, tmp_path / "masks", tmp_path / "rois")
    effects = find_effects(tmp_path / "rois").groupby("subject").mean()
    assert abs(effects.mean()) < 2 * effects.std() / np.sqrt(len(effects))


def test_on_noise_the_circular_analysis_has_an_effect_and_is_refused(tmp_path: Path, stimuli: Path) -> None:
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01", "02", "03"), runs=4), effect=0.0, seed=3)
    localize(measured, write_parcels(tmp_path / "parcels"), tmp_path / "masks", "all")
    with pytest.raises(
        InputError, match=r"(?s)circular:.*ROI FFA LR \(sub-01_.*desc-localizer_mask.nii.gz\) was chosen from .*run-01, .*run-04"
    ):
        average(measured, stimuli, tmp_path / "masks", tmp_path / "rois")
    assert not (tmp_path / "rois").exists()
    printed = average(measured, stimuli, tmp_path / "masks", tmp_path / "rois", "--allow-circular")
    assert "which would also test it; nothing can be claimed from this table" in printed
    assert RoiTable.read(tmp_path / "rois").circular
    effects = find_effects(tmp_path / "rois").groupby("subject").mean()
    assert effects.mean() > 5 * effects.std() / np.sqrt(len(effects))
    assert effects.min() > 0.3


def test_masks_pass_the_bids_validator(tmp_path: Path, stimuli: Path) -> None:
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01",), runs=2), effect=8.0, seed=1)
    localize(measured, write_parcels(tmp_path / "parcels"), tmp_path / "masks", "odd-even")
    command = [Path(sys.executable).with_name("bids-validator-deno"), "--json", tmp_path / "masks"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_an_independent_localizer_serves_every_run(tmp_path: Path, stimuli: Path) -> None:
    localizer = measure(tmp_path / "glm_loc", stimuli, name_runs(("01",), runs=2, task="localizer"), effect=8.0, seed=4)
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01",), runs=3), effect=2.0, seed=6)
    localize(localizer, write_parcels(tmp_path / "parcels"), tmp_path / "masks", "all")
    average(measured, stimuli, tmp_path / "masks", tmp_path / "rois")
    sidecar = json.loads((tmp_path / "rois" / "roi_table.json").read_text())
    assert sidecar["Circular"] is False
    assert sidecar["CircularBecause"] == []
    assert [scan["run"] for scan in sidecar["Scans"]] == [1, 2, 3]
    assert [(scan["task"], scan["run"]) for scan in sidecar["Regions"]["FFA"]["ChosenFrom"]] == [("localizer", 1), ("localizer", 2)]
    assert find_effects(tmp_path / "rois").mean() == pytest.approx(2.0, abs=0.4)


def test_folds_of_one_task_are_no_region_of_another(tmp_path: Path, stimuli: Path) -> None:
    localizer = measure(tmp_path / "glm_loc", stimuli, name_runs(("01",), runs=2, task="localizer"), effect=8.0, seed=4)
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01",), runs=1), effect=2.0, seed=5)
    localize(localizer, write_parcels(tmp_path / "parcels"), tmp_path / "masks", "odd-even")
    with pytest.raises(
        InputError, match=r"a second mask of FFA LR, beside .*; a localizer for other runs has one mask \(analysis localize --scheme"
    ):
        average(measured, stimuli, tmp_path / "masks", tmp_path / "rois")


def test_a_model_or_a_ceiling_that_tested_runs_chose_is_refused_and_passed_on(tmp_path: Path, stimuli: Path) -> None:
    names = name_runs(("01",), runs=3)
    hrf = {"ChosenFrom": [{"subject": "01", "session": None, "task": "main", "run": 2, "sha256": None}]}
    measured = measure(tmp_path / "glm", stimuli, names, effect=8.0, seed=6, extra=hrf)
    localize(measured, write_parcels(tmp_path / "parcels"), tmp_path / "masks", "leave-run-out")
    with pytest.raises(InputError, match=r"(?s)circular:.*the model of sub-01_task-main_run-02") as refusal:
        average(measured, stimuli, tmp_path / "masks", tmp_path / "rois")
    assert re.search(r"ROI FFA LR \(.*\) was chosen from sub-01_task-main_run-02,", str(refusal.value))  # through its model
    assert "run-01" not in str(refusal.value)
    clean = measure(tmp_path / "clean" / "glm", stimuli, names, effect=8.0, seed=6)
    localize(clean, write_parcels(tmp_path / "parcels"), tmp_path / "clean" / "masks", "leave-run-out")
    average(clean, stimuli, tmp_path / "clean" / "masks", tmp_path / "clean" / "rois")
    ceiling = tmp_path / "clean" / "rois" / "reliability.tsv"
    with pytest.raises(InputError, match=r"(?s)circular:.*reliability.tsv \(reliability.tsv\) was chosen from"):
        average(clean, stimuli, tmp_path / "clean" / "masks", tmp_path / "out", "--chosen", ceiling)
    with pytest.raises(InputError, match=r"absent.tsv: no such file; name with --chosen"):
        average(clean, stimuli, tmp_path / "clean" / "masks", tmp_path / "out", "--chosen", tmp_path / "absent.tsv")


def test_parcels_that_tested_runs_chose_are_refused(tmp_path: Path, stimuli: Path) -> None:
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01",), runs=3), effect=8.0, seed=6)
    parcels = write_parcels(tmp_path / "parcels")
    chosen = {"ChosenFrom": [{"subject": "01", "session": None, "task": "main", "run": 3, "sha256": None}]}
    parcels.with_name("space-native_dseg.json").write_text(json.dumps(chosen))
    localize(measured, parcels, tmp_path / "masks", "leave-run-out")
    with pytest.raises(InputError, match=r"ROI FFA LR \(.*\) was chosen from sub-01_task-main_run-03,") as refusal:
        average(measured, stimuli, tmp_path / "masks", tmp_path / "rois")
    assert "run-01, which" not in str(refusal.value)


@pytest.mark.parametrize("fault", ["sidecars lost", "fold exchanged"])
def test_folds_that_were_tampered_with_are_found(tmp_path: Path, stimuli: Path, fault: str) -> None:
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01",), runs=2), effect=0.0, seed=7)
    localize(measured, write_parcels(tmp_path / "parcels"), tmp_path / "masks", "odd-even")
    func = tmp_path / "masks" / "sub-01" / "func"
    odd, even = (func / f"sub-01_task-main_space-native_label-FFA_desc-{label}_mask" for label in ("odd", "even"))
    if fault == "sidecars lost":
        odd.with_suffix(".json").unlink()
        message = r"ROI FFA LR \(.*\) was chosen from sub-01_task-main_run-02"  # by its name the mask of odd runs is from all
    else:  # one fold for all runs, with the other's name
        odd.with_name(odd.name + ".nii.gz").unlink()
        odd.with_suffix(".json").unlink()
        even.with_name(even.name + ".nii.gz").rename(odd.with_name(odd.name + ".nii.gz"))
        even.with_suffix(".json").rename(odd.with_suffix(".json"))
        message = r"desc-odd_mask.nii.gz\) was chosen from sub-01_task-main_run-02"
    with pytest.raises(InputError, match=message):
        average(measured, stimuli, tmp_path / "masks", tmp_path / "rois")


def test_a_run_without_the_contrast_takes_the_fold_of_most_runs(tmp_path: Path, stimuli: Path) -> None:
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01",), runs=4), effect=8.0, seed=8)
    for path in measured.folder.glob("**/*run-02*contrast*"):
        path.unlink()
    localize(measured, write_parcels(tmp_path / "parcels"), tmp_path / "masks", "odd-even")
    average(measured, stimuli, tmp_path / "masks", tmp_path / "rois")
    assert find_effects(tmp_path / "rois").index.get_level_values("run").tolist() == [1, 2, 3, 4]
    even = tmp_path / "masks" / "sub-01" / "func" / "sub-01_task-main_space-native_label-FFA_desc-even_mask.nii.gz"
    for suffix in (".nii.gz", ".json"):  # a second localizer's fold of the same runs
        path = even.with_name(even.name.replace(".nii.gz", suffix))
        path.with_name(path.name.replace("even", "other")).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"desc-other_mask.nii.gz: a second mask of FFA LR, beside sub-01_.*desc-even_mask.nii.gz"):
        average(measured, stimuli, tmp_path / "masks", tmp_path / "again")


def test_sessions_have_folds_of_their_own(tmp_path: Path, stimuli: Path) -> None:
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01",), runs=2, sessions=("a", "b")), effect=8.0, seed=8)
    localize(measured, write_parcels(tmp_path / "parcels"), tmp_path / "masks", "leave-run-out")
    folds = sorted(path.name for path in (tmp_path / "masks" / "sub-01" / "func").glob("*.nii.gz"))
    assert folds == [f"sub-01_task-main_space-native_label-FFA_desc-leaveses{ses}run0{run}_mask.nii.gz" for ses in "ab" for run in (1, 2)]
    average(measured, stimuli, tmp_path / "masks", tmp_path / "rois")
    table = RoiTable.read(tmp_path / "rois").table
    assert table.groupby(["session", "run"], sort=False).ngroups == 4
    reliability = read_tsv(tmp_path / "rois" / "reliability.tsv", {"runs": "integer", "images": "integer", "reliability": "number"})
    assert reliability.loc[0, ["runs", "images"]].tolist() == [4, 8]
    assert reliability["reliability"][0] > 0.9


def test_a_parcel_may_have_its_own_contrast(tmp_path: Path, stimuli: Path) -> None:
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01",), runs=2), effect=8.0, seed=9)
    parcels = write_parcels(tmp_path / "parcels", "5\tPPA-2\n")
    image = nibabel.load(parcels)
    values = np.ascontiguousarray(image.get_fdata().astype(np.int16))
    values.ravel()[-3:] = 5
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), parcels)
    options = ("--contrast", "PPA-2=aMinusB", "--contrast", "FFA=aMinusB")
    run_analysis("localize", measured.folder, *options, "--parcels", parcels, "--scheme", "all", "--out", tmp_path / "masks")
    table = read_tsv(tmp_path / "masks" / "localizer.tsv", {"voxels": "integer", "parcel_voxels": "integer", "lowest_t": "number"})
    assert table[["roi", "voxels", "parcel_voxels", "fold"]].to_numpy().tolist() == [
        ["FFA", 6, 60, "localizer"],
        ["PPA2", 1, 3, "localizer"],
    ]
    Provenance.read(tmp_path / "masks").verify_outputs(tmp_path / "masks")
    with pytest.raises(InputError, match=r"--contrast aMinusB: is for all parcels, so no other can be given; write PARCEL=LABEL for each"):
        localize(measured, parcels, tmp_path / "other", "all", "--contrast", "FFA=other")


def unequal_maps(folder: Path) -> None:
    for path in folder.glob("**/*run-02*stat-effect_statmap.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), dtype=np.float32), AFFINE), path)


def unequal_grids(folder: Path) -> None:
    for path in folder.glob("**/*run-02*_statmap.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.ones((3, 3, 3), dtype=np.float32), AFFINE), path)


def parcels_elsewhere(folder: Path) -> None:
    for path in folder.glob("**/*variance_statmap.nii.gz"):
        values = np.ones(VOXELS, dtype=np.float32)
        values[PARCEL] = 0
        nibabel.save(nibabel.Nifti1Image(values.reshape(SHAPE), AFFINE), path)


def no_variance(folder: Path) -> None:
    for path in folder.glob("**/*variance_statmap.nii.gz"):
        path.unlink()


def one_run(folder: Path) -> None:
    for path in folder.glob("**/*run-02*"):
        path.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (unequal_maps, r"run-02_.*variance_statmap.nii.gz: is not on the grid of .*run-02_.*effect_statmap.nii.gz"),
        (unequal_grids, r"run-02_.*effect_statmap.nii.gz: is not on the grid of .*run-01_.* \(shape \(3, 3, 3\) against \(6, 5, 4\)\)"),
        (parcels_elsewhere, r"dseg.nii.gz: no voxel of FFA was modelled in .*; the parcel is outside the brain mask"),
        (no_variance, r"stat-variance_statmap.nii.gz: no such file"),
        (one_run, r"sub-01_task-main_run-01: is the only run of its subject, so none is left to choose voxels"),
    ],
)
def test_what_cannot_be_localized_is_refused(tmp_path: Path, stimuli: Path, harm: Callable[[Path], None], message: str) -> None:
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01",), runs=2), effect=0.0, seed=0)
    harm(measured.folder)
    with pytest.raises(InputError, match=message):
        localize(measured, write_parcels(tmp_path / "parcels"), tmp_path / "masks", "leave-run-out")


def test_unknown_contrasts_schemes_and_parcels_are_refused(tmp_path: Path, stimuli: Path) -> None:
    measured = measure(tmp_path / "glm", stimuli, name_runs(("01",), runs=2), effect=0.0, seed=0)
    parcels = write_parcels(tmp_path / "parcels")
    command = ("localize", measured.folder, "--parcels", parcels, "--out", tmp_path / "masks")
    with pytest.raises(InputError, match=r"no maps of single runs of contrast 'faces'; contrasts there: aMinusB"):
        run_analysis(*command, "--contrast", "faces")
    with pytest.raises(InputError, match=r"has no region PPA; its table names FFA"):
        run_analysis(*command, "--contrast", "aMinusB", "--roi", "PPA")
    with pytest.raises(InputError, match=r"key .scheme. is .thirds."):
        run_analysis(*command, "--contrast", "aMinusB", "--scheme", "thirds")
    with pytest.raises(InputError, match=r"key .top_percent. is 0"):
        run_analysis(*command, "--contrast", "aMinusB", "--top-percent", 0)


def test_folds_of_each_scheme() -> None:
    names = name_runs(runs=5)
    assert plan_folds(names, "all") == [Fold("localizer", (0, 1, 2, 3, 4))]
    assert plan_folds(names, "odd-even") == [Fold("odd", (0, 2, 4)), Fold("even", (1, 3))]
    assert plan_folds(names, "leave-run-out")[1] == Fold("leaverun02", (0, 2, 3, 4))


def test_the_top_of_a_parcel() -> None:
    assert select_top(np.array([1.0, 5, 3, 5, -2]), 40.0).tolist() == [1, 3]
    assert select_top(np.array([1.0, 5, 3, 5, -2]), 1.0).tolist() == [1]
    assert select_top(np.array([1.0, 5, 3]), 100.0).tolist() == [0, 1, 2]


def test_runs_are_combined_with_precision_weights() -> None:
    rng = np.random.default_rng(0)
    effects, variances = rng.standard_normal((3, 7)), rng.uniform(0.1, 2, (3, 7))
    variances[1, 4] = 0
    t = combine_t(effects, variances)
    assert np.isnan(t[4])
    weights = 1 / variances[:, 0]
    assert t[0] == pytest.approx(np.average(effects[:, 0], weights=weights) * np.sqrt(weights.sum()))
