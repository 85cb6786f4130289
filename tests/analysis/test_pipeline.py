"""From planted responses to the ROI table by the public commands: the truth comes back, and what cannot be right is refused."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import binary_dilation

from analysis.map_contrasts import expand_planned, parse_expressions
from analysis.run_betas import BETAS, RunBetas, find_run_betas
from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.responses import Responses
from protocols.roi_table import RoiTable
from protocols.stimulus_set import StimulusSet
from tests.analysis.planted import ROIS, Study, make_protocol, make_study
from tests.analysis.program import run_analysis

QUIET = "noise_sd_psc = 0.002\nshared_noise_sd_psc = 0\ndrift_psc = 0\nmotion_psc = 0.2\ngain_psc = 0.5"
MASKS = "derivatives/rois/sub-01/anat/sub-01_space-MNI152NLin2009cAsym_hemi-{}_label-{}_mask.nii.gz"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One subject, nearly without noise, analyzed up to the ROI table (both hemispheres apart as well)."""
    study = make_study(tmp_path_factory.mktemp("quiet"), subjects=1, settings=QUIET, voxels=5)
    run_analysis("simulate", study.sim, "--plan", study.plan, "--set", study.stimuli, "--out", study.folder / "bids")
    run_analysis("glm", study.folder / "bids", "--protocol", study.protocol, "--out", study.folder / "glm")
    run_analysis(
        "rois", study.folder / "bids", "--betas", study.folder / "glm", "--hemispheres", "separate", "--out", study.folder / "rois"
    )
    return study


def test_voxel_responses_are_the_planted_ones_in_percent_signal_change(quiet: Study) -> None:
    paths = find_run_betas(quiet.folder / "glm")
    assert len(paths) == 2
    voxels = Responses.read(quiet.folder / "responses" / "sub-01").voxels
    ids = list(StimulusSet.read(quiet.stimuli).table["stim_id"])
    for path in paths:
        betas = RunBetas.read(path)
        volume = np.zeros((*betas.grid.shape, len(betas.stimuli)))
        volume[betas.mask] = betas.effects.T
        places = (
            np.linalg.inv(betas.grid.affine) @ np.column_stack([voxels[["x_mm", "y_mm", "z_mm"]].astype(float), np.ones(len(voxels))]).T
        )
        found = volume[tuple(np.round(places[:3]).astype(int))]
        true = 0.5 * quiet.truth["01"][[ids.index(stim_id) for stim_id in betas.stimuli["stim_id"]]].T
        np.testing.assert_allclose(found, true, atol=0.03)
        assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.999


def test_a_probe_counts_as_an_event_of_its_stimulus(quiet: Study) -> None:
    stimuli = RunBetas.read(find_run_betas(quiet.folder / "glm")[0]).stimuli
    assert sorted(stimuli["events"])[-2:] == [1, 2]
    assert len(stimuli) == 3 * 3 * len(ROIS)


def test_roi_table_is_the_mean_over_voxels_in_order_of_the_set(quiet: Study) -> None:
    table = RoiTable.read(quiet.folder / "rois").table
    both = table[(table["hemisphere"] == "LR") & (table["run"] == 2)]
    assert list(both["roi"]) == list(np.repeat(ROIS, len(StimulusSet.read(quiet.stimuli).table)))
    ids = list(StimulusSet.read(quiet.stimuli).table["stim_id"])
    true = 0.5 * quiet.truth["01"].reshape(len(ids), len(ROIS), 5).mean(axis=2)
    for place, roi in enumerate(ROIS):
        rows = both[both["roi"] == roi]
        assert list(rows["stim_id"]) == ids
        np.testing.assert_allclose(rows["response_psc"], true[:, place], atol=0.02)
    assert set(both["n_voxels"]) == {5}


def test_hemispheres_apart_average_to_both(quiet: Study) -> None:
    table = RoiTable.read(quiet.folder / "rois").table
    rows = table[(table["run"] == 1) & (table["roi"] == "EBA")].set_index(["stim_id", "hemisphere"]).sort_index()
    left, right, both = (rows.xs(name, level="hemisphere") for name in ("L", "R", "LR"))
    weighted = (left["response_psc"] * left["n_voxels"] + right["response_psc"] * right["n_voxels"]) / both["n_voxels"]
    np.testing.assert_allclose(both["response_psc"], weighted, atol=1e-6)
    assert set(left["n_voxels"]) == {3}


def test_contrast_maps_peak_in_their_roi(quiet: Study) -> None:
    folder = quiet.folder / "glm" / "sub-01" / "func"
    stem = "sub-01_task-planted_space-MNI152NLin2009cAsym_contrast-ownVsOtherFFA"
    z, effect, t, variance = (
        nibabel.load(folder / f"{stem}_stat-{name}_statmap.nii.gz").get_fdata() for name in ("z", "effect", "t", "variance")
    )
    inside = sum(nibabel.load(quiet.folder / "bids" / MASKS.format(side, "FFA")).get_fdata() for side in "LR") > 0
    assert z[inside].min() > z[~inside].max()
    np.testing.assert_allclose(t[inside], effect[inside] / np.sqrt(variance[inside]), rtol=1e-4)
    assert json.loads((folder / f"{stem}_statmap.json").read_text())["Runs"] == 2


