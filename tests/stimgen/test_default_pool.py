"""The pool where none is named: cut once, into the cache folder, as `stimgen pool` would cut it."""

import pytest

from protocols.provenance import Provenance
from stimgen import default_pool
from stimgen.default_pool import find_default_pool
from stimgen.pool import NaturalPool
from tests.stimgen.conftest import run_stimgen


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(default_pool, "COUNT", 5)
    monkeypatch.setattr(default_pool, "SIZE_PX", 32)


def test_the_default_pool_is_that_of_the_verb_with_the_same_settings(tmp_path):
    folder = find_default_pool(tmp_path / "cache")
    assert run_stimgen("pool", "--count", 5, "--size-px", 32, "--seed", 1, "--out", tmp_path / "pool").status == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "pool").iterdir())
    for name in set(names) - {"provenance.json"}:
        assert (folder / name).read_bytes() == (tmp_path / "pool" / name).read_bytes()
    assert len(NaturalPool.read(folder).table) == 5
    own, verb = (Provenance.read(place) for place in (folder, tmp_path / "pool"))
    assert (own.command, own.config, own.seeds, own.outputs) == (verb.command, verb.config, verb.seeds, verb.outputs)


def test_it_is_cut_once(tmp_path, monkeypatch):
    folder = find_default_pool(tmp_path)
    monkeypatch.setattr(default_pool, "write_crops", lambda *_: pytest.fail("cut again"))
    assert find_default_pool(tmp_path) == folder
    assert [path.name for path in tmp_path.iterdir()] == ["pool-5-32-1"]


def test_one_that_was_interrupted_is_cut_anew(tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(default_pool, "write_crops", stop)
        with pytest.raises(KeyboardInterrupt):
            find_default_pool(tmp_path)
    assert len(NaturalPool.read(find_default_pool(tmp_path)).table) == 5
