"""A small release of the Natural Scenes Dataset: the real folders, names, axes and types, a brain of 6 x 5 x 4 voxels, five pictures."""

import h5py
import nibabel
import numpy as np
import scipy.io

from tests.stimgen.conftest import run_stimgen

SUBJECT, TRIALS = 3, 750
SHAPE = (6, 5, 4)  # i, j, k
PLACES = {"V1v": (1, 2, 3), "hV4": (1, 4, 0), "OFA": (4, 2, 3), "FFA-2": (5, 0, 1), "EBA": (5, 2, 3)}  # in the order in which they are read
IDS = [13, 72_999, 400, 7, 5000]  # counted from 0
MASKED = (5, 0, 1)  # this voxel is all 0 in session 2


def volume(*labels):
    """Return int16 labels, -1 outside of cortex; `labels` are (place, label)."""
    data = np.full(SHAPE, -1, dtype=np.int16)
    data[1:] = 0
    for place, label in labels:
        data[place] = label
    return data


def save_volume(path, data, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    centered = np.diag([1.8, 1.8, 1.8, 1.0])
    centered[:3, 3] = -1.8 * (np.array(SHAPE) - 1) / 2
    nibabel.save(nibabel.Nifti1Image(data, centered if affine is None else affine), path)


def draw_betas():
    """Return percent signal change x 300 of three sessions, i x j x k x trials, int16."""
    rng = np.random.default_rng(7)
    betas = {session: rng.integers(-900, 900, size=(*SHAPE, TRIALS)).astype(np.int16) for session in (1, 2, 3)}
    betas[2][MASKED] = 0
    return betas


def write_release(root, session_betas):
    """Subject 3 with three sessions: 1 and 3 as HDF5, 2 as NIfTI; five images; ROI maps as released, one name file."""
    roi = root / "nsddata/ppdata/subj03/func1pt8mm/roi"
    # OFA lies in two maps, FFA-2 in no hemisphere's volume
    save_volume(roi / "prf-visualrois.nii.gz", volume((PLACES["V1v"], 1), (PLACES["hV4"], 7)))
    save_volume(roi / "floc-faces.nii.gz", volume((PLACES["OFA"], 1), (PLACES["FFA-2"], 3)))
    save_volume(roi / "floc-bodies.nii.gz", volume((PLACES["EBA"], 1), (PLACES["OFA"], 2)))
    for name in ("floc-places", "floc-words"):
        save_volume(roi / f"{name}.nii.gz", volume())
    save_volume(roi / "lh.floc-faces.nii.gz", volume((PLACES["OFA"], 1)))
    save_volume(roi / "rh.prf-visualrois.nii.gz", volume((PLACES["hV4"], 7)))
    labels = root / "nsddata/freesurfer/subj03/label"
    labels.mkdir(parents=True)
    (labels / "floc-bodies.mgz.ctab").write_text("0 Unknown\n\n1 EBA\t120 0 0\n2 FBA-1\n")
    write_betas(root, session_betas)
    write_design(root)
    write_stimuli(root)


def betas_folder(root):
    return root / "nsddata_betas/ppdata/subj03/func1pt8mm/betas_fithrf_GLMdenoise_RR"


def write_betas(root, session_betas):
    betas_folder(root).mkdir(parents=True)
    for session in (1, 3):
        write_hdf5(betas_folder(root) / f"betas_session{session:02d}.hdf5", session_betas[session])
    save_volume(betas_folder(root) / "betas_session02.nii.gz", session_betas[2])


def write_hdf5(path, data, name="betas"):
    """Write as MATLAB does: the axes stand in reverse order, a voxel's trials are one chunk."""
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=data.transpose(), chunks=(data.shape[-1], 1, 1, 1))


def draw_order():
    """Return the image of each of 30,000 trials as an index from 1 into the subject's 10,000, only five of them used."""
    return np.random.default_rng(11).choice([1, 2, 5000, 9999, 10_000], size=30_000)


def write_design(root, **changes):
    images = np.full((8, 10_000), 1, dtype=np.int32)
    images[SUBJECT - 1, [0, 1, 4999, 9998, 9999]] = np.array(IDS) + 1
    pattern = np.zeros((40, 12, 75), dtype=np.uint8)
    pattern[:, ::2, 3:66] = 1  # 63 images in odd runs, 62 in even ones
    pattern[:, 1::2, 3:65] = 1
    design = {"masterordering": draw_order()[None].astype(np.int32), "subjectim": images, "stimpattern": pattern, **changes}
    path = root / "nsddata/experiments/nsd/nsd_expdesign.mat"
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {name: value for name, value in design.items() if value is not None})


def draw_picture(nsd_id):
    return np.random.default_rng(nsd_id).integers(0, 256, size=(425, 425, 3), dtype=np.uint8)


def write_stimuli(root, name="imgBrick", shape=(73_000, 425, 425, 3), dtype=np.uint8):
    """Write only the pictures that are shown: an HDF5 file keeps no room for chunks that nobody wrote."""
    path = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        stored = file.create_dataset(name, shape, dtype, chunks=(1, *shape[1:]))
        for nsd_id in IDS:
            if shape == (73_000, 425, 425, 3) and dtype == np.uint8:
                stored[nsd_id] = draw_picture(nsd_id)


def run_import(source, tmp_path, *more):
    return run_stimgen("import", "nsd", source, "--subject", SUBJECT, "--out", tmp_path / "sub-03", *more)