def test_ols_and_another_hrf_run_too(quiet: Study) -> None:
    out = quiet.folder / "glm_ols"
    options = ("--noise", "ols", "--hrf", "spm", "--confounds", "motion24", "--slice-time-ref", "0.5")
    run_analysis("glm", quiet.folder / "bids", "--protocol", quiet.protocol, "--out", out, *options)
    assert Provenance.read(out).config["design"]["hrf"] == "spm"
    Provenance.read(out).verify_outputs(out)


def test_a_wrong_slice_reference_misses_the_responses(quiet: Study) -> None:
    out = quiet.folder / "glm_shifted"
    run_analysis("glm", quiet.folder / "bids", "--protocol", quiet.protocol, "--out", out, "--slice-time-ref", "1.0")
    right, shifted = (RunBetas.read(find_run_betas(folder)[0]).effects for folder in (quiet.folder / "glm", out))
    assert np.abs(shifted - right).max() > 0.05


def copy_bids(study: Study, target: Path) -> Path:
    shutil.copytree(study.folder / "bids", target)
    return target


def test_constant_voxels_are_left_out_with_their_count(quiet: Study, tmp_path: Path) -> None:
    bids = copy_bids(quiet, tmp_path / "bids")
    path = sorted(bids.glob("derivatives/fmriprep/sub-01/**/*run-01*preproc_bold.nii.gz"))[0]
    image = nibabel.load(path)
    values = image.get_fdata()
    inside = nibabel.load(bids / MASKS.format("R", "FFA")).get_fdata() > 0
    values[tuple(np.argwhere(inside)[0])] = 1000.0
    path.unlink()  # a hard link: the raw BOLD stays as it is
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), image.affine, image.header), path)
    printed = run_analysis("glm", bids, "--protocol", quiet.protocol, "--out", tmp_path / "glm")
    assert "run-01: 1 voxels of the brain mask left out" in printed
    run_analysis("rois", bids, "--betas", tmp_path / "glm", "--out", tmp_path / "rois")
    table = RoiTable.read(tmp_path / "rois").table
    assert table[table["roi"] == "FFA"].groupby("run")["n_voxels"].first().tolist() == [4, 5]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("other grid", r"hemi-L_label-FFA_mask.nii.gz: is not on the grid of .*betas.nii.gz"),
        ("outside", r"ROI FFA LR has no voxel that was modelled"),
        ("no masks", r"has no masks of sub-01"),
        ("twice", r"a second mask of FFA L"),
    ],
)
def test_bad_masks_are_refused(quiet: Study, tmp_path: Path, fault: str, message: str) -> None:
    masks = tmp_path / "masks"
    shutil.copytree(quiet.folder / "bids" / "derivatives" / "rois", masks)
    left, right = (masks.parent / MASKS.format(side, "FFA").replace("derivatives/rois", "masks") for side in "LR")
    image = nibabel.load(left)
    if fault == "other grid":
        nibabel.save(nibabel.Nifti1Image(image.get_fdata(), np.diag([3.0, 3, 3, 1])), left)
    elif fault == "outside":
        corner = np.zeros(image.shape)
        corner[0, 0, 0] = 1
        for path in (left, right):
            nibabel.save(nibabel.Nifti1Image(corner, image.affine), path)
    elif fault == "no masks":
        (masks / "sub-01").rename(masks / "sub-09")
    else:
        shutil.copy(left, left.with_name(left.name.replace("_label", "_desc-old_label")))
    with pytest.raises(InputError, match=message):
        run_analysis("rois", quiet.folder / "bids", "--betas", quiet.folder / "glm", "--masks", masks, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_events_that_the_set_does_not_know_are_refused(quiet: Study, tmp_path: Path) -> None:
    bids = copy_bids(quiet, tmp_path / "bids")
    path = sorted(bids.glob("sub-01/**/*run-02_events.tsv"))[0]
    path.write_text(path.read_text().replace("targetLO1\t", "targetXX1\t"))
    with pytest.raises(InputError, match=r"run-02_events.tsv: event at \d+ s shows 'targetXX1', which the stimulus set lacks"):
        run_analysis("glm", bids, "--protocol", quiet.protocol, "--out", tmp_path / "glm")


def test_glm_needs_a_protocol_or_a_task(quiet: Study, tmp_path: Path) -> None:
    bids, out = quiet.folder / "bids", tmp_path / "out"
    with pytest.raises(InputError, match=r"give --protocol P.toml, or --task T"):
        run_analysis("glm", bids, "--out", out)
    with pytest.raises(InputError, match="not both"):
        run_analysis("glm", bids, "--protocol", quiet.protocol, "--task", "planted", "--out", out)
    with pytest.raises(InputError, match=r"key .noise. is .ar2."):
        run_analysis("glm", bids, "--task", "planted", "--noise", "ar2", "--out", out)
    with pytest.raises(InputError, match="no trial type 'house'; the events have blank, natural_EBA"):
        run_analysis("glm", bids, "--task", "planted", "--contrast", "target_V3 - house", "--out", out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="is not empty"):
        run_analysis("glm", bids, "--protocol", quiet.protocol, "--out", tmp_path / "full")


def test_rois_refuses_incomplete_betas(quiet: Study, tmp_path: Path) -> None:
    shutil.copytree(quiet.folder / "glm", tmp_path / "glm")
    (tmp_path / "glm" / "provenance.json").unlink()
    with pytest.raises(InputError, match=r"has no provenance.json, so it is incomplete"):
        run_analysis("rois", quiet.folder / "bids", "--betas", tmp_path / "glm", "--out", tmp_path / "out")
    for path in (tmp_path / "glm").glob(f"**/*_{BETAS}"):
        path.unlink()
    with pytest.raises(InputError, match="has no responses to single stimuli"):
        find_run_betas(tmp_path / "glm")


def test_planned_contrasts_become_one_map_per_roi() -> None:
    rows = [("target", "A"), ("target", "B"), ("target", "C"), ("natural", "A"), ("natural", "B")]
    made = expand_planned(make_protocol().contrasts, pd.DataFrame(rows, columns=["condition", "target"]))
    assert [(one.label, one.plus, one.minus) for one in made] == [
        ("ownVsOtherA", ("target_A",), ("target_B", "target_C")),
        ("ownVsOtherB", ("target_B",), ("target_A", "target_C")),
        ("ownVsOtherC", ("target_C",), ("target_A", "target_B")),
        ("ownVsNaturalA", ("target_A",), ("natural_A",)),
        ("ownVsNaturalB", ("target_B",), ("natural_B",)),
    ]


def test_expressions_become_labels() -> None:
    (made,) = parse_expressions(["large_frame + x - small_frame"], ["small_frame", "large_frame", "x"])
    assert (made.label, made.plus, made.minus) == ("largeFramePlusXMinusSmallFrame", ("large_frame", "x"), ("small_frame",))
    with pytest.raises(InputError, match="is not of the form"):
        parse_expressions(["a - 2b"], ["a"])


def test_a_localizer_of_the_planted_study_finds_its_voxels(study: Study, bids: Path, betas: Path, tmp_path: Path) -> None:
    """Parcels are the masks of the planted ROIs, wider by a voxel; folds are chosen from the maps of single runs that glm wrote."""
    parcels = tmp_path / "parcels"
    table = ["index\tname"]
    for label, roi in enumerate(ROIS, start=1):
        masks = [nibabel.load(bids / MASKS.format(side, roi)) for side in "LR"]
        inside = sum(mask.get_fdata() for mask in masks) > 0
        if label == 1:
            values = np.zeros(inside.shape, dtype=np.int16)
        values[binary_dilation(inside) & (values == 0)] = label
        table.append(f"{label}\t{roi}")
    parcels.mkdir()
    nibabel.save(nibabel.Nifti1Image(values, masks[0].affine), parcels / "space-MNI152NLin2009cAsym_dseg.nii.gz")
    (parcels / "space-MNI152NLin2009cAsym_dseg.tsv").write_text("\n".join(table) + "\n")
    options = [word for roi in ROIS for word in ("--contrast", f"{roi}=ownVsOther{roi}")]
    run_analysis("localize", betas, *options, "--parcels", parcels, "--top-percent", 60, "--out", tmp_path / "masks")
    run_analysis("rois", bids, "--betas", betas, "--masks", tmp_path / "masks", "--out", tmp_path / "rois")
    run_analysis("group", tmp_path / "rois", "--protocol", study.protocol, "--out", tmp_path / "group")
    found = RoiTable.read(tmp_path / "rois")
    assert not found.circular
    own = found.table[(found.table["condition"] == "target") & (found.table["target"] == found.table["roi"])]
    other = found.table[(found.table["condition"] == "target") & (found.table["target"] != found.table["roi"])]
    assert own["response_psc"].mean() > other["response_psc"].mean() + 0.5
    scans = json.loads((tmp_path / "rois" / "roi_table.json").read_text())["Scans"]
    assert len(scans) == 2 * len(study.subjects)
    assert all(len(scan["sha256"]) == 64 for scan in scans)
    run_analysis("localize", betas, *options, "--parcels", parcels, "--scheme", "all", "--out", tmp_path / "all")
    with pytest.raises(InputError, match=r"(?s)circular:.*ROI FFA LR"):
        run_analysis("rois", bids, "--betas", betas, "--masks", tmp_path / "all", "--out", tmp_path / "circular")
