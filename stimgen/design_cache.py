"""A feature space designed once is read from the cache afterwards; backbone, layers, budget and images in, a FeatureSpace out."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from protocols.provenance import hash_file
from protocols.tables import read_json, write_text
from stimgen.backbone import Backbone
from stimgen.downsample import design_features
from stimgen.feature_cache import BATCH, FeatureCache, Track
from stimgen.feature_files import describe_layers, read_space, write_projections
from stimgen.features import FeatureSpace
from stimgen.fit_settings import FitSettings

SAMPLE = 256  # images that a design is computed from: enough for 1,000 components of a layer with a grid of 2 x 2
_DESIGN = "design.json"


def sample_images(paths: Sequence[Path], count: int = SAMPLE) -> dict[str, Path]:
    """Return at most `count` of the images by sha256, the same ones whatever their order: those whose sha256 come first."""
    of_digest = {hash_file(path): path for path in paths}
    return {digest: of_digest[digest] for digest in sorted(of_digest)[:count]}


def design_cached(
    backbone: Backbone, layers: Sequence[str], settings: FitSettings, paths: Sequence[Path], cache: FeatureCache | None, track: Track = iter
) -> FeatureSpace:
    """Design a feature space from a sample of image files (see `design_features`), or read it where it was designed before."""
    sample = sample_images(paths)
    seen = (
        backbone.name,
        backbone.weights_sha256,
        backbone.preprocessing,
        tuple(layers),
        settings.budget,
        settings.pooling,
        settings.basis,
    )
    key = sha256(repr((seen, list(sample))).encode()).hexdigest()
    folder = cache.folder / "designs" / key if cache else None
    if folder and (folder / _DESIGN).is_file():
        stored = read_json(folder / _DESIGN, "delete this folder")
        return read_space(backbone, stored["layers"], folder, str(folder / _DESIGN))
    steps = track(range(0, len(sample), BATCH))
    space = design_features(backbone, layers, settings.budget, list(sample.values()), settings.pooling, settings.basis, steps, BATCH)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        write_projections(space, folder)
        write_text(json.dumps({"layers": describe_layers(space)}, indent=2) + "\n", folder / _DESIGN)  # last: complete
    return space
