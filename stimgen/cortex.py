"""A planted brain: ROIs of voxels with receptive fields and channel tuning on a network that no encoding model uses.

Truth is known and comes from another network than the one that makes the images, so that a demonstration or
a test cannot succeed by circularity. A voxel's response is its receptive field's weighted mean of standardized
channels of one layer, times its tuning, in z units of a reference set of natural images.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from protocols.config import config
from protocols.errors import InputError

LATTICE_MM = 4.0


@config
class PlantedRoi:
    """One ROI: the layer it reads, its receptive fields' sd as a fraction of the image's side, and its peak in MNI mm."""

    name: str
    layer: str
    rf_sd: float = Field(gt=0)
    peak_mm: tuple[float, float, float]
    """Right hemisphere; mirrored for the left."""
    like: str | None = None
    """An ROI on the same layer whose tuning this one shares in part."""
    similarity: float = Field(default=0.0, ge=0, le=1)
    """Share of tuning variance that it has in common with `like`."""


@config
class Cortex:
    """How brains are planted. Shares are fractions of tuning variance."""

    backbone: str = "efficientnet_lite2"
    voxels_per_roi: int = Field(default=20, ge=2)
    individual: float = Field(default=0.1, ge=0, le=1)
    """Share of an ROI's tuning that is the subject's own; 0: all subjects alike."""
    spread: float = Field(default=0.3, ge=0, le=1)
    """Share of a voxel's tuning that is its own; 0: all voxels of an ROI alike."""
    concentration: float = Field(default=1.0, ge=0)
    """Tuning follows the channels' correlation matrix to this power / 2: 0 any direction, 1 those in which natural images differ."""
    noise_sd: float = Field(default=1.0, ge=0)
    """Standard deviation of single-trial noise, in z units."""
    repeats: int = Field(default=2, ge=1)
    """Trials per image."""
    tuning_seed: int = Field(default=1, ge=0)
    """Subjects with the same tuning seed share their ROIs' tuning, but for `individual`."""
    rois: tuple[PlantedRoi, ...] = (
        PlantedRoi(name="V3", layer="_blocks.3", rf_sd=0.10, peak_mm=(28, -84, 16)),
        PlantedRoi(name="LO", layer="_blocks.10", rf_sd=0.15, peak_mm=(44, -76, 0)),
        PlantedRoi(name="EBA", layer="_blocks.14", rf_sd=0.20, peak_mm=(48, -60, 8)),
        PlantedRoi(name="FFA", layer="_blocks.19", rf_sd=0.20, peak_mm=(40, -48, -20)),
        PlantedRoi(name="RSC", layer="_blocks.20", rf_sd=0.25, peak_mm=(16, -52, 8)),
    )

    @model_validator(mode="after")
    def _likes_exist(self) -> "Cortex":
        layers = {roi.name: roi.layer for roi in self.rois}
        for roi in self.rois:
            if roi.like is not None and layers.get(roi.like) != roi.layer:
                raise ValueError(f"ROI {roi.name!r} is like {roi.like!r}, which must be an ROI on the same layer, {roi.layer!r}")
        return self


@dataclass(frozen=True)
class ReceptiveFields:
    """Where a subject's voxels look: Gaussian centers in 0-1 of the image's width and height."""

    x: Float[np.ndarray, " voxels"]
    y: Float[np.ndarray, " voxels"]


def draw_receptive_fields(cortex: Cortex, subject: str, roi: PlantedRoi) -> ReceptiveFields:
    """Draw the receptive-field centers of one ROI of one subject, within the image's middle 70 %."""
    rng = _rng(cortex.tuning_seed, "receptive fields", subject, roi.name)
    x, y = rng.uniform(0.15, 0.85, size=(2, cortex.voxels_per_roi))
    return ReceptiveFields(x, y)


def pool_receptive_fields(
    activation: Float[Tensor, "images channels height width"], fields: ReceptiveFields, rf_sd: float
) -> Float[Tensor, "images voxels channels"]:
    """Average a layer's map with every voxel's Gaussian receptive field (each sums to 1)."""
    height, width = activation.shape[-2:]
    rows = (torch.arange(height, device=activation.device) + 0.5) / height
    columns = (torch.arange(width, device=activation.device) + 0.5) / width
    x, y = (torch.from_numpy(center).float().to(activation.device)[:, None] for center in (fields.x, fields.y))
    along_x = torch.softmax(-((columns - x) ** 2) / (2 * rf_sd**2), dim=1)
    along_y = torch.softmax(-((rows - y) ** 2) / (2 * rf_sd**2), dim=1)
    return torch.einsum("nchw,vh,vw->nvc", activation.float(), along_y, along_x)


