"""The verb `fit` on a real network: layers listed and chosen by pattern, features kept, an interrupted fit continued, a full report."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from protocols.output_folder import current_umask
from stimgen.encoding_model import EncodingModel
from stimgen.feature_cache import LayerRows
from tests.stimgen.conftest import run_stimgen


@dataclass(frozen=True)
class Bench:
    """One subject's responses and fresh folders to fit into."""

    lab: object
    root: Path

    @property
    def cache(self):
        return self.root / "cache"

    def fit(self, name, *more, text=None):
        """Fit subject 01 into a folder, with the lab's settings changed by `text`."""
        settings = self.lab.root / "lite0.toml"
        if text is not None:
            keys = tuple(f"{line.partition(' ')[0]} " for line in text.splitlines())
            kept = [line for line in settings.read_text().splitlines() if not line.startswith(keys)]
            settings = self.root / f"{name}.toml"
            settings.write_text("\n".join([*kept, text]))
        where = () if "--no-cache" in more else ("--cache", self.cache)
        return run_stimgen("fit", settings, "--responses", self.lab.responses[0], "--out", self.root / name, *where, *more)

    def read(self, name, table):
        return pd.read_csv(self.root / name / f"{table}.tsv", sep="\t", dtype={"subject": str})


@pytest.fixture
def bench(lab, tmp_path):
    return Bench(lab, tmp_path)


def succeed(finished):
    assert finished.status == 0, finished.err
    return finished


def test_layers_are_listed_with_a_star_at_those_that_are_read_and_nothing_is_written(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fit.toml").write_text('backbone = "efficientnet_lite0"\nlayers = ["_blocks.[02]", "_bn1"]\n')
    finished = succeed(run_stimgen("fit", "fit.toml", "--list-layers"))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in finished.out.splitlines() if "│" in line]
    assert [row[1] for row in rows if row[0] == "*"] == ["_blocks.0", "_blocks.2", "_bn1"]
    listed = {row[1]: row[2:] for row in rows}
    assert listed["_blocks.0"] == ["MBConvBlock", "16", "112", "112"]
    assert {"_conv_stem", "_blocks.1", "_blocks.15._project_conv", "_fc"} <= set(listed)
    assert [path.name for path in tmp_path.iterdir()] == ["fit.toml"]


def test_without_responses_or_an_output_folder_the_usage_is_wrong(lab, tmp_path):
    for words in ((), ("--out", tmp_path / "model"), ("--responses", lab.responses[0])):
        finished = run_stimgen("fit", lab.root / "lite0.toml", *words)
        assert finished.status == 2
        assert "give --responses and --out (or --list-layers)" in " ".join(finished.err.replace("│", " ").split())
    assert not (tmp_path / "model").exists()


def test_a_second_fit_reads_its_features_from_the_cache_and_gives_the_same_model(bench):
    first, second = succeed(bench.fit("one")), succeed(bench.fit("two"))
    assert "choosing features" in first.err
    assert re.search(r"^features", first.err, re.MULTILINE)
    assert second.err == ""
    one, two = (EncodingModel.read(bench.root / name) for name in ("one", "two"))
    pd.testing.assert_frame_equal(one.voxels, two.voxels)
    np.testing.assert_array_equal(one.readout.coefficients, two.readout.coefficients)
    third = succeed(bench.fit("three", text="folds = 3"))  # other settings of the regression
    assert third.err == ""
    other = succeed(bench.fit("four", text="budget = 300"))
    assert "choosing features" in other.err


def test_without_the_cache_nothing_is_kept_and_the_model_is_the_same(bench, monkeypatch):
    monkeypatch.setenv("VOXDRIVE_CACHE", str(bench.cache))
    succeed(bench.fit("without", "--no-cache"))
    assert not bench.cache.exists()
    succeed(bench.fit("with"))
    assert bench.cache.exists()
    one, two = (EncodingModel.read(bench.root / name) for name in ("without", "with"))
    np.testing.assert_allclose(one.readout.coefficients, two.readout.coefficients, atol=1e-6)


def test_the_environment_names_the_cache_of_every_verb(bench, monkeypatch):
    succeed(bench.fit("model", "--no-cache"))
    monkeypatch.setenv("VOXDRIVE_CACHE", str(bench.root / "elsewhere"))
    words = ("predict", bench.root / "model", bench.lab.pool, "--out", bench.root / "one.tsv")
    assert "features" in succeed(run_stimgen(*words)).err
    assert list((bench.root / "elsewhere").glob("*/*/features.f32"))
    again = succeed(run_stimgen(*words[:-1], bench.root / "two.tsv"))
    assert again.err == ""
    succeed(run_stimgen(*words[:-1], bench.root / "three.tsv", "--no-cache"))
    one, *others = (pd.read_csv(bench.root / f"{name}.tsv", sep="\t").drop(columns="image_file") for name in ("one", "two", "three"))
    for other in others:
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_an_interrupted_fit_continues_where_it_stopped(bench, monkeypatch):
    append, written = LayerRows.append, []

    def stop_at_second(self, digests, rows):
        if written:
            raise KeyboardInterrupt
        written.append(self.folder)
        append(self, digests, rows)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(LayerRows, "append", stop_at_second)
        finished = bench.fit("model")
    assert finished.status not in (0, 2)
    assert not (bench.root / "model").exists()
    assert len(LayerRows(written[0], 1).index()) == 24
    again = []
    monkeypatch.setattr(LayerRows, "append", lambda self, digests, rows: (again.append(self.folder), append(self, digests, rows)))
    finished = succeed(bench.fit("model"))
    assert "choosing features" not in finished.err
    assert len(again) == 1
    assert again[0] != written[0]
    succeed(bench.fit("anew", "--no-cache"))
    one, two = (EncodingModel.read(bench.root / name) for name in ("model", "anew"))
    np.testing.assert_allclose(one.readout.coefficients, two.readout.coefficients, atol=1e-6)


