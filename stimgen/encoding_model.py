"""EncodingModel: pixels in, voxel responses out; a backbone, frozen pooling, and a linear readout per voxel."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from protocols.config import config_values, parse_config
from protocols.errors import InputError
from protocols.provenance import Provenance, hash_file
from protocols.tables import Columns, check_columns, check_unique, read_json, read_tsv, write_text, write_tsv
from stimgen.backbone import load_backbone
from stimgen.feature_files import describe_layers, read_arrays, read_space, save_arrays, write_projections
from stimgen.features import FeatureSpace
from stimgen.networks import Preprocessing

MODEL = "model.json"
READOUT = "readout.safetensors"
FORMAT_VERSION = 2
VOXEL_COLUMNS: Columns = {
    "voxel_id": "text",
    "subject": "text",
    "roi": "text",
    "cv_r": "number",
    "test_r": "optional number",
    "noise_ceiling": "optional number",
}


@dataclass(frozen=True)
class Readout:
    """Linear readout with standardization: response = ((features - mean) / scale) @ coefficients + intercept."""

    coefficients: Float[np.ndarray, "features voxels"]
    intercept: Float[np.ndarray, " voxels"]
    feature_mean: Float[np.ndarray, " features"]
    feature_scale: Float[np.ndarray, " features"]

    def predict(self, features: Float[np.ndarray, "images features"]) -> Float[np.ndarray, "images voxels"]:
        """Return the predicted responses, in the units of the responses the readout was fitted to."""
        predicted: npt.NDArray[np.float32] = ((features - self.feature_mean) / self.feature_scale) @ self.coefficients + self.intercept
        return predicted

    def select(self, voxels: npt.NDArray[np.int64]) -> "Readout":
        """Return the readout of some voxels, by their columns."""
        return Readout(self.coefficients[:, voxels], self.intercept[voxels], self.feature_mean, self.feature_scale)


@dataclass(frozen=True)
class EncodingModel:
    """An encoding model of one or more subjects.

    Attributes
    ----------
    space
        The feature space with its loaded backbone.
    readout
        Features to voxels.
    voxels
        One row per voxel: `voxel_id` (unique, with its subject), `subject`, `roi`, `cv_r` (cross-validated on training
        data only), `test_r` (images never used in any choice), `noise_ceiling` (of r; n/a without repetitions).
    card
        Everything else in `model.json`: cross-validation, penalties, images, versions.
    """

    space: FeatureSpace
    readout: Readout
    voxels: pd.DataFrame
    card: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "voxels", check_columns(self.voxels, VOXEL_COLUMNS, "voxels.tsv").reset_index(drop=True))
        check_unique(self.voxels, "voxel_id", "voxels.tsv")
        expected = (self.space.size, len(self.voxels))
        if self.readout.coefficients.shape != expected:
            raise InputError(f"{READOUT}: coefficients of shape {self.readout.coefficients.shape}, expected features x voxels {expected}")

    @property
    def rois(self) -> list[str]:
        """ROI names, in order of first appearance."""
        return list(dict.fromkeys(self.voxels["roi"]))

    def predict(self, images: Float[Tensor, "images 3 height width"]) -> Float[Tensor, "images voxels"]:
        """Return predicted voxel responses of images in 0-1; differentiable."""
        readout = self.readout
        device = images.device
        mean, scale, coefficients, intercept = (
            torch.from_numpy(array).to(device)
            for array in (readout.feature_mean, readout.feature_scale, readout.coefficients, readout.intercept)
        )
        return ((self.space.extract(images) - mean) / scale) @ coefficients + intercept

    def roi_weights(self, rois: list[str] | None = None, subjects: Sequence[str] = ()) -> Float[np.ndarray, "voxels rois"]:
        """Return each voxel's weight in its ROI's response: cross-validated r, squared, zero where r is not positive.

        Weights come from training data only, and sum to 1 within each subject and ROI, then over subjects to 1. With `subjects`,
        only their voxels count.

        Raises
        ------
        InputError
            When an ROI is not in the model, or has no predictable voxel in any subject.
        """
        names = rois if rois is not None else self.rois
        weights = np.zeros((len(self.voxels), len(names)), dtype=np.float32)
        for column, roi in enumerate(names):
            weights[:, column] = self._weigh_roi(roi, subjects)
        return weights

    def _weigh_roi(self, roi: str, only: Sequence[str]) -> npt.NDArray[np.float64]:
        inside = (self.voxels["roi"] == roi).to_numpy()
        if not inside.any():
            raise InputError(f"ROI {roi!r}: not in the model; it has {', '.join(self.rois)}")
        subjects = self.voxels["subject"].to_numpy()
        if only:
            inside = inside & np.isin(subjects, list(only))
            if not inside.any():
                raise InputError(f"ROI {roi!r}: the model has none of subject {', '.join(only)}; it has {', '.join(np.unique(subjects))}")
        weight = np.where(inside, np.clip(self.voxels["cv_r"], 0, None) ** 2, 0.0)
        for subject in np.unique(subjects):
            total = weight[subjects == subject].sum()
            weight[subjects == subject] /= total if total > 0 else 1.0
        if weight.sum() == 0:
            raise InputError(f"ROI {roi!r}: no voxel is predictable (cross-validated r is 0 or less in all); drop it from the targets")
        normalized: npt.NDArray[np.float64] = weight / weight.sum()
        return normalized

    def write(self, folder: Path) -> None:
        """Write `model.json`, `features.safetensors`, `readout.safetensors` and `voxels.tsv` into `folder`."""
        backbone = self.space.backbone
        card = {
            **self.card,
            "format_version": FORMAT_VERSION,
            "backbone": backbone.name,
            "weights_sha256": backbone.weights_sha256,
            "preprocessing": config_values(backbone.preprocessing),
            "layers": describe_layers(self.space),
            "features": self.space.size,
        }
        write_text(json.dumps(card, indent=2) + "\n", folder / MODEL)
        write_projections(self.space, folder)
        save_arrays(vars(self.readout), folder / READOUT)
        write_tsv(self.voxels, folder / "voxels.tsv")

    @classmethod
    def read(cls, folder: Path, weights: Path | None = None, device: str = "cpu") -> "EncodingModel":
        """Read a model and load its backbone.

        Raises
        ------
        InputError
            When the folder is incomplete, or the backbone's weights are not those the model was fitted on.
        """
        Provenance.read(folder)
        card = _read_card(folder / MODEL)
        preprocessing = parse_config(card["preprocessing"], Preprocessing, f"{folder / MODEL} preprocessing")
        backbone = load_backbone(card["backbone"], weights, device, preprocessing)
        if backbone.weights_sha256 != card["weights_sha256"]:
            expected, found = card["weights_sha256"][:12], backbone.weights_sha256[:12]
            raise InputError(
                f"{folder / MODEL}: fitted on weights {expected}..., those at hand are {found}...; give the right file with --weights"
            )
        space = read_space(backbone, card["layers"], folder, str(folder / MODEL))
        voxels = read_tsv(folder / "voxels.tsv", VOXEL_COLUMNS)
        return cls(space, _read_readout(folder / READOUT, space.size, len(voxels)), voxels, card)


def find_weights(folder: Path, files: Sequence[Path]) -> Path | None:
    """Return the one of `files` that the model in `folder` was fitted on, or None where it is not among them."""
    expected = _read_card(folder / MODEL)["weights_sha256"] if files else ""
    return next((file for file in files if hash_file(file) == expected), None)


def _read_readout(path: Path, features: int, voxels: int) -> Readout:
    """Read the readout's arrays and check their shapes."""
    expected: dict[str, tuple[int, ...]] = {
        "coefficients": (features, voxels),
        "intercept": (voxels,),
        "feature_mean": (features,),
        "feature_scale": (features,),
    }
    return Readout(**read_arrays(path, expected, "features, voxels"))


def _read_card(path: Path) -> dict[str, Any]:
    card = read_json(path, "copy the model again")
    missing = [key for key in ("format_version", "backbone", "weights_sha256", "preprocessing", "layers") if key not in card]
    if missing:
        raise InputError(f"{path}: key {missing[0]!r} is missing; copy the model again")
    if card["format_version"] != FORMAT_VERSION:
        raise InputError(f"{path}: format_version {card['format_version']!r}, this version reads {FORMAT_VERSION}; fit the model again")
    return card
