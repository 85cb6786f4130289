"""What does not belong together is refused before a page is written: one message, with what to do."""

import pandas as pd
import pytest

from protocols.errors import InputError
from protocols.provenance import Provenance, hash_input
from stimgen.surface_files import read_surfaces
from stimgen.sweep_store import SHARDS, SweepStore
from stimgen.view_cortex import Given, check_model, choose_subjects, find_pool, write_cortex
from stimgen.voxel_places import find_points, find_vertices
from tests.stimgen.conftest import run_stimgen
from tests.stimgen.small_cortex import (
    make_given,
    make_points,
    make_sphere,
    make_vertices,
    write_gifti,
    write_pool,
    write_surfaces,
    write_sweep,
)


@pytest.fixture
def surfaces(tmp_path):
    return read_surfaces(write_surfaces(tmp_path / "surfaces"))


@pytest.fixture
def small(tmp_path):
    return make_given(tmp_path, every=9)


def test_surfaces_of_another_subject(tmp_path):
    own = read_surfaces(write_surfaces(tmp_path / "surfaces", prefix="sub-02_"))
    assert own.subject == read_surfaces(write_surfaces(tmp_path / "sub-02")).subject == "02"
    with pytest.raises(InputError, match=r"subject 02's, the model has voxels of 01; give --subject 02"):
        find_vertices(make_vertices(), own)
    assert len(find_vertices(make_vertices(subject="02"), own)) == 66


def test_surfaces_with_fewer_vertices_than_the_voxels_are_of(surfaces):
    with pytest.raises(InputError, match=r"hemisphere R has 50 vertices, the model's voxels are of a surface with 55; give the surfaces"):
        find_vertices(make_vertices({"L": 60, "R": 55}), surfaces)
    with pytest.raises(InputError, match=r"with at least 56;"):
        find_vertices(make_vertices({"R": 56}).iloc[40:], surfaces)


def test_a_whole_template_on_a_finer_mesh(tmp_path):
    finer = read_surfaces(write_surfaces(tmp_path / "finer", {"L": 10300, "R": 50}))
    with pytest.raises(InputError, match=r"hemisphere L has 10300 vertices, the model's voxels are of a surface with 10242;"):
        find_vertices(make_vertices({"L": 10242}), finer)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"j": 1}, "are of a volume"),
        ({"hemisphere": "LR"}, "hemisphere 'LR' is on no surface"),
        ({"i": -1}, "hemisphere L has 60 vertices"),
    ],
)
def test_voxels_that_are_no_vertices(surfaces, change, said):
    with pytest.raises(InputError, match=said):
        find_vertices(make_vertices().assign(**change), surfaces)


def test_voxels_without_a_place(surfaces):
    with pytest.raises(InputError, match="no column 'hemisphere'"):
        find_vertices(make_vertices().drop(columns="hemisphere"), surfaces)
    with pytest.raises(InputError, match=r"are vertices of a surface .* give --surfaces DIR"):
        find_points(make_vertices())
    with pytest.raises(InputError, match="no voxel has a place"):
        find_points(make_points().drop(columns=["x_mm", "k"]))


def damage(folder, kind):
    """Spoil a folder of surfaces in one way."""
    file = folder / "hemi-R_pial.surf.gii"
    points, triangles = make_sphere(50)
    if kind == "cut off":
        file.write_bytes(file.read_bytes()[:-400])
    elif kind == "other mesh":
        write_gifti(make_sphere(51), file)
    elif kind == "data":
        write_gifti([points[:, 0].copy()], file)
    elif kind == "points that are not there":
        write_gifti([points, triangles + 1], file)
    elif kind == "sulc":
        write_gifti([points[:40, 0].copy()], folder / "hemi-R_sulc.shape.gii")
    elif kind == "twice":
        write_gifti([points, triangles], folder / "sub-01_hemi-R_pial.surf.gii")
    elif kind == "two subjects":
        for subject, side in (("01", "L"), ("02", "R")):
            (folder / f"hemi-{side}_pial.surf.gii").rename(folder / f"sub-{subject}_hemi-{side}_pial.surf.gii")
    else:
        for path in folder.glob("hemi-R_*.surf.gii"):
            path.unlink()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("cut off", r"hemi-R_pial.surf.gii: is no readable GIFTI file"),
        ("other mesh", r"hemi-R_pial.surf.gii: is not the mesh of hemi-R_inflated.surf.gii"),
        ("data", r"hemi-R_pial.surf.gii: holds no points and triangles"),
        ("points that are not there", r"name points that are not there"),
        ("sulc", r"hemi-R_sulc.shape.gii: is of shape \(40,\), but the surface has 50 vertices"),
        ("twice", r"are the same surface; keep one"),
        ("two subjects", r"holds surfaces of 01 and 02"),
        ("one hemisphere", r"has no surface of hemisphere R; run analysis surfaces"),
    ],
)
def test_damaged_surfaces(tmp_path, kind, said):
    folder = write_surfaces(tmp_path / "surfaces")
    damage(folder, kind)
    with pytest.raises(InputError, match=said):
        read_surfaces(folder)


