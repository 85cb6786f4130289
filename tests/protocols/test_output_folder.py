"""Output folders: written whole or not at all, never over a stranger's files, and with nothing lost on a failure."""

from pathlib import Path

import pytest

from protocols.errors import InputError
from protocols.output_folder import refuse_non_empty, staged_folder
from protocols.provenance import FILE_NAME, Provenance


def read_all(folder):
    """Return every file below `folder` with its content, but for the provenance."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != FILE_NAME)
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def write_files(out, contents, overwrite=False, command="test"):
    with staged_folder(out, Provenance(command), overwrite) as folder:
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)


def write_half(out, name, overwrite=False):
    """Write a folder and at most one file, then fail."""
    with staged_folder(out, Provenance("test"), overwrite) as folder:
        (folder / "images").mkdir()
        if name:
            (folder / name).write_text("half")
        raise InputError("the images ran out")


@pytest.fixture
def out(tmp_path):
    """A folder of an earlier command, with one file of somebody else in it."""
    write_files(tmp_path / "out", {"a.txt": "old a", "sub/b.txt": "old b", "gone.txt": "old, not written again"}, command="earlier")
    (tmp_path / "out" / "notes.txt").write_text("by hand")
    return tmp_path / "out"


def test_all_files_and_their_hashes_arrive_and_nothing_else_stays(tmp_path):
    write_files(tmp_path / "deep" / "out", {"a.txt": "a", "sub/b.txt": "b"})
    assert read_all(tmp_path / "deep" / "out") == {"a.txt": "a", "sub/b.txt": "b"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    provenance = Provenance.read(tmp_path / "deep" / "out")
    assert sorted(provenance.outputs) == ["a.txt", "sub/b.txt"]
    provenance.verify_outputs(tmp_path / "deep" / "out")


def test_nothing_stands_in_the_folder_before_all_is_written(tmp_path):
    with staged_folder(tmp_path / "out", Provenance("test")) as folder:
        (folder / "a.txt").write_text("a")
        assert not (tmp_path / "out").exists()
        assert folder.parent == tmp_path


@pytest.mark.parametrize("make", [lambda path: path.mkdir(), lambda path: path.symlink_to("elsewhere")], ids=["empty folder", "link"])
def test_an_empty_folder_and_a_link_to_one_are_used(make, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    make(tmp_path / "out")
    write_files(tmp_path / "out", {"a.txt": "a"})
    assert read_all(tmp_path / "out") == {"a.txt": "a"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "out"]


def test_the_folder_one_is_in_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with staged_folder(Path(), Provenance("test")) as folder:
        assert folder.parent == tmp_path  # beside the place, never in it
        (folder / "a.txt").write_text("a")
    assert read_all(tmp_path) == {"here/a.txt": "a"}


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(out):
    before = read_all(out.parent)
    with pytest.raises(InputError) as refusal:
        write_files(out, {"a.txt": "new"})
    assert (
        str(refusal.value) == f"{out}: is not empty; name another output folder, or give --overwrite to replace this command's files there"
    )
    assert read_all(out.parent) == before
    assert Provenance.read(out).command == "earlier"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_in_the_folder_s_place_is_refused(overwrite, tmp_path):
    (tmp_path / "out").write_text("precious")
    with pytest.raises(InputError, match="out: is a file; name another output folder"):
        refuse_non_empty(tmp_path / "out", overwrite)
    assert (tmp_path / "out").read_text() == "precious"


def test_overwrite_replaces_the_command_s_own_files_only(out):
    write_files(out, {"a.txt": "new a", "sub/c.txt": "new c"}, overwrite=True)
    assert read_all(out.parent) == {
        "out/a.txt": "new a",
        "out/sub/b.txt": "old b",
        "out/sub/c.txt": "new c",
        "out/gone.txt": "old, not written again",
        "out/notes.txt": "by hand",
    }
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    provenance = Provenance.read(out)
    assert sorted(provenance.outputs) == ["a.txt", "sub/c.txt"]
    provenance.verify_outputs(out)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_in_the_work_names_the_staged_folder_and_touches_nothing(overwrite, out, tmp_path):
    place = out if overwrite else tmp_path / "new"
    before = read_all(out)
    with pytest.raises(InputError) as refusal:
        write_half(place, "a.txt", overwrite)
    (folder,) = tmp_path.glob(".*.incomplete-*")
    assert refusal.value.__notes__ == [f"what was written so far stays in {folder}"]
    assert read_all(folder) == {"a.txt": "half"}
    assert read_all(out) == before
    Provenance.read(out).verify_outputs(out)
    assert overwrite or not place.exists()


def test_a_failure_before_the_first_file_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError) as refusal:
        write_half(tmp_path / "out", None)
    assert not hasattr(refusal.value, "__notes__")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_the_files_move_takes_every_move_back(out):
    (out / "z").write_text("a file where the command has a folder")
    before = read_all(out)
    with pytest.raises(OSError, match="/out/z'") as failure:
        write_files(out, {"a.txt": "new a", "sub/b.txt": "new b", "y.txt": "new y", "z/c.txt": "c"}, overwrite=True)
    assert read_all(out) == before
    assert Provenance.read(out).command == "earlier"
    Provenance.read(out).verify_outputs(out)
    (staging,) = [path for path in out.parent.iterdir() if path != out]
    assert failure.value.__notes__ == [f"what was written so far stays in {staging}"]
    assert read_all(staging)["a.txt"] == "new a"


def test_a_folder_stopped_while_the_files_move_counts_as_incomplete(out, monkeypatch):
    """What a reader would find if the machine stopped at each of the renames: never new files under the old provenance."""
    rename = Path.replace

    def look_and_rename(source, target):
        rename(source, target)
        if (out / FILE_NAME).exists():
            Provenance.read(out).verify_outputs(out)

    monkeypatch.setattr(Path, "replace", look_and_rename)
    write_files(out, {"a.txt": "new a", "sub/b.txt": "new b"}, overwrite=True)
    assert read_all(out)["sub/b.txt"] == "new b"
