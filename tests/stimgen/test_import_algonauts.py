"""The Algonauts 2023 layout becomes a responses folder: values, order, ROI names and priorities; broken rules are refused."""

import numpy as np
import pytest

from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.responses import Responses
from stimgen.import_algonauts import ROI_NAMES, RoiMap, assign_rois, parse_maps
from tests.stimgen.conftest import run_stimgen
from tests.stimgen.test_import_folder import draw_png
from tests.stimgen.test_verb_refusals import refused

IDS = ["00013", "00027", "00400", "72999"]
COUNTS = {"lh": 6, "rh": 5}
LABELS = {  # every hemisphere has a vertex in no map; lh 2 and rh 1 lie in two maps
    "lh": {
        "prf-visualrois": [1, 7, 0, 0, 0, 0],
        "floc-faces": [0, 0, 2, 0, 0, 0],
        "floc-bodies": [0, 0, 1, 0, 0, 0],
        "streams": [1, 1, 5, 5, 0, 0],
    },
    "rh": {"prf-visualrois": [0, 2, 0, 0, 0], "floc-words": [0, 4, 0, 5, 0], "floc-places": [3, 0, 0, 0, 0]},
}
FSAVERAGE = {"lh": [3, 4, 8, 11, 20, 29], "rh": [0, 2, 5, 6, 28]}


@pytest.fixture
def source(tmp_path):
    """Four images, 6 vertices on the left and 5 on the right, in the challenge's folders and dtypes."""
    folder = tmp_path / "subj01"
    fmri, images, masks = folder / "training_split/training_fmri", folder / "training_split/training_images", folder / "roi_masks"
    for made in (fmri, images, masks):
        made.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for row, nsd_id in enumerate(IDS):
        draw_png(images / f"train-{row + 1:04d}_nsd-{nsd_id}.png", 20 * row)
    for side, count in COUNTS.items():
        np.save(fmri / f"{side}_training_fmri.npy", rng.normal(size=(len(IDS), count)).astype(np.float32))
        for name in ROI_NAMES:
            np.save(masks / f"{side}.{name}_challenge_space.npy", np.array(LABELS[side].get(name, [0] * count)))
        marked = np.zeros(30, dtype=np.int64)
        marked[FSAVERAGE[side]] = 1
        np.save(masks / f"{side}.all-vertices_fsaverage_space.npy", marked)
    for name, names in ROI_NAMES.items():
        np.save(masks / f"mapping_{name}.npy", {0: "Unknown", **dict(enumerate(names, start=1))}, allow_pickle=True)
    return folder


def run_import(source, tmp_path, *more):
    return run_stimgen("import", "algonauts2023", source, "--out", tmp_path / "sub-01", *more)


def read_import(source, tmp_path, *more):
    finished = run_import(source, tmp_path, *more)
    assert finished.status == 0, finished.err
    responses = Responses.read(tmp_path / "sub-01")
    responses.verify()
    return responses


def load_fmri(source, side):
    return np.load(source / f"training_split/training_fmri/{side}_training_fmri.npy")


def test_values_order_and_roi_names_survive(source, tmp_path):
    responses = read_import(source, tmp_path)
    voxels = responses.voxels
    assert voxels["voxel_id"].tolist() == ["lh00000", "lh00001", "lh00002", "rh00000", "rh00001", "rh00003"]
    assert voxels["roi"].tolist() == ["V1v", "hV4", "FFA-1", "RSC", "V1d", "mTL-words"]
    assert voxels["hemisphere"].tolist() == ["L"] * 3 + ["R"] * 3
    assert voxels["i"].tolist() == [3, 4, 8, 0, 2, 6]
    assert (voxels[["j", "k"]] == 0).all(axis=None)
    expected = np.concatenate([load_fmri(source, "lh")[:, [0, 1, 2]], load_fmri(source, "rh")[:, [0, 1, 3]]], axis=1)
    np.testing.assert_array_equal(responses.betas, expected)
    ids = [f"nsd{one}" for one in IDS]
    assert responses.trials.to_dict("list") == {"stim_id": ids, "session": ["01"] * 4, "run": [1] * 4}
    assert responses.images["stim_id"].tolist() == ids
    assert responses.images["source"].tolist() == [f"nsd-{one}" for one in IDS]
    for row, path in enumerate(responses.image_paths()):
        original = source / f"training_split/training_images/train-{row + 1:04d}_nsd-{IDS[row]}.png"
        assert path.read_bytes() == original.read_bytes()
    provenance = Provenance.read(responses.folder)
    assert provenance.command == "stimgen import algonauts2023"
    assert provenance.config["roi_maps"][0] == "prf-visualrois"


def test_the_order_of_the_maps_is_their_priority(source, tmp_path):
    responses = read_import(source, tmp_path, "--roi-maps", "floc-words, floc-bodies,floc-faces,prf-visualrois")
    named = dict(zip(responses.voxels["voxel_id"], responses.voxels["roi"], strict=True))
    assert named["lh00002"] == "EBA"
    assert named["rh00001"] == "mfs-words"
    assert "rh00000" not in named


def test_all_vertices_keeps_the_others_as_none(source, tmp_path):
    responses = read_import(source, tmp_path, "--all-vertices", "--roi-maps", "streams")
    assert responses.betas.shape == (4, 11)
    assert responses.voxels["roi"].tolist() == ["early"] * 2 + ["ventral"] * 2 + ["none"] * 7
    np.testing.assert_array_equal(responses.betas, np.concatenate([load_fmri(source, "lh"), load_fmri(source, "rh")], axis=1))


def test_without_the_file_of_all_vertices_a_voxel_has_its_column(source, tmp_path):
    (source / "roi_masks/lh.all-vertices_fsaverage_space.npy").unlink()
    responses = read_import(source, tmp_path)
    assert responses.voxels["i"].tolist() == [0, 1, 2, 0, 2, 6]