def test_surfaces_without_sulcal_depth_are_read(tmp_path):
    folder = write_surfaces(tmp_path / "surfaces")
    (folder / "hemi-L_sulc.shape.gii").unlink()
    assert read_surfaces(folder).hemispheres[0].sulc.tolist() == [0.0] * 60


def test_a_sweep_of_another_model(tmp_path):
    for name in ("model", "other"):
        (tmp_path / name).mkdir()
        Provenance.collect("stimgen fit", {"name": name}, {}).write(tmp_path / name)
    store = write_sweep(tmp_path / "sweep", make_vertices().iloc[:2], card={"model": {"sha256": hash_input(tmp_path / "model")}})
    check_model(store, tmp_path / "model")
    with pytest.raises(InputError, match=r"sweep.json: the sweep was made with another model than .*other"):
        check_model(store, tmp_path / "other")
    check_model(write_sweep(tmp_path / "old", make_vertices().iloc[:2]), tmp_path / "other")  # it does not tell


def test_a_target_that_is_no_voxel(small, tmp_path):
    other = make_vertices(subject="01").assign(voxel_id=lambda table: table["voxel_id"] + "x")
    store = write_sweep(tmp_path / "other", other.iloc[:3])
    with pytest.raises(InputError, match=r"targets.tsv: target '01_L00000x' is no voxel of the model"):
        write_cortex(Given("tiny", small.model, store, small.pool, small.surfaces), None, tmp_path)


def test_the_pool_is_found_and_must_be_the_sweeps(tmp_path):
    pool = write_pool(tmp_path / "pool").folder
    other = write_pool(tmp_path / "other", count=5).folder
    card = {"pool": {"sha256": hash_input(pool)}, "sources": {"pool": "../pool"}}
    store = write_sweep(tmp_path / "sweep", make_vertices().iloc[:2], card=card)
    assert find_pool(store, None, lambda: other).samefile(pool)
    with pytest.raises(InputError, match="is not the natural pool that the sweep was made with"):
        find_pool(store, other, lambda: other)
    pool.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="say where it is with --pool"):
        find_pool(store, None, lambda: other)
    assert find_pool(store, tmp_path / "moved", lambda: other) == tmp_path / "moved"


@pytest.mark.parametrize("kind", ["missing", "cut off", "another image"])
def test_a_damaged_shard(small, tmp_path, kind):
    shard = small.store.folder / SHARDS / "0000.zip"
    store = small.store
    if kind == "missing":
        shard.unlink()
    elif kind == "cut off":
        shard.write_bytes(shard.read_bytes()[:-30])
    else:
        store = SweepStore(store.folder, store.targets, store.images.assign(sha256="0" * 64), store.card)
    with pytest.raises(InputError, match=r"0000.zip.*(copy|run) (the sweep|stimgen sweep|it) again"):
        write_cortex(Given("tiny", small.model, store, small.pool, small.surfaces), None, tmp_path)


def test_a_subject_that_the_model_has_not(small):
    with pytest.raises(InputError, match="--subject 07: the model has voxels of 01"):
        choose_subjects(small.model, ["07"])


def test_a_half_written_sweep_and_options_that_do_not_go_together(tmp_path):
    write_sweep(tmp_path / "sweep", make_vertices().iloc[:2])
    (tmp_path / "sweep" / "provenance.json").unlink()
    finished = run_stimgen("view", "--model", tmp_path, "--sweep", tmp_path / "sweep", "--out", tmp_path / "out")
    assert finished.status == 1
    assert "sweep: has no provenance.json, so it is incomplete" in finished.err
    for options, said in (
        (("--sweep", tmp_path), "give the model"),
        ((), "give --set, or --model and --sweep"),
        (("--set", tmp_path, "--surfaces", tmp_path), "belongs to the page of a sweep"),
    ):
        finished = run_stimgen("view", *options, "--out", tmp_path / "out")
        assert finished.status == 2
        assert said in " ".join(finished.err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_page_of_a_planted_brain(lab, tmp_path):
    table = pd.read_csv(lab.maker / "voxels.tsv", sep="\t", dtype={"subject": str})
    write_sweep(tmp_path / "sweep", table.iloc[::3], card={"sources": {"pool": str(lab.pool)}, "model": {"sha256": hash_input(lab.maker)}})
    options = ("--model", lab.maker, "--sweep", tmp_path / "sweep", "--set", lab.stimuli, "--out", tmp_path / "viewer")
    finished = run_stimgen("view", *options)
    assert finished.status == 0, finished.err
    assert f"wrote {tmp_path / 'viewer'}" in finished.out
    Provenance.read(tmp_path / "viewer").verify_outputs(tmp_path / "viewer")
    assert (tmp_path / "viewer" / "code" / "three.LICENSE.txt").is_file()
    assert run_stimgen("view", *options).status == 1  # not empty
    assert run_stimgen("view", *options, "--overwrite").status == 0
