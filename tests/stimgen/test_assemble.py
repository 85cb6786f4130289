"""What a targets file may ask for, and how images are named, seeded and chosen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from protocols.config import parse_config
from protocols.errors import InputError
from stimgen.assemble import TargetsFile, check_order, choose_natural, derive_seed, make_targets, score_target, scramble_targets
from stimgen.judge import make_scorer
from stimgen.objective import Target, fold_target
from stimgen.optimize import Ascent
from stimgen.pool import NaturalPool
from tests.stimgen.tiny import make_tiny_model


def order(*targets, **settings):
    return parse_config({"targets": targets, "size_px": 32, "ascent": Ascent(steps=2), **settings}, TargetsFile, "targets.toml")


@pytest.fixture
def natural(tmp_path):
    """A pool of 12 images of 4 sources."""
    rng = np.random.default_rng(1)
    names = [f"n{index:02d}.png" for index in range(12)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(tmp_path / name)
    sources = [f"photo{index // 3}" for index in range(12)]
    table = pd.DataFrame({"stim_id": [Path(name).stem for name in names], "image_file": names, "source": sources, "license": "CC0"})
    return NaturalPool(tmp_path, table)


@pytest.fixture
def makers(natural):
    return [make_scorer(f"m{seed}", make_tiny_model(seed=seed), natural.image_paths()) for seed in (0, 1)]


@pytest.mark.parametrize(
    "target",
    [Target(roi="V3"), Target(roi="LO", minus_others=0.0), Target(voxel="01_V3001", name="v"), Target(contrast="V3 - LO", name="c")],
)
def test_natural_images_are_scored_by_response_or_by_the_contrast_itself(makers, natural, target):
    scorer = makers[0]
    features = scorer.model.space.extract(read(scorer, natural))
    plain = Target(**{**vars(target), "minus_others": 0.0})  # a control is the best photograph for the ROI, not the most selective one
    drive = fold_target(plain, scorer.model, scorer.pool)
    np.testing.assert_allclose(score_target(target, scorer), (features @ drive.slope + drive.offset).numpy(), atol=1e-3)


def read(scorer, natural):
    from stimgen.features import read_batch

    return read_batch(scorer.model.space.backbone, natural.image_paths())


def test_each_target_gets_its_own_number_of_images_with_ids_seeds_and_sources(makers, natural):
    wanted = order({"roi": "V3", "count": 1}, {"roi": "LO"}, count=3)
    made = make_targets(wanted, makers, lambda images: None)
    assert [picture.stim_id for picture in made] == ["targetV301", "targetLO01", "targetLO02", "targetLO03"]
    assert [picture.seed for picture in made] == [derive_seed(1, "V3", 0), *(derive_seed(1, "LO", index) for index in range(3))]
    assert {picture.image.shape for picture in made} == {(32, 32, 3)}
    chosen = choose_natural(wanted, makers, natural)
    assert [picture.stim_id for picture in chosen] == ["naturalV301", "naturalLO01", "naturalLO02", "naturalLO03"]
    assert len({picture.source_image for picture in chosen}) == 4
    assert {picture.source_image for picture in chosen} <= set(natural.table["stim_id"])
    best = np.mean([score_target(Target(roi="V3"), maker) for maker in makers], axis=0).argmax()
    assert chosen[0].source_image == natural.table["stim_id"][best]
    scrambled = scramble_targets(made)
    assert [picture.source_image for picture in scrambled] == [picture.stim_id for picture in made]
    assert [picture.stim_id for picture in scrambled] == [picture.stim_id.replace("target", "scrambled") for picture in made]


def test_a_seed_depends_on_the_files_seed_the_target_and_the_index():
    seeds = {derive_seed(seed, label, index) for seed in (1, 2) for label in ("V3", "LO") for index in range(5)}
    assert len(seeds) == 20
    assert derive_seed(1, "V3", 0) == derive_seed(1, "V3", 0)


@pytest.mark.parametrize(
    ("targets", "settings", "message"),
    [
        ([], {}, "targets.toml: key 'targets' is"),
        ([{"roi": "V3"}], {"size_px": 16}, "targets.toml: key 'size_px' is 16"),
        ([{"roi": "V3"}], {"seed": -1}, "targets.toml: key 'seed' is -1"),
        ([{"roi": "V3"}], {"cuont": 3}, "targets.toml: unknown key 'cuont'; did you mean 'count'"),
        ([{"roi": "V3"}], {"ascent": {"step": 3}}, "targets.toml: unknown key 'ascent.step'; did you mean 'steps'"),
        ([{"roi": "V3"}], {"ascent": {"jitter": {"scale": 1.0}}}, "targets.toml: key 'ascent.jitter.scale' is 1.0"),
        ([{"roi": "V3"}], {"ascent": {"learning_rate": float("nan")}}, "targets.toml: key 'ascent.learning_rate' is nan"),
        ([{"roi": "V3"}], {"controls": ["naturl"]}, "controls: 'naturl' is not known; choose from natural, scrambled"),
        ([{"roi": "V3"}, {"roi": "V3"}], {}, "targets: two are named 'V3'; give each its own 'name'"),
        ([{"roi": "V3"}, {"roi": "LO", "name": "v3"}], {}, "targets: two are named 'V3'; give each its own 'name'"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(targets, settings, message):
    with pytest.raises(InputError, match=message):
        check_order(order(*targets, **settings))
