"""A sweep's store: what is written is read, the same images give the same bytes, and what is missing is said."""

import pandas as pd
import pytest

from protocols.errors import InputError
from protocols.provenance import Provenance
from stimgen.sweep_store import SHARDS, SweepStore, read_shard, write_shard

PNGS = {"a_0": b"first", "a_1": b"second", "b_0": b"third"}


def write_store(folder):
    (folder / SHARDS).mkdir(parents=True)
    write_shard(PNGS, folder / SHARDS / "0000.zip")
    targets = pd.DataFrame(
        {"target_id": ["a", "b"], "subject": "01", "roi": ["V1", "FFA"], "cv_r": [0.5, 0.25], "noise_ceiling": [0.75, None], "layer": "x"}
    )
    images = pd.DataFrame({"image_id": list(PNGS), "target_id": ["a", "a", "b"], "seed": [1, 2, 3], "start": [None, None, "n1"]})
    images = images.assign(shard="0000.zip", sha256="f", predicted=[2.5, 2.25, 1.5], judged=[1.0, None, None])
    SweepStore(folder, targets, images, {"size_px": 64}).write(folder)
    Provenance.collect("stimgen sweep", {}, {}).write(folder)
    return folder


def test_what_is_written_is_read(tmp_path):
    store = SweepStore.read(write_store(tmp_path / "sweep"))
    assert store.card["size_px"] == 64
    assert store.read_image("a_1") == b"second"
    assert store.read_shard("0000.zip") == PNGS
    assert store.images["judged"].isna().tolist() == [False, True, True]
    assert store.targets["noise_ceiling"].tolist()[0] == 0.75


def test_same_images_same_bytes(tmp_path):
    for name in ("one.zip", "other.zip"):
        write_shard(PNGS, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()


def test_half_written_sweep_is_refused(tmp_path):
    folder = write_store(tmp_path / "sweep")
    (folder / "provenance.json").unlink()
    with pytest.raises(InputError, match="incomplete"):
        SweepStore.read(folder)


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_damaged_shard_is_named(tmp_path, damage):
    folder = write_store(tmp_path / "sweep")
    shard = folder / SHARDS / "0000.zip"
    shard.unlink() if damage == "missing" else shard.write_bytes(shard.read_bytes()[:-20])
    for read in (lambda: read_shard(shard), lambda: SweepStore.read(folder).read_image("b_0")):
        with pytest.raises(InputError, match=r"0000\.zip: cannot be read"):
            read()


def test_image_without_target_is_refused(tmp_path):
    folder = write_store(tmp_path / "sweep")
    (folder / "targets.tsv").write_text((folder / "targets.tsv").read_text().replace("\nb\t", "\nc\t"))
    with pytest.raises(InputError, match="'b' is in one of"):
        SweepStore.read(folder)
