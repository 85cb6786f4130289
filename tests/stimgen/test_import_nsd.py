"""The release layout of the Natural Scenes Dataset becomes a responses folder: scales, axes, order, ROIs, hemispheres and runs."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.responses import Responses
from stimgen.import_nsd import NsdRelease, find_sessions, standardize
from tests.stimgen.nsd_release import (
    IDS,
    MASKED,
    PLACES,
    TRIALS,
    betas_folder,
    draw_betas,
    draw_order,
    draw_picture,
    run_import,
    save_volume,
    volume,
    write_design,
    write_hdf5,
    write_release,
)


@pytest.fixture(scope="module")
def session_betas():
    """Percent signal change x 300, by session."""
    return draw_betas()


@pytest.fixture
def source(tmp_path, session_betas):
    """A release that a test may break."""
    write_release(tmp_path / "nsd", session_betas)
    return tmp_path / "nsd"


def read_import(source, tmp_path, *more):
    finished = run_import(source, tmp_path, *more)
    assert finished.status == 0, finished.err
    responses = Responses.read(tmp_path / "sub-03")
    responses.verify()
    return responses


def pick(betas, *sessions):
    """Return the five voxels' percent signal change, trials x voxels."""
    together = [np.stack([betas[session][place] for place in PLACES.values()], axis=1) / np.float32(300) for session in sessions]
    return np.concatenate(together).astype(np.float32)


def test_values_order_and_roi_names_survive(source, tmp_path, session_betas):
    responses = read_import(source, tmp_path)
    assert responses.voxels["roi"].tolist() == list(PLACES)
    assert list(responses.voxels[["i", "j", "k"]].itertuples(index=False, name=None)) == list(PLACES.values())
    assert responses.voxels["voxel_id"].tolist()[0] == "v001002003"
    expected = pick(session_betas, 1, 2, 3)
    expected[TRIALS : 2 * TRIALS, list(PLACES.values()).index(MASKED)] = np.nan
    np.testing.assert_array_equal(responses.betas, expected)
    shown = np.array([13, 72_999, 400, 7, 5000])[np.searchsorted([1, 2, 5000, 9999, 10_000], draw_order()[: 3 * TRIALS])]
    assert responses.trials["stim_id"].tolist() == [f"nsd{nsd_id:05d}" for nsd_id in shown]
    assert responses.trials["session"].tolist() == ["01"] * TRIALS + ["02"] * TRIALS + ["03"] * TRIALS
    assert responses.trials["run"].tolist() == [run + 1 for run in range(12) for _ in range(63 - run % 2)] * 3
    assert responses.images["stim_id"].tolist() == [f"nsd{nsd_id:05d}" for nsd_id in sorted(IDS)]
    assert responses.images["source"].tolist() == [f"nsd-{nsd_id:05d}" for nsd_id in sorted(IDS)]
    for nsd_id, path in zip(sorted(IDS), responses.image_paths(), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), draw_picture(nsd_id))
    provenance = Provenance.read(responses.folder)
    assert provenance.config["sessions"] == [1, 2, 3]
    assert {"design", "stimuli", "session 02", "prf-visualrois", "lh.floc-faces", "floc-bodies labels"} <= set(provenance.inputs)


def test_the_hemisphere_is_that_of_the_maps_or_of_the_place(source, tmp_path):
    """OFA lies right of the middle but in lh.floc-faces, hV4 left of it but in rh.prf-visualrois; the others are where they lie."""
    responses = read_import(source, tmp_path, "--sessions", 1)
    assert dict(zip(responses.voxels["roi"], responses.voxels["hemisphere"], strict=True)) == {
        "V1v": "L",
        "hV4": "R",
        "OFA": "L",
        "FFA-2": "R",
        "EBA": "R",
    }


def test_an_affine_that_begins_on_the_right_turns_the_sides(source, tmp_path):
    affine = np.diag([-1.8, 1.8, 1.8, 1.0])
    affine[0, 3] = 1.8 * 2.5
    path = source / "nsddata/ppdata/subj03/func1pt8mm/roi/prf-visualrois.nii.gz"
    save_volume(path, volume((PLACES["V1v"], 1)), affine)
    assert read_import(source, tmp_path, "--sessions", 1, "--roi-maps", "prf-visualrois").voxels["hemisphere"].tolist() == ["R"]


