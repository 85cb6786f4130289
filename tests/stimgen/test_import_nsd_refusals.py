"""Each missing file and each broken rule of the Natural Scenes Dataset's layout is refused with one message, and nothing is written."""

import numpy as np
import pytest

from protocols.responses import Responses
from tests.stimgen.nsd_release import (
    SHAPE,
    TRIALS,
    draw_betas,
    draw_order,
    run_import,
    save_volume,
    volume,
    write_design,
    write_hdf5,
    write_release,
    write_stimuli,
)
from tests.stimgen.test_verb_refusals import refused


@pytest.fixture(scope="module")
def session_betas():
    """Percent signal change x 300, by session."""
    return draw_betas()


@pytest.fixture
def source(tmp_path, session_betas):
    """A release that a test may break."""
    write_release(tmp_path / "nsd", session_betas)
    return tmp_path / "nsd"


DOWNLOAD = "download it from the NSD release, keeping its folders"
DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
ROI = "nsddata/ppdata/subj03/func1pt8mm/roi"
BETAS = "nsddata_betas/ppdata/subj03/func1pt8mm/betas_fithrf_GLMdenoise_RR"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nsddata/experiments/nsd/nsd_expdesign.mat", f"no such file; {DOWNLOAD}"),
        ("nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5", f"no such file; {DOWNLOAD}"),
        (f"{ROI}/prf-visualrois.nii.gz", f"no such file; {DOWNLOAD}, or choose other --roi-maps"),
        (f"{ROI}/floc-words.nii.gz", f"no such file; {DOWNLOAD}, or choose other --roi-maps"),
        (f"{BETAS}/betas_session03.hdf5", f"no such file; {DOWNLOAD} (.hdf5 or .nii.gz), or name fewer --sessions"),
    ],
)
def test_a_missing_file_is_named(source, tmp_path, name, message):
    path = source / name
    path.rename(tmp_path / "away")
    assert f"{path}: {message}" in refused(run_import(source, tmp_path, "--sessions", 3))
    assert not (tmp_path / "sub-03").exists()


def test_a_release_without_betas_or_a_folder_that_is_none_is_refused(source, tmp_path):
    message = refused(run_import(source, tmp_path, "--betas", "betas_other"))
    assert "betas_other/betas_session01.hdf5: no such file, nor of another session, nor .nii.gz" in message
    assert "no such folder; name the folder that holds the data" in refused(run_import(source / "none", tmp_path))


def hdf5(make):
    return lambda source: make(source / f"{BETAS}/betas_session01.hdf5")


def labels(data, name="prf-visualrois"):
    return lambda source: save_volume(source / f"{ROI}/{name}.nii.gz", data)


def no_label(source):
    for path in (source / ROI).iterdir():
        save_volume(path, volume())