def test_where_maps_overlap_the_first_that_names_a_voxel_counts():
    first = RoiMap(np.array([0, 1, 0, -1, 2]), {1: "A", 2: "B"}, "first")
    second = RoiMap(np.array([0, 1, 1, -1, 0]), {0: "Unknown", 1: "C"}, "second")
    assert assign_rois([first, second]).tolist() == ["none", "A", "C", "none", "B"]
    assert assign_rois([second, first]).tolist() == ["none", "C", "C", "none", "B"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds an empty name"),
        ("a,,b", "holds an empty name"),
        ("a,b,a", "'a' stands there twice; its place in the list is its priority"),
    ],
)
def test_a_list_of_maps_is_checked(text, message):
    with pytest.raises(InputError, match=message):
        parse_maps(text)


SUBJECT = "give a subject's folder as the challenge distributes it (subj01/, with training_split/ and roi_masks/)"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("training_split/training_images", f"no such folder; {SUBJECT}"),
        ("training_split/training_fmri/lh_training_fmri.npy", f"no such file; {SUBJECT}"),
        ("training_split/training_fmri/rh_training_fmri.npy", f"no such file; {SUBJECT}"),
        ("roi_masks/lh.floc-faces_challenge_space.npy", f"no such file; {SUBJECT}, or choose other --roi-maps"),
        ("roi_masks/rh.prf-visualrois_challenge_space.npy", f"no such file; {SUBJECT}, or choose other --roi-maps"),
        ("", "no such folder; name the folder that holds the data"),
    ],
)
def test_a_missing_file_is_named(source, tmp_path, name, message):
    path = source / name
    path.rename(tmp_path / "away")
    assert f"{path}: {message}" in refused(run_import(source, tmp_path))


def save(name, array):
    return lambda source: np.save(source / name, array)


def rename_image(row, name):
    def rename(source):
        folder = source / "training_split/training_images"
        sorted(folder.iterdir())[row].rename(folder / name)

    return rename


def remove_images(source):
    for path in (source / "training_split/training_images").iterdir():
        path.unlink()


LEFT = "training_split/training_fmri/lh_training_fmri.npy"
FACES = "roi_masks/rh.floc-faces_challenge_space.npy"
BROKEN = {
    "fewer rows": (
        save(LEFT, np.zeros((3, 6), np.float32)),
        "lh_training_fmri.npy: 3 rows, but training_images holds 4 images; copy the folder again, whole",
    ),
    "integers": (save(LEFT, np.zeros((4, 6), int)), "lh_training_fmri.npy: holds int64, expected floating-point numbers"),
    "one dimension": (save(LEFT, np.zeros(4, np.float32)), "lh_training_fmri.npy: shape (4,), expected two dimensions, trials x voxels"),
    "no images": (remove_images, "training_images: holds no PNG"),
    "another name": (rename_image(1, "photo.png"), "photo.png: expected a name such as train-0001_nsd-00013.png"),
    "an image twice": (
        rename_image(3, "train-0004_nsd-00027.png"),
        "train-0004_nsd-00027.png: shows the same image as train-0002_nsd-00027.png, nsd-00027; keep one row and one file of it",
    ),
    "fewer labels": (
        save(FACES, np.zeros(4, int)),
        "floc-faces_challenge_space.npy: shape (4,), expected (5,), one label per column of the responses",
    ),
    "a label without a name": (
        save(FACES, np.array([0, 6, 9, 1, 0])),
        "floc-faces_challenge_space.npy: label 6 has no name (known: 1 OFA, 2 FFA-1, 3 FFA-2, 4 mTL-faces, 5 aTL-faces); leave the map out",
    ),
    "fractions": (save(FACES, np.array([0, 0.5, 0, 0, 0])), "floc-faces_challenge_space.npy: holds float64, expected whole numbers"),
    "words": (
        save(FACES, np.array(["FFA"] * 5)),
        "floc-faces_challenge_space.npy: holds <U3, expected whole numbers; copy the folder again",
    ),
    "pickled labels": (save(FACES, np.array([None] * 5)), "floc-faces_challenge_space.npy: cannot be read as a NumPy array"),
    "other vertices": (
        save("roi_masks/rh.all-vertices_fsaverage_space.npy", np.ones(6, int)),
        "rh.all-vertices_fsaverage_space.npy: marks 6 vertices, but the responses have 5 columns; copy the folder again",
    ),
    "no picture": (
        lambda source: (source / "training_split/training_images/train-0002_nsd-00027.png").write_bytes(b"\x89PNG"),
        "train-0002_nsd-00027.png: cannot be decoded as an image",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_each_broken_rule_is_refused(source, tmp_path, case):
    break_it, message = BROKEN[case]
    break_it(source)
    assert message in refused(run_import(source, tmp_path))
    assert not (tmp_path / "sub-01").exists()


def test_maps_without_names_or_vertices_are_refused(source, tmp_path):
    message = refused(run_import(source, tmp_path, "--roi-maps", "floc-feet"))
    assert "--roi-maps: 'floc-feet' is no map whose names are known; choose from prf-visualrois, floc-faces" in message
    for side, count in COUNTS.items():
        np.save(source / f"roi_masks/{side}.streams_challenge_space.npy", np.zeros(count, int))
    message = refused(run_import(source, tmp_path, "--roi-maps", "streams"))
    assert "roi_masks: no vertex lies in streams; choose other --roi-maps, or give --all-vertices" in message


def test_the_pickled_mappings_are_never_opened(source, tmp_path):
    for path in (source / "roi_masks").glob("mapping_*.npy"):
        path.write_bytes(b"no pickle")
    read_import(source, tmp_path)