def test_a_volume_without_orientation_begins_on_the_left(source, tmp_path):
    path = source / "nsddata/ppdata/subj03/func1pt8mm/roi/prf-visualrois.nii.gz"
    image = nibabel.Nifti1Image(volume((PLACES["V1v"], 1)), None)
    image.header.set_sform(None, 0)
    image.header.set_qform(None, 0)
    nibabel.save(image, path)
    assert read_import(source, tmp_path, "--sessions", 1, "--roi-maps", "prf-visualrois").voxels["hemisphere"].tolist() == ["L"]


def test_sessions_maps_and_versions_are_chosen(source, tmp_path, session_betas):
    betas_folder(source).rename(betas_folder(source).with_name("betas_fithrf"))
    options = ("--sessions", "2-3", "--roi-maps", "floc-bodies,floc-faces", "--betas", "betas_fithrf")
    responses = read_import(source, tmp_path, *options)
    assert responses.voxels["roi"].tolist() == ["FBA-1", "FFA-2", "EBA"]
    np.testing.assert_array_equal(responses.betas[:, [0, 2]], pick(session_betas, 2, 3)[:, [2, 4]])
    assert sorted(set(responses.trials["session"])) == ["02", "03"]
    assert responses.trials["stim_id"].tolist()[0] == f"nsd{IDS[[1, 2, 5000, 9999, 10_000].index(draw_order()[TRIALS])]:05d}"


def test_zscore_is_within_session_and_voxel(source, tmp_path, session_betas):
    responses = read_import(source, tmp_path, "--zscore")
    for number in range(3):
        part = np.asarray(responses.betas[number * TRIALS : (number + 1) * TRIALS, [0, 1, 2, 4]], dtype=np.float64)
        raw = pick(session_betas, number + 1)[:, [0, 1, 2, 4]].astype(np.float64)
        np.testing.assert_allclose(part, (raw - raw.mean(axis=0)) / raw.std(axis=0), atol=1e-5)
    assert np.isnan(responses.betas[TRIALS : 2 * TRIALS, 3]).all()


def test_a_constant_voxel_and_one_with_nan_have_no_z():
    z = standardize(np.array([[1, 2, np.nan], [1, 4, 0], [1, 6, 1]], dtype=np.float32))
    np.testing.assert_allclose(z[:, 1], [-np.sqrt(1.5), 0, np.sqrt(1.5)], rtol=1e-6)
    assert np.isnan(z[:, [0, 2]]).all()


@pytest.mark.parametrize("suffix", ["hdf5", "nii.gz"])
def test_floating_point_betas_are_percent_already_and_keep_nan(source, tmp_path, session_betas, suffix):
    for path in betas_folder(source).iterdir():
        path.unlink()
    data = session_betas[1].astype(np.float32) / 7
    data[(*PLACES["hV4"], 5)] = np.nan
    path = betas_folder(source) / f"betas_session01.{suffix}"
    if suffix == "hdf5":
        write_hdf5(path, data)
    else:
        save_volume(path, data)
    expected = np.stack([data[place] for place in PLACES.values()], axis=1)
    np.testing.assert_array_equal(read_import(source, tmp_path).betas, expected)


def test_a_volume_with_a_scale_in_its_header_is_not_scaled_twice(source, tmp_path, session_betas):
    path = betas_folder(source) / "betas_session02.nii.gz"
    image = nibabel.load(path)
    image.header.set_slope_inter(1 / 300, 0)
    scaled = nibabel.Nifti1Image(session_betas[1] / 300, image.affine, image.header)
    scaled.header.set_data_dtype(np.int16)
    nibabel.save(scaled, path)
    responses = read_import(source, tmp_path, "--sessions", "2-2")
    np.testing.assert_allclose(responses.betas, pick(session_betas, 1), atol=2e-3)


def test_without_stimpattern_every_trial_is_of_run_1(source, tmp_path):
    write_design(source, stimpattern=None)
    assert set(read_import(source, tmp_path, "--sessions", 1).trials["run"]) == {1}


@pytest.mark.parametrize(("wanted", "found"), [(None, [1, 2, 3]), ("1", [1]), ("2", [1, 2]), ("2-3", [2, 3]), ("03-3", [3])])
def test_sessions_are_found(source, wanted, found):
    assert find_sessions(NsdRelease(source, 3, "func1pt8mm", "betas_fithrf_GLMdenoise_RR"), wanted) == found


@pytest.mark.parametrize("wanted", ["", "0", "41", "3-2", "a", "1-", "-3", "1-2-3", "1.5"])
def test_other_sessions_are_refused(source, wanted):
    with pytest.raises(InputError, match=r"--sessions: .* is neither a count such as 10 nor a range such as 3-12, up to 40"):
        find_sessions(NsdRelease(source, 3, "func1pt8mm", "betas_fithrf_GLMdenoise_RR"), wanted)
