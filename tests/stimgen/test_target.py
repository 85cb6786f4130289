"""A target is one kind and never two contradictory wishes; quadrants and each_voxel_of stand for several single targets."""

import pytest

from protocols.config import parse_config
from protocols.errors import InputError
from stimgen.target import KINDS, Target, expand_target
from tests.stimgen.tiny import make_tiny_model, make_voxels

OF_EACH_KIND = {
    "roi": {"roi": "V3"},
    "voxel": {"voxel": "01_V3002", "name": "one"},
    "voxels": {"voxels": ["01_V3001", "01_V3002"]},
    "contrast": {"contrast": "V3 + EBA - LO"},
    "suppress": {"suppress": "LO"},
    "up": {"up": ["V3"], "down": ["LO", "EBA"]},
    "quadrants": {"quadrants": ["V3", "LO"]},
    "pattern": {"pattern": {"V3": 1.5, "LO": -2}},
    "each_voxel_of": {"each_voxel_of": "V3"},
}


def test_every_kind_parses_and_knows_its_kind_label_and_names():
    parsed = {kind: parse_config(values, Target, "targets") for kind, values in OF_EACH_KIND.items()}
    assert tuple(parsed) == KINDS
    assert [target.kind for target in parsed.values()] == list(KINDS)
    labels = ["V3", "one", "voxels", "contrast", "LOdown", "V3upLOdownEBAdown", "quadrants", "pattern", "V3"]
    assert [target.label for target in parsed.values()] == labels
    assert parsed["voxels"].named() == ["01_V3001", "01_V3002"]
    assert parsed["contrast"].named() == ["V3", "EBA", "LO"]
    assert parsed["up"].named() == ["V3", "LO", "EBA"]
    assert parsed["pattern"].named() == ["V3", "LO"]
    assert parsed["quadrants"].named() == ["V3", "LO"]


def test_down_alone_is_of_the_kind_up_and_a_held_roi_is_not_among_the_named():
    target = Target(down=("V3",), hold=("LO",))
    assert target.kind == "up"
    assert target.label == "V3down"
    assert target.named() == ["V3"]


def test_a_name_given_is_the_label():
    assert Target(roi="V3", name="face2").label == "face2"


