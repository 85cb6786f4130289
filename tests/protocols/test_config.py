"""Configuration: read and write are inverse, and a wrong key is named with its place and the nearest right one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from protocols.config import config, config_values, parse_config, read_config, write_config
from protocols.errors import InputError
from tests.protocols.strategies import numbers


@config
class Eye:
    """Half of a small configuration."""

    size_px: int = Field(default=64, ge=1)
    tilt: float = 0.0


@config
class Face:
    """A small configuration that nests in every way the project's do."""

    name: str
    left: Eye = Eye()
    right: Eye | None = None
    more: tuple[Eye, ...] = ()
    named: dict[str, Eye] = Field(default_factory=dict)
    colors: tuple[str, ...] = ("blue",)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).map(str.strip)
eyes = st.builds(Eye, size_px=st.integers(1, 10**9), tilt=numbers)
faces = st.builds(
    Face,
    name=texts,
    left=eyes,
    right=st.none() | eyes,
    more=st.lists(eyes, max_size=3).map(tuple),
    named=st.dictionaries(texts, eyes, max_size=2),
    colors=st.lists(texts, max_size=3).map(tuple),
)


@given(face=faces)
def test_write_then_read_is_identity(face, tmp_path):
    write_config(face, tmp_path / "face.json")
    assert read_config(tmp_path / "face.json", Face) == face
    assert parse_config(config_values(face), Face, "values") == face


def test_toml_and_byte_order_mark_are_read(tmp_path):
    (tmp_path / "face.toml").write_bytes(b'\xef\xbb\xbfname = "A"\r\n[[more]]\r\ntilt = 2.5\r\n')
    assert read_config(tmp_path / "face.toml", Face) == Face(name="A", more=(Eye(tilt=2.5),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name = "A"\nnmae = "B"', "unknown key 'nmae'; did you mean 'name'?"),
        ('name = "A"\nzzz = 1', "unknown key 'zzz'; known keys: name, left, right, more, named, colors"),
        ('name = "A"\n[left]\nsize = 3', "unknown key 'left.size'; did you mean 'size_px'?"),
        ('name = "A"\n[right]\ntitl = 3', "unknown key 'right.titl'; did you mean 'tilt'?"),
        ('name = "A"\n[[more]]\n[[more]]\ntlit = 3', "unknown key 'more[1].tlit'; did you mean 'tilt'?"),
        ('name = "A"\n[named.third]\ntlit = 3', "unknown key 'named.third.tlit'; did you mean 'tilt'?"),
        ("left = {}", "key 'name' is missing; add it"),
        ('name = "A"\nleft = 3', "key 'left' is 3: Input should be a dictionary"),
        ('name = "A"\nleft = {size_px = 0}', "key 'left.size_px' is 0: Input should be greater than or equal to 1"),
        ('name = "A"\nleft = {tilt = nan}', "key 'left.tilt' is nan: Input should be a finite number"),
        ('name = "A"\nleft = {tilt = "1,5"}', "key 'left.tilt' is '1,5': Input should be a valid number"),
        ('name = "A"\ncolors = "blue"', "key 'colors' is 'blue': Input should be a valid tuple"),
        ("name = A", "cannot be parsed: Invalid value"),
        ('name = "A"\nname = "B"', "cannot be parsed: Cannot overwrite a value"),
        ('name = "\xff"', "cannot be parsed: 'utf-8' codec"),
    ],
)
def test_each_broken_rule_names_file_key_and_remedy(text, expected, tmp_path):
    path = tmp_path / "face.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError) as refusal:
        read_config(path, Face)
    assert str(refusal.value).startswith(f"{path}: {expected}")


def test_every_wrong_key_is_told_at_once():
    with pytest.raises(InputError) as refusal:
        parse_config({"nmae": "A", "left": {"size": 1}}, Face, "face.toml")
    assert sorted(str(refusal.value).splitlines()) == [
        "face.toml: key 'name' is missing; add it",
        "face.toml: unknown key 'left.size'; did you mean 'size_px'?",
        "face.toml: unknown key 'nmae'; did you mean 'name'?",
    ]


def test_a_missing_file_a_folder_and_broken_json_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"face\.toml: no such file"):
        read_config(tmp_path / "face.toml", Face)
    with pytest.raises(InputError, match="is a folder; name the TOML file itself"):
        read_config(tmp_path, Face)
    (tmp_path / "face.json").write_text("{")
    with pytest.raises(InputError, match=r"face\.json: cannot be parsed"):
        read_config(tmp_path / "face.json", Face)
    (tmp_path / "face.json").write_text("[1]")
    with pytest.raises(InputError, match=r"key '\(whole file\)' is \[1\]: Input should be a dictionary"):
        read_config(tmp_path / "face.json", Face)