def test_layers_are_chosen_by_pattern_in_the_order_in_which_they_run(bench):
    finished = succeed(bench.fit("model", text='layers = ["_blocks.[24]", "_conv_stem"]'))
    assert "24 images, 1184 features of 3 layers of efficientnet_lite0" in finished.out
    layers = EncodingModel.read(bench.root / "model").space.layers
    assert [layer.name for layer in layers] == ["_conv_stem", "_blocks.2", "_blocks.4"]


def test_settings_of_the_features_reach_the_model(bench):
    text = (
        'pooling = "max"\nbasis = "weights"\nbudget = 90\npreprocessing = { input_px = 96, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }'
    )
    succeed(bench.fit("model", text=text))
    space = EncodingModel.read(bench.root / "model").space
    assert {layer.pooling for layer in space.layers} == {"max"}
    assert all(layer.size <= 90 for layer in space.layers)
    assert space.backbone.input_px == 96


def test_banded_ridge_reports_what_each_band_explains(bench):
    text = 'bands = { early = ["_blocks.0"], late = ["_blocks.2"] }\nband_candidates = 5'
    succeed(bench.fit("model", text=text))
    bands, voxels = bench.read("model", "bands"), bench.read("model", "voxels")
    assert bands[["subject", "roi", "band"]].to_numpy().tolist() == [["01", r, b] for r in ("V3", "LO") for b in ("early", "late")]
    for row in bands.itertuples():
        np.testing.assert_allclose(row.r2, voxels.loc[voxels["roi"] == row.roi, f"r2_{row.band}"].mean(), atol=2e-4)
    succeed(bench.fit("plain"))
    assert not (bench.root / "plain" / "bands.tsv").exists()


def test_the_report_has_tables_and_a_picture_for_two_subjects(lab):
    tables = {
        name: pd.read_csv(lab.maker / f"{name}.tsv", sep="\t", dtype={"subject": str}) for name in ("accuracy", "layers", "across_subjects")
    }
    pairs = [[subject, roi] for subject in ("01", "02") for roi in ("V3", "LO")]
    assert tables["accuracy"][["subject", "roi"]].to_numpy().tolist() == pairs
    assert tables["across_subjects"][["subject", "roi"]].to_numpy().tolist() == pairs
    np.testing.assert_allclose(tables["layers"].groupby(["subject", "roi"])["share"].sum(), 1, atol=2e-3)
    with Image.open(lab.maker / "accuracy.png") as image:
        assert len(image.convert("RGB").getcolors(100_000)) > 10
    assert "leave one subject out" in lab.printed["lite0"]


def test_others_may_read_every_file_of_a_model(lab):
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in lab.maker.iterdir()}
    assert {"model.json", "readout.safetensors", "features.safetensors", "voxels.tsv", "provenance.json"} <= set(modes)
    assert set(modes.values()) == {oct(0o666 & ~current_umask())}


@pytest.mark.parametrize(
    ("free", "message"),
    [
        (
            1_000_100_000,
            r"24 images x 796 features x 8 voxels need about 1\.0 GB of memory, .*; \d+ features would fit: set 'budget' to at most",
        ),
        (500_000_000, "take fewer images, or a machine with more memory"),
    ],
)
def test_too_little_memory_is_refused_before_features_are_computed(bench, monkeypatch, free, message):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free, total=free))
    finished = bench.fit("model")
    assert finished.status == 1
    assert re.search(message, finished.err.rpartition("error: ")[2]), finished.err
    assert not (bench.root / "model").exists()
    assert not list(bench.cache.glob("*/*/features.f32"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layers = ["_blocks.0", "_blocks.99*"]', "layers '_blocks.99*': matches no layer of efficientnet_lite0 that runs and gives maps"),
        ('bands = { early = ["_blocks.0"] }', "layer '_blocks.2': in none of the bands early; add it to one"),
        ('bands = { early = ["_blocks.*"] }', "band 'early': layer '_blocks.1' is not among 'layers'; add it there, or leave it out here"),
        ("folds = 14", "13 training groups of images for 14 folds"),
    ],
)
def test_a_fit_that_cannot_be_done_is_refused(bench, text, message):
    finished = bench.fit("model", text=text)
    assert (finished.status, message in finished.err) == (1, True), finished.err
    assert not (bench.root / "model").exists()