BROKEN = {
    "damaged design": (
        lambda source: (source / DESIGN).write_bytes(b"MATLAB 5.0"),
        "nsd_expdesign.mat: cannot be read",
    ),
    "a cut design": (
        lambda source: (source / DESIGN).write_bytes((source / DESIGN).read_bytes()[:4000]),
        "nsd_expdesign.mat: cannot be read",
    ),
    "no order": (lambda source: write_design(source, masterordering=None), "nsd_expdesign.mat: holds no masterordering"),
    "no images": (lambda source: write_design(source, subjectim=None), "nsd_expdesign.mat: holds no subjectim"),
    "a short order": (
        lambda source: write_design(source, masterordering=draw_order()[:700]),
        "nsd_expdesign.mat: masterordering has 700 trials, session 1 needs 750",
    ),
    "few subjects": (
        lambda source: write_design(source, subjectim=np.ones((2, 10_000), int)),
        "nsd_expdesign.mat: subjectim (2, 10000) does not hold the images of subject 3",
    ),
    "an order from 0": (
        lambda source: write_design(source, masterordering=draw_order() - 1),
        "nsd_expdesign.mat: subjectim (8, 10000) does not hold",
    ),
    "an empty pattern": (
        lambda source: write_design(source, stimpattern=np.zeros((40, 12, 75))),
        "nsd_expdesign.mat: stimpattern (40, 12, 75) does not mark 750 trials of session 1",
    ),
    "damaged betas": (hdf5(lambda path: path.write_bytes(path.read_bytes()[:500])), "betas_session01.hdf5: cannot be read"),
    "another dataset": (
        hdf5(lambda path: write_hdf5(path, np.zeros((*SHAPE, TRIALS), np.int16), "b")),
        "betas_session01.hdf5: holds no dataset 'betas', only b",
    ),
    "other voxels": (
        hdf5(lambda path: write_hdf5(path, np.zeros((6, 4, 5, TRIALS), np.int16))),
        "betas_session01.hdf5: shape (750, 5, 4, 6), but the ROI volumes and 750 trials make (750, 4, 5, 6)",
    ),
    "fewer trials": (
        hdf5(lambda path: (path.unlink(), save_volume(path.with_name("betas_session01.nii.gz"), np.zeros((*SHAPE, 749), np.int16)))),
        "betas_session01.nii.gz: shape (6, 5, 4, 749), but the ROI volumes and 750 trials make (6, 5, 4, 750)",
    ),
    "a truncated volume": (
        hdf5(
            lambda path: (
                path.unlink(),
                path.with_name("betas_session01.nii.gz").write_bytes(path.with_name("betas_session02.nii.gz").read_bytes()[:9000]),
            )
        ),
        "betas_session01.nii.gz: cannot be read",
    ),
    "a label without a name": (labels(volume(((1, 1, 1), 8))), "prf-visualrois.nii.gz: label 8 has no name (known: 1 V1v, 2 V1d"),
    "a fractional label": (labels(volume().astype(np.float32) + 0.5), "prf-visualrois.nii.gz: holds labels that are not whole numbers"),
    "a map of four dimensions": (
        labels(np.zeros((*SHAPE, 2), np.int16)),
        "prf-visualrois.nii.gz: shape (6, 5, 4, 2), expected three dimensions",
    ),
    "maps of two shapes": (labels(np.zeros((6, 5, 5), np.int16), "floc-faces"), "floc-faces.nii.gz: shape (6, 5, 5), expected (6, 5, 4)"),
    "no volume": (lambda source: (source / f"{ROI}/floc-faces.nii.gz").write_bytes(b"none"), "floc-faces.nii.gz: cannot be read"),
    "no voxel": (
        no_label,
        "roi: no voxel lies in prf-visualrois, floc-faces, floc-bodies, floc-places, floc-words; choose other --roi-maps",
    ),
    "a broken name file": (
        lambda source: (source / "nsddata/freesurfer/subj03/label/floc-bodies.mgz.ctab").write_text("0 Unknown\n1\n"),
        "floc-bodies.mgz.ctab line 2: '1' is no label and name, such as '1 V1v'",
    ),
    "no pictures": (lambda source: write_stimuli(source, "images"), "nsd_stimuli.hdf5: holds no dataset 'imgBrick', only images"),
    "few pictures": (
        lambda source: write_stimuli(source, shape=(9000, 425, 425, 3)),
        "nsd_stimuli.hdf5: imgBrick holds 9000 images, the design shows image 73000",
    ),
    "gray pictures": (
        lambda source: write_stimuli(source, shape=(73_000, 425, 425, 1)),
        "nsd_stimuli.hdf5: imgBrick is uint8 (73000, 425, 425, 1), expected uint8, images x height x width x 3",
    ),
    "pictures in floats": (lambda source: write_stimuli(source, dtype=np.float32), "nsd_stimuli.hdf5: imgBrick is float32"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_broken_rule_is_refused(source, tmp_path, case):
    break_it, message = BROKEN[case]
    break_it(source)
    assert message in refused(run_import(source, tmp_path, "--sessions", 1))
    assert not (tmp_path / "sub-03").exists()


def test_a_map_without_names_is_refused(source, tmp_path):
    save_volume(source / ROI / "own.nii.gz", volume(((1, 1, 1), 1)))
    assert "--roi-maps: 'own' is no map whose names are known" in refused(run_import(source, tmp_path, "--roi-maps", "own"))
    (source / "nsddata/freesurfer/subj03/label/own.mgz.ctab").write_text("1 mine\n")
    assert run_import(source, tmp_path, "--roi-maps", "own", "--sessions", 1).status == 0
    assert Responses.read(tmp_path / "sub-03").voxels["roi"].tolist() == ["mine"]


def test_a_resolution_is_one_of_two(source, tmp_path):
    assert run_import(source, tmp_path, "--resolution", "func2mm").status == 2