@pytest.mark.parametrize(("kind", "other"), [("roi", "voxel"), ("suppress", "pattern"), ("up", "quadrants"), ("contrast", "roi")])
def test_two_kinds_at_once_are_refused(kind, other):
    both = {**OF_EACH_KIND[kind], **OF_EACH_KIND[other], "name": "both"}
    with pytest.raises(InputError, match="targets: a target has exactly one of the keys roi, voxel, voxels, contrast"):
        parse_config(both, Target, "targets")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "targets: a target has exactly one of the keys roi"),
        ({"minus_others": 0.0}, "targets: a target has exactly one of the keys roi"),
        ({"up": []}, "targets: a target has exactly one of the keys roi"),
        ({"roi": "V3", "down": ["LO"]}, "targets: a target has exactly one of the keys roi"),
        ({"pattern": {}}, "targets: a target has exactly one of the keys roi"),
        ({"contrast": "V3 plus LO"}, "targets: key 'contrast' is 'V3 plus LO': contrast .* is not of the form"),
        ({"contrast": "V3"}, "needs at least one term on each side of '-'"),
        ({"contrast": "V3 - V3"}, "names 'V3' twice; name it once"),
        ({"up": ["V3"], "down": ["LO", "V3"]}, "targets: 'V3' is asked for two things that cannot both be; name it once"),
        ({"roi": "V3", "hold": ["LO", "V3"]}, "targets: 'V3' is asked for two things that cannot both be"),
        ({"contrast": "V3 - LO", "hold": ["LO"]}, "targets: 'LO' is asked for two things that cannot both be"),
        ({"pattern": {"V3": 1}, "hold": ["V3"]}, "targets: 'V3' is asked for two things that cannot both be"),
        ({"quadrants": ["V3", "LO"], "hold": ["LO"]}, "targets: 'LO' is asked for two things that cannot both be"),
        ({"quadrants": ["V3", "V3"]}, "targets: quadrants names 'V3' twice; name two ROIs"),
        ({"quadrants": ["V3", "LO", "EBA"]}, "targets: key 'quadrants"),
        ({"contrast": "V3 - LO", "dose": 90}, "targets: dose goes with roi, voxel or voxels"),
        ({"suppress": "V3", "dose": 10}, "targets: dose goes with roi, voxel or voxels"),
        ({"roi": "V3", "dose": 100}, "targets: key 'dose' is 100"),
        ({"roi": "V3", "dose": 0}, "targets: key 'dose' is 0"),
        ({"pattern": {"V3": float("nan")}}, "targets: .*V3.*finite number"),
        ({"pattern": {"V3": float("inf")}}, "targets: .*V3.*finite number"),
        ({"voxel": "01_V3001"}, "name is letters and digits only, not '01_V3001'; set 'name'"),
        ({"roi": "Aréa"}, "name is letters and digits only, not 'Aréa'; set 'name'"),  # a stim_id is ASCII
        ({"roi": "V3", "minus_others": -1}, "targets: key 'minus_others' is -1"),
        ({"roi": "V3", "hold": ["LO"], "hold_within": 0}, "targets: key 'hold_within' is 0"),
        ({"up": ["V3"], "level": 0}, "targets: key 'level' is 0"),
        ({"roi": "V3", "count": 0}, "targets: key 'count' is 0"),
        ({"roy": "V3"}, "targets: unknown key 'roy'; did you mean 'roi'"),
        ({"roi": "V3", "hold_with_in": 1}, "targets: unknown key 'hold_with_in'; did you mean 'hold_within'"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        parse_config(values, Target, "targets")


def test_quadrants_stand_for_up_and_down_in_all_four_ways():
    target = Target(quadrants=("FFA_1", "PPA"), level=1.5, hold=("V3",), count=3, subjects=("01",))
    singles = expand_target(target, [])
    assert [(one.up, one.down, one.label) for one in singles] == [
        (("FFA_1", "PPA"), (), "FFA1upPPAup"),
        (("FFA_1",), ("PPA",), "FFA1upPPAdown"),
        (("PPA",), ("FFA_1",), "PPAupFFA1down"),
        ((), ("FFA_1", "PPA"), "FFA1downPPAdown"),
    ]
    assert all(one.kind == "up" and (one.level, one.hold, one.count, one.subjects) == (1.5, ("V3",), 3, ("01",)) for one in singles)


def test_a_name_is_the_prefix_of_what_quadrants_and_voxels_are_called():
    assert expand_target(Target(quadrants=("V3", "LO"), name="q"), [])[1].label == "qV3upLOdown"
    assert expand_target(Target(each_voxel_of="LO", name="each"), [make_tiny_model()])[0].label == "each01LO004"


def test_each_voxel_of_an_roi_stands_for_its_predictable_voxels():
    singles = expand_target(Target(each_voxel_of="V3", minus_others=0.25, dose=None, count=2), [make_tiny_model()])
    assert [(one.voxel, one.label, one.each_voxel_of, one.count) for one in singles] == [
        ("01_V3001", "01V3001", None, 2),
        ("01_V3002", "01V3002", None, 2),
    ]


def test_each_voxel_of_some_subjects_leaves_the_others_voxels_out():
    table = make_voxels((0.5, 0.3, 0.6, 0.6, 0.2), ("V3", "V3", "V3", "LO", "EBA"))
    table.loc[1, ["voxel_id", "subject"]] = "02_V3002", "02"
    singles = expand_target(Target(each_voxel_of="V3", subjects=("02",)), [make_tiny_model(voxels=table)])
    assert [one.voxel for one in singles] == ["02_V3002"]


@pytest.mark.parametrize("roi", ["EBA", "PPA"])
def test_an_roi_without_a_predictable_voxel_cannot_be_taken_voxel_by_voxel(roi):
    model = make_tiny_model(cv_r=(0.5, 0.3, 0.1, 0.6, -0.2))
    with pytest.raises(InputError, match=f"target '{roi}': ROI '{roi}' has no predictable voxel in the model"):
        expand_target(Target(each_voxel_of=roi), [model])


def test_a_single_target_stands_for_itself():
    target = Target(roi="V3")
    assert expand_target(target, []) == [target]