def respond(
    cortex: Cortex,
    subject: str,
    roi: PlantedRoi,
    reference: Float[np.ndarray, "references voxels channels"],
    pooled: Float[np.ndarray, "images voxels channels"],
) -> Float[np.ndarray, "images voxels"]:
    """Return the true responses to images, in z units of the reference images' responses."""
    mean, scale = reference.mean(axis=(0, 1)), reference.std(axis=(0, 1)) + 1e-6
    standardized = (reference - mean) / scale
    tuning = _draw_tuning(cortex, subject, roi, _correlate(standardized))
    raw_reference = np.einsum("nvc,vc->nv", standardized, tuning)
    raw = np.einsum("nvc,vc->nv", (pooled - mean) / scale, tuning)
    z: Float[np.ndarray, "images voxels"] = ((raw - raw_reference.mean(axis=0)) / raw_reference.std(axis=0)).astype(np.float32)
    return z


def add_noise(
    responses: Float[np.ndarray, "images voxels"], cortex: Cortex, subject: str
) -> tuple[Float[np.ndarray, "trials voxels"], Int[np.ndarray, " trials"]]:
    """Return single trials (`repeats` of every image, one pass after another) with noise, and each trial's image index."""
    rng = _rng(cortex.tuning_seed, "noise", subject)
    index = np.tile(np.arange(len(responses)), cortex.repeats)
    trials = responses[index] + cortex.noise_sd * rng.standard_normal((len(index), responses.shape[1]))
    return trials.astype(np.float32), index


def place_voxels(cortex: Cortex) -> Float[np.ndarray, "rois voxels 3"]:
    """Place every ROI's voxels around its peaks on a 4 mm lattice, half in the left hemisphere; no cell is used twice.

    Raises
    ------
    InputError
        When there is no room for all voxels of an ROI near its peak.
    """
    taken: set[tuple[float, ...]] = set()
    placed = np.empty((len(cortex.rois), cortex.voxels_per_roi, 3))
    left_count = cortex.voxels_per_roi // 2
    for row, roi in enumerate(cortex.rois):
        x, y, z = roi.peak_mm
        sides = [((-x, y, z), left_count), ((x, y, z), cortex.voxels_per_roi - left_count)]
        cells = [cell for peak, count in sides for cell in _nearest_free_cells(peak, count, taken)]
        if len(cells) < cortex.voxels_per_roi:
            raise InputError(
                f"ROI {roi.name!r}: room for {len(cells)} of {cortex.voxels_per_roi} voxels near {roi.peak_mm} mm; "
                "move its peak away from the midline and from other ROIs, or lower voxels_per_roi"
            )
        placed[row] = cells
    return placed


def _nearest_free_cells(peak: tuple[float, float, float], count: int, taken: set[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """Return the `count` lattice cells nearest to `peak` on its side of the midline that are not taken, and take them."""
    reach = math.ceil(count ** (1 / 3)) + 3
    steps = np.arange(-reach, reach + 1) * LATTICE_MM
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    cells = np.round(np.array(peak) / LATTICE_MM) * LATTICE_MM + grid
    order = np.argsort(((cells - peak) ** 2).sum(axis=1), kind="stable")
    found: list[tuple[float, ...]] = []
    for cell in map(tuple, cells[order].tolist()):
        if len(found) < count and cell not in taken and cell[0] * peak[0] > 0:
            found.append(cell)
            taken.add(cell)
    return found


def _draw_tuning(
    cortex: Cortex, subject: str, roi: PlantedRoi, correlation: Float[np.ndarray, "channels channels"]
) -> Float[np.ndarray, "voxels channels"]:
    """Draw tuning = shared by all subjects + the subject's own + the voxel's own, each shaped by the channels' correlation."""
    channels = len(correlation)
    values, vectors = np.linalg.eigh(correlation)
    shape = (vectors * np.clip(values, 1e-9, None) ** (cortex.concentration / 2)) @ vectors.T
    shared = _rng(cortex.tuning_seed, "tuning", roi.name).standard_normal(channels)
    if roi.like is not None:
        common = _rng(cortex.tuning_seed, "tuning", roi.like).standard_normal(channels)
        shared = math.sqrt(roi.similarity) * common + math.sqrt(1 - roi.similarity) * shared
    rng = _rng(cortex.tuning_seed, "tuning", roi.name, subject)
    own = rng.standard_normal(channels)
    voxel = rng.standard_normal((cortex.voxels_per_roi, channels))
    roi_tuning = math.sqrt(1 - cortex.individual) * shared + math.sqrt(cortex.individual) * own
    tuning: Float[np.ndarray, "voxels channels"] = (math.sqrt(1 - cortex.spread) * roi_tuning + math.sqrt(cortex.spread) * voxel) @ shape
    return tuning


def _correlate(standardized: Float[np.ndarray, "references voxels channels"]) -> Float[np.ndarray, "channels channels"]:
    flat = standardized.reshape(-1, standardized.shape[-1])
    correlation: Float[np.ndarray, "channels channels"] = flat.T @ flat / len(flat)
    return correlation


def _rng(seed: int, *names: str) -> np.random.Generator:
    """Return a generator that depends on the seed and on what is drawn, not on the order of drawing."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def share_layers(rois: Sequence[PlantedRoi]) -> list[str]:
    """Return the layers that the ROIs read, each once, in order."""
    return list(dict.fromkeys(roi.layer for roi in rois))
