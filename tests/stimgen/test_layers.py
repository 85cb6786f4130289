"""Layers by name and by pattern, in the order in which the network runs them; and the table of all."""

import pandas as pd
import pytest
from torch import nn

from protocols.errors import InputError
from stimgen.layers import list_layers, match_layers
from tests.stimgen.test_maps import PairNet, make_vit
from tests.stimgen.tiny import draw_images, make_tiny_backbone, wrap


class Twisted(nn.Module):
    """Runs its layers in another order than it names them, and leaves some out."""

    def __init__(self):
        super().__init__()
        self.late = nn.Sequential(nn.Conv2d(2, 5, 1), nn.ReLU())
        self.early = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU()))
        self.spare = nn.ModuleDict({"0": nn.Conv2d(3, 2, 1)})

    def forward(self, images):
        return self.late(self.early(images))


@pytest.fixture
def twisted():
    return wrap(Twisted(), ("early", "late"), name="twisted")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["late", "early"], ["early", "late"]),
        (["early", "early", "ear*"], ["early"]),
        (["*"], ["early", "late"]),
        (["*.0"], ["early.0", "late.0"]),  # spare.0 does not run
        (["early.*"], ["early.0", "early.1"]),
        (["early.?.?"], ["early.1.0", "early.1.1"]),
        (["**.0"], ["early.0", "early.1.0", "late.0"]),
        (["early.**"], ["early.0", "early.1.0", "early.1.1", "early.1", "early"]),
        (["**.1.[!1]"], ["early.1.0"]),
        (["late.[0-1]", "early.0"], ["early.0", "late.0", "late.1"]),
        (["**"], ["early.0", "early.1.0", "early.1.1", "early.1", "early", "late.0", "late.1", "late"]),
    ],
)
def test_names_and_patterns_choose_layers_in_the_order_of_execution(twisted, patterns, expected):
    assert match_layers(twisted, patterns) == expected


def test_a_star_stays_within_a_part_in_a_real_network(lite0):
    assert match_layers(lite0, ["_blocks.*"]) == [f"_blocks.{index}" for index in range(16)]
    assert match_layers(lite0, ["_blocks.1?"]) == [f"_blocks.{index}" for index in range(10, 16)]
    assert all(name.endswith("_project_conv") for name in match_layers(lite0, ["_blocks.*._project_conv"]))


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["early", "erly"], "layer 'erly': twisted has no such layer; did you mean 'early'"),
        (["spare.0"], "layer 'spare.0': twisted does not run it on its way to the output; choose another layer"),
        (["spare.*"], "layers 'spare.\\*': matches no layer of twisted that runs and gives maps; the nearest are "),
        (["erly.*.0"], "layers 'erly.\\*.0': matches no layer of twisted that runs and gives maps; the nearest are early.1.0, "),
    ],
)
def test_an_entry_that_chooses_nothing_is_refused(twisted, patterns, message):
    with pytest.raises(InputError, match=message):
        match_layers(twisted, patterns)


def test_a_pattern_passes_over_what_gives_no_map_and_a_name_does_not():
    backbone = wrap(PairNet(), ("conv",), name="pairs")
    assert match_layers(backbone, ["*"]) == ["conv"]
    with pytest.raises(InputError, match="layer 'pair': gives a dict, not a tensor"):
        match_layers(backbone, ["pair"])


def test_the_table_lists_what_runs_in_order_with_the_size_of_its_map():
    table = list_layers(make_tiny_backbone())
    expected = pd.DataFrame(
        [
            ("first", "Conv2d", 4, 8, 8),
            ("relu", "ReLU", 4, 8, 8),
            ("second", "Conv2d", 6, 4, 4),
            ("third", "Conv2d", 5, 4, 4),
            ("head", "Linear", 7, 1, 1),
        ],
        columns=["layer", "module", "channels", "height", "width"],
    )
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)


def test_the_table_leaves_the_size_open_where_there_is_no_map():
    table = list_layers(wrap(PairNet(), ("conv",)))
    assert table["layer"].tolist() == ["pair", "conv"]
    assert table.loc[0, ["channels", "height", "width"]].isna().all()
    assert table.loc[1, ["channels", "height", "width"]].tolist() == [2, 8, 8]


def test_every_listed_layer_can_be_read_at_the_listed_size():
    backbone = wrap(make_vit(), (), input_px=32)
    table = list_layers(backbone).dropna()
    read = backbone.activations(draw_images(3, 32), table["layer"].tolist())
    assert len(table) > 15
    for row in table.itertuples():
        assert tuple(read[row.layer].shape) == (3, row.channels, row.height, row.width)
