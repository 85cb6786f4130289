"""Small fakes: networks of a few weights and encoding models on them, so that a test needs no trained network."""

import math

import numpy as np
import pandas as pd
import torch
from torch import nn

from stimgen.backbone import Backbone
from stimgen.encoding_model import EncodingModel, Readout
from stimgen.features import FeatureSpace, PooledLayer
from stimgen.judge import Scorer
from stimgen.networks import Preprocessing


class TinyNet(nn.Module):
    """Three convolutions; the second is followed by a ReLU in place, which overwrites what a careless hook recorded."""

    def __init__(self, seed=0):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.third = nn.Conv2d(6, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(5, 7)
        self.spare = nn.Conv2d(3, 2, 1)  # no forward pass runs it, as Inception's AuxLogits in evaluation mode
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)

    def forward(self, images):
        x = self.relu(self.first(images))
        x = self.relu(self.second(x))
        return self.head(self.third(x).mean(dim=(2, 3)))


def wrap(module, layers, input_px=8, name="tiny", sha256="0" * 64):
    """Return a Backbone of any module that sees images in 0-1 as they are."""
    module.eval().requires_grad_(False)
    as_they_are = Preprocessing(input_px=input_px, mean=(0, 0, 0), std=(1, 1, 1))
    return Backbone(name, module, as_they_are, tuple(layers), sha256)


def make_tiny_backbone(seed=0, name="tiny"):
    """Return a TinyNet as a Backbone."""
    return wrap(TinyNet(seed), ("first", "second", "third"), name=name, sha256=f"{seed:064x}")


def make_space(backbone, layers, budget=24):
    """Return a feature space with all channels of each layer, on the finest grid that keeps to the budget: no images needed."""
    shapes = backbone.trace()
    pooled = []
    for name in layers:
        channels, height, _ = shapes[name]
        grid = max(1, min(height, math.isqrt(budget // channels)))
        pooled.append(PooledLayer(name=name, channels=channels, components=channels, grid=grid))
    return FeatureSpace(backbone, tuple(pooled))


def make_voxels(cv_r, rois, subject="01"):
    """Return a voxel table with ids like `01_V3001`."""
    ids = [f"{subject}_{roi}{index + 1:03d}" for index, roi in enumerate(rois)]
    table = pd.DataFrame({"voxel_id": ids, "subject": subject, "roi": rois, "cv_r": np.asarray(cv_r, dtype=float)})
    return table.assign(test_r=0.5, noise_ceiling=np.nan)


def make_tiny_model(cv_r=(0.5, 0.3, -0.1, 0.6, 0.2), rois=("V3", "V3", "V3", "LO", "EBA"), seed=0, backbone=None, voxels=None, space=None):
    """Return an EncodingModel with a random readout on a TinyNet (or `backbone`, or `space`)."""
    backbone = backbone or make_tiny_backbone(seed)
    space = space or make_space(backbone, backbone.default_layers[1:])
    rng = np.random.default_rng(seed)
    table = voxels if voxels is not None else make_voxels(cv_r, rois)
    readout = Readout(
        rng.standard_normal((space.size, len(table))).astype(np.float32),
        rng.standard_normal(len(table)).astype(np.float32),
        rng.standard_normal(space.size).astype(np.float32),
        rng.uniform(0.5, 2, space.size).astype(np.float32),
    )
    return EncodingModel(space, readout, table, {"settings": {"seed": seed}})


def draw_images(count, size_px, seed=0):
    """Return random images in 0-1, images x 3 x size x size."""
    return torch.rand(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))


def make_scorer(model, images=30, size_px=8):
    """Return a Scorer whose natural pool are random images."""
    with torch.no_grad():
        features = model.space.extract(draw_images(images, size_px, seed=1)).numpy()
    return Scorer(model.space.backbone.name, model, model.readout.predict(features), features)
