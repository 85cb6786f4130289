"""From an order and the places of its inputs to all that its images are made with: models with their predictions, goals, profiles."""

from dataclasses import dataclass
from pathlib import Path

from protocols.errors import InputError
from stimgen.backbone import choose_device
from stimgen.encoding_model import EncodingModel, find_weights
from stimgen.feature_cache import FeatureCache
from stimgen.jobs import Workplace
from stimgen.judge import Scorer, check_judges, make_scorer
from stimgen.make import Studio
from stimgen.matching import plan_matching
from stimgen.order import NEEDS_JUDGE, TargetsFile, Wanted, check_order, expand_targets, plan_order
from stimgen.pool import NaturalPool
from stimgen.sources import Sources


@dataclass(frozen=True)
class OpenStudio:
    """A studio, the targets that it makes images for, and the judges that take no part in making them."""

    studio: Studio
    wanted: list[Wanted]
    judges: list[Scorer]


def open_studio(order: TargetsFile, sources: Sources, workplace: Workplace, cache: FeatureCache | None, device: str) -> OpenStudio:
    """Read models and pool, predict the pool, and plan goals and photometric profiles.

    Raises
    ------
    InputError
        When the order asks for what the models, the judges or the pool do not have.
    """
    check_order(order)
    natural = NaturalPool.read(sources.pool)
    if not sources.judges and any(kind in NEEDS_JUDGE for kind in order.controls):
        raise InputError(f"controls: {', '.join(NEEDS_JUDGE)} needs a judge; give --judge, or choose other controls")
    loaded = [_load(folders, sources.weights, device) for folders in (sources.models, sources.judges, sources.validators)]
    check_judges(*([one for _, one in models] for models in loaded))
    expand_targets(order, [one for _, one in loaded[0]])
    paths = natural.image_paths()
    makers, judges, validators = ([make_scorer(name, one, paths, cache) for name, one in models] for models in loaded)
    wanted = plan_order(order, makers)
    matching = plan_matching(order.photometry, paths, order.size_px, max(one.count for one in wanted), order.seed)
    return OpenStudio(Studio(order, makers, validators, natural, workplace, matching), wanted, judges)


def _load(folders: tuple[Path, ...], weights: tuple[Path, ...], device: str) -> list[tuple[str, EncodingModel]]:
    chosen = choose_device(device)
    return [(folder.name, EncodingModel.read(folder, find_weights(folder, weights), chosen)) for folder in folders]
