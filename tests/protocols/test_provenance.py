"""Provenance: a round trip keeps it, a folder without it is refused, and what changed since is named."""

import json
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError
from protocols.provenance import FILE_NAME, Provenance, describe_code, hash_file, hash_input
from tests.protocols.strategies import json_objects

names = st.text("abc é/._", min_size=1, max_size=6)
hashes = st.dictionaries(names, st.text("0123456789abcdef", min_size=64, max_size=64), max_size=2)
provenances = st.builds(
    Provenance,
    command=names,
    config=json_objects,
    seeds=st.dictionaries(names, st.integers(0, 2**63), max_size=2),
    inputs=hashes,
    outputs=hashes,
    code_version=names,
    packages=st.dictionaries(names, names, max_size=2),
    created=names,
)


@given(provenance=provenances)
def test_write_then_read_is_identity(provenance, tmp_path):
    provenance.write(tmp_path)
    assert Provenance.read(tmp_path) == provenance


def test_what_is_collected_survives_a_round_trip(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    collected = Provenance.collect("stimgen test", {"size_px": 3, "layers": ["a"]}, {"a": tmp_path / "a.txt"}, {"seed": 1})
    collected.write(tmp_path)
    assert Provenance.read(tmp_path) == collected
    assert collected.inputs == {"a": hash_file(tmp_path / "a.txt")}
    assert {"numpy", "pandas", "pillow"} <= set(collected.packages)
    assert collected.created.endswith("+00:00")
    assert collected.code_version


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "has no provenance.json, so it is incomplete; run the command that makes it again"),
        ("{", "cannot be read"),
        ("[]", "holds list, expected a JSON object; copy the folder again"),
        (json.dumps({"command": "x"}), "format_version None; this version reads 1"),
        (json.dumps({"command": "x", "format_version": 2}), "format_version 2; this version reads 1"),
        (json.dumps({"format_version": 1}), "key 'command' is missing; add it"),
        (json.dumps({"format_version": 1, "command": "x", "outputs": ["a"]}), "key 'outputs' is ['a']: Input should be a valid dictionary"),
        (json.dumps({"format_version": 1, "command": "x", "outputs": {"a": 1}}), "key 'outputs.a' is 1: Input should be a valid string"),
    ],
)
def test_a_missing_or_broken_provenance_is_refused(content, expected, tmp_path):
    if content is not None:
        (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(InputError) as refusal:
        Provenance.read(tmp_path)
    assert str(refusal.value).startswith(str(tmp_path))
    assert expected in str(refusal.value)


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        Provenance.read(tmp_path / "nowhere")


def test_outputs_missing_or_changed_are_named(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_text("c")
    provenance = Provenance("test", outputs={"b/c.txt": hash_file(tmp_path / "b" / "c.txt")})
    provenance.verify_outputs(tmp_path)
    (tmp_path / "b" / "c.txt").write_text("d")
    with pytest.raises(InputError, match=r"c\.txt: does not match its sha256 in provenance\.json; copy the folder again"):
        provenance.verify_outputs(tmp_path)
    (tmp_path / "b" / "c.txt").unlink()
    with pytest.raises(InputError, match=r"c\.txt: missing, although provenance\.json lists it; copy the folder again"):
        provenance.verify_outputs(tmp_path)


def test_a_folder_is_named_by_its_provenance_or_else_by_all_its_files(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("a")
    before = hash_input(tmp_path)
    assert hash_input(tmp_path) == before
    (tmp_path / "sub" / "a").rename(tmp_path / "sub" / "b")
    assert hash_input(tmp_path) != before
    Provenance("test").write(tmp_path)
    assert hash_input(tmp_path) == hash_file(tmp_path / FILE_NAME)


def test_an_input_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        Provenance.collect("test", {}, {"a": tmp_path / "nowhere"})
    with pytest.raises(InputError, match="nowhere: no such file"):
        hash_file(tmp_path / "nowhere")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_checkout_is_named_by_its_commit_and_by_whether_it_was_changed(tmp_path):
    def run_git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"]
        return subprocess.run(["git", "-C", tmp_path, *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()

    plain = describe_code(tmp_path)
    run_git("init")
    assert describe_code(tmp_path) == plain
    (tmp_path / "a.py").write_text("a = 1\n")
    run_git("add", "a.py")
    run_git("commit", "-m", "a")
    run_git("tag", "-m", "v1", "v1")
    commit = run_git("rev-parse", "HEAD")
    version, _, described = describe_code(tmp_path).partition("+g")
    assert version == plain
    assert len(described) >= 7
    assert commit.startswith(described)
    (tmp_path / "a.py").write_text("a = 2\n")
    assert describe_code(tmp_path) == f"{plain}+g{described}.dirty"
